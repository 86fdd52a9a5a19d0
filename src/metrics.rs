//! Metrics for Prometheus. Nothing in the server depends on their values.

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

/// Upper bounds of the buckets of durations, in seconds: from a lookup to a slow disk.
const SECONDS: [f64; 12] =
    [0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.05, 0.1, 0.5, 2.0, 10.0];
/// Upper bounds of the buckets of commit sizes.
const ENTRIES: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 25.0, 50.0, 100.0, 500.0];

/// All counters, gauges and histograms.
#[derive(Debug)]
pub struct Metrics {
    rpcs: Vec<Arc<RpcMetrics>>,
    unknown_rpc: Arc<RpcMetrics>,
    shed: Family<ShedLabels, Counter>,
    /// Open connections.
    pub connections: Gauge,
    /// Connections that were closed because the limit was reached.
    pub connections_refused: Counter,
    /// When the server's certificate expires, in seconds since 1970; 0 without one.
    pub certificate_expire_time: Gauge,
    commit_entries: Histogram,
    commit_duration: Histogram,
    commit_failures: Counter,
}

/// Why a call was shed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ShedCause {
    /// The limit of concurrent calls was reached.
    TooMany,
    /// The call waited too long for a CPU permit.
    Late,
    /// The budget of request buffers was used up.
    RequestBuffer,
    /// The budget of unread responses was used up.
    UnreadResponses,
    /// The caller exceeded its rate limit.
    Rate,
    /// The writer's command queue was full.
    Queue,
}

impl ShedCause {
    /// The value of the label `cause`, which dashboards and alerts read.
    const fn name(self) -> &'static str {
        match self {
            Self::TooMany => "too_many",
            Self::Late => "late",
            Self::RequestBuffer => "half_said",
            Self::UnreadResponses => "unread",
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

/// The metrics of one rpc.
#[derive(Debug)]
pub struct RpcMetrics {
    /// The name of the rpc, such as `portbook.v1.PortRegistryService/LookupPort`.
    pub rpc: Arc<str>,
    family: Family<CallLabels, Counter>,
    by_code: [OnceLock<Counter>; CODES.len()],
    duration: Histogram,
    in_flight: Gauge,
}

impl RpcMetrics {
    /// Records the start of a call.
    pub fn begin(&self) {
        self.in_flight.inc();
    }

    /// Records the end of a call with this code, after this duration.
    pub fn end(&self, code: usize, duration: Duration) {
        self.in_flight.dec();
        self.duration.observe(duration.as_secs_f64());
        let Some((counter, name)) = self.by_code.get(code).zip(CODES.get(code)) else { return };
        // Created at the first call with this code, so that unused codes are not exported.
        let create = || {
            let labels = CallLabels { rpc: Arc::clone(&self.rpc), code: name };
            self.family.get_or_create_owned(&labels)
        };
        counter.get_or_init(create).inc();
    }
}

impl Metrics {
    /// New metrics of these rpcs, and the registry that exports them.
    #[must_use]
    pub fn new(rpcs: impl IntoIterator<Item = &'static str>) -> (Self, Registry) {
        let mut registry = Registry::with_prefix("portbook");
        let family = Family::default();
        let durations =
            Family::<RpcLabels, Histogram, fn() -> Histogram>::new_with_constructor(|| {
                Histogram::new(SECONDS)
            });
        let in_flight = Family::<RpcLabels, Gauge>::default();
        registry.register("calls", "Completed calls, by rpc and code", family.clone());
        let help = "Duration of calls, to the end of their responses";
        registry.register("call_duration_seconds", help, durations.clone());
        registry.register("calls_in_flight", "Calls in progress", in_flight.clone());
        let of_rpc = |rpc: &str| {
            let rpc: Arc<str> = rpc.into();
            let labels = RpcLabels { rpc: Arc::clone(&rpc) };
            Arc::new(RpcMetrics {
                rpc,
                family: family.clone(),
                by_code: [const { OnceLock::new() }; CODES.len()],
                duration: durations.get_or_create_owned(&labels),
                in_flight: in_flight.get_or_create_owned(&labels),
            })
        };
        let metrics = Self {
            rpcs: rpcs.into_iter().map(&of_rpc).collect(),
            unknown_rpc: of_rpc("unknown"),
            shed: Family::default(),
            connections: Gauge::default(),
            connections_refused: Counter::default(),
            certificate_expire_time: Gauge::default(),
            commit_entries: Histogram::new(ENTRIES),
            commit_duration: Histogram::new(SECONDS),
            commit_failures: Counter::default(),
        };
        metrics.register(&mut registry);
        (metrics, registry)
    }

    fn register(&self, registry: &mut Registry) {
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("build", "The version of Portbook", version);
        let help = "Calls rejected because of load or a limit, by cause";
        registry.register("calls_shed", help, self.shed.clone());
        registry.register("connections", "Open connections", self.connections.clone());
        let help = "Connections closed because the limit was reached";
        registry.register("connections_refused", help, self.connections_refused.clone());
        let help = "When the server's certificate expires, in seconds since 1970; 0 without one";
        let gauge = self.certificate_expire_time.clone();
        registry.register("certificate_expire_time_seconds", help, gauge);
        let help = "Number of commands in a commit";
        registry.register("commit_entries", help, self.commit_entries.clone());
        let help = "Duration of commits";
        registry.register("commit_duration_seconds", help, self.commit_duration.clone());
        let help = "Failed commits, including those of tokens";
        registry.register("commit_failures", help, self.commit_failures.clone());
    }

    /// The metrics of the rpc with this index in the table; any other index stands for unknown rpcs.
    #[must_use]
    pub fn rpc(&self, index: usize) -> &Arc<RpcMetrics> {
        self.rpcs.get(index).unwrap_or(&self.unknown_rpc)
    }

    /// Records that a call was shed.
    pub fn record_shed(&self, cause: ShedCause) {
        self.shed.get_or_create(&ShedLabels { cause: cause.name() }).inc();
    }

    /// Records a commit of this many commands.
    pub fn record_commit(&self, entries: u32, duration: Duration) {
        self.commit_entries.observe(entries.into());
        self.commit_duration.observe(duration.as_secs_f64());
    }

    /// Records a failed commit.
    pub fn record_failed_commit(&self) {
        self.commit_failures.inc();
    }
}
