//! The form in which registrations, findings and history are stored: JSON for whole records, so
//! that history keeps what was true then.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::registry::assignment::{Assignment, Origin, Record, Registration, Revision, State, Uid};
use crate::registry::change::Change;
use crate::registry::finding::{Finding, FindingCode};
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::text::Labels;
use crate::store::{StoreError, StoredFinding};

/// A registration as it is stored.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AssignmentRow {
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
}

impl AssignmentRow {
    /// The row of a registration; none for a record that was not registered here.
    pub(super) fn of(record: &Assignment) -> Option<Self> {
        let registration = record.registration()?;
        let ports = record.ports?;
        Some(Self {
            uid: record.uid.to_string(),
            namespace: registration.namespace.to_string(),
            service_name: record.service_name.as_deref()?.to_owned(),
            first_port: ports.first().number(),
            last_port: ports.last().number(),
            transport: record.transport?.to_string(),
            description: record.description.to_string(),
            assignee: record.assignee.to_string(),
            contact: record.contact.to_string(),
            reference: record.reference.to_string(),
            assignment_notes: record.assignment_notes.to_string(),
            labels: registration.labels.pairs().clone(),
            create_time: registration.create_time.as_microsecond(),
            update_time: registration.update_time.as_microsecond(),
            revision: revision_to_sql(registration.revision),
        })
    }

    pub(super) fn into_assignment(self) -> Result<Assignment, StoreError> {
        let ports = PortRange::new(Port::new(self.first_port), Port::new(self.last_port));
        Ok(Assignment {
            uid: understood(self.uid.parse::<Uid>())?,
            origin: Origin::Custom(Registration {
                namespace: understood(self.namespace.parse())?,
                labels: understood(Labels::parse(self.labels))?,
                create_time: understood(Timestamp::from_microsecond(self.create_time))?,
                update_time: understood(Timestamp::from_microsecond(self.update_time))?,
                revision: revision_from_sql(self.revision)?,
            }),
            service_name: Some(self.service_name.into()),
            ports: Some(understood(ports)?),
            transport: Some(understood(self.transport.parse::<Transport>())?),
            state: State::Assigned,
            description: self.description.into(),
            assignee: self.assignee.into(),
            contact: self.contact.into(),
            reference: self.reference.into(),
            assignment_notes: self.assignment_notes.into(),
        })
    }
}

/// A change as it is stored.
#[derive(Debug, Serialize)]
pub(super) struct ChangeRow {
    pub revision: i64,
    pub position: usize,
    pub kind: &'static str,
    pub uid: String,
    pub before: Option<AssignmentRow>,
    pub after: Option<AssignmentRow>,
}

impl ChangeRow {
    pub(super) fn of(revision: Revision, position: usize, change: &Change) -> Self {
        let row = |record: &std::sync::Arc<Record>| AssignmentRow::of(record);
        Self {
            revision: revision_to_sql(revision),
            position,
            kind: match change {
                Change::Registered { .. } => "REGISTERED",
                Change::Updated { .. } => "UPDATED",
                Change::Released { .. } => "RELEASED",
            },
            uid: change.record().uid.to_string(),
            before: change.before().and_then(row),
            after: change.after().and_then(row),
        }
    }
}

/// The change that these stored records make.
pub(super) fn change_from(
    before: Option<String>,
    after: Option<String>,
) -> Result<Change, StoreError> {
    let record = |json: String| -> Result<_, StoreError> {
        let row: AssignmentRow = understood(serde_json::from_str(&json))?;
        Ok(Record::share(row.into_assignment()?))
    };
    match (before.map(record).transpose()?, after.map(record).transpose()?) {
        (None, Some(after)) => Ok(Change::Registered { after }),
        (Some(before), Some(after)) => Ok(Change::Updated { before, after }),
        (Some(before), None) => Ok(Change::Released { before }),
        (None, None) => Err(StoreError::Corrupt("a change without a record".into())),
    }
}

/// A finding as it is stored. Its evidence is found again by uid.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FindingRow {
    code: String,
    message: String,
    first_port: u16,
    last_port: u16,
    transport: String,
    /// The uid of a record that is the same in every installation.
    fixed_evidence: Option<String>,
    /// A registration as it was then: it may have changed since.
    custom_evidence: Option<AssignmentRow>,
}

impl FindingRow {
    pub(super) fn of(finding: &Finding) -> Self {
        let evidence = finding.evidence.as_ref();
        Self {
            code: finding.code.to_string(),
            message: finding.message.clone(),
            first_port: finding.ports.first().number(),
            last_port: finding.ports.last().number(),
            transport: finding.transport.to_string(),
            fixed_evidence: evidence
                .filter(|record| record.registration().is_none())
                .map(|record| record.uid.to_string()),
            custom_evidence: evidence.and_then(|record| AssignmentRow::of(record)),
        }
    }

    pub(super) fn into_finding(self) -> Result<StoredFinding, StoreError> {
        let ports = PortRange::new(Port::new(self.first_port), Port::new(self.last_port));
        let code = FindingCode::named(&self.code)
            .ok_or_else(|| StoreError::Corrupt(format!("finding code {:?}", self.code)))?;
        let evidence = self.custom_evidence.map(AssignmentRow::into_assignment).transpose()?;
        Ok(StoredFinding {
            fixed_evidence: self.fixed_evidence.map(|uid| understood(uid.parse())).transpose()?,
            finding: Finding {
                code,
                message: self.message,
                ports: understood(ports)?,
                transport: understood(self.transport.parse())?,
                evidence: evidence.map(Record::share),
            },
        })
    }
}

/// SQLite's integers are signed; a revision that large would take longer to reach than the sun
/// has left.
pub(super) fn revision_to_sql(revision: Revision) -> i64 {
    i64::try_from(revision.0).unwrap_or(i64::MAX)
}

pub(super) fn revision_from_sql(revision: i64) -> Result<Revision, StoreError> {
    understood(u64::try_from(revision)).map(Revision)
}

/// What the schema's checks keep out can't be read either.
pub(super) fn understood<T, E: std::error::Error>(parsed: Result<T, E>) -> Result<T, StoreError> {
    parsed.map_err(|fault| StoreError::Corrupt(fault.to_string()))
}

pub(super) fn hash_from(bytes: Vec<u8>) -> Result<[u8; 32], StoreError> {
    bytes.try_into().map_err(|_| StoreError::Corrupt("a hash that has not 32 bytes".into()))
}
