//! The descriptive fields of a record: one type for all layers that edit, store, search, convert
//! and show them.
//!
//! Each layer iterates over [`TextField::ALL`] or destructures [`Details`], so that the compiler or
//! a test reports where a new field is missing.

use std::sync::Arc;

use super::text::{Labels, TextError, check_text};

/// A descriptive field that is a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextField {
    /// A short description.
    Description,
    /// The assignee.
    Assignee,
    /// The contact.
    Contact,
    /// The specification.
    Reference,
    /// Additional notes.
    AssignmentNotes,
    /// A link to more information.
    Url,
}

impl TextField {
    /// Every field, in the order in which they are listed.
    pub const ALL: [Self; 6] = [
        Self::Description,
        Self::Assignee,
        Self::Contact,
        Self::Reference,
        Self::AssignmentNotes,
        Self::Url,
    ];

    /// The name in the API, in JSON and in the database.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Description => "description",
            Self::Assignee => "assignee",
            Self::Contact => "contact",
            Self::Reference => "reference",
            Self::AssignmentNotes => "assignment_notes",
            Self::Url => "url",
        }
    }

    /// The maximum length in a registration, in bytes. IANA's records may be longer.
    #[must_use]
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Description | Self::Assignee | Self::Contact => 255,
            Self::Reference | Self::Url => 512,
            Self::AssignmentNotes => 2000,
        }
    }

    /// Checks a text of a registration.
    ///
    /// # Errors
    /// If the text is too long or contains a control character.
    pub fn check(self, text: &str) -> Result<(), TextError> {
        check_text(text, self.max_bytes())
    }

    /// Whether a search for words matches the text.
    const fn is_searched(self) -> bool {
        match self {
            Self::Description | Self::Assignee | Self::Contact => true,
            Self::Reference | Self::AssignmentNotes | Self::Url => false,
        }
    }
}

/// The descriptive fields of a record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Details {
    /// A short description, or empty.
    pub description: Arc<str>,
    /// The assignee, or empty.
    pub assignee: Arc<str>,
    /// The contact, or empty.
    pub contact: Arc<str>,
    /// The specification, or empty.
    pub reference: Arc<str>,
    /// Additional notes, or empty.
    pub assignment_notes: Arc<str>,
    /// A link to more information, or empty; only registrations have one.
    pub url: Arc<str>,
    /// Key-value pairs; only registrations have any.
    pub labels: Labels,
}

impl Details {
    /// A text.
    #[must_use]
    pub const fn text(&self, field: TextField) -> &Arc<str> {
        let Self { description, assignee, contact, reference, assignment_notes, url, labels: _ } =
            self;
        match field {
            TextField::Description => description,
            TextField::Assignee => assignee,
            TextField::Contact => contact,
            TextField::Reference => reference,
            TextField::AssignmentNotes => assignment_notes,
            TextField::Url => url,
        }
    }

    /// A text, to change it.
    pub const fn text_mut(&mut self, field: TextField) -> &mut Arc<str> {
        match field {
            TextField::Description => &mut self.description,
            TextField::Assignee => &mut self.assignee,
            TextField::Contact => &mut self.contact,
            TextField::Reference => &mut self.reference,
            TextField::AssignmentNotes => &mut self.assignment_notes,
            TextField::Url => &mut self.url,
        }
    }

    /// The texts that a search for words matches, and the values of the labels.
    pub(super) fn searched(&self) -> impl Iterator<Item = &str> {
        let fields = TextField::ALL.into_iter().filter(|field| field.is_searched());
        let labels = self.labels.pairs().values().map(String::as_str);
        fields.map(|field| &**self.text(field)).chain(labels)
    }
}

/// New values of descriptive fields. Fields without a new value stay unchanged; in a new
/// registration they are empty.
#[derive(Clone, Debug, Default)]
pub struct DetailEdits {
    texts: Vec<(TextField, Arc<str>)>,
    labels: Option<Labels>,
}

impl DetailEdits {
    /// Sets a text.
    ///
    /// # Errors
    /// If the text is too long or contains a control character.
    pub fn set_text(&mut self, field: TextField, text: &str) -> Result<(), TextError> {
        field.check(text)?;
        self.texts.push((field, text.into()));
        Ok(())
    }

    /// Sets the labels.
    pub fn set_labels(&mut self, labels: Labels) {
        self.labels = Some(labels);
    }

    /// Applies the new values.
    pub fn apply(&self, details: &mut Details) {
        for (field, text) in &self.texts {
            *details.text_mut(*field) = Arc::clone(text);
        }
        if let Some(labels) = &self.labels {
            details.labels.clone_from(labels);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edits_change_only_the_fields_that_they_set() {
        let mut details = Details::default();
        for field in TextField::ALL {
            let mut edits = DetailEdits::default();
            edits.set_text(field, field.name()).unwrap();
            let before = details.clone();
            edits.apply(&mut details);
            for other in TextField::ALL {
                let expected = if other == field { field.name() } else { before.text(other) };
                assert_eq!(&**details.text(other), expected, "{field:?} {other:?}");
            }
        }
        let mut edits = DetailEdits::default();
        edits.set_text(TextField::Contact, "").unwrap();
        edits.set_labels(Labels::parse([("tier".to_owned(), "1".to_owned())]).unwrap());
        edits.apply(&mut details);
        assert_eq!((&*details.contact, details.labels.pairs().len()), ("", 1));
    }

    #[test]
    fn texts_have_a_maximum_length() {
        for field in TextField::ALL {
            let mut edits = DetailEdits::default();
            assert!(edits.set_text(field, &"x".repeat(field.max_bytes())).is_ok(), "{field:?}");
            assert!(edits.set_text(field, &"x".repeat(field.max_bytes() + 1)).is_err());
        }
    }
}
