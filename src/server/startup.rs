//! Steps at the start of the server, before the first call.

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

/// How often a slow start is logged.
const PROGRESS_INTERVAL: Duration = Duration::from_secs(1);

/// Waits until the database is open, and logs each second that it is being seeded or upgraded.
pub(super) async fn with_progress<T>(opening: impl Future<Output = T>) -> T {
    tokio::pin!(opening);
    let started = Instant::now();
    loop {
        match timeout(PROGRESS_INTERVAL, &mut opening).await {
            Ok(opened) => return opened,
            Err(_) => tracing::info!(
                seconds = started.elapsed().as_secs(),
                "preparing the database: a new database is seeded with IANA's registry, an older one \
                 is upgraded"
            ),
        }
    }
}

/// Creates the first admin token of a database without tokens. Prints it, unless it was chosen.
pub(super) async fn ensure_token(
    store: &mut impl Store,
    tokens: &mut Tokens,
    chosen: Option<PlainToken>,
    now: Timestamp,
    address: SocketAddr,
) -> Result<(), ServeError> {
    if !tokens.is_empty() {
        if chosen.is_some() {
            tracing::warn!("the database already has tokens: the bootstrap token is ignored");
        }
        return Ok(());
    }
    let secret = match chosen {
        Some(chosen) => {
            tracing::info!("the admin token is the bootstrap token");
            chosen
        }
        None => {
            let secret = PlainToken::generate()?;
            // Print before storing: if the process ends in between, the next start generates another
            // token, and the user is not locked out.
            print_token(&secret, address)?;
            secret
        }
    };
    let first = Token::first_admin(secret.hash(), now);
    store.put_token(&first).await?;
    *tokens = tokens.with(first.into());
    Ok(())
}

fn print_token(token: &PlainToken, address: SocketAddr) -> io::Result<()> {
    let secret = token.reveal();
    writeln!(
        io::stderr(),
        "\nThis database is new. Its admin token, printed only once, lets you register ports:\n\n    \
         {secret}\n\nTry it:\n\n    export PORTBOOK_TOKEN={secret}\n    \
         portbook register my-service 7444/tcp --addr {address}\n"
    )
}

/// Prints on stdout that the server is ready, and its addresses.
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

/// Raises the limit of open files to the maximum, because each connection is an open file.
pub(super) fn raise_open_file_limit() {
    if let Err(error) = rlimit::increase_nofile_limit(u64::MAX) {
        tracing::debug!(error = %error, "the limit of open files was not raised");
    }
}
