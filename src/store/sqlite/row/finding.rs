//! Findings as they are stored, with the answer they were part of.

use serde::{Deserialize, Serialize};

use super::{AssignmentRow, time_from_sql, understood};
use crate::registry::assignment::Record;
use crate::registry::finding::{Evidence, Finding, FindingCode, Severity};
use crate::registry::port::{Port, PortRange};
use crate::store::sqlite::texts::SharedTexts;
use crate::store::{StoreError, StoredFinding};

/// A finding as it is stored. Its evidence is found again by uid. What is left out of older answers
/// has a default.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::store::sqlite) struct FindingRow {
    code: String,
    /// Whether it was a note, whatever its code weighs by itself.
    #[serde(default)]
    is_note: bool,
    message: String,
    first_port: u16,
    last_port: u16,
    transport: String,
    /// The uid of a record that is the same in every installation.
    fixed_evidence: Option<String>,
    /// A registration as it was then: it may have changed since.
    custom_evidence: Option<AssignmentRow>,
    #[serde(default)]
    pool: Option<String>,
    #[serde(default)]
    evidence_ports: Option<(u16, u16)>,
    #[serde(default)]
    until: Option<i64>,
}

impl FindingRow {
    pub(in crate::store::sqlite) fn of(finding: &Finding) -> Self {
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
            custom_evidence: record.as_ref().and_then(|record| AssignmentRow::of(record)),
            pool: pool.as_ref().map(ToString::to_string),
            evidence_ports: ports.map(|ports| (ports.first().number(), ports.last().number())),
            until: end_time.map(|time| time.as_microsecond()),
        }
    }

    fn into_finding(self, texts: &mut SharedTexts) -> Result<StoredFinding, StoreError> {
        let range = |first, last| understood(PortRange::new(Port::new(first), Port::new(last)));
        let code = code_from(&self.code)?;
        let record = self.custom_evidence.map(|row| row.into_assignment(texts)).transpose()?;
        let evidence = Evidence {
            record: record.map(Record::share),
            pool: self.pool.map(|pool| understood(pool.parse())).transpose()?,
            ports: self.evidence_ports.map(|(first, last)| range(first, last)).transpose()?,
            end_time: self.until.map(time_from_sql).transpose()?,
        };
        Ok(StoredFinding {
            fixed_evidence: self.fixed_evidence.map(|uid| understood(uid.parse())).transpose()?,
            finding: Finding {
                code,
                severity: if self.is_note { Severity::Note } else { code.severity() },
                message: self.message,
                ports: range(self.first_port, self.last_port)?,
                transport: understood(self.transport.parse())?,
                evidence,
            },
        })
    }
}

/// The findings of an answer, as JSON.
pub(in crate::store::sqlite) fn findings_from(
    json: &str,
    texts: &mut SharedTexts,
) -> Result<Vec<StoredFinding>, StoreError> {
    let rows: Vec<FindingRow> = understood(serde_json::from_str(json))?;
    rows.into_iter().map(|row| row.into_finding(texts)).collect()
}

pub(super) fn code_from(name: &str) -> Result<FindingCode, StoreError> {
    FindingCode::from_name(name)
        .ok_or_else(|| StoreError::Corrupt(format!("finding code {name:?}")))
}
