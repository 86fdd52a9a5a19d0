//! Errors of connections to a server: the causes in one line, and a hint for the common ones.

use super::Address;

/// Why a connection to a server failed.
#[derive(Debug, thiserror::Error)]
#[error("connection to {addr} failed: {causes}")]
pub struct ConnectionError {
    pub(in crate::cli) addr: Address,
    /// The chain of errors. HTTP/2 and tonic keep only the texts of most of them.
    pub(in crate::cli) causes: String,
    pub(in crate::cli) stage: Stage,
}

/// How far the connection got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::cli) enum Stage {
    /// TCP or the TLS handshake failed.
    Connect,
    /// The connection failed before the first response. In TLS 1.3, a server rejects a client
    /// certificate only after the handshake of the client.
    FirstCall,
    /// The server responded to a previous call.
    Established,
}

impl ConnectionError {
    fn has(&self, texts: &[&str]) -> bool {
        texts.iter().any(|text| self.causes.contains(text))
    }

    /// Whether another attempt may succeed.
    pub(in crate::cli) fn is_retryable(&self) -> bool {
        !self.has(&["certificate", "fatal alert", "HTTP/2 was not negotiated"])
    }

    /// What to do about it.
    pub(in crate::cli) fn hint(&self) -> Option<String> {
        let host = self.addr.authority();
        Some(if self.has(&["tcp connect error", "dns error"]) || self.stage == Stage::Established {
            "check --addr, or start a server: portbook serve; lookup, list, search and check also \
             work without one: --offline"
                .into()
        } else if self.has(&["UnknownIssuer", "BadSignature"]) {
            "to trust the authority that issued the server certificate: --ca FILE".into()
        } else if self.has(&["certificate not valid for name"]) {
            "use a host name of the server certificate in --addr".into()
        } else if self.may_require_certificate() {
            "if the server requires a client certificate: --cert FILE --key FILE, issued by an \
             authority that the server trusts"
                .into()
        } else if !self.is_retryable() {
            return None;
        } else if self.addr.is_encrypted() {
            format!("if the server does not use TLS: --addr http://{host}")
        } else {
            format!("if the server uses TLS: --addr https://{host}")
        })
    }

    fn may_require_certificate(&self) -> bool {
        if self.has(&["fatal alert"]) {
            return !self.has(&["NoApplicationProtocol"]);
        }
        self.addr.is_encrypted() && self.stage == Stage::FirstCall
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints_name_the_flag() {
        let error = |addr: &str, causes: &str, stage| ConnectionError {
            addr: addr.parse().unwrap(),
            causes: causes.into(),
            stage,
        };
        for (addr, causes, stage, hint) in [
            ("https://a:1", "tcp connect error: refused", Stage::Connect, "portbook serve"),
            ("https://a:1", "unexpected end of file", Stage::Connect, "--addr http://a:1"),
            ("https://a:1", "broken pipe", Stage::FirstCall, "--cert FILE"),
            ("https://a:1", "received fatal alert: UnknownCA", Stage::FirstCall, "--cert FILE"),
            ("https://a:1", "invalid peer certificate: UnknownIssuer", Stage::Connect, "--ca FILE"),
            ("a:1", "connection closed", Stage::FirstCall, "--addr https://a:1"),
            ("a:1", "connection reset", Stage::Established, "portbook serve"),
        ] {
            let error = error(addr, causes, stage);
            assert!(error.hint().unwrap().contains(hint), "{error}");
        }
        let expired = error("https://a:1", "certificate expired", Stage::Connect);
        assert!(expired.hint().is_none() && !expired.is_retryable());
    }
}
