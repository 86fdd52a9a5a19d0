//! Write permissions; unauthorized callers learn nothing about the registry.

use tonic::Code;

use crate::harness::{FREE, Server, TOKEN, error_parts, failed_start, register, serve};

#[tokio::test]
async fn reads_need_no_token_and_writes_need_a_valid_one() {
    let server = Server::start();
    server.lookup(443).await;
    let bearer = |token: &str| Some(format!("Bearer {token}"));
    for (authorization, reason) in [
        (None, "TOKEN_MISSING"),
        (bearer("pbk_this-is-a-token-of-another-registry"), "TOKEN_INVALID"),
        (bearer(&TOKEN[..TOKEN.len() - 1]), "TOKEN_INVALID"),
        (bearer(&TOKEN.to_uppercase()), "TOKEN_INVALID"),
        (bearer(""), "TOKEN_INVALID"),
        (Some(TOKEN.to_owned()), "TOKEN_INVALID"),
        (Some(format!("Basic {TOKEN}")), "TOKEN_INVALID"),
    ] {
        let mut writes = server.writes_as(authorization.as_deref()).await;
        // The request is invalid too: an unauthorized caller must not learn that.
        for request in [register("billing", FREE), register("", 70_000)] {
            let (code, found, _) = error_parts(writes.register_port(request).await);
            assert_eq!(
                (code, found.as_str()),
                (Code::Unauthenticated, reason),
                "{authorization:?}"
            );
        }
    }
    assert_eq!(server.info().await.revision, 0);
    let mut writes = server.writes_as(Some(&format!("bearer {TOKEN}"))).await;
    writes.register_port(register("billing", FREE)).await.unwrap();
}

#[tokio::test]
async fn a_revoked_token_is_refused() {
    use sqlx::Connection;
    let mut server = Server::start();
    server.kill();
    let options = sqlx::sqlite::SqliteConnectOptions::new().filename(server.database());
    let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
    sqlx::query("update token set revoke_time = 1").execute(&mut connection).await.unwrap();
    connection.close().await.unwrap();
    server.launch();
    let response = server.writes().await.register_port(register("billing", FREE)).await;
    let (code, reason, _) = error_parts(response);
    assert_eq!((code, reason.as_str()), (Code::Unauthenticated, "TOKEN_INVALID"));
}

#[tokio::test]
async fn the_database_does_not_contain_the_secret() {
    let mut server = Server::start();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    server.signal("TERM").await;
    let bytes = std::fs::read(server.database()).unwrap();
    assert!(!bytes.windows(TOKEN.len()).any(|window| window == TOKEN.as_bytes()));
}

#[test]
fn a_new_database_shows_its_admin_token_once() {
    use std::io::{BufRead, BufReader};
    let folder = tempfile::tempdir().unwrap();
    let start = || {
        let mut command = serve(&folder.path().join("portbook.db"));
        command.env_remove("PORTBOOK_BOOTSTRAP_TOKEN").stderr(std::process::Stdio::piped());
        let mut child = command.spawn().unwrap();
        let mut ready = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut ready).unwrap();
        child.kill().unwrap();
        let output = child.wait_with_output().unwrap();
        String::from_utf8(output.stderr).unwrap()
    };
    let first = start();
    assert_eq!(first.matches("portbook register").count(), 1, "{first}");
    assert!(first.contains("    pbk_"), "{first}");
    assert!(!start().contains("pbk_"));
}

#[test]
fn a_weak_bootstrap_token_and_plaintext_beyond_loopback_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("portbook.db");
    let (code, text) = failed_start(serve(&database).env("PORTBOOK_BOOTSTRAP_TOKEN", "short"));
    assert_ne!(code, Some(0));
    assert!(text.contains("PORTBOOK_BOOTSTRAP_TOKEN") && text.contains("16-256"), "{text}");
    assert!(!text.contains("short"), "{text}");
    let mut command = crate::harness::portbook();
    command.args(["serve", "--listen", "0.0.0.0:0", "--database"]).arg(&database);
    let (code, text) = failed_start(&mut command);
    assert_ne!(code, Some(0));
    assert!(text.contains("--allow-plaintext"), "{text}");
}
