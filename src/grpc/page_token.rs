//! Page tokens: a place in a list, bound to what was asked for and to the database.
//!
//! A token names the place where the next page begins, or the last thing that was told, so it stays
//! good whatever is written meanwhile, and across restarts.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use prost::Message;
use sha2::{Digest, Sha256};

use super::status::CallError;
use crate::registry::list::ListKey;

const SEAL_LENGTH: usize = 16;

/// What page tokens of one list are bound to.
#[derive(Debug)]
pub struct Binding {
    context: Vec<u8>,
}

impl Binding {
    /// The list that this rpc makes of this database when it is asked like this.
    #[must_use]
    pub fn new(database_id: &str, rpc: &str, asked: &impl Message) -> Self {
        let mut context = format!("{database_id}\n{rpc}\n").into_bytes();
        context.extend(asked.encode_to_vec());
        Self { context }
    }

    /// The token for a place.
    #[must_use]
    pub fn token(&self, place: &impl Message) -> String {
        let mut token = place.encode_to_vec();
        let seal = self.seal(&token);
        token.extend(seal);
        BASE64_URL_SAFE_NO_PAD.encode(token)
    }

    /// The place that a token names; none for the empty token.
    ///
    /// # Errors
    /// If the token was not made for this list.
    pub fn place<P: Message + Default>(&self, token: &str) -> Result<Option<P>, CallError> {
        if token.is_empty() {
            return Ok(None);
        }
        self.open(token).map(Some).ok_or(CallError::PageToken)
    }

    fn open<P: Message + Default>(&self, token: &str) -> Option<P> {
        let token = BASE64_URL_SAFE_NO_PAD.decode(token).ok()?;
        let (place, seal) = token.split_at_checked(token.len().checked_sub(SEAL_LENGTH)?)?;
        (seal == self.seal(place)).then(|| P::decode(place).ok())?
    }

    /// No secret: a token that somebody made up could name no record that is not open to all. It
    /// tells apart what was made here, for this list, from what was not.
    fn seal(&self, place: &[u8]) -> [u8; SEAL_LENGTH] {
        let digest = Sha256::new().chain_update(&self.context).chain_update(place).finalize();
        let mut seal = [0; SEAL_LENGTH];
        seal.copy_from_slice(&digest[..SEAL_LENGTH]);
        seal
    }
}

/// A place in a list of assignments.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct ListPlace {
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
}

impl From<&ListKey> for ListPlace {
    fn from(key: &ListKey) -> Self {
        Self {
            port: key.port,
            transport: key.transport.into(),
            source: key.source.into(),
            ordinal: key.ordinal,
            namespace: key.namespace.as_ref().map(ToString::to_string),
        }
    }
}

impl ListPlace {
    /// The key of the place.
    ///
    /// # Errors
    /// If no list has such a place.
    pub fn key(self) -> Result<ListKey, CallError> {
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

/// A place in the history: the last change that was told.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub struct ChangePlace {
    /// Its revision.
    #[prost(uint64, tag = "1")]
    pub revision: u64,
    /// Its place in the revision.
    #[prost(uint32, tag = "2")]
    pub position: u32,
}

/// A place in a list of namespaces or pools: the last one that was told.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct NamePlace {
    /// The namespace.
    #[prost(string, tag = "1")]
    pub namespace: String,
    /// The pool, in a list of pools.
    #[prost(string, tag = "2")]
    pub pool: String,
}

/// A place in a list of tokens: the last one that was told.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct TokenPlace {
    /// Its name.
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

    proptest! {
        #[test]
        fn a_token_names_its_place_for_its_list_alone(
            port in 0..=65_536u32, transport in 0..5u8, source in 0..3u8, ordinal: u32,
            namespace in proptest::option::of("[a-z][a-z0-9-]{0,20}"), flipped in 0..1000usize,
        ) {
            let namespace = namespace.map(|name| name.parse().unwrap());
            let key = ListKey { port, transport, source, ordinal, namespace };
            let list = Binding::new("db1", "List", &filter("a"));
            let token = list.token(&ListPlace::from(&key));
            let place: ListPlace = list.place(&token).unwrap().unwrap();
            prop_assert_eq!(place.key().unwrap(), key);
            prop_assert!(Binding::new("db2", "List", &filter("a")).place::<ListPlace>(&token).is_err());
            prop_assert!(Binding::new("db1", "List", &filter("b")).place::<ListPlace>(&token).is_err());
            prop_assert!(Binding::new("db1", "Other", &filter("a")).place::<ListPlace>(&token).is_err());
            let mut forged = token.into_bytes();
            let at = flipped % forged.len();
            forged[at] = if forged[at] == b'A' { b'B' } else { b'A' };
            prop_assert!(list.place::<ListPlace>(std::str::from_utf8(&forged).unwrap()).is_err());
        }

        #[test]
        fn what_was_not_made_here_is_refused(text in "\\PC{1,80}") {
            prop_assert!(Binding::new("db1", "List", &filter("")).place::<ListPlace>(&text).is_err());
        }
    }
}
