//! Command-line output for people and for programs.

use std::io::Write;
use std::process::{Output, Stdio};

use portbook::registry::assignment::Uid;

use crate::harness::{FREE, Server, TOKEN, portbook};

/// A transcript of a command: the command line, then stdout, stderr and the exit code.
pub fn transcript(line: &str, output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    let err = if err.is_empty() { err } else { format!("--- stderr\n{err}") };
    let code = output.status.code().unwrap();
    format!("$ portbook {line}\n{out}{err}--- exit code {code}\n")
}

fn offline(line: &str) -> String {
    let output = portbook().args(words(line)).arg("--offline").output().unwrap();
    transcript(line, &output)
}

/// Splits a line into words like a shell; supports only what these tests need.
fn words(line: &str) -> Vec<String> {
    let mut words = Vec::new();
    for (position, part) in line.split('\'').enumerate() {
        if position % 2 == 1 {
            words.push(part.to_owned());
        } else {
            words.extend(part.split_whitespace().map(str::to_owned));
        }
    }
    words
}

pub fn online(server: &Server, line: &str) -> Output {
    portbook()
        .args(words(line))
        .env("PORTBOOK_ADDR", &server.address)
        .env("PORTBOOK_TOKEN", TOKEN)
        .output()
        .unwrap()
}

/// The text with variable parts replaced by placeholders.
pub fn redacted(text: &str, server: &Server) -> String {
    let text = text.replace(&server.address, "ADDRESS");
    let words = text.split_inclusive(char::is_whitespace).map(|word| {
        let plain = word.trim_end();
        let name = match (plain.parse::<Uid>(), plain.parse::<jiff::Timestamp>()) {
            (Ok(_), _) => "UID",
            (_, Ok(_)) => "TIME",
            _ => plain,
        };
        format!("{name}{}", &word[plain.len()..])
    });
    words.collect()
}

#[test]
fn lookup_output() {
    let lines = [
        "lookup 443",
        "lookup 6001/tcp",
        "lookup 9200",
        "lookup 50000 1023",
        "lookup rdp",
        "lookup 32.23.55.21:80",
        "lookup db.example.com:postgresql",
        "lookup postgress",
        "lookup 4748",
        "lookup 70000",
        "lookup 443/icmp",
        "lookup 5000-5010",
    ];
    insta::assert_snapshot!(lines.map(offline).join("\n"));
}

#[test]
fn list_and_search_output() {
    let lines = [
        "list --ports 5430-5433",
        "list --prefix https --limit 3",
        "list --state nonsense",
        "search 'remote desktop' --limit 3",
        "search 3389",
        "search qqqqqqzzzz",
    ];
    insta::assert_snapshot!(lines.map(offline).join("\n"));
}

#[test]
fn json_and_csv_output() {
    let lines = [
        "lookup 22/tcp --output json",
        "list --ports 22 --output jsonl --limit 1",
        "list --ports 6000 --output csv",
        "search ssh --limit 1 --output csv",
    ];
    insta::assert_snapshot!(lines.map(offline).join("\n"));
}

#[test]
fn register_update_and_release_a_port() {
    let server = Server::start();
    let lines = [
        "register billing 7450/tcp,udp --assignee 'team payments' --description Invoices --label tier=1",
        "register late 7450",
        "register late 7450 --namespace nowhere",
        "register mine 5432",
        "register mine 5432 --acknowledge iana-assigned --dry-run",
        "register mine 5432 --acknowledge nonsense",
        "lookup 7450",
        "lookup 10.0.0.1:7450",
        "update 7450/tcp --description 'Invoices and reminders' --contact billing@example.com",
        "update 7450/tcp",
        "list --source custom",
        "search invoices",
        "release 7450",
        "release 7450",
        "lookup billing",
    ];
    let transcripts: Vec<_> =
        lines.iter().map(|line| transcript(line, &online(&server, line))).collect();
    insta::assert_snapshot!(redacted(&transcripts.join("\n"), &server));
}

#[test]
fn refusals_suggest_the_next_step() {
    let mut server = Server::start();
    let run = |server: &Server, token: Option<&str>| {
        let mut command = portbook();
        command.args(["register", "billing", "7450"]).env("PORTBOOK_ADDR", &server.address);
        if let Some(token) = token {
            command.env("PORTBOOK_TOKEN", token);
        }
        transcript("register billing 7450", &command.output().unwrap())
    };
    let mut transcripts = vec![run(&server, None), run(&server, Some("pbk_not-the-right-token"))];
    server.kill();
    transcripts.push(run(&server, Some(TOKEN)));
    let mut command = portbook();
    command.args(["lookup", "443"]).env("PORTBOOK_ADDR", &server.address);
    transcripts.push(transcript("lookup 443", &command.output().unwrap()));
    insta::assert_snapshot!(redacted(&transcripts.join("\n"), &server));
}

fn annotated(server: &Server, lines: &[u8]) -> Vec<u8> {
    let mut child = portbook()
        .arg("annotate")
        .env("PORTBOOK_ADDR", &server.address)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let lines = lines.to_vec();
    let writing = std::thread::spawn(move || stdin.write_all(&lines).unwrap());
    let output = child.wait_with_output().unwrap();
    writing.join().unwrap();
    assert!(output.status.success());
    output.stdout
}

#[tokio::test]
async fn annotate_adds_service_names_to_log_lines() {
    let server = Server::start();
    let request = crate::harness::register("billing", FREE);
    server.writes().await.register_port(request).await.unwrap();
    let transcript = annotated(
        &server,
        b"443\n53/udp\ntcp/22\n4748\n70000\nIN=eth0 SRC=10.0.0.1 PROTO=UDP SPT=60123 DPT=53\n\
          12:30:45 connect 10.0.0.7:7450 from [2001:db8::1]:443/udp ok\nnothing here \xff\nlast:443",
    );
    assert_eq!(
        String::from_utf8_lossy(&transcript),
        "https\ndomain\nssh\n-\n-\nIN=eth0 SRC=10.0.0.1 PROTO=UDP SPT=60123 DPT=53(domain)\n\
         12:30:45 connect 10.0.0.7:7450(billing) from [2001:db8::1]:443/udp(https) ok\n\
         nothing here \u{fffd}\nlast:443"
    );
}

#[test]
fn annotating_a_long_log_preserves_its_order() {
    let server = Server::start();
    let log = (0..50_000).map(|number| number.to_string() + " 10.0.0.1:443\n").collect::<String>();
    let transcript = String::from_utf8(annotated(&server, log.as_bytes())).unwrap();
    assert_eq!(transcript.lines().count(), 50_000);
    for (number, line) in transcript.lines().enumerate() {
        assert_eq!(line, format!("{number} 10.0.0.1:443(https)"));
    }
}

#[test]
fn the_seed_is_exported_unchanged() {
    let fixture = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/fixtures/service-names-port-numbers-2024-06-12.csv"
    );
    let output = portbook().args(["generate-seed", fixture]).output().unwrap();
    assert!(output.stdout == include_bytes!("../../migrations/0002_iana_seed.sql"));
}
