//! The other end of a connection.

use std::net::SocketAddr;
use std::sync::Arc;

/// The other end of a connection.
#[derive(Clone, Debug)]
pub struct Peer {
    /// Its address.
    pub address: SocketAddr,
    /// The names in the certificate that it has shown to be its own; none without one.
    pub certificate_names: Arc<[String]>,
}
