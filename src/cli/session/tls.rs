//! What a client brings to an encrypted connection: whom it trusts, and who it is.

use std::io;
use std::path::{Path, PathBuf};

use clap::Args;
use clap::builder::{OsStringValueParser, TypedValueParser};
use tokio_rustls::rustls;
use tokio_rustls::rustls::RootCertStore;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tonic::transport::{Certificate, ClientTlsConfig, Endpoint, Identity};

use super::address::Address;
use super::fault::tls_error_in;
use crate::cli::Error;

/// The flags of an encrypted connection. An empty one is one that was not given.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::cli) struct TlsArgs {
    /// Trust the authorities in this PEM file, in place of those that the system trusts.
    #[arg(long, env = "PORTBOOK_CA", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) ca: Option<PathBuf>,

    /// The client certificate, as a PEM file, where the server asks for one.
    #[arg(long, env = "PORTBOOK_CERT", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) cert: Option<PathBuf>,

    /// The key of the client certificate, as a PEM file.
    #[arg(long, env = "PORTBOOK_KEY", value_name = "FILE", value_parser = file())]
    pub(in crate::cli) key: Option<PathBuf>,
}

/// Takes an empty path too, which clap's own parser of paths does not.
fn file() -> impl TypedValueParser<Value = PathBuf> {
    OsStringValueParser::new().map(PathBuf::from)
}

/// Why an encrypted connection can't be tried.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read.
    #[error("{flag} {path}, where {expected} is expected, can't be read")]
    Read {
        /// Which flag names it.
        flag: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
        /// Why not.
        source: io::Error,
    },
    /// A file holds something else.
    #[error("{flag} {path} is not what is expected there, which is {expected}")]
    Other {
        /// Which flag names it.
        flag: &'static str,
        /// Where it is.
        path: PathBuf,
        /// What it should hold.
        expected: &'static str,
    },
    /// A certificate and a key of another one.
    #[error("--cert {cert} and --key {key} do not belong together")]
    Mismatch {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
    },
    /// The system trusts nobody.
    #[error(
        "this system has no authorities that it trusts: give the one of the server with --ca FILE"
    )]
    NoRoots,
    /// The encryption can't be set up.
    #[error("the encryption can't be set up")]
    Setup(#[from] tonic::transport::Error),
}

/// What a flag stands for.
#[derive(Clone, Copy)]
struct Content {
    flag: &'static str,
    expected: &'static str,
}

const CA: Content =
    Content { flag: "--ca", expected: "a PEM file with -----BEGIN CERTIFICATE-----" };
const CERT: Content = Content { flag: "--cert", ..CA };
const KEY: Content = Content {
    flag: "--key",
    expected: "a PEM file with -----BEGIN PRIVATE KEY-----, not an encrypted one",
};

impl Content {
    fn read(self, path: &Path) -> Result<Vec<u8>, TlsError> {
        let Self { flag, expected } = self;
        std::fs::read(path).map_err(|source| TlsError::Read {
            flag,
            path: path.to_owned(),
            expected,
            source,
        })
    }

    fn other(self, path: &Path) -> TlsError {
        TlsError::Other { flag: self.flag, path: path.to_owned(), expected: self.expected }
    }

    /// The file, if it holds certificates and nothing that can't be understood.
    fn certificates(self, path: &Path) -> Result<Certificate, TlsError> {
        let pem = self.read(path)?;
        let mut store = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(&pem) {
            let certificate = certificate.map_err(|_| self.other(path))?;
            store.add(certificate).map_err(|_| self.other(path))?;
        }
        if store.is_empty() { Err(self.other(path)) } else { Ok(Certificate::from_pem(pem)) }
    }
}

impl TlsArgs {
    /// The endpoint, encrypted if its address asks for that.
    pub(super) fn apply(&self, endpoint: Endpoint, address: &Address) -> Result<Endpoint, Error> {
        let given =
            |path: &Option<PathBuf>| path.clone().filter(|path| !path.as_os_str().is_empty());
        let (ca, cert, key) = (given(&self.ca), given(&self.cert), given(&self.key));
        if !address.is_encrypted() {
            let flags = [("--ca", ca), ("--cert", cert), ("--key", key)];
            let given = flags.into_iter().find_map(|(flag, path)| path.map(|_| flag));
            return match given {
                Some(flag) => Err(Error::Usage(format!(
                    "{flag} is for encrypted connections, and {address} is a plain address: write \
                     --addr https://{address}"
                ))),
                None => Ok(endpoint),
            };
        }
        if ServerName::try_from(address.host()).is_err() {
            let message = format!("no certificate can be for {:?}", address.host());
            return Err(Error::Usage(message));
        }
        let config = match &ca {
            Some(path) => ClientTlsConfig::new().ca_certificate(CA.certificates(path)?),
            None => ClientTlsConfig::new().with_native_roots(),
        };
        let (config, own) = match (cert, key) {
            (None, None) => (config, None),
            (Some(cert), Some(key)) => (config.identity(identity(&cert, &key)?), Some((cert, key))),
            _ => return Err(Error::Usage("--cert and --key come together: give both".into())),
        };
        let endpoint = endpoint.tls_config(config);
        Ok(endpoint.map_err(|fault| match (tls_error_in(&fault), own) {
            (Some(rustls::Error::InconsistentKeys(_)), Some((cert, key))) => {
                TlsError::Mismatch { cert, key }
            }
            (None, _) if ca.is_none() => TlsError::NoRoots,
            _ => TlsError::Setup(fault),
        })?)
    }
}

fn identity(cert: &Path, key: &Path) -> Result<Identity, TlsError> {
    let certificate = CERT.certificates(cert)?;
    let pem = KEY.read(key)?;
    PrivateKeyDer::from_pem_slice(&pem).map_err(|_| KEY.other(key))?;
    Ok(Identity::from_pem(certificate, pem))
}

#[cfg(test)]
mod tests {
    use rcgen::{CertifiedKey, generate_simple_self_signed};

    use super::*;

    /// What comes of these files and this address.
    fn tried(address: &str, flags: [Option<&Path>; 3]) -> Result<(), Error> {
        let [ca, cert, key] = flags.map(|path| path.map(Path::to_owned));
        let address: Address = address.parse().unwrap();
        let endpoint = Endpoint::from_shared(address.uri()).unwrap();
        TlsArgs { ca, cert, key }.apply(endpoint, &address).map(|_| ())
    }

    fn told(address: &str, flags: [Option<&Path>; 3]) -> String {
        let fault = tried(address, flags).unwrap_err();
        assert_eq!(
            format!("{:?}", fault.exit_code()),
            format!("{:?}", std::process::ExitCode::from(2))
        );
        fault.report()
    }

    #[test]
    fn files_are_looked_at_before_anything_is_sent() {
        let folder = tempfile::tempdir().unwrap();
        let file = |name: &str, bytes: &[u8]| {
            let path = folder.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let own = || generate_simple_self_signed(["ci".to_owned()]).unwrap();
        let CertifiedKey { cert, signing_key } = own();
        let (cert, key) = (
            file("cert", cert.pem().as_bytes()),
            file("key", signing_key.serialize_pem().as_bytes()),
        );
        let other = file("other", own().signing_key.serialize_pem().as_bytes());
        let text = file("text", b"not PEM at all");
        let broken =
            file("broken", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
        let at = "https://localhost:1";
        tried(at, [Some(&cert), Some(&cert), Some(&key)]).unwrap();
        tried(at, [Some(&cert), Some(Path::new("")), Some(Path::new(""))]).unwrap();
        tried("localhost:1", [Some(Path::new("")), None, None]).unwrap();

        let missing = folder.path().join("missing");
        let said = told(at, [Some(&missing), None, None]);
        assert!(said.starts_with(&format!("--ca {}", missing.display())), "{said}");
        assert!(said.contains("BEGIN CERTIFICATE") && said.contains("No such file"), "{said}");
        for wrong in [&text, &broken, &key] {
            let said = told(at, [Some(wrong), None, None]);
            assert!(said.contains(&*wrong.display().to_string()), "{said}");
            assert!(said.contains("BEGIN CERTIFICATE"), "{said}");
        }
        let said = told(at, [Some(&cert), Some(&cert), Some(&cert)]);
        assert!(said.starts_with("--key") && said.contains("BEGIN PRIVATE KEY"), "{said}");
        let said = told(at, [Some(&cert), Some(&cert), Some(&other)]);
        assert!(said.ends_with("do not belong together"), "{said}");
        let said = told(at, [Some(&cert), Some(&cert), None]);
        assert!(said.ends_with("give both"), "{said}");
        let said = told("https://-:1", [Some(&cert), None, None]);
        assert!(said.starts_with("no certificate can be for"), "{said}");
    }

    #[test]
    fn encryption_is_asked_for_by_the_address() {
        for flags in [
            [Some(Path::new("x")), None, None],
            [None, Some(Path::new("x")), None],
            [None, None, Some(Path::new("x"))],
        ] {
            let said = told("db:1", flags);
            assert!(said.ends_with("write --addr https://db:1"), "{said}");
        }
    }
}
