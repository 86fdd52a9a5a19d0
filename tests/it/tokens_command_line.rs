//! Token commands: an admin creates tokens with grants, and recovers access.

use std::process::{Command, Output};

use portbook::grpc::proto::NamespacePolicy;

use crate::command_line::{redacted, transcript};
use crate::harness::{Server, TOKEN, failed_start, namespace, portbook};

/// Runs a command with this token; arguments must not contain spaces.
fn run_with_token(server: &Server, secret: &str, line: &str) -> Output {
    let mut command = portbook();
    command.args(line.split_whitespace()).env("PORTBOOK_ADDR", &server.address);
    command.env("PORTBOOK_TOKEN", secret).output().unwrap()
}

fn stdout(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The secret from `--quiet` output.
fn secret(server: &Server, line: &str) -> String {
    let output = stdout(&run_with_token(server, TOKEN, &format!("{line} --quiet")));
    let secret = output.strip_suffix('\n').unwrap();
    assert!(secret.starts_with("pbk_") && !secret.contains(char::is_whitespace), "{output:?}");
    secret.to_owned()
}

/// The text with variable parts and secrets replaced by placeholders.
fn without_secrets(text: &str, server: &Server) -> String {
    let mut parts = text.split("pbk_");
    let mut without_secrets = parts.next().unwrap().to_owned();
    for part in parts {
        let rest = part.trim_start_matches(|c: char| c.is_ascii_alphanumeric() || "-_".contains(c));
        without_secrets = without_secrets + "SECRET" + rest;
    }
    redacted(&without_secrets.replace(&server.database().display().to_string(), "DATABASE"), server)
}

#[tokio::test]
async fn a_registrar_registers_within_its_grants() {
    let server = Server::start();
    server
        .writes()
        .await
        .create_namespace(namespace("payments", NamespacePolicy::default()))
        .await
        .unwrap();
    let admin = |line: &str| transcript(line, &run_with_token(&server, TOKEN, line));
    let mut transcripts = [
        "token create ci --role registrar --grant payments --ttl 90d --description Deploys",
        "token create ci --role viewer",
        "token create ci2 --role registrar",
        "token create typo --role registrar --grant payment,default/apps",
        "token create ci.example.com --role viewer --certificate",
        "token list",
        "token show ci",
        "token show nobody",
        "token revoke admin",
        "token rotate ci.example.com",
    ]
    .map(admin)
    .to_vec();

    let ci = secret(&server, "token rotate ci");
    let registrar = |line: &str| transcript(line, &run_with_token(&server, &ci, line));
    transcripts.extend(
        [
            "token show",
            "register billing 7450 --namespace payments",
            "register billing 7450",
            "namespace create mine",
            "token list",
        ]
        .map(registrar),
    );
    transcripts.extend(
        [
            "history --namespace payments",
            "token update ci --grant default --no-end",
            "token update ci",
            "token revoke ci",
            "token revoke ci",
            "token list --ended",
        ]
        .map(admin),
    );
    transcripts.push(registrar("token show"));
    insta::assert_snapshot!(without_secrets(&transcripts.join("\n"), &server));
}

#[test]
fn json_and_csv_contain_secret_and_grants() {
    let server = Server::start();
    let line = "token create ci --role registrar --grant default/b,default/a --output json";
    let made: serde_json::Value =
        serde_json::from_str(&stdout(&run_with_token(&server, TOKEN, line))).unwrap();
    assert!(made["secret"].as_str().unwrap().starts_with("pbk_"));
    assert_eq!(made["grants"], serde_json::json!([{"namespace": "default", "pools": ["a", "b"]}]));
    assert_eq!((&made["role"], &made["credential"]), (&"REGISTRAR".into(), &"SECRET".into()));
    let rows = stdout(&run_with_token(&server, TOKEN, "token list --output csv"));
    let mut lines = rows.lines();
    assert!(lines.next().unwrap().starts_with("name,description,role,grants,credential,"));
    assert!(lines.next().unwrap().starts_with("admin,,ADMIN,,SECRET,"));
    assert!(lines.next().unwrap().starts_with("ci,,REGISTRAR,\"default/a,default/b\",SECRET,"));
    assert!(!rows.contains("pbk_"), "{rows}");
}

#[test]
fn the_previous_secret_is_valid_during_its_overlap() {
    let server = Server::start();
    let first = secret(&server, "token create ci --role viewer");
    let shown = |secret: &str| run_with_token(&server, secret, "token show").status.code();
    let second = secret(&server, "token rotate ci --overlap 1h");
    assert_eq!((shown(&first), shown(&second)), (Some(0), Some(0)));
    let output = stdout(&run_with_token(&server, &second, "token show"));
    assert!(output.contains("old secret expires"), "{output}");
    let third = secret(&server, "token rotate ci");
    assert_eq!([&first, &second, &third].map(|of| shown(of)), [Some(3), Some(3), Some(0)]);
}

fn recover(server: &Server) -> Command {
    let mut command = portbook();
    command.args(["token", "recover"]).env("PORTBOOK_DATABASE", server.database());
    command
}

#[tokio::test]
async fn local_access_recovers_a_lost_admin_token() {
    let mut server = Server::start();
    let recovery = |command: &mut Command| transcript("token recover", &command.output().unwrap());
    let mut transcripts = vec![recovery(&mut recover(&server))];
    let shown =
        |server: &Server, secret: &str| run_with_token(server, secret, "token show").status.code();
    assert_eq!(shown(&server, TOKEN), Some(0), "unchanged");

    assert!(server.signal("TERM").await.success());
    transcripts.push(recovery(&mut recover(&server)));
    let again = stdout(&recover(&server).arg("--quiet").output().unwrap());
    let other = stdout(&recover(&server).args(["--name", "ops", "--quiet"]).output().unwrap());
    server.launch();
    assert_eq!(shown(&server, TOKEN), Some(3), "the lost secret is no longer accepted");
    assert_eq!((shown(&server, again.trim()), shown(&server, other.trim())), (Some(0), Some(0)));
    transcripts
        .push(transcript("token list", &run_with_token(&server, other.trim(), "token list")));

    let elsewhere = server.database().with_file_name("elsewhere.db");
    let missing = recover(&server).env("PORTBOOK_DATABASE", &elsewhere).output().unwrap();
    transcripts.push(
        transcript("token recover", &missing)
            .replace(&elsewhere.display().to_string(), "ELSEWHERE"),
    );
    assert!(!elsewhere.exists());
    std::fs::write(&elsewhere, "no database").unwrap();
    let (code, text) = failed_start(recover(&server).env("PORTBOOK_DATABASE", &elsewhere));
    assert_eq!(code, Some(5));
    assert!(text.contains("is not a SQLite database"), "{text}");
    insta::assert_snapshot!(without_secrets(&transcripts.join("\n"), &server));
}
