//! Telling an error: what happened and what is behind it, in one line.

use std::error::Error;

/// An error and what is behind it, each said once.
pub(crate) fn error_chain(error: &dyn Error) -> String {
    let mut line = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        let next = error.to_string();
        // Some errors repeat what they wrap.
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
    #[error("{told}")]
    struct Fault {
        told: &'static str,
        source: Option<Box<Fault>>,
    }

    #[test]
    fn what_an_error_repeats_is_told_once() {
        let of = |told, source: Option<Fault>| Fault { told, source: source.map(Box::new) };
        let fault = of("not opened: no disk", Some(of("no disk", Some(of("unplugged", None)))));
        assert_eq!(error_chain(&fault), "not opened: no disk: unplugged");
    }
}
