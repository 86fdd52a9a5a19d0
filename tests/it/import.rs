//! `portbook import`: registers the ports of a table, all or none.

use std::fs;
use std::process::Output;

use portbook::grpc::proto::ListChangesRequest;

use crate::command_line::{online, redacted, transcript};
use crate::harness::{Server, register};

const TABLE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/host-ports.md");

async fn server_with_one_registration() -> Server {
    let server = Server::start();
    let mut request = register("telemetry", 9560);
    request.assignee = "observability".into();
    server.writes().await.register_port(request).await.unwrap();
    server
}

fn import(server: &Server, file: &str, flags: &str) -> Output {
    online(server, &format!("import {file} {flags}"))
}

#[tokio::test]
async fn conflicts_are_reported_by_row_and_nothing_is_imported() {
    let server = server_with_one_registration().await;
    let transcript: Vec<String> = ["--dry-run", "--reason 'moved off the wiki'"]
        .iter()
        .map(|flags| {
            transcript(&format!("import host-ports.md {flags}"), &import(&server, TABLE, flags))
        })
        .collect();
    insta::assert_snapshot!(redacted(&transcript.join("\n"), &server));
    assert_eq!(server.info().await.revision, 1);
}

#[tokio::test]
async fn a_corrected_table_is_imported_completely_in_one_revision() {
    let server = server_with_one_registration().await;
    let table = fs::read_to_string(TABLE).unwrap();
    let table = table
        .replace("| 9219 | TCP | csi-metrics", "| 9232 | TCP | csi-metrics")
        .replace("| 9560 | TCP | log-forward", "| 9562 | TCP | log-forward")
        .replace("| 9645 | TCP | metal-console", "| 9651 | TCP | metal-console");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("host-ports.md");
    // As saved by a browser.
    fs::write(&file, format!("\u{feff}{}", table.replace('\n', "\r\n"))).unwrap();
    let file = file.to_str().unwrap();
    let dry = import(&server, file, "--dry-run");
    assert_eq!(dry.status.code(), Some(0), "{}", transcript("import", &dry));
    assert_eq!(server.info().await.revision, 1);
    let done = import(&server, file, "--reason 'moved off the wiki'");
    assert_eq!(done.status.code(), Some(0), "{}", transcript("import", &done));
    let expected = String::from_utf8(done.stdout).unwrap();
    assert!(
        expected.contains("Imported 30 registrations (31 assignments) at revision 2."),
        "{expected}"
    );

    let request = ListChangesRequest { page_size: 100, ..Default::default() };
    let response = server.reads().await.list_changes(request).await.unwrap().into_inner();
    let imported: Vec<_> = response.changes.iter().filter(|change| change.revision == 2).collect();
    assert_eq!(imported.len(), 31);
    assert!(imported.iter().all(|change| change.reason == "moved off the wiki"));
    let net_db = server.lookup(9116).await.assignments.remove(0);
    assert_eq!((net_db.service_name.as_str(), net_db.assignee.as_str()), ("net-db", "network"));
    assert!(net_db.description.contains("raft and clients"), "{net_db:?}");
    let console = server.lookup(9651).await.assignments.remove(0);
    assert!(console.description.ends_with("bare-metal | see above"), "{console:?}");
    // Repeated: every port is already held.
    let again = import(&server, file, "");
    assert_eq!(again.status.code(), Some(3));
    assert_eq!(server.info().await.revision, 2);
    // Unless held ports are skipped: then only the new row is imported.
    let grown = fs::read_to_string(file).unwrap().replace(
        "| 9663 | TCP | vm-migrate",
        "| 9664 | TCP | vm-console | virt | 4.13 | |\r\n| 9663 | TCP | vm-migrate",
    );
    fs::write(file, grown).unwrap();
    let more = import(&server, file, "--skip-held");
    let expected = transcript("import", &more);
    assert!(
        expected.contains("Imported 1 registrations (1 assignments) at revision 3."),
        "{expected}"
    );
    assert!(expected.contains("30 already registered and skipped"), "{expected}");
    assert_eq!(server.lookup(9664).await.assignments[0].service_name, "vm-console");
    let nothing = import(&server, file, "--skip-held");
    assert_eq!(nothing.status.code(), Some(0), "{}", transcript("import", &nothing));
    assert_eq!(server.info().await.revision, 3);
}

#[tokio::test]
async fn an_export_can_be_imported_into_another_registry() {
    let server = server_with_one_registration().await;
    let other = Server::start();
    let exported = online(&server, "list --source custom --output csv").stdout;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("export.csv");
    fs::write(&file, exported).unwrap();
    let done = import(&other, file.to_str().unwrap(), "");
    assert_eq!(done.status.code(), Some(0), "{}", transcript("import", &done));
    let held = other.lookup(9560).await.assignments.remove(0);
    assert_eq!(
        (held.service_name.as_str(), held.assignee.as_str()),
        ("telemetry", "observability")
    );
}

#[test]
fn files_without_a_table_are_refused_before_any_call() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start();
    let header = "port,protocol,service,team\n";
    let many = header.to_owned() + &"9108,tcp,x,y\n".repeat(100_000);
    let files: [(&str, Vec<u8>, &str); 7] = [
        ("empty.csv", b"".to_vec(), "the file is empty"),
        ("binary.csv", b"port,service\n\0\x01\x02,x\n".to_vec(), "zero byte on line 2"),
        ("latin.csv", b"port,service\n9108,b\xfccher\n".to_vec(), "UTF-8"),
        ("prose.md", b"Dear all,\nsee the wiki.\n".to_vec(), "Markdown table"),
        ("unknown.csv", b"port,service,colour\n9108,x,red\n".to_vec(), "colour"),
        (
            "faults.csv",
            (header.to_owned() + "99999,tcp,x,y\n9108,icmp,x,y\n").into_bytes(),
            "99999",
        ),
        ("many.csv", many.into_bytes(), "the maximum is 1000"),
    ];
    for (name, bytes, expected) in files {
        let file = folder.path().join(name);
        fs::write(&file, bytes).unwrap();
        let output = import(&server, file.to_str().unwrap(), "");
        let transcript = transcript("import", &output);
        assert_eq!(output.status.code(), Some(2), "{transcript}");
        assert!(transcript.contains(expected), "{transcript}");
    }
    let output = import(&server, "/no/such/file.csv", "");
    assert_ne!(output.status.code(), Some(0));
}
