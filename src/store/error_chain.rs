//! Formats an error and its sources as one line.

use std::error::Error;

/// The error and its sources, each message once.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors include the message of their source.
        if !line.ends_with(&next) {
            line = format!("{line}: {next}");
        }
        source = error.source();
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{message}")]
    struct TestError {
        message: &'static str,
        source: Option<Box<TestError>>,
    }

    #[test]
    fn a_repeated_message_is_printed_once() {
        let error = |message, source: Option<TestError>| TestError {
            message,
            source: source.map(Box::new),
        };
        let error =
            error("not opened: no disk", Some(error("no disk", Some(error("unplugged", None)))));
        assert_eq!(error_chain(&error), "not opened: no disk: unplugged");
    }
}
