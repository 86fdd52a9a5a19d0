//! The effect of an operation according to the model.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use portbook::registry::assignment::Uid;
use portbook::registry::finding::FindingCode;
use portbook::registry::port::Transport;

use super::model::{self, Model, PortRequest};
use super::operation::{
    LOW, Operation, PORTS, codes, namespace_name, nth, pool_name, request, resolved, service,
    transports,
};
use crate::properties::stored_blocking;

/// The model after an operation that creates records with these uids; `None` if it is refused.
pub fn model_after(model: &Model, operation: &Operation, first_uids: &[Uid]) -> Option<Model> {
    let mut after = model.clone();
    // A refused operation has no uids.
    let mut uids = first_uids.iter().copied().chain(std::iter::repeat(Uid::MIN));
    match operation {
        Operation::Register { .. } => {
            let request = request(operation)?;
            if !model.passes(&request, &iana_findings) {
                return None;
            }
            after.register(&request, None, &mut uids);
        }
        Operation::RegisterBoth { first, second } => {
            for request in [request(first)?, request(second)?] {
                if !after.passes(&request, &iana_findings) {
                    return None;
                }
                after.register(&request, None, &mut uids);
            }
        }
        Operation::Ensure { .. } => return ensured(model, operation, &mut uids),
        Operation::EnsureAgain { .. } => {
            return model_after(model, &resolved(operation, model)?, first_uids);
        }
        Operation::Renew { nth: which, ttl } => {
            let uid = nth(model, *which)?.uid;
            let now = after.now;
            let held = after.held.iter_mut().find(|held| held.uid == uid)?;
            let ttl = ttl.unwrap_or(held.lease?.0);
            held.lease = held.lease.map(|_| (ttl, now + ttl));
        }
        Operation::Rename { .. } => return renamed(model, operation),
        Operation::Release { nth: which } => after.release(nth(model, *which)?.uid),
        Operation::Namespace { which, accept, forbid, cool_down } => {
            let policy = model::Policy {
                accept: codes(*accept),
                forbid: codes(*forbid),
                cool_down: *cool_down,
            };
            after.namespaces.insert(namespace_name(*which), policy);
        }
        Operation::DropNamespace { which } => {
            let name = namespace_name(*which);
            let is_empty = model.held.iter().all(|held| held.namespace != name)
                && model.pools.keys().all(|(namespace, _)| *namespace != name);
            if name == "default" || !is_empty {
                return None;
            }
            after.namespaces.remove(&name)?;
            after.cooling_down.retain(|(namespace, ..), _| *namespace != name);
        }
        Operation::Pool {
            namespace,
            which,
            at,
            width,
            without,
            transports: bits,
            accept,
            cool_down,
        } => {
            let (namespace, name) = (namespace_name(*namespace), pool_name(*which));
            let pool = model::Pool {
                ports: (LOW + at..LOW + at + width).filter(|port| *port != LOW + without).collect(),
                transports: transports(*bits).into_iter().collect(),
                accept: codes(*accept),
                cool_down: *cool_down,
                changed: 0,
            };
            let old = model.pools.get(&(namespace.clone(), name.clone()));
            let pool = old
                .filter(|old| model::Pool { changed: 0, ..(*old).clone() } == pool)
                .cloned()
                .unwrap_or(model::Pool { changed: model.now, ..pool });
            if !model.namespaces.contains_key(&namespace)
                || !model.is_valid_pool(&namespace, &name, &pool)
            {
                return None;
            }
            after.pools.insert((namespace, name), pool);
        }
        Operation::DropPool { namespace, which } => {
            let (namespace, name) = (namespace_name(*namespace), pool_name(*which));
            let is_used = model.held.iter().any(|held| {
                held.namespace == namespace && held.pool.as_deref() == Some(name.as_str())
            });
            if is_used {
                return None;
            }
            after.pools.remove(&(namespace, name))?;
        }
        Operation::Wait { seconds } => after.pass_time(*seconds),
    }
    Some(after)
}

fn renamed(model: &Model, operation: &Operation) -> Option<Model> {
    let mut after = model.clone();
    if let Operation::Rename { nth: which, name, acknowledges } = operation {
        let held = nth(model, *which)?.clone();
        if held.name != service(*name) {
            if held.instance.is_some() {
                return None;
            }
            let request = PortRequest {
                namespace: held.namespace.clone(),
                name: service(*name),
                first: held.first,
                width: held.last - held.first + 1,
                transports: vec![held.transport],
                pool: held.pool.clone(),
                ttl: None,
                acknowledges: *acknowledges,
            };
            let mut without = model.clone();
            without.held.retain(|other| other.uid != held.uid);
            if !without.passes(&request, &iana_findings) {
                return None;
            }
        }
        after.held.iter_mut().find(|other| other.uid == held.uid)?.name = service(*name);
    }
    Some(after)
}

fn ensured(
    model: &Model,
    operation: &Operation,
    uids: &mut dyn Iterator<Item = Uid>,
) -> Option<Model> {
    let Operation::Ensure { namespace, pool, name, instance, count, transports: bits, ttl } =
        operation
    else {
        return None;
    };
    let (namespace, pool, instance) =
        (namespace_name(*namespace), pool_name(*pool), instance.to_string());
    let of = model.pools.get(&(namespace.clone(), pool.clone()))?;
    let requested =
        if *bits == 0 { of.transports.iter().copied().collect() } else { transports(*bits) };
    let mut after = model.clone();
    let is_from_server = |held: &model::RegistrationSelector| {
        held.namespace == namespace
            && held.pool.as_ref() == Some(&pool)
            && held.name == service(*name)
            && held.instance.as_ref() == Some(&instance)
    };
    let own: Vec<_> = model.held.iter().filter(|held| is_from_server(held)).collect();
    if !own.is_empty() {
        let mut held: Vec<_> = own.iter().map(|held| held.transport).collect();
        held.sort_unstable();
        let is_old = *bits == 0 && own.iter().all(|held| held.since < of.changed);
        if !is_old && held != requested
            || own.iter().any(|held| held.last - held.first + 1 != *count)
        {
            return None;
        }
        let now = model.now;
        for held in after.held.iter_mut().filter(|held| is_from_server(held)) {
            held.lease = match (held.lease, ttl) {
                (Some((_, end)), Some(ttl)) if end < now + ttl => Some((*ttl, now + ttl)),
                (lease, _) => lease,
            };
        }
        return Some(after);
    }
    if requested.iter().any(|transport| !of.transports.contains(transport))
        || usize::from(*count) > of.ports.len()
    {
        return None;
    }
    let request = PortRequest {
        namespace,
        name: service(*name),
        first: 0,
        width: *count,
        transports: requested,
        pool: Some(pool),
        ttl: *ttl,
        acknowledges: false,
    };
    let first = model.lowest(&request, &iana_findings)?;
    after.register(&PortRequest { first, ..request }, Some(&instance), uids);
    Some(after)
}

/// IANA's findings for each port.
static IANA: LazyLock<Vec<[BTreeSet<FindingCode>; 4]>> = LazyLock::new(|| {
    let records = stored_blocking().reference;
    let iana_findings =
        |port| Transport::ALL.map(|transport| model::iana(&records, port, transport));
    (LOW..LOW + 2 * PORTS).map(iana_findings).collect()
});

fn iana_findings(port: u16, transport: Transport) -> BTreeSet<FindingCode> {
    IANA[usize::from(port - LOW)][transport.index()].clone()
}
