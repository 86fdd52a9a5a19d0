//! The record: a service name (or none) on ports (or none) of a transport (or none).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use jiff::Timestamp;
use uuid::Uuid;

use super::encoded::Encoded;
use super::lease::Lease;
use super::name::{NamespaceName, PoolName};
use super::port::{Port, PortRange, Transport};
use super::text::Labels;

/// Counts committed changes: 0 for a new database, then one more for each accepted command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Revision(pub u64);

impl Revision {
    /// The one after it.
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

/// A text that is no uid.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no uid: a UUID such as 0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e is asked for")]
pub struct UidError(String);

impl Uid {
    /// All fixed uids are derived from this one, so they are the same in every installation.
    const FAMILY: Uuid = Uuid::from_u128(0x6b0c_8f3e_52a1_4d7b_9e46_70d1_c3a8_5f29);

    /// The lowest uid.
    pub const MIN: Self = Self(Uuid::nil());

    /// The uid made of this UUID.
    #[must_use]
    pub const fn new(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// What stands for the uid of an item of a batch, which has none yet.
    #[must_use]
    pub const fn placeholder(place: u32) -> Self {
        Self(Uuid::from_u128(place as u128))
    }

    /// The place in the batch, if it stands for one.
    #[must_use]
    pub fn batch_index(self) -> Option<u32> {
        // The version of a real one is in its upper half.
        u32::try_from(self.0.as_u128()).ok()
    }

    /// The fixed uid of a record that is the same everywhere: a UUIDv5 of what tells it from
    /// others, and how many records with the same key stand before it.
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

    /// The form with hyphens alone, in either case.
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

/// Where a record comes from; ordered as answers list them.
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

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Custom => "CUSTOM",
            Self::Iana => "IANA",
            Self::Common => "COMMON",
        }
    }
}

/// What a record says of its ports; the strongest is the least.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum State {
    /// Held by a service.
    Assigned,
    /// Kept back by IANA.
    Reserved,
    /// Free for IANA to assign.
    Unassigned,
    /// Not spoken of by IANA.
    Unlisted,
}

impl State {
    /// Every state, strongest first.
    pub const ALL: [Self; 4] = [Self::Assigned, Self::Reserved, Self::Unassigned, Self::Unlisted];
}

/// One record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Assignment {
    /// Its identity.
    pub uid: Uid,
    /// Where it comes from, and what only such records have.
    pub origin: Origin,
    /// The service name, if it has one.
    pub service_name: Option<Arc<str>>,
    /// The ports, if it has any.
    pub ports: Option<PortRange>,
    /// The transport, if it says one.
    pub transport: Option<Transport>,
    /// What it says of its ports.
    pub state: State,
    /// A short description, or empty.
    pub description: Arc<str>,
    /// Who it is assigned to, or empty.
    pub assignee: Arc<str>,
    /// Whom to ask, or empty.
    pub contact: Arc<str>,
    /// Where it is specified, or empty.
    pub reference: Arc<str>,
    /// Anything more, or empty.
    pub assignment_notes: Arc<str>,
}

/// What only records of one source have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Registered here.
    Custom(Registration),
    /// IANA's registry.
    Iana(IanaColumns),
    /// Everyday use.
    Common {
        /// Its place among the common uses.
        ordinal: u32,
    },
}

/// What only records have that were registered here.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Registration {
    /// Where the ports are held.
    pub namespace: NamespaceName,
    /// Key-value pairs.
    pub labels: Labels,
    /// When it was registered.
    pub create_time: Timestamp,
    /// When it was last changed.
    pub update_time: Timestamp,
    /// The revision of its last change.
    pub revision: Revision,
    /// The lease, if the ports are not held without end.
    pub lease: Option<Lease>,
    /// The pool the ports come from, if they come from one.
    pub pooled: Option<PoolMembership>,
}

impl Registration {
    /// Names this very state of the record.
    #[must_use]
    pub const fn etag(&self) -> Etag {
        Etag::of(self.revision)
    }
}

/// That ports come from a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolMembership {
    /// Which pool.
    pub pool: PoolName,
    /// Which one of several of the same service has them, if the pool chose them; none if they were
    /// asked for by number.
    pub instance: Option<Arc<str>>,
}

/// What only IANA's records have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IanaColumns {
    /// Its place in IANA's file, from 1.
    pub ordinal: u32,
    /// Whether IANA publishes its ports as a run, even if that has one port only.
    pub published_as_range: bool,
    /// Other service names that IANA links with it, sorted.
    pub aliases: Vec<Arc<str>>,
    /// `YYYY-MM-DD`, `YYYY-MM` or empty.
    pub registration_date: Arc<str>,
    /// `YYYY-MM-DD`, `YYYY-MM` or empty.
    pub modification_date: Arc<str>,
    /// The DCCP service code, or empty.
    pub service_code: Arc<str>,
    /// Unauthorized use that IANA knows of, or empty.
    pub unauthorized_use_reported: Arc<str>,
}

impl Assignment {
    /// Where it comes from.
    #[must_use]
    pub const fn source(&self) -> Source {
        match self.origin {
            Origin::Custom(_) => Source::Custom,
            Origin::Iana(_) => Source::Iana,
            Origin::Common { .. } => Source::Common,
        }
    }

    /// Whether it holds the port.
    #[must_use]
    pub fn is_on(&self, port: Port) -> bool {
        self.ports.is_some_and(|ports| ports.contains(port))
    }

    /// Whether it may answer a question for this transport: any record if none is asked for,
    /// otherwise those of that transport and those that do not say theirs.
    #[must_use]
    pub fn may_be_on(&self, transport: Option<Transport>) -> bool {
        transport.is_none() || self.transport.is_none() || self.transport == transport
    }

    /// Other service names that IANA links with its own, sorted.
    #[must_use]
    pub fn aliases(&self) -> &[Arc<str>] {
        match &self.origin {
            Origin::Iana(columns) => &columns.aliases,
            Origin::Custom(_) | Origin::Common { .. } => &[],
        }
    }

    /// What only registrations have, if it is one.
    #[must_use]
    pub const fn registration(&self) -> Option<&Registration> {
        match &self.origin {
            Origin::Custom(registration) => Some(registration),
            Origin::Iana(_) | Origin::Common { .. } => None,
        }
    }
}

/// Names one state of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Etag(Revision);

impl Etag {
    /// The state that a change at this revision has led to.
    #[must_use]
    pub const fn of(revision: Revision) -> Self {
        Self(revision)
    }
}

/// A text that is no etag.
#[derive(Debug, thiserror::Error)]
#[error("{0:?} is no etag: send the one that an assignment was answered with, such as \"r17\"")]
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

/// A record as snapshots share it.
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
    fn only_the_form_with_hyphens_is_a_uid() {
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
        fn nothing_else_is_an_etag(text in "[^r].*|r|r0.+|r.*[^0-9].*") {
            prop_assert!(text.parse::<Etag>().is_err());
        }
    }
}
