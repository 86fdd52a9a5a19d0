//! Texts that come again and again, held once.

use std::collections::HashSet;
use std::sync::Arc;

use super::row::understood;
use crate::registry::name::NamespaceName;
use crate::store::StoreError;

/// Texts that have been read: contacts, references, teams and namespaces are the same in many
/// records.
#[derive(Default)]
pub(super) struct SharedTexts {
    texts: HashSet<Arc<str>>,
    /// The last one read: records are stored namespace by namespace.
    namespace: Option<NamespaceName>,
}

impl SharedTexts {
    pub(super) fn of(&mut self, text: Option<&str>) -> Arc<str> {
        let text = text.unwrap_or_default();
        if let Some(shared) = self.texts.get(text) {
            return Arc::clone(shared);
        }
        let shared: Arc<str> = text.into();
        self.texts.insert(Arc::clone(&shared));
        shared
    }

    pub(super) fn namespace(&mut self, name: &str) -> Result<NamespaceName, StoreError> {
        match &self.namespace {
            Some(last) if last.as_str() == name => Ok(last.clone()),
            _ => {
                let name: NamespaceName = understood(name.parse())?;
                Ok(self.namespace.insert(name).clone())
            }
        }
    }
}
