//! Registrations as JSON.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{
    TextInterner, or_corrupt, revision_from_integer, revision_to_integer, time_from_micros,
};
use crate::registry::assignment::{Assignment, Origin, PoolMembership, Registration, State, Uid};
use crate::registry::details::Details;
use crate::registry::lease::{Lease, Ttl};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::text::Labels;
use crate::store::StoreError;

/// A registration as JSON. Fields that older history lacks have a default.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store) struct AssignmentJson {
    pub uid: String,
    pub namespace: String,
    pub service_name: String,
    pub first_port: u16,
    pub last_port: u16,
    pub transport: String,
    pub description: String,
    pub assignee: String,
    pub contact: String,
    pub reference: String,
    pub assignment_notes: String,
    pub labels: BTreeMap<String, String>,
    pub create_time: i64,
    pub update_time: i64,
    pub revision: i64,
    #[serde(default)]
    pub ttl: Option<i64>,
    #[serde(default)]
    pub expire_time: Option<i64>,
    #[serde(default)]
    pub pool: Option<String>,
    #[serde(default)]
    pub instance: Option<String>,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub url: String,
}

impl AssignmentJson {
    /// The JSON of a registration; none for a record of the reference.
    pub(in crate::store) fn of(record: &Assignment) -> Option<Self> {
        let registration = record.registration()?;
        let pooled = registration.pooled.as_ref();
        let ports = record.ports?;
        let Details { description, assignee, contact, reference, assignment_notes, url, labels } =
            &record.details;
        Some(Self {
            uid: record.uid.to_string(),
            namespace: registration.namespace.to_string(),
            service_name: record.service_name.as_deref()?.to_owned(),
            first_port: ports.first().number(),
            last_port: ports.last().number(),
            transport: record.transport?.to_string(),
            description: description.to_string(),
            assignee: assignee.to_string(),
            contact: contact.to_string(),
            reference: reference.to_string(),
            assignment_notes: assignment_notes.to_string(),
            labels: labels.pairs().clone(),
            create_time: registration.create_time.as_microsecond(),
            update_time: registration.update_time.as_microsecond(),
            revision: revision_to_integer(registration.revision),
            ttl: registration.lease.map(|lease| lease.ttl.as_micros()),
            expire_time: registration.lease.map(|lease| lease.expire_time.as_microsecond()),
            pool: pooled.map(|pooled| pooled.pool.to_string()),
            instance: pooled.and_then(|pooled| Some(pooled.instance.as_ref()?.to_string())),
            url: url.to_string(),
        })
    }

    /// The registration. Shares texts with those read before.
    pub(in crate::store) fn into_assignment(
        self,
        texts: &mut TextInterner,
    ) -> Result<Assignment, StoreError> {
        let ports = PortRange::new(Port::new(self.first_port), Port::new(self.last_port));
        let lease = match (self.ttl, self.expire_time) {
            (Some(ttl), Some(end)) => Some(Lease {
                ttl: or_corrupt(Ttl::from_micros(ttl))?,
                expire_time: time_from_micros(end)?,
            }),
            _ => None,
        };
        let instance = self.instance.map(Into::into);
        let pooled = self.pool.map(|pool| {
            Ok::<_, StoreError>(PoolMembership { pool: or_corrupt(pool.parse())?, instance })
        });
        let mut text = |text: String| texts.intern(Some(&text));
        Ok(Assignment {
            uid: or_corrupt(self.uid.parse::<Uid>())?,
            service_name: Some(text(self.service_name)),
            ports: Some(or_corrupt(ports)?),
            transport: Some(or_corrupt(self.transport.parse::<Transport>())?),
            state: State::Assigned,
            details: Details {
                description: text(self.description),
                assignee: text(self.assignee),
                contact: text(self.contact),
                reference: text(self.reference),
                assignment_notes: text(self.assignment_notes),
                url: text(self.url),
                labels: or_corrupt(Labels::parse(self.labels))?,
            },
            origin: Origin::Custom(Registration {
                namespace: texts.namespace(&self.namespace)?,
                create_time: time_from_micros(self.create_time)?,
                update_time: time_from_micros(self.update_time)?,
                revision: revision_from_integer(self.revision)?,
                lease,
                pooled: pooled.transpose()?,
            }),
        })
    }
}
