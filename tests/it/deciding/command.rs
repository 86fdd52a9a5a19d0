//! The command that a wish is, as things stand.

use std::num::NonZeroU16;

use portbook::registry::command::{
    Command, CreateNamespace, CreatePool, DeleteNamespace, DeletePool, Details, Edits, Ensure,
    Register, RegistrationSelector, Renew, Update, UpdateNamespace, UpdatePool,
};
use portbook::registry::namespace::Policy;
use portbook::registry::port_set::PortSet;
use portbook::registry::text::Text;

use super::model::{Ask, Model};
use super::wish::{
    LOW, ProposedRegistration, acknowledged, ask, codes, cool_down, namespace_name, nth, pool_name,
    run, service, transports, ttl,
};

/// The command that a wish is, as things stand.
pub fn command(wish: &ProposedRegistration, model: &Model) -> Option<Command> {
    Some(match wish {
        ProposedRegistration::Register { .. } => Command::Register(register(&ask(wish)?)),
        ProposedRegistration::RegisterBoth { first, second } => {
            Command::RegisterAll(vec![register(&ask(first)?), register(&ask(second)?)])
        }
        ProposedRegistration::Ensure {
            namespace,
            pool,
            name,
            instance,
            count,
            transports: bits,
            ttl: seconds,
        } => Command::Ensure(Ensure {
            namespace: namespace_name(*namespace).parse().ok()?,
            pool: pool_name(*pool).parse().ok()?,
            service_name: service(*name).parse().ok()?,
            instance: Text::parse(instance.to_string()).ok()?,
            count: NonZeroU16::new(*count)?,
            transports: transports(*bits),
            ttl: ttl(*seconds),
            details: Details::default(),
        }),
        ProposedRegistration::Renew { nth: which, ttl: seconds } => Command::Renew(Renew {
            selector: RegistrationSelector::Uid { uid: nth(model, *which)?.uid, etag: None },
            ttl: ttl(*seconds),
        }),
        ProposedRegistration::Rename { nth: which, name, acknowledges } => {
            Command::Update(Update {
                uid: nth(model, *which)?.uid,
                etag: None,
                edits: Edits { service_name: service(*name).parse().ok(), ..Edits::default() },
                acknowledge: acknowledged(*acknowledges),
            })
        }
        ProposedRegistration::Release { nth: which } => {
            Command::Release(RegistrationSelector::Uid { uid: nth(model, *which)?.uid, etag: None })
        }
        ProposedRegistration::Namespace { .. } => return namespace(wish, model),
        ProposedRegistration::DropNamespace { which } => {
            Command::DeleteNamespace(DeleteNamespace {
                name: namespace_name(*which).parse().ok()?,
                etag: None,
            })
        }
        ProposedRegistration::Pool { .. } => return pool(wish, model),
        ProposedRegistration::DropPool { namespace, which } => Command::DeletePool(DeletePool {
            namespace: namespace_name(*namespace).parse().ok()?,
            name: pool_name(*which).parse().ok()?,
            etag: None,
        }),
        ProposedRegistration::Wait { .. } | ProposedRegistration::EnsureAgain { .. } => {
            return None;
        }
    })
}

fn register(ask: &Ask) -> Register {
    Register {
        namespace: ask.namespace.parse().unwrap(),
        service_name: ask.name.parse().unwrap(),
        ports: run(ask.first, ask.width),
        transports: ask.transports.clone(),
        pool: ask.pool.as_ref().map(|pool| pool.parse().unwrap()),
        ttl: ttl(ask.ttl),
        details: Details { description: Text::parse("A law's own").unwrap(), ..Details::default() },
        acknowledge: acknowledged(ask.acknowledges),
    }
}

fn namespace(wish: &ProposedRegistration, model: &Model) -> Option<Command> {
    let ProposedRegistration::Namespace { which, accept, forbid, cool_down: rest } = wish else {
        return None;
    };
    let name = namespace_name(*which);
    let policy =
        Policy { accept: codes(*accept), forbid: codes(*forbid), cool_down: cool_down(*rest) };
    let is_there = model.namespaces.contains_key(&name);
    let name = name.parse().ok()?;
    Some(if is_there {
        let policy = Some(policy);
        Command::UpdateNamespace(UpdateNamespace { name, etag: None, description: None, policy })
    } else {
        Command::CreateNamespace(CreateNamespace { name, description: Text::default(), policy })
    })
}

fn pool(wish: &ProposedRegistration, model: &Model) -> Option<Command> {
    let ProposedRegistration::Pool {
        namespace,
        which,
        at,
        width,
        without,
        transports: bits,
        accept,
        cool_down: rest,
    } = wish
    else {
        return None;
    };
    let (namespace, name) = (namespace_name(*namespace), pool_name(*which));
    let is_there = model.pools.contains_key(&(namespace.clone(), name.clone()));
    let (namespace, name) = (namespace.parse().ok()?, name.parse().ok()?);
    let ports = PortSet::new(vec![run(LOW + at, *width)]).ok()?;
    let excluded_ports = PortSet::new(vec![run(LOW + without, 1)]).ok()?;
    let (transports, accept) = (transports(*bits), codes(*accept));
    let cool_down = cool_down(*rest);
    Some(if is_there {
        Command::UpdatePool(UpdatePool {
            namespace,
            name,
            etag: None,
            description: None,
            ports: Some(ports),
            transports: Some(transports),
            excluded_ports: Some(excluded_ports),
            cool_down: Some(cool_down),
            accept: Some(accept),
        })
    } else {
        let description = Text::default();
        Command::CreatePool(CreatePool {
            namespace,
            name,
            description,
            ports,
            transports,
            excluded_ports,
            cool_down,
            accept,
        })
    })
}
