//! Shares equal texts of the records that are read.

use std::sync::Arc;

use super::or_corrupt;
use crate::registry::interner::Interner;
use crate::registry::name::NamespaceName;
use crate::store::StoreError;

/// The texts read so far: many records have the same contact, reference, team and namespace.
#[derive(Debug, Default)]
pub struct TextInterner {
    texts: Interner,
    /// The last namespace read: records are ordered by namespace.
    namespace: Option<NamespaceName>,
}

impl TextInterner {
    pub(in crate::store) fn intern(&mut self, text: Option<&str>) -> Arc<str> {
        self.texts.intern(text.unwrap_or_default())
    }

    pub(super) fn namespace(&mut self, name: &str) -> Result<NamespaceName, StoreError> {
        match &self.namespace {
            Some(last) if last.as_str() == name => Ok(last.clone()),
            _ => {
                let name: NamespaceName = or_corrupt(name.parse())?;
                Ok(self.namespace.insert(name).clone())
            }
        }
    }
}
