//! TLS connections of the command line, and its errors when they fail.
//!
//! A small TLS proxy in this file forwards everything to a real server.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DistinguishedName, DnType, IsCa, KeyPair,
    date_time_ymd,
};
use tempfile::TempDir;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{RootCertStore, ServerConfig};

use crate::harness::{Server, TOKEN, portbook};

/// A certificate authority, and files with the certificates that it issues.
struct Authority {
    issuer: CertifiedIssuer<'static, KeyPair>,
    folder: TempDir,
}

/// A certificate and its key, as files.
#[derive(Clone)]
struct Identity {
    cert: PathBuf,
    key: PathBuf,
}

impl Authority {
    fn new() -> Self {
        Self::named("An authority")
    }

    fn named(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let folder = TempDir::new().unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.pem()).unwrap();
        Self { issuer, folder }
    }

    fn ca(&self) -> PathBuf {
        self.folder.path().join("ca.pem")
    }

    fn issue(&self, name: &str, change: impl FnOnce(&mut CertificateParams)) -> Identity {
        let mut params = CertificateParams::new([name.to_owned()]).unwrap();
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.issuer).unwrap();
        let folder = tempfile::tempdir_in(self.folder.path()).unwrap().keep();
        let identity = Identity { cert: folder.join("cert.pem"), key: folder.join("key.pem") };
        std::fs::write(&identity.cert, cert.pem()).unwrap();
        std::fs::write(&identity.key, key.serialize_pem()).unwrap();
        identity
    }
}

/// The settings of a TLS proxy: client authentication and protocols.
struct TlsProxy<'a> {
    identity: Identity,
    clients_of: Option<&'a Authority>,
    protocol: &'static [u8],
}

impl TlsProxy<'_> {
    /// Terminates TLS for the server until the test ends.
    async fn run(self, server: &Server) -> SocketAddr {
        let builder = ServerConfig::builder_with_provider(Arc::new(
            tokio_rustls::rustls::crypto::ring::default_provider(),
        ))
        .with_safe_default_protocol_versions()
        .unwrap();
        let builder = match self.clients_of {
            Some(authority) => {
                let mut roots = RootCertStore::empty();
                roots.add(authority.issuer.der().clone()).unwrap();
                let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
                builder.with_client_cert_verifier(
                    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                        .build()
                        .unwrap(),
                )
            }
            None => builder.with_no_client_auth(),
        };
        let cert = CertificateDer::from_pem_file(&self.identity.cert).unwrap();
        let key = PrivateKeyDer::from_pem_file(&self.identity.key).unwrap();
        let mut config = builder.with_single_cert(vec![cert], key).unwrap();
        config.alpn_protocols = vec![self.protocol.to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, behind) = (listener.local_addr().unwrap(), server.address.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    // Failed handshakes and closed connections are expected.
                    if let Ok(mut stream) = acceptor.accept(stream).await {
                        let mut behind = TcpStream::connect(behind).await.unwrap();
                        let _ = copy_bidirectional(&mut stream, &mut behind).await;
                    }
                });
            }
        });
        address
    }
}

const GRPC: &[u8] = b"h2";

fn lookup(addr: &str) -> Command {
    let mut command = portbook();
    command.args(["lookup", "443", "--addr", addr]);
    command
}

fn with(mut command: Command, flags: &[(&str, &Path)]) -> Command {
    for (flag, path) in flags {
        command.arg(flag).arg(path);
    }
    command
}

async fn run_command(mut command: Command) -> Output {
    tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap()
}

async fn assert_success(command: Command) {
    let output = run_command(command).await;
    assert!(output.status.success(), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stdout).contains("https"), "{output:?}");
    assert!(output.stderr.is_empty(), "{output:?}");
}

/// The error output of a command that can't connect.
async fn failure_output(command: Command) -> String {
    let output = run_command(command).await;
    assert_eq!(output.status.code(), Some(4), "{output:?}");
    String::from_utf8(output.stderr).unwrap()
}

#[tokio::test]
async fn a_trusted_server_is_called_over_tls() {
    let (server, authority) = (Server::start(), Authority::new());
    let identity = authority.issue("localhost", |_| {});
    let proxy = TlsProxy { identity, clients_of: None, protocol: GRPC }.run(&server).await;
    let at = format!("https://localhost:{}", proxy.port());
    let ca = authority.ca();
    assert_success(with(lookup(&at), &[("--ca", &ca)])).await;
    // With the environment variables, and with the system's trusted roots.
    let mut command = lookup(&at);
    command.env("PORTBOOK_CA", &ca).env("PORTBOOK_TOKEN", TOKEN);
    assert_success(command).await;
    let mut command = lookup(&at);
    command.env("SSL_CERT_FILE", &ca).env_remove("SSL_CERT_DIR");
    assert_success(command).await;
    let mut command = portbook();
    command.args(["token", "show", "--addr", &at, "--token", TOKEN, "--ca"]).arg(&ca);
    assert!(run_command(command).await.status.success());
}

#[tokio::test]
async fn an_untrusted_server_is_reported() {
    let (server, authority) = (Server::start(), Authority::new());
    let (other, namesake) = (Authority::named("Another"), Authority::new());
    let good = || authority.issue("localhost", |_| {});
    let old = authority.issue("localhost", |params| {
        params.not_before = date_time_ymd(2020, 1, 1);
        params.not_after = date_time_ymd(2021, 1, 1);
    });
    let early =
        authority.issue("localhost", |params| params.not_before = date_time_ymd(4000, 1, 1));
    let elsewhere = authority.issue("db.example.com", |_| {});
    let itself = authority.issue("localhost", |params| {
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    });
    let (ca, other_ca, namesake_ca) = (authority.ca(), other.ca(), namesake.ca());
    let untrusted = "\nto trust the authority that issued the server certificate: --ca FILE";
    for (identity, protocol, ca, expected) in [
        (good(), GRPC, &other_ca, untrusted),
        (good(), GRPC, &namesake_ca, untrusted),
        (old, GRPC, &ca, "certificate expired"),
        (early, GRPC, &ca, "certificate not valid yet"),
        (elsewhere.clone(), GRPC, &ca, "certificate is only valid for DnsName(\"db.example.com\")"),
        (elsewhere, GRPC, &ca, "\nuse a host name of the server certificate in --addr"),
        (itself, GRPC, &ca, "CaUsedAsEndEntity"),
        (good(), b"http/1.1", &ca, "failed: received fatal alert: NoApplicationProtocol\n"),
    ] {
        let proxy = TlsProxy { identity, clients_of: None, protocol }.run(&server).await;
        let at = format!("https://localhost:{}", proxy.port());
        let message = failure_output(with(lookup(&at), &[("--ca", ca)])).await;
        let start = format!("portbook: connection to {at} failed: ");
        assert!(message.starts_with(&start), "{message}");
        assert!(message.contains(expected), "{message}");
    }
}

#[tokio::test]
async fn a_client_certificate_is_sent_when_requested() {
    let (server, authority, other) = (Server::start(), Authority::new(), Authority::new());
    let identity = authority.issue("localhost", |_| {});
    let clients_of = Some(&authority);
    let proxy = TlsProxy { identity, clients_of, protocol: GRPC }.run(&server).await;
    let at = format!("https://localhost:{}", proxy.port());
    let ca = authority.ca();
    let lookup_as = |identity: &Identity| {
        with(lookup(&at), &[("--ca", &ca), ("--cert", &identity.cert), ("--key", &identity.key)])
    };
    assert_success(lookup_as(&authority.issue("ci", |_| {}))).await;

    let old = authority.issue("ci", |params| params.not_after = date_time_ymd(2021, 1, 1));
    // The client receives the alert of the server or, if it writes first, only a closed connection.
    let hint = "\nif the server requires a client certificate: --cert FILE --key FILE";
    for identity in [old, other.issue("ci", |_| {})] {
        let message = failure_output(lookup_as(&identity)).await;
        assert!(message.contains(hint), "{message}");
    }
    for _ in 0..20 {
        let message = failure_output(with(lookup(&at), &[("--ca", &ca)])).await;
        assert!(message.contains(hint), "{message}");
    }
}

#[tokio::test]
async fn tls_at_one_end_only_is_reported() {
    let (server, authority) = (Server::start(), Authority::new());
    let identity = authority.issue("localhost", |_| {});
    let proxy = TlsProxy { identity, clients_of: None, protocol: GRPC }.run(&server).await;
    let text = failure_output(with(
        lookup(&format!("https://{}", server.address)),
        &[("--ca", &authority.ca())],
    ))
    .await;
    let hint = format!("\nif the server does not use TLS: --addr http://{}", server.address);
    assert!(text.contains(&hint), "{text}");
    let hint = format!("\nif the server uses TLS: --addr https://{proxy}");
    let text = failure_output(lookup(&proxy.to_string())).await;
    assert!(text.contains(&hint), "{text}");
    let mut command = portbook();
    command.args(["health", "--addr", &proxy.to_string()]);
    assert!(failure_output(command).await.contains(&hint));
}

#[test]
fn a_plaintext_token_is_warned_about_once() {
    // Nothing listens on port 1.
    let run = |addr: &str, token: Option<&str>| {
        let mut command = lookup(addr);
        if let Some(token) = token {
            command.env("PORTBOOK_TOKEN", token);
        }
        String::from_utf8(command.output().unwrap().stderr).unwrap()
    };
    let text = run("0.0.0.0:1", Some(TOKEN));
    assert_eq!(text.matches("is sent to 0.0.0.0:1 in plaintext").count(), 1, "{text}");
    assert!(!text.contains(TOKEN), "{text}");
    for (addr, token) in [("0.0.0.0:1", None), ("localhost:1", Some(TOKEN))] {
        assert!(!run(addr, token).contains("in plaintext"), "{addr}");
    }
}
