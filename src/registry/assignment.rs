//! Records: a service name (or none) on a port range (or none) of a transport (or none).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::details::Details;
use super::encoded::Encoded;
use super::lease::Lease;
use super::name::{NamespaceName, PoolName};
use super::port::{Port, PortRange, Transport};

/// The number of committed changes: 0 for a new database, increased by one with every change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The next revision.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Revision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A record's identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Uid(Uuid);

/// A text that is not a uid.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not a uid: expected a UUID such as 0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e")]
pub struct UidError(String);

impl Uid {
    /// The namespace UUID of all fixed uids, so that they are the same in every installation.
    const FAMILY: Uuid = Uuid::from_u128(0x6b0c_8f3e_52a1_4d7b_9e46_70d1_c3a8_5f29);

    /// The lowest uid.
    pub const MIN: Self = Self(Uuid::nil());

    /// The uid with this UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The placeholder uid of the item with this index in a batch, which has no uid yet.
    #[must_use]
    pub const fn placeholder(index: u32) -> Self {
        Self(Uuid::from_u128(index as u128))
    }

    /// The index in the batch, if this is a placeholder.
    #[must_use]
    pub fn batch_index(self) -> Option<u32> {
        // The upper half of a real uid contains its version, so it is never zero.
        u32::try_from(self.0.as_u128()).ok()
    }

    /// The fixed uid of a record that is the same in every installation: a UUIDv5 of its key and
    /// its ordinal among the records with the same key.
    #[must_use]
    pub fn fixed(
        source: Source,
        service_name: &str,
        port_number: &str,
        transport: Option<Transport>,
        ordinal: usize,
    ) -> Self {
        let transport = transport.map_or("", Transport::name);
        let key =
            format!("{}\n{service_name}\n{port_number}\n{transport}\n{ordinal}", source.name());
        Self(Uuid::new_v5(&Self::FAMILY, key.as_bytes()))
    }
}

impl FromStr for Uid {
    type Err = UidError;

    /// Accepts only the form with hyphens, in upper or lower case.
    fn from_str(text: &str) -> Result<Self, UidError> {
        match Uuid::try_parse(text) {
            Ok(uuid) if text.len() == 36 => Ok(Self(uuid)),
            _ => Err(UidError(text.chars().take(64).collect())),
        }
    }
}

impl fmt::Display for Uid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Where a record comes from, in the order in which responses list records.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// Registered here.
    Custom,
    /// IANA's registry.
    Iana,
    /// Everyday use that IANA does not record.
    Common,
}

impl Source {
    /// Every source, in order.
    pub const ALL: [Self; 3] = [Self::Custom, Self::Iana, Self::Common];

    /// The name of the source.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custom => "CUSTOM",
            Self::Iana => "IANA",
            Self::Common => "COMMON",
        }
    }
}

/// The state of a record's ports. The strongest state compares as the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Held by a service.
    Assigned,
    /// Reserved by IANA.
    Reserved,
    /// Listed by IANA as available for assignment.
    Unassigned,
    /// Not listed by IANA.
    Unlisted,
}

impl State {
    /// Every state, strongest first.
    pub const ALL: [Self; 4] = [Self::Assigned, Self::Reserved, Self::Unassigned, Self::Unlisted];

    /// The name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Assigned => "ASSIGNED",
            Self::Reserved => "RESERVED",
            Self::Unassigned => "UNASSIGNED",
            Self::Unlisted => "UNLISTED",
        }
    }

    /// The state with this name.
    #[must_use]
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.name() == name)
    }
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// The identity of the record.
    pub uid: Uid,
    /// The source, with the fields that only records of this source have.
    pub origin: Origin,
    /// The service name, if the record has one.
    pub service_name: Option<Arc<str>>,
    /// The ports, if the record has any.
    pub ports: Option<PortRange>,
    /// The transport, if the record names one.
    pub transport: Option<Transport>,
    /// The state of the ports.
    pub state: State,
    /// The descriptive fields.
    pub details: Details,
}

/// The source of a record, with the fields that only records of this source have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Registered here.
    Custom(Registration),
    /// IANA's registry.
    Iana(IanaColumns),
    /// Everyday use.
    Common {
        /// The position among the common uses.
        ordinal: u32,
    },
}

/// The fields that only registrations have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// The namespace.
    pub namespace: NamespaceName,
    /// When it was registered.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
    /// The lease; none if the registration does not expire.
    pub lease: Option<Lease>,
    /// The pool that the ports were allocated from or registered through, if any.
    pub pooled: Option<PoolMembership>,
}

impl Registration {
    /// Identifies the current state of the record.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}

/// The pool that the ports of a registration belong to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMembership {
    /// The pool.
    pub pool: PoolName,
    /// The instance of the service, if the pool chose the ports; none if they were requested by
    /// number.
    pub instance: Option<Arc<str>>,
}

/// The fields that only IANA's records have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IanaColumns {
    /// The position in IANA's file, from 1.
    pub ordinal: u32,
    /// Whether IANA publishes the ports as a range, even if it contains a single port.
    pub published_as_range: bool,
    /// Other service names that IANA links with this one, sorted.
    pub aliases: Vec<Arc<str>>,
    /// `YYYY-MM-DD`, `YYYY-MM` or empty.
    pub registration_date: Arc<str>,
    /// `YYYY-MM-DD`, `YYYY-MM` or empty.
    pub modification_date: Arc<str>,
    /// The DCCP service code, or empty.
    pub service_code: Arc<str>,
    /// The unauthorized use reported to IANA, or empty.
    pub unauthorized_use_reported: Arc<str>,
}

impl Assignment {
    /// The source of the record.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self.origin {
            Origin::Custom(_) => Source::Custom,
            Origin::Iana(_) => Source::Iana,
            Origin::Common { .. } => Source::Common,
        }
    }

    /// Whether the port is one of the record's ports.
    #[must_use]
    pub fn is_on(&self, port: Port) -> bool {
        self.ports.is_some_and(|ports| ports.contains(port))
    }

    /// Whether the record matches a query for this transport: every record if none is requested,
    /// otherwise the records of that transport and those that name no transport.
    #[must_use]
    pub fn may_be_on(&self, transport: Option<Transport>) -> bool {
        transport.is_none() || self.transport.is_none() || self.transport == transport
    }

    /// Other service names that IANA links with this one, sorted.
    #[must_use]
    pub fn aliases(&self) -> &[Arc<str>] {
        match &self.origin {
            Origin::Iana(columns) => &columns.aliases,
            Origin::Custom(_) | Origin::Common { .. } => &[],
        }
    }

    /// The fields that only registrations have, if the record is a registration.
    #[must_use]
    pub const fn registration(&self) -> Option<&Registration> {
        match &self.origin {
            Origin::Custom(registration) => Some(registration),
            Origin::Iana(_) | Origin::Common { .. } => None,
        }
    }
}

/// Identifies one state of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(Revision);

impl Etag {
    /// The state after the change at this revision.
    #[must_use]
    pub const fn of(revision: Revision) -> Self {
        Self(revision)
    }
}

/// A text that is not an etag.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is not an etag: send the etag of an assignment in a response, such as \"r17\"")]
pub struct EtagError(String);

impl fmt::Display for Etag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "r{}", self.0)
    }
}

impl FromStr for Etag {
    type Err = EtagError;

    fn from_str(text: &str) -> Result<Self, EtagError> {
        let revision = text.strip_prefix('r').filter(|digits| {
            digits.bytes().all(|byte| byte.is_ascii_digit())
                && (*digits == "0" || !digits.starts_with('0'))
        });
        revision
            .and_then(|digits| digits.parse().ok())
            .map(|number| Self(Revision(number)))
            .ok_or_else(|| EtagError(text.chars().take(64).collect()))
    }
}

/// A record, shared between snapshots.
pub type Record = Encoded<Assignment>;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_fixed_uid_never_changes() {
        let uid = Uid::fixed(Source::Iana, "https", "443", Some(Transport::Tcp), 0);
        assert_eq!(uid.to_string(), "7f70d13f-1294-517b-b3ec-d5e0fb1b800b");
    }

    #[test]
    fn only_the_hyphenated_form_is_a_uid() {
        for text in
            ["", "x", "6b0c8f3e52a14d7b9e4670d1c3a85f29", "{6b0c8f3e-52a1-4d7b-9e46-70d1c3a85f29}"]
        {
            assert!(text.parse::<Uid>().is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn printed_etags_and_uids_parse_back(number: u64, bits: u128) {
            let etag = Etag(Revision(number));
            prop_assert_eq!(etag.to_string().parse::<Etag>().unwrap(), etag);
            let uid = Uid::new(Uuid::from_u128(bits));
            prop_assert_eq!(uid.to_string().parse::<Uid>().unwrap(), uid);
        }

        #[test]
        fn other_texts_are_not_etags(text in "[^r].*|r|r0.+|r.*[^0-9].*") {
            prop_assert!(text.parse::<Etag>().is_err());
        }
    }
}
