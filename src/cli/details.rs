//! The descriptive fields of registrations: their flags and their names in the output.

use clap::Args;
use itertools::Itertools;

use super::parse;
use super::write::UpdateMask;
use crate::grpc::details::{DetailedMessage, LABELS};
use crate::grpc::proto;
use crate::registry::details::TextField;

/// The descriptive fields of a registration.
#[derive(Args, Clone, Debug)]
pub(super) struct DetailArgs {
    /// A short description.
    #[arg(long, value_name = "TEXT")]
    description: Option<String>,

    /// The assignee, such as a team.
    #[arg(long, value_name = "TEXT")]
    assignee: Option<String>,

    /// The contact, such as an email address.
    #[arg(long, value_name = "TEXT")]
    contact: Option<String>,

    /// A reference, such as the URL of a specification.
    #[arg(long, value_name = "TEXT")]
    reference: Option<String>,

    /// Further notes.
    #[arg(long, value_name = "TEXT")]
    notes: Option<String>,

    /// A link to more information, such as a repository or a runbook. Its format is not checked.
    #[arg(long, value_name = "URL")]
    url: Option<String>,

    /// A label; repeatable. In an update, they replace all existing labels.
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = parse::label)]
    labels: Vec<(String, String)>,
}

impl DetailArgs {
    fn texts(&self) -> [(TextField, Option<&String>); TextField::ALL.len()] {
        let Self { description, assignee, contact, reference, notes, url, labels: _ } = self;
        [
            (TextField::Description, description.as_ref()),
            (TextField::Assignee, assignee.as_ref()),
            (TextField::Contact, contact.as_ref()),
            (TextField::Reference, reference.as_ref()),
            (TextField::AssignmentNotes, notes.as_ref()),
            (TextField::Url, url.as_ref()),
        ]
    }

    /// Sets the specified fields of a message.
    pub(super) fn apply(&self, message: &mut impl DetailedMessage) {
        for (field, text) in self.texts() {
            if let Some(text) = text {
                message.text_mut(field).clone_from(text);
            }
        }
        message.labels_mut().extend(self.labels.iter().cloned());
    }

    /// Adds the paths of the specified fields to a mask.
    pub(super) fn add_paths(&self, mask: &mut UpdateMask, removes_labels: bool) {
        for (field, text) in self.texts() {
            mask.add(field.name(), text.is_some());
        }
        mask.add(LABELS, removes_labels || !self.labels.is_empty());
    }

    /// Whether a specified field differs from the registration.
    pub(super) fn differ_from(&self, record: &proto::Assignment) -> bool {
        let is_other = |(field, text): (TextField, Option<&String>)| {
            text.is_some_and(|text| text != record.text(field))
        };
        self.texts().into_iter().any(is_other)
            || self.labels.iter().any(|(key, value)| record.labels.get(key) != Some(value))
    }
}

/// The flags of the texts: `--description, --assignee, ...`.
pub(super) fn text_flags() -> String {
    TextField::ALL.iter().map(|&field| format!("--{}", display_name(field))).join(", ")
}

/// The name of a text in flags, in the output for people and in messages.
pub(super) const fn display_name(field: TextField) -> &'static str {
    match field {
        TextField::AssignmentNotes => "notes",
        other => other.name(),
    }
}

/// Whether tables have a column for the text.
pub(super) const fn is_table_column(field: TextField) -> bool {
    matches!(field, TextField::Description | TextField::Assignee)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        details: DetailArgs,
    }

    #[test]
    fn every_text_has_a_flag() {
        for field in TextField::ALL {
            let flag = format!("--{}", display_name(field));
            let line = Line::try_parse_from(["line", &flag, "value"]);
            let details = line.unwrap_or_else(|error| panic!("{error}")).details;
            let mut assignment = proto::Assignment::default();
            assert!(details.differ_from(&assignment), "{flag}");
            details.apply(&mut assignment);
            assert_eq!(assignment.text(field), "value", "{flag}");
            assert!(!details.differ_from(&assignment), "{flag}");
            let mut mask = UpdateMask::default();
            details.add_paths(&mut mask, false);
            assert_eq!(mask.paths, [field.name()]);
        }
    }
}
