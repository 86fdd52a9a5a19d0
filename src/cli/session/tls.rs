//! The TLS settings of a client: trusted authorities and the client certificate.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::address::Address;
use crate::cli::Error;
use crate::store::error_chain;

/// The flags of TLS connections. An empty value means that the flag is not set.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct TlsArgs {
    /// PEM file of the certificate authorities to trust for the server certificate. Default: the
    /// authorities that the system trusts. Requires an https:// address.
    #[arg(long, env = "PORTBOOK_CA", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) ca: Option<PathBuf>,

    /// PEM file of the client certificate, for servers that require one. Requires --key and an
    /// https:// address.
    #[arg(long, env = "PORTBOOK_CERT", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) cert: Option<PathBuf>,

    /// PEM file of the unencrypted private key of the client certificate. Requires --cert.
    #[arg(long, env = "PORTBOOK_KEY", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) key: Option<PathBuf>,
}

/// Accepts an empty path, which clap's path parser rejects.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Why TLS cannot be configured.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{flag} {path} cannot be read (expected {expected})")]
    Read {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
        /// The I/O error.
        source: io::Error,
    },
    /// A file has an unexpected content.
    #[error("{flag} {path} is not valid: expected {expected}")]
    Invalid {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
    },
    /// The certificate is for another key.
    #[error("--cert {cert} and --key {key} do not match: the certificate is for another key")]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The system has no trusted authorities.
    #[error(
        "this system has no trusted certificate authorities: specify the authority of the server \
         certificate with --ca FILE"
    )]
    NoRoots,
    /// The settings are rejected for another reason.
    #[error("TLS cannot be configured")]
    Setup(#[from] tonic::transport::Error),
}

/// A flag and the expected content of its file.
#[derive(Clone, Copy)]
struct FileFlag {
    flag: &'static str,
    expected: &'static str,
}

const CA: FileFlag =
    FileFlag { flag: "--ca", expected: "a PEM file that contains -----BEGIN CERTIFICATE-----" };
const CERT: FileFlag = FileFlag { flag: "--cert", ..CA };
const KEY: FileFlag = FileFlag {
    flag: "--key",
    expected: "a PEM file that contains an unencrypted -----BEGIN PRIVATE KEY-----",
};

impl FileFlag {
    fn read(self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let Self { flag, expected } = self;
        std::fs::read(path).map_err(|source| TlsError::Read {
            flag,
            path: path.to_owned(),
            expected,
            source,
        })
    }

    fn invalid(self, path: &Path) -> TlsError {
        TlsError::Invalid { flag: self.flag, path: path.to_owned(), expected: self.expected }
    }

    /// Reads the file. It must contain at least one certificate and only valid ones.
    fn certificates(self, path: &Path) -> Result<Certificate, TlsError> {
        let pem = self.read(path)?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| self.invalid(path))?;
            store.add(certificate).map_err(|_| self.invalid(path))?;
        }
        if store.is_empty() { Err(self.invalid(path)) } else { Ok(Certificate::from_pem(pem)) }
    }
}

impl TlsArgs {
    /// Configures TLS for an https:// address.
    pub(super) fn apply(&self, endpoint: Endpoint, address: &Address) -> Result<Endpoint, Error> {
        let value =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let (ca, cert, key) = (value(&self.ca), value(&self.cert), value(&self.key));
        if !address.is_encrypted() {
            let flags = [("--ca", ca), ("--cert", cert), ("--key", key)];
            let flag = flags.into_iter().find_map(|(flag, path)| path.map(|_| flag));
            return match flag {
                Some(flag) => Err(Error::Usage(format!(
                    "{flag} requires TLS, but {address} is a plaintext address: use --addr \
                     https://{address}"
                ))),
                None => Ok(endpoint),
            };
        }
        if ServerName::try_from(address.host()).is_err() {
            let message =
                format!("{:?} is not a host name or IP address that TLS supports", address.host());
            return Err(Error::Usage(message));
        }
        let config = match &ca {
            Some(path) => ClientTlsConfig::new().ca_certificate(CA.certificates(path)?),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let (config, identity) = match (cert, key) {
            (None, None) => (config, None),
            (Some(cert), Some(key)) => (config.identity(identity(&cert, &key)?), Some((cert, key))),
            _ => return Err(Error::Usage("--cert and --key require each other".into())),
        };
        let configured = endpoint.tls_config(config);
        Ok(configured.map_err(|error| {
            let causes = error_chain(&error);
            match identity {
                Some((cert, key)) if causes.contains("KeyMismatch") => {
                    TlsError::Mismatch { cert, key }
                }
                _ if causes.contains("no native certs found") => TlsError::NoRoots,
                _ => TlsError::Setup(error),
            }
        })?)
    }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    let certificate = CERT.certificates(cert)?;
    let pem = KEY.read(key)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| KEY.invalid(key))?;
    Ok(Identity::from_pem(certificate, pem))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// Configures TLS with --ca, --cert and --key for this address.
    fn apply(address: &str, flags: [Option<&Path>; 3]) -> Result<(), Error> {
        let [ca, cert, key] = flags.map(|path| path.map(Path::to_owned));
        let address: Address = address.parse().unwrap();
        let endpoint = Endpoint::from_shared(address.uri()).unwrap();
        TlsArgs { ca, cert, key }.apply(endpoint, &address).map(|_| ())
    }

    fn rejected(address: &str, flags: [Option<&Path>; 3]) -> String {
        let error = apply(address, flags).unwrap_err();
        assert_eq!(
            format!("{:?}", error.exit_code()),
            format!("{:?}", std::process::ExitCode::from(2))
        );
        error.report()
    }

    #[test]
    fn files_are_checked_before_connecting() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let generate = || generate_simple_self_signed(["ci".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = generate();
        let (cert, key) = (
            file("cert", cert.pem().as_bytes()),
            file("key", signing_key.serialize_pem().as_bytes()),
        );
        let other = file("other", generate().signing_key.serialize_pem().as_bytes());
        let text = file("text", b"not PEM at all");
        let broken =
            file("broken", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let addr = "https://localhost:1";
        apply(addr, [Some(&cert), Some(&cert), Some(&key)]).unwrap();
        apply(addr, [Some(&cert), Some(Path::new("")), Some(Path::new(""))]).unwrap();
        apply("localhost:1", [Some(Path::new("")), None, None]).unwrap();

        let missing = folder.path().join("missing");
        let report = rejected(addr, [Some(&missing), None, None]);
        assert!(report.starts_with(&format!("--ca {}", missing.display())), "{report}");
        assert!(
            report.contains("BEGIN CERTIFICATE") && report.contains("No such file"),
            "{report}"
        );
        for wrong in [&text, &broken, &key] {
            let report = rejected(addr, [Some(wrong), None, None]);
            assert!(report.contains(&*wrong.display().to_string()), "{report}");
            assert!(report.contains("BEGIN CERTIFICATE"), "{report}");
        }
        let report = rejected(addr, [Some(&cert), Some(&cert), Some(&cert)]);
        assert!(report.starts_with("--key") && report.contains("BEGIN PRIVATE KEY"), "{report}");
        let report = rejected(addr, [Some(&cert), Some(&cert), Some(&other)]);
        assert!(report.ends_with("the certificate is for another key"), "{report}");
        let report = rejected(addr, [Some(&cert), Some(&cert), None]);
        assert!(report.ends_with("require each other"), "{report}");
        let report = rejected("https://-:1", [Some(&cert), None, None]);
        assert!(report.contains("is not a host name or IP address"), "{report}");
    }

    #[test]
    fn tls_flags_require_an_https_address() {
        for flags in [
            [Some(Path::new("x")), None, None],
            [None, Some(Path::new("x")), None],
            [None, None, Some(Path::new("x"))],
        ] {
            let report = rejected("db:1", flags);
            assert!(report.ends_with("use --addr https://db:1"), "{report}");
        }
    }
}
