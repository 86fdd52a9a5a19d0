//! Namespaces and pools as messages.

use std::collections::BTreeSet;

use super::{duration, finding_code, port_range, timestamp, transport};
use crate::grpc::proto;
use crate::registry::finding::FindingCode;
use crate::registry::namespace::Namespace;
use crate::registry::pool::Pool;
use crate::registry::port_set::PortSet;
use crate::registry::snapshot::View;
use crate::registry::usage::Usage;

/// A namespace.
#[must_use]
pub fn namespace(namespace: &Namespace) -> proto::Namespace {
    let policy = &namespace.policy;
    proto::Namespace {
        name: namespace.name.to_string(),
        description: namespace.description.to_string(),
        policy: Some(proto::NamespacePolicy {
            accept: codes(&policy.accept),
            forbid: codes(&policy.forbid),
            cool_down: Some(duration(policy.cool_down.duration())),
        }),
        create_time: namespace.create_time.map(timestamp),
        update_time: namespace.update_time.map(timestamp),
        etag: namespace.etag().to_string(),
        revision: namespace.revision.0,
    }
}

/// A namespace and its size.
#[must_use]
pub fn namespace_summary(view: View<'_>) -> proto::NamespaceSummary {
    proto::NamespaceSummary {
        namespace: Some(namespace(view.namespace())),
        assignments: view.size() as u32,
        pools: view.pools().len() as u32,
    }
}

/// A pool.
#[must_use]
pub fn pool(pool: &Pool) -> proto::Pool {
    proto::Pool {
        namespace: pool.namespace.to_string(),
        name: pool.name.to_string(),
        description: pool.description.to_string(),
        ports: ranges(&pool.ports),
        transports: pool.transports.iter().map(|&of| transport(Some(of)).into()).collect(),
        excluded_ports: ranges(&pool.excluded_ports),
        cool_down: Some(duration(pool.cool_down.duration())),
        accept: codes(&pool.accept),
        create_time: Some(timestamp(pool.create_time)),
        update_time: Some(timestamp(pool.update_time)),
        etag: pool.etag().to_string(),
        revision: pool.revision.0,
    }
}

/// A pool and its usage.
#[must_use]
pub fn pool_summary(of: &Pool, usage: Usage) -> proto::PoolSummary {
    let Usage { size, held, cooling, skipped, free } = usage;
    proto::PoolSummary {
        pool: Some(pool(of)),
        usage: Some(proto::PoolUsage { size, held, cooling, skipped, free }),
    }
}

fn ranges(ports: &PortSet) -> Vec<proto::PortRange> {
    ports.ranges().iter().copied().map(port_range).collect()
}

fn codes(codes: &BTreeSet<FindingCode>) -> Vec<i32> {
    codes.iter().map(|code| finding_code(*code).into()).collect()
}
