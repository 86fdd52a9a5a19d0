//! The rows of registrations.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sqlx::Sqlite;
use sqlx::query_builder::Separated;

use super::{or_corrupt, revision_from_sql, revision_to_sql, time_from_sql};
use crate::registry::assignment::{Assignment, Origin, PoolMembership, Registration, State, Uid};
use crate::registry::details::Details;
use crate::registry::lease::{Lease, Ttl};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::text::Labels;
use crate::store::StoreError;
use crate::store::sqlite::interner::TextInterner;

/// The row of a registration. Fields that older history lacks have a default.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store::sqlite) struct AssignmentRow {
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
}

impl AssignmentRow {
    /// The beginning of an insert statement, up to the values that [`Self::bind`] adds.
    pub(in crate::store::sqlite) const INSERT: &str = "insert into custom_assignment (namespace, \
        transport, first_port, last_port, uid, service_name, description, assignee, contact, \
        reference, assignment_notes, labels, create_time, update_time, revision, ttl, \
        expire_time, pool, instance) ";

    /// Adds the values of the row, with the labels as JSON, in the order of [`Self::INSERT`].
    pub(in crate::store::sqlite) fn bind(
        &self,
        labels_json: &str,
        mut values: Separated<'_, Sqlite, &'static str>,
    ) {
        let Self {
            uid,
            namespace,
            service_name,
            first_port,
            last_port,
            transport,
            description,
            assignee,
            contact,
            reference,
            assignment_notes,
            labels: _,
            create_time,
            update_time,
            revision,
            ttl,
            expire_time,
            pool,
            instance,
        } = self;
        values
            .push_bind(namespace.as_str())
            .push_bind(transport.as_str())
            .push_bind(*first_port)
            .push_bind(*last_port)
            .push_bind(uid.as_str())
            .push_bind(service_name.as_str())
            .push_bind(description.as_str())
            .push_bind(assignee.as_str())
            .push_bind(contact.as_str())
            .push_bind(reference.as_str())
            .push_bind(assignment_notes.as_str())
            .push_bind(labels_json)
            .push_bind(*create_time)
            .push_bind(*update_time)
            .push_bind(*revision)
            .push_bind(*ttl)
            .push_bind(*expire_time)
            .push_bind(pool.as_deref())
            .push_bind(instance.as_deref());
    }

    /// The row of a registration; none for a record of the reference.
    pub(in crate::store::sqlite) fn of(record: &Assignment) -> Option<Self> {
        let registration = record.registration()?;
        let pooled = registration.pooled.as_ref();
        let ports = record.ports?;
        let Details { description, assignee, contact, reference, assignment_notes, labels } =
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
            revision: revision_to_sql(registration.revision),
            ttl: registration.lease.map(|lease| lease.ttl.as_micros()),
            expire_time: registration.lease.map(|lease| lease.expire_time.as_microsecond()),
            pool: pooled.map(|pooled| pooled.pool.to_string()),
            instance: pooled.and_then(|pooled| Some(pooled.instance.as_ref()?.to_string())),
        })
    }

    /// The registration. Shares texts with those read before.
    pub(in crate::store::sqlite) fn into_assignment(
        self,
        texts: &mut TextInterner,
    ) -> Result<Assignment, StoreError> {
        let ports = PortRange::new(Port::new(self.first_port), Port::new(self.last_port));
        let lease = match (self.ttl, self.expire_time) {
            (Some(ttl), Some(end)) => Some(Lease {
                ttl: or_corrupt(Ttl::from_micros(ttl))?,
                expire_time: time_from_sql(end)?,
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
                labels: or_corrupt(Labels::parse(self.labels))?,
            },
            origin: Origin::Custom(Registration {
                namespace: texts.namespace(&self.namespace)?,
                create_time: time_from_sql(self.create_time)?,
                update_time: time_from_sql(self.update_time)?,
                revision: revision_from_sql(self.revision)?,
                lease,
                pooled: pooled.transpose()?,
            }),
        })
    }
}
