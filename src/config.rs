//! What the server can be told: flags, each with a twin in the environment.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// The settings of `portbook serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address and port to listen on; port 0 takes a free one and prints it.
    #[arg(
        long,
        env = "PORTBOOK_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:50051",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// The database file. A new one is created and seeded with IANA's registry.
    #[arg(long, env = "PORTBOOK_DATABASE", value_name = "FILE", default_value = "portbook.db")]
    pub database: PathBuf,

    /// Listen without encryption on an address that is not a loopback one. Tokens then cross the
    /// network in the clear: only behind something that encrypts.
    #[arg(long, env = "PORTBOOK_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,

    /// Who may call.
    #[command(flatten)]
    pub access: AccessArgs,

    /// What is taken on.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// What is told.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,

    /// How long calls that are under way may take to end after SIGTERM or SIGINT, in seconds.
    #[arg(long, env = "PORTBOOK_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub shutdown_grace: Duration,
}

/// Who may call.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// The server's certificate, and those that lead to its root: a PEM file. With it, calls are
    /// encrypted (TLS 1.2 or 1.3). Read again at SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate: a PEM file. Read again at SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The roots of client certificates: a PEM file. With it, every client needs a certificate; its
    /// name stands for the token of that name, if there is one. Read again at SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Ask for a token also to read. Health and reflection stay open.
    #[arg(long, env = "PORTBOOK_REQUIRE_TOKEN_FOR_READS")]
    pub require_token_for_reads: bool,

    /// The admin token of a new database, 16-256 visible ASCII characters. Without it one is made
    /// and shown. Ignored if the database has tokens.
    #[arg(long, env = "PORTBOOK_BOOTSTRAP_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub bootstrap_token: Option<Secret>,
}

/// What is taken on. What is more is refused with RESOURCE_EXHAUSTED and a hint when to try again.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// The most connections. One more is closed at once.
    #[arg(long, env = "PORTBOOK_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// The most calls of one connection at once; one more waits in its client.
    #[arg(long, env = "PORTBOOK_MAX_STREAMS_PER_CONNECTION", value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_streams_per_connection: u32,

    /// The most calls with one answer that are under way at once.
    #[arg(long, env = "PORTBOOK_MAX_CALLS", value_name = "COUNT", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_calls: u32,

    /// The most calls with a stream of answers, such as watches, that are under way at once.
    #[arg(long, env = "PORTBOOK_MAX_STREAMING_CALLS", value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_streaming_calls: u32,

    /// How long a call with one answer may take, in seconds. A client's own deadline is kept too.
    #[arg(long, env = "PORTBOOK_REQUEST_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = some_seconds)]
    pub request_timeout: Duration,

    /// The most calls a second with one token, or from one address without a token. Without it,
    /// there is no such limit.
    #[arg(long, env = "PORTBOOK_RATE_LIMIT", value_name = "COUNT")]
    pub rate_limit: Option<NonZeroU32>,

    /// The largest request that is taken, in bytes.
    #[arg(long, env = "PORTBOOK_MAX_REQUEST_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=64 * 1024 * 1024))]
    pub max_request_bytes: u32,
}

/// What is told.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// What the log on stderr has in it: error, warn, info, debug, trace, or a filter such as
    /// portbook=debug. Writes are told at info, reads at debug.
    #[arg(long, env = "PORTBOOK_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How the log is written: text, or one JSON object a line. Default: text on a terminal, JSON
    /// elsewhere.
    #[arg(long, env = "PORTBOOK_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    /// Where to answer /metrics, /healthz and /readyz over HTTP, to everybody. Without it, nowhere.
    #[arg(long, env = "PORTBOOK_HTTP_LISTEN", value_name = "ADDRESS:PORT", value_parser = address)]
    pub http_listen: Option<SocketAddr>,

    /// Send traces to this collector, such as http://127.0.0.1:4317 (OTLP over gRPC).
    #[arg(long, env = "PORTBOOK_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// The share of calls to trace, 0-1, of those whose callers don't say.
    #[arg(long, env = "PORTBOOK_TRACE_RATIO", value_name = "SHARE", default_value = "1", value_parser = share)]
    pub trace_ratio: f64,
}

/// A setting that is not to be shown, not even in an error.
#[derive(Clone)]
pub struct Secret(pub String);

impl From<String> for Secret {
    fn from(text: String) -> Self {
        Self(text)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

/// How the log is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// An address, or a name that stands for one, and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let found = text.to_socket_addrs().ok().and_then(|mut found| found.next());
    found.ok_or_else(|| "an address and a port such as 127.0.0.1:50051 are asked for".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 0..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("a number of seconds, 0-3600, is asked for".into()),
    }
}

fn some_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Ok(some) if !some.is_zero() => Ok(some),
        _ => Err("a number of seconds, 1-3600, is asked for".into()),
    }
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("a share, 0-1, is asked for".into()),
    }
}
