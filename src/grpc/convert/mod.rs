//! Domain to proto: responses as messages.

mod change;
mod enums;
mod finding;
mod settings;
mod token;

use std::sync::Arc;

use itertools::Itertools;
use jiff::{SignedDuration, Timestamp};

pub use change::change;
pub use enums::{
    change_kind, change_kind_from, finding_code, finding_code_from, match_reason, outcome,
    port_class, severity, source, source_from, state, state_from, transport, transport_from,
};
pub use finding::{finding, verdict};
pub use settings::{namespace, namespace_summary, pool, pool_summary};
pub use token::token;

use super::{details, proto};
use crate::registry::assignment::{Assignment, Origin, Record, State};
use crate::registry::counts::Counts;
use crate::registry::endpoint::Host;
use crate::registry::guide::{Encryption, Guide, SharedGuide};
use crate::registry::port::{PortRange, Transport};
use crate::registry::reference::{Label, Reference};
use crate::registry::search::Hit;

/// A record.
#[must_use]
pub fn assignment(reference: &Reference, record: &Assignment) -> proto::Assignment {
    let guide = record.service_name.as_deref().and_then(|name| reference.guide_of(name));
    let message = proto::Assignment {
        uid: record.uid.to_string(),
        source: source(record.source()).into(),
        service_name: record.service_name.as_deref().unwrap_or_default().to_owned(),
        aliases: record.aliases().iter().map(ToString::to_string).collect(),
        ports: record.ports.map(port_range),
        transport: transport(record.transport).into(),
        state: state(record.state).into(),
        guide: guide.map(|guide| guide.id.to_string()).unwrap_or_default(),
        ..details::message(&record.details)
    };
    let pooled = record.registration().and_then(|registration| registration.pooled.as_ref());
    match &record.origin {
        Origin::Common { .. } => message,
        Origin::Iana(columns) => proto::Assignment {
            registration_date: columns.registration_date.to_string(),
            modification_date: columns.modification_date.to_string(),
            service_code: columns.service_code.to_string(),
            unauthorized_use_reported: columns.unauthorized_use_reported.to_string(),
            ..message
        },
        Origin::Custom(registration) => proto::Assignment {
            namespace: registration.namespace.to_string(),
            create_time: Some(timestamp(registration.create_time)),
            update_time: Some(timestamp(registration.update_time)),
            etag: registration.etag().to_string(),
            revision: registration.revision.0,
            expire_time: registration.lease.map(|lease| timestamp(lease.expire_time)),
            ttl: registration.lease.map(|lease| duration(lease.ttl.duration())),
            pool: pooled.map(|pooled| pooled.pool.to_string()).unwrap_or_default(),
            instance: pooled
                .and_then(|pooled| pooled.instance.as_deref())
                .unwrap_or_default()
                .to_owned(),
            ..message
        },
    }
}

/// Records, in their order.
pub fn assignments<'a>(
    reference: &Reference,
    records: impl IntoIterator<Item = &'a Arc<Record>>,
) -> Vec<proto::Assignment> {
    records.into_iter().map(|record| assignment(reference, record)).collect()
}

/// A guide.
#[must_use]
pub fn guide(guide: &Guide) -> proto::Guide {
    proto::Guide {
        id: guide.id.to_string(),
        title: guide.title.clone(),
        full_name: guide.full_name.clone(),
        summary: guide.summary.clone(),
        category: guide.category.clone(),
        encryption: match guide.encryption {
            Encryption::None => proto::Encryption::None,
            Encryption::StartTls => proto::Encryption::Starttls,
            Encryption::Tls => proto::Encryption::Tls,
            Encryption::BuiltIn => proto::Encryption::Own,
        }
        .into(),
        use_instead: guide.use_instead.clone(),
        aliases: guide.aliases.clone(),
        service_names: guide.service_names.clone(),
    }
}

/// The guides of the records, each once, in the records' order.
pub fn guides_of<'a, 'r>(
    reference: &'r Reference,
    records: impl IntoIterator<Item = &'a Arc<Record>>,
) -> Vec<&'r Arc<SharedGuide>> {
    let mut guides: Vec<&Arc<SharedGuide>> = Vec::new();
    let names = records.into_iter().filter_map(|record| record.service_name.as_deref());
    // Records of one service are adjacent.
    for guide in names.dedup().filter_map(|name| reference.guide_of(name)) {
        if guides.iter().all(|known| !Arc::ptr_eq(known, guide)) {
            guides.push(guide);
        }
    }
    guides
}

/// The most records of a search hit.
const MAX_HIT_RECORDS: usize = 100;

/// A search hit.
#[must_use]
pub fn search_hit(reference: &Reference, hit: &Hit) -> proto::SearchHit {
    let name = hit.records.first().and_then(|record| record.service_name.as_deref());
    proto::SearchHit {
        service_name: name.unwrap_or_default().to_owned(),
        assignments: assignments(reference, hit.records.iter().take(MAX_HIT_RECORDS)),
        guide: hit.guide.as_ref().map(|shared| guide(shared)),
        reason: match_reason(hit.reason).into(),
        matched_text: hit.matched_text.clone(),
    }
}

/// A label.
#[must_use]
pub fn label(label: &Label) -> proto::Label {
    proto::Label {
        service_name: label.service_name.as_deref().unwrap_or_default().to_owned(),
        state: state(label.state).into(),
        source: label.source.map_or(proto::Source::Unspecified, source).into(),
    }
}

/// The counts of a source.
#[must_use]
pub fn source_counts(counts: &Counts) -> proto::SourceCounts {
    let transports = std::iter::once((None, counts.transports[Transport::ALL.len()]))
        .chain(Transport::ALL.map(Some).into_iter().zip(counts.transports));
    proto::SourceCounts {
        source: source(counts.source).into(),
        assignments: counts.assignments,
        with_port: counts.with_port,
        without_port: counts.assignments - counts.with_port,
        port_ranges: counts.port_ranges,
        with_service_name: counts.with_service_name,
        without_service_name: counts.assignments - counts.with_service_name,
        distinct_service_names: counts.distinct_service_names,
        transports: transports
            .map(|(of, assignments)| proto::TransportCount {
                transport: transport(of).into(),
                assignments,
            })
            .collect(),
        states: State::ALL
            .into_iter()
            .map(|of| proto::StateCount {
                state: state(of).into(),
                assignments: counts.in_state(of),
            })
            .collect(),
    }
}

/// The kind of an endpoint's host.
#[must_use]
pub const fn host_kind(host: Option<&Host>) -> proto::HostKind {
    match host {
        None => proto::HostKind::Unspecified,
        Some(Host::Ipv4(_)) => proto::HostKind::Ipv4,
        Some(Host::Ipv6(..)) => proto::HostKind::Ipv6,
        Some(Host::Name(_)) => proto::HostKind::Name,
    }
}

/// A port range.
#[must_use]
pub fn port_range(ports: PortRange) -> proto::PortRange {
    proto::PortRange {
        first: Some(ports.first().number().into()),
        last: Some(ports.last().number().into()),
    }
}

/// A time.
#[must_use]
pub fn timestamp(time: Timestamp) -> prost_types::Timestamp {
    prost_types::Timestamp { seconds: time.as_second(), nanos: time.subsec_nanosecond() }
}

/// A duration.
#[must_use]
pub fn duration(duration: SignedDuration) -> prost_types::Duration {
    prost_types::Duration { seconds: duration.as_secs(), nanos: duration.subsec_nanos() }
}
