//! Fields that hold one of several values: sources, states, findings and kinds of changes.

use std::collections::BTreeSet;

use super::{Fields, Read};
use crate::grpc::{convert, proto};
use crate::registry::assignment::{Source, State};
use crate::registry::change::ChangeKind;
use crate::registry::finding::{FindingCode, Severity};

impl Fields {
    /// A source to look for.
    pub fn source(&mut self, field: &str, number: i32) -> Read<Source> {
        match proto::Source::try_from(number) {
            Ok(proto::Source::Custom) => Ok(Source::Custom),
            Ok(proto::Source::Iana) => Ok(Source::Iana),
            Ok(proto::Source::Common) => Ok(Source::Common),
            Ok(proto::Source::Unspecified) | Err(_) => {
                Err(self.fault(field, format!("{number} is no Source to look for")))
            }
        }
    }

    /// A state to look for.
    pub fn state(&mut self, field: &str, number: i32) -> Read<State> {
        match proto::State::try_from(number) {
            Ok(proto::State::Assigned) => Ok(State::Assigned),
            Ok(proto::State::Reserved) => Ok(State::Reserved),
            Ok(proto::State::Unassigned) => Ok(State::Unassigned),
            Ok(proto::State::Unlisted) => Ok(State::Unlisted),
            Ok(proto::State::Unspecified) | Err(_) => {
                Err(self.fault(field, format!("{number} is no State to look for")))
            }
        }
    }

    /// The findings that a caller accepts.
    pub fn acknowledge(&mut self, field: &str, numbers: &[i32]) -> Read<BTreeSet<FindingCode>> {
        let mut codes = BTreeSet::new();
        for &number in numbers {
            let code = FindingCode::ALL
                .into_iter()
                .find(|code| i32::from(convert::finding_code(*code)) == number);
            match code {
                Some(code) if code.severity() == Severity::Blocker => {
                    return Err(self.fault(field, format!("{code} can't be acknowledged")));
                }
                Some(code) => codes.insert(code),
                None => {
                    let fault = format!("{number} is no FindingCode to acknowledge");
                    return Err(self.fault(field, fault));
                }
            };
        }
        Ok(codes)
    }

    /// The findings that a policy accepts.
    pub fn accept(&mut self, field: &str, numbers: &[i32]) -> Read<BTreeSet<FindingCode>> {
        let codes = self.acknowledge(field, numbers)?;
        match codes.iter().find(|code| code.severity() != Severity::Acknowledge) {
            None => Ok(codes),
            Some(note) => {
                Err(self.fault(field, format!("{note} is a note, which needs no acceptance")))
            }
        }
    }

    /// The findings that a policy forbids.
    pub fn forbid(&mut self, field: &str, numbers: &[i32]) -> Read<BTreeSet<FindingCode>> {
        let is_blocker = |code: &FindingCode| {
            code.severity() == Severity::Blocker
                && numbers.contains(&i32::from(convert::finding_code(*code)))
        };
        match FindingCode::ALL.into_iter().find(is_blocker) {
            Some(code) => {
                Err(self.fault(field, format!("{code} is refused in any case: leave it out")))
            }
            None => self.acknowledge(field, numbers),
        }
    }

    /// The kinds of changes to look for.
    pub fn change_kind(&mut self, field: &str, number: i32) -> Read<ChangeKind> {
        let kind = ChangeKind::ALL
            .into_iter()
            .find(|kind| i32::from(convert::change_kind(*kind)) == number);
        kind.ok_or_else(|| self.fault(field, format!("{number} is no ChangeKind to look for")))
    }
}
