//! The log, on stderr.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use crate::config::LogFormat;

/// Starts the log of this process. The default format is text on a terminal and JSON otherwise.
pub(super) fn start(filter: &str, format: Option<LogFormat>) -> Result<(), ParseError> {
    let filter = EnvFilter::try_new(filter)?;
    let is_terminal = std::io::stderr().is_terminal();
    let is_colored = is_terminal && std::env::var_os("NO_COLOR").is_none();
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(is_colored)
        .with_writer(std::io::stderr)
        // If the log can't be written, as on a full disk, there is no other place for this error.
        .log_internal_errors(false);
    match format.unwrap_or(if is_terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
    Ok(())
}
