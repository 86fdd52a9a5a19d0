//! Why a server can't start, or has to end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::JoinError;

use crate::access::TokenFormatError;
use crate::connection::tls::TlsError;
use crate::store::StoreError;
use crate::store::sqlite::OpenError;
use crate::telemetry::TelemetryError;

/// Why the server could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address that others reach, without encryption.
    #[error(
        "--listen {0} is reachable from other machines, and tokens would cross the network in the \
         clear: give --tls-cert and --tls-key, listen on a loopback address such as \
         127.0.0.1:50051, or add --allow-plaintext"
    )]
    Plaintext(SocketAddr),
    /// The address can't be listened on.
    #[error("--listen {address}: the address can't be listened on")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A setting of what is told can't be used.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// Calls can't be encrypted.
    #[error("--tls-cert, --tls-key or --tls-client-ca can't be used")]
    Tls(#[from] TlsError),
    /// The database can't be used.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The chosen admin token is no token.
    #[error("--bootstrap-token or PORTBOOK_BOOTSTRAP_TOKEN can't be used")]
    BootstrapToken(#[from] TokenFormatError),
    /// No randomness.
    #[error("the operating system has no randomness for a token")]
    Random(#[from] getrandom::Error),
    /// What is in the database can't be read.
    #[error("the database {database} can't be read")]
    Load {
        /// Which.
        database: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The database fails.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    /// The descriptors for reflection are damaged.
    #[error("the reflection service can't be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The writer ended by itself.
    #[error("the writer ended, so the server does too")]
    Writer(#[source] StoreError),
    /// The writer panicked.
    #[error("the writer failed, so the server ends")]
    WriterPanic(#[from] JoinError),
    /// The listener for metrics and probes ended by itself.
    #[error("--http-listen: the listener has ended, so the server does too")]
    Http(#[source] io::Error),
    /// A second signal while calls were still ending.
    #[error("told to stop a second time: ended without waiting for the calls under way")]
    ToldTwice,
    /// Signals can't be listened for, or the ready line can't be written.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
}
