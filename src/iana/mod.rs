//! Parser for IANA's registry file: CSV with 12 columns.

mod assignments;
pub mod seed;

use std::io::Read;

use serde::Deserialize;
use sha2::{Digest, Sha256};

pub use self::assignments::{Converter, assignments};
use crate::registry::assignment::State;
use crate::registry::port::{Port, PortRange, Transport};
use crate::registry::reference::Edition;

/// One record of the file. Empty columns are empty strings.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(deny_unknown_fields)]
pub struct IanaRecord {
    /// IANA column "Service Name".
    #[serde(rename = "Service Name")]
    pub service_name: String,
    /// IANA column "Port Number": `80`, `6000-6063` or empty.
    #[serde(rename = "Port Number")]
    pub port_number: String,
    /// IANA column "Transport Protocol".
    #[serde(rename = "Transport Protocol")]
    pub transport: String,
    /// IANA column "Description".
    #[serde(rename = "Description")]
    pub description: String,
    /// IANA column "Assignee".
    #[serde(rename = "Assignee")]
    pub assignee: String,
    /// IANA column "Contact".
    #[serde(rename = "Contact")]
    pub contact: String,
    /// IANA column "Registration Date".
    #[serde(rename = "Registration Date")]
    pub registration_date: String,
    /// IANA column "Modification Date".
    #[serde(rename = "Modification Date")]
    pub modification_date: String,
    /// IANA column "Reference".
    #[serde(rename = "Reference")]
    pub reference: String,
    /// IANA column "Service Code".
    #[serde(rename = "Service Code")]
    pub service_code: String,
    /// IANA column "Unauthorized Use Reported".
    #[serde(rename = "Unauthorized Use Reported")]
    pub unauthorized_use_reported: String,
    /// IANA column "Assignment Notes".
    #[serde(rename = "Assignment Notes")]
    pub assignment_notes: String,
}

/// Why a file could not be read as IANA's registry.
#[derive(Debug, thiserror::Error)]
pub enum IanaError {
    /// It is not CSV with the 12 columns.
    #[error("this is not IANA's registry as CSV with its 12 columns")]
    Csv(#[from] csv::Error),
    /// A port number that is not empty, a number or a range.
    #[error("record {record}: {port_number:?} is not a valid port number or port range")]
    PortNumber {
        /// The record's number in the file, from 1.
        record: usize,
        /// The text of the column.
        port_number: String,
    },
    /// A transport that RFC 6335 does not define.
    #[error("record {record}: {transport:?} is not a transport protocol")]
    Transport {
        /// The record's number in the file, from 1.
        record: usize,
        /// The text of the column.
        transport: String,
    },
    /// The file has no records.
    #[error("the file has no records")]
    Empty,
}

/// Reads the file. The ports and transport of each returned record are valid.
///
/// # Errors
/// If the file is not IANA's registry, or one of its records is invalid.
pub fn read(file: impl Read) -> Result<Vec<IanaRecord>, IanaError> {
    let records: Vec<IanaRecord> =
        csv::Reader::from_reader(file).deserialize().collect::<Result<_, _>>()?;
    for (number, record) in (1..).zip(&records) {
        record.ports_and_transport(number)?;
    }
    if records.is_empty() { Err(IanaError::Empty) } else { Ok(records) }
}

/// The edition of a file with these records.
#[must_use]
pub fn edition(file: &[u8], records: &[IanaRecord]) -> Edition {
    let newest = records.iter().map(IanaRecord::newest_date).max().unwrap_or_default();
    let digest = Sha256::digest(file);
    let sha256 = digest.iter().fold(String::new(), |hex, byte| format!("{hex}{byte:02x}"));
    Edition { iana_date: newest.to_owned(), iana_sha256: sha256 }
}

impl From<[String; 12]> for IanaRecord {
    /// The record with these columns, in the order of the file.
    fn from(columns: [String; 12]) -> Self {
        let [
            service_name,
            port_number,
            transport,
            description,
            assignee,
            contact,
            registration_date,
            modification_date,
            reference,
            service_code,
            unauthorized_use_reported,
            assignment_notes,
        ] = columns;
        Self {
            service_name,
            port_number,
            transport,
            description,
            assignee,
            contact,
            registration_date,
            modification_date,
            reference,
            service_code,
            unauthorized_use_reported,
            assignment_notes,
        }
    }
}

impl IanaRecord {
    /// The columns, in the order of the file.
    pub(crate) fn columns(&self) -> [&str; 12] {
        let Self {
            service_name,
            port_number,
            transport,
            description,
            assignee,
            contact,
            registration_date,
            modification_date,
            reference,
            service_code,
            unauthorized_use_reported,
            assignment_notes,
        } = self;
        [
            service_name,
            port_number,
            transport,
            description,
            assignee,
            contact,
            registration_date,
            modification_date,
            reference,
            service_code,
            unauthorized_use_reported,
            assignment_notes,
        ]
    }

    /// The ports and the transport, if the record with this number in the file states them.
    fn ports_and_transport(
        &self,
        number: usize,
    ) -> Result<(Option<PortRange>, Option<Transport>), IanaError> {
        let ports = self.ports();
        if ports.is_none() && !self.port_number.is_empty() {
            let port_number = self.port_number.clone();
            return Err(IanaError::PortNumber { record: number, port_number });
        }
        let transport = match self.transport.as_str() {
            "" => None,
            name => Some(name.parse().map_err(|_| IanaError::Transport {
                record: number,
                transport: name.to_owned(),
            })?),
        };
        Ok((ports, transport))
    }

    /// The ports, if it has any.
    #[must_use]
    pub fn ports(&self) -> Option<PortRange> {
        let port = |text: &str| text.parse::<Port>().ok();
        match self.port_number.split_once('-') {
            Some((first, last)) => PortRange::new(port(first)?, port(last)?).ok(),
            None => port(&self.port_number).map(PortRange::single),
        }
    }

    /// The state of the record's ports. Only records without a name can have a state other than
    /// assigned; their description begins with it.
    #[must_use]
    pub fn state(&self) -> State {
        const RESERVED: [&str; 8] = [
            "reserved",
            "iana reserved",
            "de-registered",
            "removed",
            "deprecated",
            "de-commissioned",
            "decomissioned",
            "possibly used by",
        ];
        if !self.service_name.is_empty() {
            return State::Assigned;
        }
        let description = self.description.to_lowercase();
        let begins_with = |prefix: &str| description.starts_with(prefix);
        if begins_with("unassigned") || begins_with("(unassigned)") {
            State::Unassigned
        } else if RESERVED.into_iter().any(begins_with) {
            State::Reserved
        } else {
            State::Assigned
        }
    }

    /// The newer of its two dates.
    #[must_use]
    pub fn newest_date(&self) -> &str {
        self.registration_date.as_str().max(&self.modification_date)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: &str = "Service Name,Port Number,Transport Protocol,Description,Assignee,\
        Contact,Registration Date,Modification Date,Reference,Service Code,\
        Unauthorized Use Reported,Assignment Notes\r\n";

    fn read_rows(rows: &str) -> Result<Vec<IanaRecord>, IanaError> {
        read(format!("{HEADER}{rows}").as_bytes())
    }

    fn state_of(description: &str) -> State {
        read_rows(&format!(",1,tcp,{description},,,,,,,,\r\n")).unwrap()[0].state()
    }

    #[test]
    fn descriptions_of_nameless_records_determine_their_state() {
        assert_eq!(state_of("Unassigned (FRP-Released 12/7/00)"), State::Unassigned);
        assert_eq!(state_of("unassigned"), State::Unassigned);
        assert_eq!(state_of("(unassigned) Possibly assigned"), State::Unassigned);
        for words in [
            "Reserved",
            "IANA Reserved",
            "De-registered",
            "Removed",
            "Deprecated",
            "De-Commissioned Port",
            "Decomissioned Port 04/14/00",
            "Possibly used by Sun",
        ] {
            assert_eq!(state_of(words), State::Reserved, "{words}");
        }
        assert_eq!(state_of("any private mail system"), State::Assigned);
    }

    #[test]
    fn line_feeds_within_a_field_are_preserved() {
        let records = read_rows("a,1,tcp,x,,,,,,,,\"one\ntwo\"\r\n").unwrap();
        assert_eq!(records[0].assignment_notes, "one\ntwo");
    }

    #[test]
    fn files_that_are_not_the_registry_are_rejected() {
        assert!(matches!(read("a,b\r\n1,2\r\n".as_bytes()), Err(IanaError::Csv(_))));
        assert!(matches!(read_rows(""), Err(IanaError::Empty)));
        for port_number in ["x", "65536", "2-1", "-1", "1-"] {
            let error = read_rows(&format!("a,{port_number},tcp,,,,,,,,,\r\n"));
            assert!(matches!(error, Err(IanaError::PortNumber { record: 1, .. })), "{port_number}");
        }
        assert!(matches!(read_rows("a,1,icmp,,,,,,,,,\r\n"), Err(IanaError::Transport { .. })));
    }
}
