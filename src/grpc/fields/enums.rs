//! Fields with enum values: sources, states, findings and kinds of changes.

use std::collections::BTreeSet;

use super::{FieldResult, Fields};
use crate::grpc::{convert, proto};
use crate::registry::assignment::{Source, State};
use crate::registry::change::ChangeKind;
use crate::registry::finding::{FindingCode, Severity};

impl Fields {
    /// A source.
    pub fn source(&mut self, field: &str, number: i32) -> FieldResult<Source> {
        match proto::Source::try_from(number) {
            Ok(proto::Source::Custom) => Ok(Source::Custom),
            Ok(proto::Source::Iana) => Ok(Source::Iana),
            Ok(proto::Source::Common) => Ok(Source::Common),
            Ok(proto::Source::Unspecified) | Err(_) => {
                Err(self.invalid(field, format!("{number} is not a valid Source")))
            }
        }
    }

    /// A state.
    pub fn state(&mut self, field: &str, number: i32) -> FieldResult<State> {
        match proto::State::try_from(number) {
            Ok(proto::State::Assigned) => Ok(State::Assigned),
            Ok(proto::State::Reserved) => Ok(State::Reserved),
            Ok(proto::State::Unassigned) => Ok(State::Unassigned),
            Ok(proto::State::Unlisted) => Ok(State::Unlisted),
            Ok(proto::State::Unspecified) | Err(_) => {
                Err(self.invalid(field, format!("{number} is not a valid State")))
            }
        }
    }

    /// The findings that the caller acknowledges.
    pub fn acknowledge(
        &mut self,
        field: &str,
        numbers: &[i32],
    ) -> FieldResult<BTreeSet<FindingCode>> {
        let mut codes = BTreeSet::new();
        for &number in numbers {
            let code = FindingCode::ALL
                .into_iter()
                .find(|code| i32::from(convert::finding_code(*code)) == number);
            match code {
                Some(code) if code.severity() == Severity::Blocker => {
                    return Err(self.invalid(field, format!("{code} can't be acknowledged")));
                }
                Some(code) => codes.insert(code),
                None => {
                    let description = format!("{number} is not a valid FindingCode");
                    return Err(self.invalid(field, description));
                }
            };
        }
        Ok(codes)
    }

    /// The findings that a policy accepts.
    pub fn accept(&mut self, field: &str, numbers: &[i32]) -> FieldResult<BTreeSet<FindingCode>> {
        let codes = self.acknowledge(field, numbers)?;
        match codes.iter().find(|code| code.severity() != Severity::Acknowledge) {
            None => Ok(codes),
            Some(note) => {
                Err(self.invalid(field, format!("{note} is a note, which needs no acceptance")))
            }
        }
    }

    /// The findings that a policy forbids.
    pub fn forbid(&mut self, field: &str, numbers: &[i32]) -> FieldResult<BTreeSet<FindingCode>> {
        let is_blocker = |code: &FindingCode| {
            code.severity() == Severity::Blocker
                && numbers.contains(&i32::from(convert::finding_code(*code)))
        };
        match FindingCode::ALL.into_iter().find(is_blocker) {
            Some(code) => Err(self.invalid(field, format!("{code} is always refused: omit it"))),
            None => self.acknowledge(field, numbers),
        }
    }

    /// A kind of change.
    pub fn change_kind(&mut self, field: &str, number: i32) -> FieldResult<ChangeKind> {
        let kind = ChangeKind::ALL
            .into_iter()
            .find(|kind| i32::from(convert::change_kind(*kind)) == number);
        kind.ok_or_else(|| self.invalid(field, format!("{number} is not a valid ChangeKind")))
    }
}
