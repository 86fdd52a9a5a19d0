//! The descriptive fields of a registration, from the command line to the database and back.

use std::fs;
use std::process::Output;

use portbook::grpc::details::DetailedMessage;
use portbook::registry::details::TextField;
use serde_json::Value;

use crate::command_line::{online, transcript};
use crate::harness::Server;

/// The flag of a field.
fn flag(field: TextField) -> String {
    match field {
        TextField::AssignmentNotes => "--notes".into(),
        other => format!("--{}", other.name()),
    }
}

/// One flag for each field, with a value that contains the given word.
fn flags(word: &str) -> String {
    let flags = TextField::ALL.map(|field| format!("{} '{}'", flag(field), value(field, word)));
    flags.join(" ")
}

fn value(field: TextField, word: &str) -> String {
    format!("{word} {} of it", field.name())
}

fn succeed(server: &Server, line: &str) -> String {
    let output: Output = online(server, line);
    assert_eq!(output.status.code(), Some(0), "{}", transcript(line, &output));
    String::from_utf8(output.stdout).unwrap()
}

async fn assert_has(server: &Server, port: u32, word: &str) {
    let record = server.lookup(port).await.assignments.remove(0);
    for field in TextField::ALL {
        assert_eq!(record.text(field), value(field, word));
    }
}

#[tokio::test]
async fn every_field_is_registered_shown_exported_imported_updated_and_cleared() {
    let mut server = Server::start();
    succeed(&server, &format!("register ledger 7450/tcp {}", flags("old")));
    assert_has(&server, 7450, "old").await;
    let lookup = succeed(&server, "lookup 7450");
    let json = succeed(&server, "lookup 7450 --output json");
    let json: Value = serde_json::from_str(&json).unwrap();
    let list = succeed(&server, "list --source custom");
    for field in TextField::ALL {
        let value = value(field, "old");
        assert!(lookup.contains(&value), "{lookup}");
        assert!(json.to_string().contains(&format!("\"{}\":\"{value}\"", field.name())), "{json}");
        let is_in_tables = matches!(field, TextField::Description | TextField::Assignee);
        assert_eq!(list.contains(&value), is_in_tables, "{field:?}: {list}");
    }

    let table = succeed(&server, "list --source custom --output csv");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("table.csv");
    fs::write(&file, table.replace("7450", "7460")).unwrap();
    succeed(&server, &format!("import {} --ignore-column source", file.display()));
    assert_has(&server, 7460, "old").await;

    succeed(&server, &format!("update 7450/tcp {}", flags("new")));
    assert_has(&server, 7450, "new").await;
    let history = succeed(&server, "history 7450");
    for field in TextField::ALL {
        assert!(history.contains(&value(field, "old")), "{field:?}: {history}");
        assert!(history.contains(&value(field, "new")), "{field:?}: {history}");
    }
    for field in TextField::ALL {
        succeed(&server, &format!("update 7450/tcp {} ''", flag(field)));
        assert_eq!(server.lookup(7450).await.assignments[0].text(field), "", "{field:?}");
    }
    succeed(&server, &format!("update 7450/tcp {}", flags("last")));

    server.kill();
    server.launch();
    assert_has(&server, 7450, "last").await;
    assert_has(&server, 7460, "old").await;
    let verify = format!("verify {}", server.database().display());
    succeed(&server, &verify);
}
