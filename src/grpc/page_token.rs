//! Page tokens: a position in a list, bound to the request and the database.
//!
//! A token contains the first position of the next page, or the last position of the previous one, so it
//! remains valid after writes and restarts. A position in IANA's registry is valid for its edition only.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest, Sha256};

use super::status::CallError;
use crate::registry::assignment::Source;
use crate::registry::list::ListKey;
use crate::registry::reference::Edition;

const CHECKSUM_LENGTH: usize = 16;

/// What the page tokens of a list are bound to.
#[derive(Debug)]
pub struct Binding {
    context: Vec<u8>,
}

impl Binding {
    /// Binds tokens to a database, an rpc, and a request without its page size and token.
    #[must_use]
    pub fn new(database_id: &str, rpc: &str, request: &impl Message) -> Self {
        let mut context = format!("{database_id}\n{rpc}\n").into_bytes();
        context.extend(request.encode_to_vec());
        Self { context }
    }

    /// The token for a position.
    #[must_use]
    pub fn token(&self, position: &impl Message) -> String {
        let mut token = position.encode_to_vec();
        let checksum = self.checksum(&token);
        token.extend(checksum);
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// The first items, and the token for the next page: empty if no items follow.
    pub fn page<T, P: Message>(
        &self,
        items: impl IntoIterator<Item = T>,
        size: usize,
        position: impl FnOnce(&T) -> P,
    ) -> (Vec<T>, String) {
        let mut items = items.into_iter();
        let page: Vec<T> = items.by_ref().take(size).collect();
        let last = page.last().filter(|_| items.next().is_some());
        let token = last.map(|last| self.token(&position(last))).unwrap_or_default();
        (page, token)
    }

    /// The position in a token; none for the empty token.
    ///
    /// # Errors
    /// If the token was not issued for this list.
    pub fn position<P: Message + Default>(&self, token: &str) -> Result<Option<P>, CallError> {
        if token.is_empty() {
            return Ok(None);
        }
        self.decode(token).map(Some).ok_or(CallError::PageToken)
    }

    fn decode<P: Message + Default>(&self, token: &str) -> Option<P> {
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (position, checksum) =
            token.split_at_checked(token.len().checked_sub(CHECKSUM_LENGTH)?)?;
        (checksum == self.checksum(position)).then(|| P::decode(position).ok())?
    }

    /// Distinguishes tokens of this list from all others. Not a secret: a forged token could only name
    /// records that every caller may read.
    fn checksum(&self, position: &[u8]) -> [u8; CHECKSUM_LENGTH] {
        let digest = Sha256::new().chain_update(&self.context).chain_update(position).finalize();
        let mut checksum = [0; CHECKSUM_LENGTH];
        checksum.copy_from_slice(&digest[..CHECKSUM_LENGTH]);
        checksum
    }
}

/// A position in a list of assignments.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListPosition {
    #[prost(uint32, tag = "1")]
    port: u32,
    #[prost(uint32, tag = "2")]
    transport: u32,
    #[prost(uint32, tag = "3")]
    source: u32,
    #[prost(uint32, tag = "4")]
    ordinal: u32,
    #[prost(string, optional, tag = "5")]
    namespace: Option<String>,
    /// Identifies the edition, unless the position is that of a registration.
    #[prost(string, optional, tag = "6")]
    edition: Option<String>,
}

impl ListPosition {
    /// The position of the key in a list that contains this edition.
    #[must_use]
    pub fn new(key: &ListKey, edition: &Edition) -> Self {
        let is_of_reference = key.source != Source::Custom as u8;
        Self {
            edition: is_of_reference.then(|| edition_id(edition).to_owned()),
            port: key.port,
            transport: key.transport.into(),
            source: key.source.into(),
            ordinal: key.ordinal,
            namespace: key.namespace.as_ref().map(ToString::to_string),
        }
    }

    /// The list key of the position.
    ///
    /// # Errors
    /// If no list that contains this edition has such a position.
    pub fn key(self, edition: &Edition) -> Result<ListKey, CallError> {
        let is_of_reference = self.source != Source::Custom as u32;
        if is_of_reference && self.edition.as_deref() != Some(edition_id(edition)) {
            return Err(CallError::PageToken);
        }
        let namespace = self.namespace.map(|name| name.parse()).transpose();
        let key = || {
            Some(ListKey {
                port: self.port,
                transport: self.transport.try_into().ok()?,
                source: self.source.try_into().ok()?,
                ordinal: self.ordinal,
                namespace: namespace.ok()?,
            })
        };
        key().ok_or(CallError::PageToken)
    }
}

/// A part of the checksum that distinguishes editions.
fn edition_id(edition: &Edition) -> &str {
    edition.iana_sha256.get(..16).unwrap_or(&edition.iana_sha256)
}

/// A position in the history: the last change of the previous page.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct HistoryPosition {
    /// The revision.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// The position in the revision.
    #[prost(uint32, tag = "2")]
    pub position: u32,
}

/// A position in a list of namespaces or pools: the last one of the previous page.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NamePosition {
    /// The namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The pool, in a list of pools.
    #[prost(string, tag = "2")]
    pub pool: String,
}

/// A position in a list of tokens: the last one of the previous page.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TokenPosition {
    /// The name.
    #[prost(string, tag = "1")]
    pub name: String,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::proto;

    fn filter(prefix: &str) -> proto::AssignmentFilter {
        proto::AssignmentFilter { service_name_prefix: prefix.into(), ..Default::default() }
    }

    fn edition(sha256: &str) -> Edition {
        Edition { iana_date: "2024-06-12".into(), iana_sha256: sha256.into() }
    }

    proptest! {
        #[test]
        fn a_token_is_valid_only_for_its_list(
            port in 0..=65_536u32, transport in 0..5u8, source in 0..3u8, ordinal: u32,
            namespace in proptest::option::of("[a-z][a-z0-9-]{0,20}"), flipped in 0..1000usize,
        ) {
            let namespace = namespace.map(|name| name.parse().unwrap());
            let key = ListKey { port, transport, source, ordinal, namespace };
            let list = Binding::new("db1", "List", &filter("a"));
            let token = list.token(&ListPosition::new(&key, &edition("a1")));
            let position: ListPosition = list.position(&token).unwrap().unwrap();
            prop_assert_eq!(position.clone().key(&edition("a1")).unwrap(), key.clone());
            let is_registration = key.source == Source::Custom as u8;
            prop_assert_eq!(position.key(&edition("b2")).is_ok(), is_registration);
            prop_assert!(Binding::new("db2", "List", &filter("a")).position::<ListPosition>(&token).is_err());
            prop_assert!(Binding::new("db1", "List", &filter("b")).position::<ListPosition>(&token).is_err());
            prop_assert!(Binding::new("db1", "Other", &filter("a")).position::<ListPosition>(&token).is_err());
            let mut forged = token.into_bytes();
            let index = flipped % forged.len();
            forged[index] = if forged[index] == b'A' { b'B' } else { b'A' };
            prop_assert!(list.position::<ListPosition>(std::str::from_utf8(&forged).unwrap()).is_err());
        }

        #[test]
        fn other_text_is_rejected(text in "\\PC{1,80}") {
            prop_assert!(Binding::new("db1", "List", &filter("")).position::<ListPosition>(&text).is_err());
        }
    }
}
