//! The settings of the server: flags, each with an environment variable.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};

/// The settings of `portbook serve`.
#[derive(Args, Clone, Debug)]
pub struct ServeArgs {
    /// Address and port to listen on. Port 0 selects a free port and prints it.
    #[arg(
        long,
        env = "PORTBOOK_LISTEN",
        value_name = "ADDRESS:PORT",
        default_value = "127.0.0.1:50051",
        value_parser = address
    )]
    pub listen: SocketAddr,

    /// The database file. If it does not exist, it is created and seeded with IANA's registry.
    #[arg(long, env = "PORTBOOK_DATABASE", value_name = "FILE", default_value = "portbook.db")]
    pub database: PathBuf,

    /// Allow plaintext on an address other than loopback. Tokens then cross the network unencrypted:
    /// use it only behind a proxy or mesh that encrypts.
    #[arg(long, env = "PORTBOOK_ALLOW_PLAINTEXT")]
    pub allow_plaintext: bool,

    /// Encryption and authentication.
    #[command(flatten)]
    pub access: AccessArgs,

    /// Limits.
    #[command(flatten)]
    pub limits: LimitArgs,

    /// Logs, metrics and traces.
    #[command(flatten)]
    pub telemetry: TelemetryArgs,

    /// How long calls in progress may take to complete after SIGTERM or SIGINT, in seconds.
    #[arg(long, env = "PORTBOOK_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub shutdown_grace: Duration,
}

/// Encryption and authentication.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Access")]
pub struct AccessArgs {
    /// The server's certificate and its chain: a PEM file. Enables encryption (TLS 1.2 or 1.3).
    /// Reloaded on SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// The private key of the certificate: a PEM file. Reloaded on SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// The roots of client certificates: a PEM file. Every client then needs a certificate; a
    /// certificate has the role of the token with the same name, if there is one. Reloaded on SIGHUP.
    #[arg(long, env = "PORTBOOK_TLS_CLIENT_CA", value_name = "FILE", requires = "tls_cert")]
    pub tls_client_ca: Option<PathBuf>,

    /// Require a token also for reads. Health and reflection remain open.
    #[arg(long, env = "PORTBOOK_REQUIRE_TOKEN_FOR_READS")]
    pub require_token_for_reads: bool,

    /// The admin token of a new database, 16-256 visible ASCII characters. Without it, a token is
    /// generated and printed. Ignored if the database has tokens.
    #[arg(long, env = "PORTBOOK_BOOTSTRAP_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub bootstrap_token: Option<Secret>,
}

/// Limits. A call beyond a limit is rejected with `RESOURCE_EXHAUSTED` and a retry delay.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// The maximum number of connections. Further connections are closed immediately.
    #[arg(long, env = "PORTBOOK_MAX_CONNECTIONS", value_name = "COUNT", default_value_t = 16_384,
          value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub max_connections: u32,

    /// The maximum number of concurrent calls of a connection. Further calls wait in the client.
    #[arg(long, env = "PORTBOOK_MAX_STREAMS_PER_CONNECTION", value_name = "COUNT", default_value_t = 100,
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub max_streams_per_connection: u32,

    /// The maximum number of concurrent unary calls.
    #[arg(long, env = "PORTBOOK_MAX_CALLS", value_name = "COUNT", default_value_t = 1024,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_calls: u32,

    /// The maximum number of concurrent streaming calls, such as watches.
    #[arg(long, env = "PORTBOOK_MAX_STREAMING_CALLS", value_name = "COUNT", default_value_t = 4096,
          value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub max_streaming_calls: u32,

    /// The timeout of a unary call, in seconds. A shorter deadline of the client also applies.
    #[arg(long, env = "PORTBOOK_REQUEST_TIMEOUT", value_name = "SECONDS", default_value = "30", value_parser = nonzero_seconds)]
    pub request_timeout: Duration,

    /// The maximum number of calls per second with one token, or from one address without a token.
    /// Default: unlimited.
    #[arg(long, env = "PORTBOOK_RATE_LIMIT", value_name = "COUNT")]
    pub rate_limit: Option<NonZeroU32>,

    /// The maximum size of a request, in bytes.
    #[arg(long, env = "PORTBOOK_MAX_REQUEST_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=64 * 1024 * 1024))]
    pub max_request_bytes: u32,
}

/// Timeouts that no flag sets: tests shorten them.
#[derive(Clone, Copy, Debug)]
pub struct Timeouts {
    /// How long a client may take for the TLS handshake, and then for the HTTP/2 preface.
    pub handshake: Duration,
    /// How long a request may take from its first to its last byte.
    pub receive: Duration,
    /// How long a draining connection may be idle before it is closed without waiting for the client.
    pub drain_idle: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            handshake: Duration::from_secs(10),
            receive: Duration::from_secs(5),
            drain_idle: Duration::from_secs(1),
        }
    }
}

/// Logs, metrics and traces.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Telemetry")]
pub struct TelemetryArgs {
    /// The level of the log on stderr: error, warn, info, debug, trace, or a filter such as
    /// portbook=debug. Writes are logged at info, reads at debug.
    #[arg(long, env = "PORTBOOK_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// The format of the log: text, or one JSON object per line. Default: text on a terminal,
    /// otherwise JSON.
    #[arg(long, env = "PORTBOOK_LOG_FORMAT", value_enum)]
    pub log_format: Option<LogFormat>,

    /// Address and port of an HTTP listener for /metrics, /healthz and /readyz, without
    /// authentication. Default: none.
    #[arg(long, env = "PORTBOOK_HTTP_LISTEN", value_name = "ADDRESS:PORT", value_parser = address)]
    pub http_listen: Option<SocketAddr>,

    /// Export traces to this collector, such as http://127.0.0.1:4317 (OTLP over gRPC).
    #[arg(long, env = "PORTBOOK_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// The ratio of calls to trace, 0-1, if the client made no sampling decision.
    #[arg(long, env = "PORTBOOK_TRACE_RATIO", value_name = "RATIO", default_value = "1", value_parser = ratio)]
    pub trace_ratio: f64,
}

/// A setting that must not be printed, not even in an error.
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

/// The format of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    Text,
    /// For programs.
    Json,
}

/// Parses an address or a host name, and a port.
fn address(text: &str) -> Result<SocketAddr, String> {
    let address = text.to_socket_addrs().ok().and_then(|mut addresses| addresses.next());
    address.ok_or_else(|| "expected an address and a port such as 127.0.0.1:50051".into())
}

fn seconds(text: &str) -> Result<Duration, String> {
    match text.parse::<u64>() {
        Ok(seconds @ 0..=3600) => Ok(Duration::from_secs(seconds)),
        _ => Err("expected a number of seconds, 0-3600".into()),
    }
}

fn nonzero_seconds(text: &str) -> Result<Duration, String> {
    match seconds(text) {
        Ok(seconds) if !seconds.is_zero() => Ok(seconds),
        _ => Err("expected a number of seconds, 1-3600".into()),
    }
}

fn ratio(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(ratio) if (0.0..=1.0).contains(&ratio) => Ok(ratio),
        _ => Err("expected a number, 0-1".into()),
    }
}
