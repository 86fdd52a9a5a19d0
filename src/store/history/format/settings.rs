//! Namespaces and pools as JSON.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{or_corrupt, revision_from_integer, revision_to_integer, time_from_micros};
use crate::registry::finding::FindingCode;
use crate::registry::lease::CoolDown;
use crate::registry::namespace::{Namespace, Policy};
use crate::registry::pool::Pool;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::port_set::PortSet;
use crate::store::StoreError;

/// A namespace as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct NamespaceJson {
    name: String,
    description: String,
    accept: Vec<String>,
    forbid: Vec<String>,
    cool_down: i64,
    create_time: Option<i64>,
    update_time: Option<i64>,
    revision: i64,
}

impl NamespaceJson {
    pub(in crate::store) fn of(namespace: &Namespace) -> Self {
        Self {
            name: namespace.name.to_string(),
            description: namespace.description.to_string(),
            accept: code_names(&namespace.policy.accept),
            forbid: code_names(&namespace.policy.forbid),
            cool_down: namespace.policy.cool_down.as_micros(),
            create_time: namespace.create_time.map(|time| time.as_microsecond()),
            update_time: namespace.update_time.map(|time| time.as_microsecond()),
            revision: revision_to_integer(namespace.revision),
        }
    }

    pub(in crate::store) fn into_namespace(self) -> Result<Namespace, StoreError> {
        Ok(Namespace {
            name: or_corrupt(self.name.parse())?,
            description: self.description.into(),
            policy: Policy {
                accept: codes_from(&self.accept)?,
                forbid: codes_from(&self.forbid)?,
                cool_down: or_corrupt(CoolDown::from_micros(self.cool_down))?,
            },
            create_time: self.create_time.map(time_from_micros).transpose()?,
            update_time: self.update_time.map(time_from_micros).transpose()?,
            revision: revision_from_integer(self.revision)?,
        })
    }
}

/// A pool as JSON.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct PoolJson {
    namespace: String,
    name: String,
    description: String,
    ports: Vec<(u16, u16)>,
    transports: Vec<String>,
    excluded_ports: Vec<(u16, u16)>,
    cool_down: i64,
    accept: Vec<String>,
    create_time: i64,
    update_time: i64,
    revision: i64,
}

impl PoolJson {
    pub(in crate::store) fn of(pool: &Pool) -> Self {
        Self {
            namespace: pool.namespace.to_string(),
            name: pool.name.to_string(),
            description: pool.description.to_string(),
            ports: range_pairs(&pool.ports),
            transports: pool.transports.iter().map(ToString::to_string).collect(),
            excluded_ports: range_pairs(&pool.excluded_ports),
            cool_down: pool.cool_down.as_micros(),
            accept: code_names(&pool.accept),
            create_time: pool.create_time.as_microsecond(),
            update_time: pool.update_time.as_microsecond(),
            revision: revision_to_integer(pool.revision),
        }
    }

    pub(in crate::store) fn into_pool(self) -> Result<Pool, StoreError> {
        let transports = self.transports.iter().map(|name| or_corrupt(name.parse::<Transport>()));
        Ok(Pool {
            namespace: or_corrupt(self.namespace.parse())?,
            name: or_corrupt(self.name.parse())?,
            description: self.description.into(),
            ports: port_set_from(&self.ports)?,
            transports: transports.collect::<Result<_, _>>()?,
            excluded_ports: port_set_from(&self.excluded_ports)?,
            cool_down: or_corrupt(CoolDown::from_micros(self.cool_down))?,
            accept: codes_from(&self.accept)?,
            create_time: time_from_micros(self.create_time)?,
            update_time: time_from_micros(self.update_time)?,
            revision: revision_from_integer(self.revision)?,
        })
    }
}

fn code_names(codes: &BTreeSet<FindingCode>) -> Vec<String> {
    codes.iter().map(ToString::to_string).collect()
}

fn codes_from(names: &[String]) -> Result<BTreeSet<FindingCode>, StoreError> {
    names.iter().map(|name| super::finding::code_from(name)).collect()
}

fn range_pairs(ports: &PortSet) -> Vec<(u16, u16)> {
    ports.ranges().iter().map(|range| (range.first().number(), range.last().number())).collect()
}

fn port_set_from(pairs: &[(u16, u16)]) -> Result<PortSet, StoreError> {
    let ranges = pairs
        .iter()
        .map(|&(first, last)| or_corrupt(PortRange::new(Port::new(first), Port::new(last))));
    or_corrupt(PortSet::new(ranges.collect::<Result<_, _>>()?))
}
