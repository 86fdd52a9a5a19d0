//! Findings as JSON, stored with the outcome of a request.

use serde::{Deserialize, Serialize};

use super::{AssignmentJson, TextInterner, or_corrupt, time_from_micros, to_json};
use crate::registry::assignment::Record;
use crate::registry::finding::{Evidence, Finding, FindingCode, Severity};
use crate::registry::port::{Port, PortRange};
use crate::store::{StoreError, StoredFinding};

/// A finding as JSON. Evidence of the reference is stored as its uid. Fields that older findings lack
/// have a default.
#[derive(Debug, Serialize, Deserialize)]
struct FindingJson {
    code: String,
    /// Whether it was a note, regardless of the severity of its code.
    #[serde(default)]
    is_note: bool,
    message: String,
    first_port: u16,
    last_port: u16,
    transport: String,
    /// The uid of a record of the reference.
    fixed_evidence: Option<String>,
    /// A registration at that time: it may have changed since.
    custom_evidence: Option<AssignmentJson>,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    evidence_ports: Option<(u16, u16)>,
    #[serde(default)]
    until: Option<i64>,
}

impl FindingJson {
    fn of(finding: &Finding) -> Self {
        let Evidence { record, pool, ports, end_time } = &finding.evidence;
        let fixed = record.as_ref().filter(|record| record.registration().is_none());
        Self {
            code: finding.code.to_string(),
            is_note: finding.severity == Severity::Note,
            message: finding.message.clone(),
            first_port: finding.ports.first().number(),
            last_port: finding.ports.last().number(),
            transport: finding.transport.to_string(),
            fixed_evidence: fixed.map(|record| record.uid.to_string()),
            custom_evidence: record.as_ref().and_then(|record| AssignmentJson::of(record)),
            pool: pool.as_ref().map(ToString::to_string),
            evidence_ports: ports.map(|ports| (ports.first().number(), ports.last().number())),
            until: end_time.map(|time| time.as_microsecond()),
        }
    }

    fn into_finding(self, texts: &mut TextInterner) -> Result<StoredFinding, StoreError> {
        let range = |first, last| or_corrupt(PortRange::new(Port::new(first), Port::new(last)));
        let code = code_from(&self.code)?;
        let record = self.custom_evidence.map(|row| row.into_assignment(texts)).transpose()?;
        let evidence = Evidence {
            record: record.map(Record::share),
            pool: self.pool.map(|pool| or_corrupt(pool.parse())).transpose()?,
            ports: self.evidence_ports.map(|(first, last)| range(first, last)).transpose()?,
            end_time: self.until.map(time_from_micros).transpose()?,
        };
        Ok(StoredFinding {
            reference_uid: self.fixed_evidence.map(|uid| or_corrupt(uid.parse())).transpose()?,
            finding: Finding {
                code,
                severity: if self.is_note { Severity::Note } else { code.severity() },
                message: self.message,
                ports: range(self.first_port, self.last_port)?,
                transport: or_corrupt(self.transport.parse())?,
                evidence,
            },
        })
    }
}

/// The findings of an outcome, as JSON.
///
/// # Errors
/// If a finding can't be written as JSON.
pub fn encode_findings(findings: &[Finding]) -> Result<String, StoreError> {
    to_json(&findings.iter().map(FindingJson::of).collect::<Vec<_>>())
}

/// The findings of an outcome, from JSON.
///
/// # Errors
/// If a value is invalid.
pub fn decode_findings(
    json: &str,
    texts: &mut TextInterner,
) -> Result<Vec<StoredFinding>, StoreError> {
    let rows: Vec<FindingJson> = or_corrupt(serde_json::from_str(json))?;
    rows.into_iter().map(|row| row.into_finding(texts)).collect()
}

pub(super) fn code_from(name: &str) -> Result<FindingCode, StoreError> {
    FindingCode::from_name(name)
        .ok_or_else(|| StoreError::Corrupt(format!("finding code {name:?}")))
}
