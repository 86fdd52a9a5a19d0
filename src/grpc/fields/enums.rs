//! Fields with enum values: sources, states, findings and kinds of changes.

use std::collections::BTreeSet;

use super::{Fields, Parsed};
use crate::grpc::convert;
use crate::registry::assignment::{Source, State};
use crate::registry::change::ChangeKind;
use crate::registry::finding::{FindingCode, Severity};

impl Fields {
    /// A source.
    pub fn source(&mut self, field: &str, number: i32) -> Parsed<Source> {
        self.enum_value(field, number, "Source", convert::source_from)
    }

    /// A state.
    pub fn state(&mut self, field: &str, number: i32) -> Parsed<State> {
        self.enum_value(field, number, "State", convert::state_from)
    }

    /// A kind of change.
    pub fn change_kind(&mut self, field: &str, number: i32) -> Parsed<ChangeKind> {
        self.enum_value(field, number, "ChangeKind", convert::change_kind_from)
    }

    fn enum_value<P: TryFrom<i32>, D>(
        &mut self,
        field: &str,
        number: i32,
        name: &str,
        from: fn(P) -> Option<D>,
    ) -> Parsed<D> {
        let value = P::try_from(number).ok().and_then(from);
        value.ok_or_else(|| self.invalid(field, format!("{number} is not a valid {name}")))
    }

    /// The findings that the caller acknowledges.
    pub fn acknowledge(&mut self, field: &str, numbers: &[i32]) -> Parsed<BTreeSet<FindingCode>> {
        let mut codes = BTreeSet::new();
        for &number in numbers {
            let code = self.enum_value(field, number, "FindingCode", convert::finding_code_from)?;
            if code.severity() == Severity::Blocker {
                return Err(self.invalid(field, format!("{code} can't be acknowledged")));
            }
            codes.insert(code);
        }
        Ok(codes)
    }

    /// The findings that a policy accepts.
    pub fn accept(&mut self, field: &str, numbers: &[i32]) -> Parsed<BTreeSet<FindingCode>> {
        let codes = self.acknowledge(field, numbers)?;
        match codes.iter().find(|code| code.severity() != Severity::Acknowledge) {
            None => Ok(codes),
            Some(note) => {
                Err(self.invalid(field, format!("{note} is a note, which needs no acceptance")))
            }
        }
    }

    /// The findings that a policy forbids.
    pub fn forbid(&mut self, field: &str, numbers: &[i32]) -> Parsed<BTreeSet<FindingCode>> {
        let is_blocker = |code: &FindingCode| {
            code.severity() == Severity::Blocker
                && numbers.contains(&i32::from(convert::finding_code(*code)))
        };
        match FindingCode::ALL.into_iter().find(is_blocker) {
            Some(code) => Err(self.invalid(field, format!("{code} is always refused: omit it"))),
            None => self.acknowledge(field, numbers),
        }
    }
}
