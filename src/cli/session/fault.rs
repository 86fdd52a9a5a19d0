//! Why a connection fails, in words that say what to do.

use std::error::Error;
use std::io;

use jiff::Timestamp;
use tokio_rustls::rustls;
use tokio_rustls::rustls::pki_types::UnixTime;
use tokio_rustls::rustls::{AlertDescription, CertificateError};

/// Why a connection fails, as far as somebody can do something about it.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConnectionFault {
    /// The server does not answer the handshake.
    #[error(
        "the server does not speak TLS there: write http:// in --addr, or give it a certificate"
    )]
    NotTls,
    /// Something else listens there, or this over TLS.
    #[error(
        "something listens there, but it does not answer as a gRPC server without encryption does: \
         if it speaks TLS, write https:// in --addr"
    )]
    Mute,
    /// The server ends the connection.
    #[error(
        "the server ended the connection before it answered: if it asks for a client certificate, \
         give one with --cert and --key"
    )]
    Ended,
    /// No gRPC.
    #[error("the server speaks TLS, but not gRPC (HTTP/2): look at the port in --addr")]
    NotGrpc,
    /// Nobody who is trusted says who the server is.
    #[error(
        "the server's certificate was not issued by an authority that is trusted here: give that \
         authority's certificate with --ca"
    )]
    Untrusted,
    /// A self-made certificate that is not made for a server, as `openssl req -x509` makes them.
    #[error(
        "the server's certificate is that of an authority: give the server one that such an \
         authority has issued, or make it with basicConstraints=CA:FALSE"
    )]
    Authority,
    /// The certificate is for other names.
    #[error("the server's certificate is not for the host in --addr, but for {}", names(.0))]
    OtherName(Vec<String>),
    /// The certificate has ended.
    #[error("the server's certificate has expired{}: it needs a new one", time(*.0))]
    Expired(Option<Timestamp>),
    /// The certificate has not begun.
    #[error("the server's certificate is not valid yet{}: look at the clocks", time(*.0))]
    NotYet(Option<Timestamp>),
    /// The certificate is not accepted for another reason.
    #[error("the server's certificate is not accepted: {0}")]
    Certificate(String),
    /// The server wants to know who calls.
    #[error("the server asks for a client certificate: give one with --cert and --key")]
    CertificateNeeded,
    /// The client certificate has ended.
    #[error("the server does not accept the client certificate, as it has expired: renew it")]
    CertificateExpired,
    /// The client certificate is of somebody whom the server does not trust.
    #[error(
        "the server does not accept the client certificate: give one that was issued by an \
         authority that the server trusts"
    )]
    CertificateRefused,
    /// Nothing in common.
    #[error(
        "the server has no way of encryption in common with this client, or asks for a client \
         certificate (--cert and --key)"
    )]
    Handshake,
    /// Something else.
    #[error("the encryption failed: {0}")]
    Tls(String),
}

fn names(names: &[String]) -> String {
    if names.is_empty() {
        return "none at all: it needs subject alternative names".into();
    }
    format!("{}: write one of these", names.join(", "))
}

fn time(time: Option<Timestamp>) -> String {
    time.map(|time| format!(" ({time})")).unwrap_or_default()
}

/// The alerts that have a meaning for who calls.
const ALERTS: [AlertDescription; 14] = [
    AlertDescription::CertificateRequired,
    AlertDescription::CertificateExpired,
    AlertDescription::CertificateRevoked,
    AlertDescription::CertificateUnknown,
    AlertDescription::BadCertificate,
    AlertDescription::UnsupportedCertificate,
    AlertDescription::UnknownCA,
    AlertDescription::DecryptError,
    AlertDescription::AccessDenied,
    AlertDescription::HandshakeFailure,
    AlertDescription::ProtocolVersion,
    AlertDescription::InsufficientSecurity,
    AlertDescription::NoApplicationProtocol,
    AlertDescription::UnrecognisedName,
];

/// An error and those behind it, also behind one of input and output, which does not name its cause
/// as its source.
fn causes<'e>(error: &'e (dyn Error + 'static)) -> impl Iterator<Item = &'e (dyn Error + 'static)> {
    std::iter::successors(Some(error), |&error: &&'e (dyn Error + 'static)| {
        let inner = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref);
        inner.map(|inner| inner as &(dyn Error + 'static)).or_else(|| error.source())
    })
}

/// What the encryption says, where it is behind this error.
pub(super) fn tls_error_in<'e>(error: &'e (dyn Error + 'static)) -> Option<&'e rustls::Error> {
    causes(error).find_map(|cause| cause.downcast_ref())
}

impl ConnectionFault {
    /// What is behind the failure of an encrypted connection.
    pub(in crate::cli) fn behind(error: &(dyn Error + 'static)) -> Option<Self> {
        if let Some(fault) = tls_error_in(error) {
            return Some(Self::from_tls(fault));
        }
        // The HTTP/2 layer keeps of an error only what it says; tonic keeps its own to itself.
        let says = |text: &str| causes(error).any(|cause| cause.to_string().contains(text));
        let told =
            |alert: &AlertDescription| says(&rustls::Error::AlertReceived(*alert).to_string());
        if let Some(alert) = ALERTS.iter().find(|alert| told(alert)) {
            return Some(Self::from_alert(*alert));
        }
        says("HTTP/2 was not negotiated").then_some(Self::NotGrpc)
    }

    /// What is behind the end of a connection that has not got as far as being encrypted.
    pub(super) fn in_handshake(error: &(dyn Error + 'static)) -> Option<Self> {
        let is_end = |cause: &(dyn Error + 'static)| {
            let ends = [io::ErrorKind::UnexpectedEof, io::ErrorKind::ConnectionReset];
            cause.downcast_ref::<io::Error>().is_some_and(|fault| ends.contains(&fault.kind()))
        };
        Self::behind(error).or_else(|| causes(error).any(is_end).then_some(Self::NotTls))
    }

    fn from_tls(fault: &rustls::Error) -> Self {
        match fault {
            rustls::Error::InvalidCertificate(fault) => Self::from_certificate(fault),
            rustls::Error::AlertReceived(alert) => Self::from_alert(*alert),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            rustls::Error::NoCertificatesPresented => Self::Certificate("it shows none".into()),
            fault => Self::Tls(fault.to_string()),
        }
    }

    fn from_certificate(fault: &CertificateError) -> Self {
        let at = |time: &UnixTime| Timestamp::from_second(i64::try_from(time.as_secs()).ok()?).ok();
        match fault {
            // An authority that nobody knows, or another one of the same name.
            CertificateError::UnknownIssuer | CertificateError::BadSignature => Self::Untrusted,
            CertificateError::Expired => Self::Expired(None),
            CertificateError::ExpiredContext { not_after, .. } => Self::Expired(at(not_after)),
            CertificateError::NotValidYet => Self::NotYet(None),
            CertificateError::NotValidYetContext { not_before, .. } => Self::NotYet(at(not_before)),
            CertificateError::NotValidForName => Self::OtherName(Vec::new()),
            CertificateError::NotValidForNameContext { presented, .. } => {
                Self::OtherName(presented.iter().map(|name| bare(name)).collect())
            }
            // What this crate does not name has a name in the one behind it.
            CertificateError::Other(fault) if fault.to_string().contains("CaUsedAsEndEntity") => {
                Self::Authority
            }
            fault => Self::Certificate(fault.to_string()),
        }
    }

    fn from_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::CertificateNeeded,
            AlertDescription::CertificateExpired => Self::CertificateExpired,
            AlertDescription::CertificateRevoked
            | AlertDescription::CertificateUnknown
            | AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::DecryptError
            | AlertDescription::AccessDenied => Self::CertificateRefused,
            AlertDescription::HandshakeFailure
            | AlertDescription::ProtocolVersion
            | AlertDescription::InsufficientSecurity => Self::Handshake,
            AlertDescription::NoApplicationProtocol => Self::NotGrpc,
            alert => Self::Tls(rustls::Error::AlertReceived(alert).to_string()),
        }
    }
}

/// `DnsName("localhost")` as the name alone.
fn bare(presented: &str) -> String {
    let inner = presented.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')'));
    inner.unwrap_or(presented).trim_matches('"').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrapped_is_found() {
        let fault = || rustls::Error::InvalidCertificate(CertificateError::UnknownIssuer);
        let wrapped = io::Error::new(io::ErrorKind::InvalidData, fault());
        assert_eq!(ConnectionFault::behind(&wrapped), Some(ConnectionFault::Untrusted));
        // As the HTTP/2 layer has it.
        let alert = rustls::Error::AlertReceived(AlertDescription::CertificateRequired).to_string();
        let kept = io::Error::other(alert);
        assert_eq!(ConnectionFault::behind(&kept), Some(ConnectionFault::CertificateNeeded));
        let reset = io::Error::from(io::ErrorKind::ConnectionReset);
        assert_eq!(ConnectionFault::behind(&reset), None);
        assert_eq!(ConnectionFault::in_handshake(&reset), Some(ConnectionFault::NotTls));
    }

    #[test]
    fn names_are_told_as_they_are_written() {
        let names = ["DnsName(\"localhost\")", "IpAddress(127.0.0.1)", "odd"].map(bare);
        assert_eq!(names, ["localhost", "127.0.0.1", "odd"]);
        assert_eq!(
            ConnectionFault::OtherName(names.to_vec()).to_string(),
            "the server's certificate is not for the host in --addr, but for localhost, 127.0.0.1, \
             odd: write one of these"
        );
    }
}
