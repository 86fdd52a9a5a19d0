//! TLS: the server's certificate, the roots of client certificates, and reloading both while the server
//! is running.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arc_swap::ArcSwap;
use jiff::Timestamp;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::{self, PemObject};
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::{VerifierBuilderError, WebPkiClientVerifier};
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig, version};
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::grpc::layer::peer::Certificate;

/// The files, all PEM.
#[derive(Clone, Debug)]
pub struct TlsFiles {
    /// The server's certificate, followed by its chain.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The accepted roots of client certificates. If set, every client needs a certificate.
    pub client_roots: Option<PathBuf>,
}

/// Why TLS can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file can't be read or parsed.
    #[error("{path} could not be read: expected {expected} in PEM")]
    File {
        /// The file.
        path: PathBuf,
        /// The expected content.
        expected: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// The file contains no certificate.
    #[error("{path} contains no certificate: expected PEM with BEGIN CERTIFICATE")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A certificate is not a valid root.
    #[error("{path} contains a certificate that is not a valid root")]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate can't be parsed.
    #[error("the certificate in {path} could not be parsed")]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The roots can't be used.
    #[error("the roots for client certificates can't be used")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate and the key do not match, or can't be used.
    #[error("the certificate in {certificate} can't be used with the key in {key}")]
    Pair {
        /// The file of the certificate.
        certificate: PathBuf,
        /// The file of the key.
        key: PathBuf,
        /// Why.
        source: rustls::Error,
    },
}

/// The TLS configuration of the server.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    expire_time: Timestamp,
}

impl Tls {
    /// Reads the files.
    ///
    /// # Errors
    /// If one of them can't be read or used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::from_pointee(load(&files)?);
        Ok(Self { files, current })
    }

    /// Reads the files again, for new connections.
    ///
    /// # Errors
    /// If one of them can't be read or used. The current configuration then remains in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// When the server's certificate expires.
    #[must_use]
    pub fn expire_time(&self) -> Timestamp {
        self.current.load().expire_time
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| {
        let path = files.key.clone();
        TlsError::File { path, expected: "a private key", source }
    })?;
    let expire_time = expire_time(chain.first()).ok_or_else(|| {
        let path = files.certificate.clone();
        TlsError::Certificate { path }
    })?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider));
    let pair = |source| TlsError::Pair {
        certificate: files.certificate.clone(),
        key: files.key.clone(),
        source,
    };
    let versions = [&version::TLS13, &version::TLS12];
    let builder = builder.with_protocol_versions(&versions).map_err(pair)?;
    let builder = match &files.client_roots {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let roots = Arc::new(roots(path)?);
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider).build()?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(chain, key).map_err(pair)?;
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Loaded { config: Arc::new(config), expire_time })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed =
        |source| TlsError::File { path: path.to_owned(), expected: "a certificate", source };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for root in certificates(path)? {
        let failed = |source| TlsError::Root { path: path.to_owned(), source };
        roots.add(root).map_err(failed)?;
    }
    Ok(roots)
}

fn expire_time(certificate: Option<&CertificateDer<'_>>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate?).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// The client certificate: the first of the chain that the client has presented.
pub(super) fn client_certificate(chain: Option<&[CertificateDer<'_>]>) -> Option<Arc<Certificate>> {
    let first = chain?.first()?;
    let (_, certificate) = X509Certificate::from_der(first).ok()?;
    let names = subject_names(&certificate);
    Some(Arc::new(Certificate { names, expire_time: expire_time(Some(first))? }))
}

/// The alternative names of the types DNS, URI and email, or the common name if there are none.
fn subject_names(certificate: &X509Certificate<'_>) -> Vec<String> {
    let alternative = certificate.subject_alternative_name().ok().flatten();
    let names = alternative.iter().flat_map(|names| &names.value.general_names);
    let names: Vec<String> = names
        .filter_map(|name| match name {
            GeneralName::DNSName(name) | GeneralName::URI(name) | GeneralName::RFC822Name(name) => {
                Some((*name).to_owned())
            }
            _ => None,
        })
        .collect();
    if !names.is_empty() {
        return names;
    }
    let common = certificate.subject().iter_common_name();
    common.filter_map(|name| Some(name.as_str().ok()?.to_owned())).collect()
}
