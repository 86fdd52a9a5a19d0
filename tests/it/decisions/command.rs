//! Converts an operation to a command, given the current model.

use std::num::NonZeroU16;

use portbook::registry::command::{
    Command, CreateNamespace, CreatePool, DeleteNamespace, DeletePool, Ensure, Register,
    RegistrationSelector, Renew, Update, UpdateNamespace, UpdatePool,
};
use portbook::registry::details::{DetailEdits, TextField};
use portbook::registry::namespace::Policy;
use portbook::registry::port_set::PortSet;
use portbook::registry::text::Text;

use super::model::{Model, PortRequest};
use super::operation::{
    LOW, Operation, acknowledged, codes, cool_down, namespace_name, nth, pool_name, port_range,
    request, service, transports, ttl,
};

/// The command for an operation, given the current model.
pub fn command(operation: &Operation, model: &Model) -> Option<Command> {
    Some(match operation {
        Operation::Register { .. } => Command::Register(register(&request(operation)?)),
        Operation::RegisterBoth { first, second } => {
            Command::RegisterAll(vec![register(&request(first)?), register(&request(second)?)])
        }
        Operation::Ensure {
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
            details: DetailEdits::default(),
        }),
        Operation::Renew { nth: which, ttl: seconds } => Command::Renew(Renew {
            selector: RegistrationSelector::Uid { uid: nth(model, *which)?.uid, etag: None },
            ttl: ttl(*seconds),
        }),
        Operation::Rename { nth: which, name, acknowledges } => Command::Update(Update {
            uid: nth(model, *which)?.uid,
            etag: None,
            service_name: service(*name).parse().ok(),
            details: DetailEdits::default(),
            acknowledge: acknowledged(*acknowledges),
        }),
        Operation::Release { nth: which } => {
            Command::Release(RegistrationSelector::Uid { uid: nth(model, *which)?.uid, etag: None })
        }
        Operation::Namespace { .. } => return namespace(operation, model),
        Operation::DropNamespace { which } => Command::DeleteNamespace(DeleteNamespace {
            name: namespace_name(*which).parse().ok()?,
            etag: None,
        }),
        Operation::Pool { .. } => return pool(operation, model),
        Operation::DropPool { namespace, which } => Command::DeletePool(DeletePool {
            namespace: namespace_name(*namespace).parse().ok()?,
            name: pool_name(*which).parse().ok()?,
            etag: None,
        }),
        Operation::Wait { .. } | Operation::EnsureAgain { .. } => {
            return None;
        }
    })
}

fn described(text: &str) -> DetailEdits {
    let mut details = DetailEdits::default();
    details.set_text(TextField::Description, text).unwrap();
    details
}

fn register(request: &PortRequest) -> Register {
    Register {
        namespace: request.namespace.parse().unwrap(),
        service_name: request.name.parse().unwrap(),
        ports: port_range(request.first, request.width),
        transports: request.transports.clone(),
        pool: request.pool.as_ref().map(|pool| pool.parse().unwrap()),
        ttl: ttl(request.ttl),
        details: described("A registration of the test"),
        acknowledge: acknowledged(request.acknowledges),
    }
}

fn namespace(operation: &Operation, model: &Model) -> Option<Command> {
    let Operation::Namespace { which, accept, forbid, cool_down: rest } = operation else {
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

fn pool(operation: &Operation, model: &Model) -> Option<Command> {
    let Operation::Pool {
        namespace,
        which,
        at,
        width,
        without,
        transports: bits,
        accept,
        cool_down: rest,
    } = operation
    else {
        return None;
    };
    let (namespace, name) = (namespace_name(*namespace), pool_name(*which));
    let is_there = model.pools.contains_key(&(namespace.clone(), name.clone()));
    let (namespace, name) = (namespace.parse().ok()?, name.parse().ok()?);
    let ports = PortSet::new(vec![port_range(LOW + at, *width)]).ok()?;
    let excluded_ports = PortSet::new(vec![port_range(LOW + without, 1)]).ok()?;
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
