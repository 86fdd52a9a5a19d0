//! The server.

use crate::config::ServeArgs;

/// Why the server could not start, or ended before it was told to.
#[derive(Debug, thiserror::Error)]
#[error("the server is not part of this build")]
pub struct ServeError;

/// Serves until SIGTERM or SIGINT.
///
/// # Errors
/// If it can't start, or has to end by itself.
pub async fn serve(_: ServeArgs) -> Result<(), ServeError> {
    Err(ServeError)
}
