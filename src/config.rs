//! What the server can be told: flags, each with a twin in the environment.

use std::fmt;
use std::net::{SocketAddr, ToSocketAddrs};
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

    /// How long calls that are under way may take to end after SIGTERM or SIGINT, in seconds.
    #[arg(long, env = "PORTBOOK_SHUTDOWN_GRACE", value_name = "SECONDS", default_value = "10", value_parser = seconds)]
    pub shutdown_grace: Duration,

    /// The largest request that is taken, in bytes.
    #[arg(long, env = "PORTBOOK_MAX_REQUEST_BYTES", value_name = "BYTES", default_value_t = 1024 * 1024,
          value_parser = clap::value_parser!(u32).range(1024..=64 * 1024 * 1024))]
    pub max_request_bytes: u32,

    /// What the log on stderr has in it: error, warn, info, debug, trace, or a filter such as
    /// portbook=debug.
    #[arg(long, env = "PORTBOOK_LOG", value_name = "FILTER", default_value = "info")]
    pub log: String,

    /// How the log is written: text, or one JSON object a line.
    #[arg(long, env = "PORTBOOK_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,

    /// The admin token of a new database, 16-256 visible ASCII characters. Without it one is made
    /// and shown. Ignored if the database has tokens.
    #[arg(long, env = "PORTBOOK_BOOTSTRAP_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub bootstrap_token: Option<Secret>,
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
