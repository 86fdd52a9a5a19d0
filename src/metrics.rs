//! What is counted and timed, for Prometheus. Nothing here decides anything.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

/// The canonical codes of gRPC, by number.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Upper ends of the classes of durations, in seconds: from a lookup to a slow disk.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];
/// Upper ends of the classes of sizes of commits.
const ENTRIES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0];

/// Everything that is counted and timed.
#[derive(Debug)]
pub struct Metrics {
    calls: HashMap<String, Arc<Calls>>,
    unknown: Arc<Calls>,
    shed: Family<ShedLabels, Counter>,
    /// Connections that are open.
    pub connections: Gauge,
    /// Connections that were closed at once because there were too many.
    pub connections_refused: Counter,
    /// When the server's certificate ends, in seconds since 1970; 0 without one.
    pub certificate_end: Gauge,
    commit_entries: Histogram,
    commit_duration: Histogram,
    commit_failures: Counter,
}

/// Why a call was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shed {
    /// Too many are under way.
    TooMany,
    /// It had waited too long for its turn.
    Late,
    /// Too many requests wait for the rest of them.
    HalfSaid,
    /// Too many answers wait to be read.
    Unread,
    /// Its caller calls too often.
    Rate,
    /// Too many commands wait for the writer.
    Queue,
}

impl Shed {
    const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Late => "late",
            Self::HalfSaid => "half_said",
            Self::Unread => "unread",
            Self::Rate => "rate",
            Self::Queue => "queue",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ShedLabels {
    cause: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RpcLabels {
    rpc: Arc<str>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CallLabels {
    rpc: Arc<str>,
    code: &'static str,
}

/// The calls of one rpc.
#[derive(Debug)]
pub struct Calls {
    /// Its name, as `portbook.v1.PortRegistryService/LookupPort`.
    pub rpc: Arc<str>,
    family: Family<CallLabels, Counter>,
    by_code: [OnceLock<Counter>; CODES.len()],
    duration: Histogram,
    in_flight: Gauge,
}

impl Calls {
    /// Notes that one has begun.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// Notes that one has ended with this code, after this time.
    pub fn end(&self, code: usize, after: Duration) {
        self.in_flight.dec();
        self.duration.observe(after.as_secs_f64());
        let Some((counter, name)) = self.by_code.get(code).zip(CODES.get(code)) else { return };
        // Made at the first such end, so that what never happens is not told.
        let made = || {
            let labels = CallLabels { rpc: Arc::clone(&self.rpc), code: name };
            self.family.get_or_create_owned(&labels)
        };
        counter.get_or_init(made).inc();
    }
}

impl Metrics {
    /// Nothing yet, of these rpcs, and the registry that tells it.
    #[must_use]
    pub fn new(rpcs: impl IntoIterator<Item = String>) -> (Self, Registry) {
        let mut registry = Registry::with_prefix("portbook");
        let family = Family::default();
        let durations =
            Family::<RpcLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(SECONDS)
            });
        let in_flight = Family::<RpcLabels, Gauge>::default();
        registry.register("calls", "Calls that have ended, by rpc and code", family.clone());
        let help = "How long calls took, to the end of their answers";
        registry.register("call_duration_seconds", help, durations.clone());
        registry.register("calls_in_flight", "Calls that are under way", in_flight.clone());
        let of = |rpc: &str| {
            let rpc: Arc<str> = rpc.into();
            let labels = RpcLabels { rpc: Arc::clone(&rpc) };
            Arc::new(Calls {
                rpc,
                family: family.clone(),
                by_code: [const { OnceLock::new() }; CODES.len()],
                duration: durations.get_or_create_owned(&labels),
                in_flight: in_flight.get_or_create_owned(&labels),
            })
        };
        let metrics = Self {
            calls: rpcs.into_iter().map(|rpc| (format!("/{rpc}"), of(&rpc))).collect(),
            unknown: of("unknown"),
            shed: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            certificate_end: Gauge::default(),
            commit_entries: Histogram::new(ENTRIES),
            commit_duration: Histogram::new(SECONDS),
            commit_failures: Counter::default(),
        };
        metrics.register(&mut registry);
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "Which Portbook this is", version);
        let help = "Calls that were refused to keep the others in time, by cause";
        registry.register("calls_shed", help, self.shed.clone());
        registry.register("connections", "Connections that are open", self.connections.clone());
        let help = "Connections that were closed at once because there were too many";
        registry.register("connections_refused", help, self.connections_refused.clone());
        let help = "When the certificate of the server ends, in seconds since 1970; 0 without one";
        registry.register("certificate_expire_time_seconds", help, self.certificate_end.clone());
        let help = "How many commands were committed together";
        registry.register("commit_entries", help, self.commit_entries.clone());
        let help = "How long commits took";
        registry.register("commit_duration_seconds", help, self.commit_duration.clone());
        let help = "Commits that failed";
        registry.register("commit_failures", help, self.commit_failures.clone());
    }

    /// The calls of the rpc with this path.
    #[must_use]
    pub fn calls(&self, path: &str) -> &Arc<Calls> {
        self.calls.get(path).unwrap_or(&self.unknown)
    }

    /// Notes that a call was shed.
    pub fn shed(&self, cause: Shed) {
        self.shed.get_or_create(&ShedLabels { cause: cause.name() }).inc();
    }

    /// Notes a commit of this many commands.
    pub fn committed(&self, entries: u32, after: Duration) {
        self.commit_entries.observe(entries.into());
        self.commit_duration.observe(after.as_secs_f64());
    }

    /// Notes a commit that failed.
    pub fn commit_failed(&self) {
        self.commit_failures.inc();
    }
}
