//! What is done once, before the first call.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::time::timeout;

use super::ServeError;
use crate::access::{PlainToken, Token, Tokens};
use crate::registry::snapshot::Snapshot;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;

/// A start that takes longer than this says so.
const PATIENCE: Duration = Duration::from_secs(1);

/// Waits for a new database to be seeded, and says so if that takes long.
pub(super) async fn patiently<T>(opening: impl Future<Output = T>) -> T {
    tokio::pin!(opening);
    let started = Instant::now();
    loop {
        match timeout(PATIENCE, &mut opening).await {
            Ok(opened) => return opened,
            Err(_) => tracing::info!(
                seconds = started.elapsed().as_secs(),
                "preparing the database: a new one is seeded with IANA's registry, an older one \
                 brought up to date"
            ),
        }
    }
}

/// Gives a database that has no token its first one, and shows it unless it was chosen.
pub(super) async fn ensure_token(
    store: &mut SqliteStore,
    tokens: &mut Tokens,
    chosen: Option<PlainToken>,
    now: Timestamp,
    address: SocketAddr,
) -> Result<(), ServeError> {
    if !tokens.is_empty() {
        if chosen.is_some() {
            tracing::warn!(
                "the database has its tokens already: the one given at this start is ignored"
            );
        }
        return Ok(());
    }
    let secret = match chosen {
        Some(chosen) => {
            tracing::info!("the admin token is the one that was given");
            chosen
        }
        None => {
            let secret = PlainToken::generate()?;
            // Shown before it is kept: if the process ends in between, the next start makes
            // another, and nobody is locked out.
            show_token(&secret, address)?;
            secret
        }
    };
    let first = Token::first_admin(secret.hash(), now);
    store.put_token(&first).await?;
    *tokens = tokens.with(first.into());
    Ok(())
}

fn show_token(token: &PlainToken, address: SocketAddr) -> io::Result<()> {
    let secret = token.reveal();
    writeln!(
        io::stderr(),
        "\nThis database is new. Its admin token, shown this once, lets you register ports:\n\n    \
         {secret}\n\nTry it:\n\n    export PORTBOOK_TOKEN={secret}\n    \
         portbook register my-service 7450/tcp --addr {address}\n"
    )
}

/// Says on stdout that calls are answered, and where.
pub(super) fn print_ready(
    snapshot: &Snapshot,
    address: SocketAddr,
    http: Option<SocketAddr>,
    started: Instant,
) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(
        stdout,
        "portbook {} listening on {address}: revision {}, {} assignments, IANA {}, started in {:.3} s",
        env!("CARGO_PKG_VERSION"),
        snapshot.revision(),
        snapshot.size(),
        snapshot.reference().edition().iana_date,
        started.elapsed().as_secs_f64(),
    )?;
    if let Some(http) = http {
        writeln!(stdout, "portbook metrics on http://{http}/metrics")?;
    }
    stdout.flush()
}

/// Asks for as many open files as the system allows: each connection is one.
pub(super) fn raise_open_files() {
    if let Err(fault) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(%fault, "the limit of open files stays as it is");
    }
}
