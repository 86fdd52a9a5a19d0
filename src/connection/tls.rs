//! TLS: the server's certificate, whose client certificates are taken, and a change of either while
//! the server runs.

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
    /// The server's certificate, then those that lead to its root.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The roots of the client certificates that are taken; with them, every client needs one.
    pub client_roots: Option<PathBuf>,
}

/// Why TLS can't be had.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is not what it should be.
    #[error("{path} could not be read: {what} in PEM is asked for")]
    File {
        /// The file.
        path: PathBuf,
        /// What it should have in it.
        what: &'static str,
        /// Why.
        source: pem::Error,
    },
    /// There is no certificate in the file.
    #[error("{path} has no certificate in it: a PEM with BEGIN CERTIFICATE is asked for")]
    NoCertificate {
        /// The file.
        path: PathBuf,
    },
    /// A root is none.
    #[error("{path} has a certificate in it that can't be a root of others")]
    Root {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The certificate can't be understood.
    #[error("the certificate in {path} could not be understood")]
    Certificate {
        /// The file.
        path: PathBuf,
    },
    /// The roots can't be used.
    #[error("the roots for client certificates can't be used")]
    Verifier(#[from] VerifierBuilderError),
    /// The certificate and the key do not go together, or can't be used.
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

/// What connections are encrypted with.
#[derive(Debug)]
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<Loaded>,
}

#[derive(Debug)]
struct Loaded {
    config: Arc<ServerConfig>,
    end: Timestamp,
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

    /// Reads the files again, for the connections that come from now on.
    ///
    /// # Errors
    /// If one of them can't be read or used: all stays as it was.
    pub fn reload(&self) -> Result<(), TlsError> {
        self.current.store(Arc::new(load(&self.files)?));
        Ok(())
    }

    /// When the server's certificate ends.
    #[must_use]
    pub fn end(&self) -> Timestamp {
        self.current.load().end
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.current.load().config))
    }
}

fn load(files: &TlsFiles) -> Result<Loaded, TlsError> {
    let chain = certificates(&files.certificate)?;
    let key = PrivateKeyDer::from_pem_file(&files.key).map_err(|source| {
        let path = files.key.clone();
        TlsError::File { path, what: "a private key", source }
    })?;
    let end = end_of(chain.first()).ok_or_else(|| {
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
    Ok(Loaded { config: Arc::new(config), end })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let failed = |source| TlsError::File { path: path.to_owned(), what: "a certificate", source };
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

fn end_of(certificate: Option<&CertificateDer<'_>>) -> Option<Timestamp> {
    let (_, certificate) = X509Certificate::from_der(certificate?).ok()?;
    Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()
}

/// The certificate of whoever has shown these to be their own, the first of them.
pub(super) fn certificate_of(shown: Option<&[CertificateDer<'_>]>) -> Option<Arc<Certificate>> {
    let first = shown?.first()?;
    let (_, certificate) = X509Certificate::from_der(first).ok()?;
    let names = names_of(&certificate);
    Some(Arc::new(Certificate { names, expire_time: end_of(Some(first))? }))
}

/// The alternative names of types DNS, URI and email, or the common name where there is none of these.
fn names_of(certificate: &X509Certificate<'_>) -> Vec<String> {
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
