//! The descriptive fields of registrations in messages.

use std::collections::BTreeMap;
use std::mem;

use super::fields::{Fields, Parsed};
use super::proto;
use crate::registry::details::{DetailEdits, Details, TextField};

/// The name of the labels in messages.
pub const LABELS: &str = "labels";

/// A message with the descriptive fields of a registration.
pub trait DetailedMessage {
    /// A text.
    fn text(&self, field: TextField) -> &str;
    /// A text, to change it.
    fn text_mut(&mut self, field: TextField) -> &mut String;
    /// The labels, to change them.
    fn labels_mut(&mut self) -> &mut BTreeMap<String, String>;
}

macro_rules! detailed_message {
    ($($message:ident),+) => {$(
        impl DetailedMessage for proto::$message {
            fn text(&self, field: TextField) -> &str {
                match field {
                    TextField::Description => &self.description,
                    TextField::Assignee => &self.assignee,
                    TextField::Contact => &self.contact,
                    TextField::Reference => &self.reference,
                    TextField::AssignmentNotes => &self.assignment_notes,
                    TextField::Url => &self.url,
                }
            }

            fn text_mut(&mut self, field: TextField) -> &mut String {
                match field {
                    TextField::Description => &mut self.description,
                    TextField::Assignee => &mut self.assignee,
                    TextField::Contact => &mut self.contact,
                    TextField::Reference => &mut self.reference,
                    TextField::AssignmentNotes => &mut self.assignment_notes,
                    TextField::Url => &mut self.url,
                }
            }

            fn labels_mut(&mut self) -> &mut BTreeMap<String, String> {
                &mut self.labels
            }
        }
    )+};
}

detailed_message!(Assignment, RegisterPortRequest, EnsurePortRequest);

/// The new values of the fields that `selects` accepts by name and emptiness. Moves them out of the
/// message. The paths of invalid fields begin with the prefix.
pub(super) fn edits(
    fields: &mut Fields,
    prefix: &str,
    message: &mut impl DetailedMessage,
    selects: impl Fn(&str, bool) -> bool,
) -> Parsed<DetailEdits> {
    let mut edits = DetailEdits::default();
    let mut invalid = None;
    for field in TextField::ALL {
        let text = mem::take(message.text_mut(field));
        if selects(field.name(), text.is_empty())
            && let Err(error) = edits.set_text(field, &text)
        {
            invalid = Some(fields.invalid(&format!("{prefix}{}", field.name()), error));
        }
    }
    let labels = mem::take(message.labels_mut());
    if selects(LABELS, labels.is_empty()) {
        edits.set_labels(fields.labels(&format!("{prefix}{LABELS}"), labels)?);
    }
    invalid.map_or(Ok(edits), Err)
}

/// A message with only the descriptive fields set.
pub(super) fn message(details: &Details) -> proto::Assignment {
    let mut message = proto::Assignment::default();
    for field in TextField::ALL {
        message.text_mut(field).push_str(details.text(field));
    }
    message.labels.clone_from(details.labels.pairs());
    message
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use prost::Message;
    use prost_types::FileDescriptorSet;

    use super::*;

    /// A field of the API that `TextField` does not list fails this test.
    #[test]
    fn the_descriptive_fields_are_those_that_the_messages_share() {
        let descriptors = FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).unwrap();
        let fields = |name: &str| -> BTreeSet<String> {
            let messages = descriptors.file.iter().flat_map(|file| &file.message_type);
            let mut messages = messages.filter(|message| message.name() == name);
            let message = messages.next().unwrap_or_else(|| panic!("no message {name}"));
            message.field.iter().map(|field| field.name().to_owned()).collect()
        };
        let ensure = &fields("EnsurePortRequest");
        let shared = &(&fields("Assignment") & &fields("RegisterPortRequest")) & ensure;
        let other = ["namespace", "service_name", "ttl", "pool"].map(ToOwned::to_owned);
        let names = TextField::ALL.map(TextField::name).into_iter().chain([LABELS]);
        let described: BTreeSet<String> = names.map(ToOwned::to_owned).collect();
        assert_eq!(&shared - &BTreeSet::from(other), described);
    }

    #[test]
    fn each_field_has_its_own_value_in_each_message() {
        let mut details = Details::default();
        for field in TextField::ALL {
            *details.text_mut(field) = field.name().into();
        }
        let assignment = message(&details);
        for field in TextField::ALL {
            assert_eq!(assignment.text(field), field.name());
        }
    }
}
