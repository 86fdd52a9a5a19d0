//! Why a server can't start, or has to stop.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;

use tokio::task::JoinError;

use crate::access::TokenFormatError;
use crate::connection::tls::TlsError;
use crate::store::{OpenError, StoreError};
use crate::telemetry::TelemetryError;

/// Why the server could not start, or stopped without a signal.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address other than loopback without encryption.
    #[error(
        "--listen {0} is reachable from other machines, and tokens would cross the network in \
         plaintext: give --tls-cert and --tls-key, listen on a loopback address such as \
         127.0.0.1:50051, or add --allow-plaintext"
    )]
    Plaintext(SocketAddr),
    /// The server can't listen on the address.
    #[error("--listen {address}: can't listen on this address")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// Telemetry can't be started.
    #[error(transparent)]
    Telemetry(#[from] TelemetryError),
    /// TLS can't be set up.
    #[error("--tls-cert, --tls-key or --tls-client-ca can't be used")]
    Tls(#[from] TlsError),
    /// The database can't be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The chosen admin token is not a valid token.
    #[error("--bootstrap-token or PORTBOOK_BOOTSTRAP_TOKEN can't be used")]
    BootstrapToken(#[from] TokenFormatError),
    /// The operating system returned no random bytes.
    #[error("the operating system returned no random bytes for a token")]
    Random(#[from] getrandom::Error),
    /// The content of the database can't be read.
    #[error("the database {database} can't be read")]
    Load {
        /// The database.
        database: PathBuf,
        /// Why.
        source: StoreError,
    },
    /// The database failed.
    #[error("the database can't be used")]
    Store(#[from] StoreError),
    /// The descriptors for reflection are invalid.
    #[error("the reflection service can't be built")]
    Reflection(#[from] tonic_reflection::server::Error),
    /// The writer stopped with an error.
    #[error("the writer stopped, so the server stops")]
    Writer(#[source] StoreError),
    /// The writer panicked.
    #[error("the writer failed, so the server stops")]
    WriterPanic(#[from] JoinError),
    /// The HTTP listener for metrics and probes stopped.
    #[error("--http-listen: the listener stopped, so the server stops")]
    Http(#[source] io::Error),
    /// A second signal to stop while calls were in progress.
    #[error("received a second signal: stopped without waiting for the calls in progress")]
    SecondSignal,
    /// Signal handlers can't be installed, or the ready line can't be written.
    #[error("the process could not be set up")]
    Process(#[from] io::Error),
}
