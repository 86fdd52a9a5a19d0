//! Upgrades of databases of older versions lose nothing.

use std::borrow::Cow;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use portbook::grpc::proto::ChangeKind::{Registered, Released, Updated};
use portbook::grpc::proto::{
    self, AsOf, GetNamespaceRequest, ListChangesRequest, LookupPortRequest, as_of,
};
use sqlx::migrate::Migrator;
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{Connection, Executor};

use crate::backup::{assert_success, back_up, restore, verify};
use crate::harness::{FREE, Server, decode, failed_start, portbook, register, serve};

static MIGRATIONS: Migrator = sqlx::migrate!();

/// Rows of the first version: a registration with later changes, and one that was released.
const OLD: &str = r#"
    pragma application_id = 0x50424f4b;
    insert into revision values (1, 1000000, 'admin', 'first'), (2, 1000000, 'admin', ''),
      (3, 3000000, 'admin', ''), (4, 4000000, 'admin', 'gone');
    insert into custom_assignment values ('default', 'tcp', 7450, 7450,
      '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e', 'Billing', 'new', 'team', '', '', '', '{"tier":"1"}',
      1000000, 3000000, 3);
    insert into change values
      (1, 0, 'REGISTERED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e', null,
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"ledger","first_port":7450,"last_port":7450,"transport":"tcp","description":"old","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":1000000,"revision":1}'),
      (2, 0, 'REGISTERED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f', null,
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f","namespace":"default","service_name":"short","first_port":7451,"last_port":7459,"transport":"udp","description":"","assignee":"","contact":"","reference":"","assignment_notes":"","labels":{},"create_time":1000000,"update_time":1000000,"revision":2}'),
      (3, 0, 'UPDATED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"ledger","first_port":7450,"last_port":7450,"transport":"tcp","description":"old","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":1000000,"revision":1}',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e","namespace":"default","service_name":"Billing","first_port":7450,"last_port":7450,"transport":"tcp","description":"new","assignee":"team","contact":"","reference":"","assignment_notes":"","labels":{"tier":"1"},"create_time":1000000,"update_time":3000000,"revision":3}'),
      (4, 0, 'RELEASED', '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f',
       '{"uid":"0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5f","namespace":"default","service_name":"short","first_port":7451,"last_port":7459,"transport":"udp","description":"","assignee":"","contact":"","reference":"","assignment_notes":"","labels":{},"create_time":1000000,"update_time":1000000,"revision":2}',
       null);
    insert into request values ('admin', 'once', zeroblob(32), 1,
      '[{"code":"EPHEMERAL_RANGE","message":"m","first_port":7450,"last_port":7450,"transport":"tcp","fixed_evidence":null,"custom_evidence":null}]');
"#;

async fn server_on_an_old_database() -> Server {
    let mut server = Server::stopped();
    write_old_database(&server.database(), OLD).await;
    server.launch();
    server
}

/// Creates a database with the third schema, and runs the statements on it.
async fn write_old_database(database: &Path, statements: &'static str) {
    let options = SqliteConnectOptions::new().filename(database).create_if_missing(true);
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let first_three = MIGRATIONS.iter().filter(|migration| migration.version <= 3);
    let old =
        Migrator { migrations: Cow::Owned(first_three.cloned().collect()), ..Migrator::DEFAULT };
    old.run(&mut connection).await.unwrap();
    connection.execute(sqlx::raw_sql(statements)).await.unwrap();
    connection.close().await.unwrap();
}

fn names_in(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn state_and_history_survive_an_upgrade() {
    let server = server_on_an_old_database().await;
    assert!(server.ready_line.contains("revision 4, 15048 assignments"), "{}", server.ready_line);
    let billing = server.lookup(FREE).await.assignments.remove(0);
    assert_eq!((billing.service_name.as_str(), billing.description.as_str()), ("Billing", "new"));
    assert_eq!((billing.labels["tier"].as_str(), billing.etag.as_str()), ("1", "r3"));
    assert_eq!((billing.expire_time, billing.pool.as_str()), (None, ""));

    let mut reads = server.reads().await;
    let kinds =
        async |reads: &mut proto::port_registry_service_client::PortRegistryServiceClient<_>,
               service: &str| {
            let filter = proto::ChangeFilter { service_name: service.into(), ..Default::default() };
            let request = ListChangesRequest { filter: Some(filter), ..Default::default() };
            let changes = reads.list_changes(request).await.unwrap().into_inner().changes;
            changes.iter().map(|change| change.kind()).collect::<Vec<_>>()
        };

    let all = [Registered, Registered, Updated, Released];
    assert_eq!(kinds(&mut reads, "").await, all);
    // It was named ledger before, and is found by either name.
    assert_eq!(kinds(&mut reads, "ledger").await, [Registered, Updated]);
    assert_eq!(kinds(&mut reads, "BILLING").await, [Updated]);
    let past = LookupPortRequest {
        port: Some(7455),
        as_of: Some(AsOf { moment: Some(as_of::Moment::Revision(3)) }),
        ..Default::default()
    };
    let response = reads.lookup_port(past).await.unwrap().into_inner();
    let info: proto::PortInfo = decode(&response.port_info);
    assert_eq!(info.assignments[0].service_name, "short");

    let request = GetNamespaceRequest::default();
    let namespace = reads.get_namespace(request).await.unwrap().into_inner().namespace.unwrap();
    assert_eq!((namespace.assignments, namespace.pools), (1, 0));
    let policy = namespace.namespace.unwrap().policy.unwrap();
    assert_eq!(policy.cool_down.unwrap().seconds, 24 * 60 * 60);
    // A port released before cool-downs existed has no cool-down.
    let mut request = register("other", 7451);
    request.transports = vec![proto::Transport::Udp.into()];
    let response = server.writes().await.register_port(request).await.unwrap().into_inner();
    assert_eq!(response.revision, 5);
}

#[tokio::test]
async fn an_upgrade_creates_a_backup_first() {
    let mut server = Server::stopped();
    write_old_database(&server.database(), OLD).await;
    // A file of that name exists and must not be overwritten.
    let first = server.database().with_extension("db.schema-3.backup");
    fs::write(&first, "an earlier one").unwrap();
    let mut command = portbook();
    command.args(["serve", "--listen", "127.0.0.1:0", "--database"]).arg(server.database());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut ready = String::new();
    let stdout = child.stdout.take().unwrap();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(stdout), &mut ready).unwrap();
    child.kill().unwrap();
    let text = String::from_utf8(child.wait_with_output().unwrap().stderr).unwrap();
    let backup = server.database().with_extension("db.schema-3.2.backup");
    let report = text.lines().find(|line| line.contains("it was backed up")).unwrap();
    assert!(report.contains(backup.to_str().unwrap()), "{report}");

    assert_eq!(fs::read(&first).unwrap(), b"an earlier one");
    let (code, report) = verify(&backup);
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("3, older than this Portbook's"), "{report}");
    assert!(
        report.contains("up to revision 4, 4 consistent changes"),
        "verified in a copy: {report}"
    );
    let (code, report) = verify(&server.database());
    assert_eq!(code, Some(0), "the upgraded database is valid: {report}");
    // The backup has the old schema: once restored, it is upgraded again.
    let mut elsewhere = Server::stopped();
    assert_success(&mut restore(&backup, &elsewhere.database()));
    elsewhere.launch();
    assert!(elsewhere.ready_line.contains("revision 4, 15048 assignments"));
    server.launch();
    server.kill();
    let backups = names_in(server.database().parent().unwrap());
    let backups = backups.iter().filter(|name| name.ends_with(".backup")).count();
    assert_eq!(backups, 2, "a database that is up to date needs none");
}

#[tokio::test]
async fn without_a_backup_nothing_is_upgraded() {
    let server = Server::stopped();
    let database = server.database();
    write_old_database(&database, OLD).await;
    let before = fs::read(&database).unwrap();
    // A file size limit simulates a disk without space for a second file.
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$@\"", "sh"]);
    let command = serve(&database);
    full.arg(command.get_program()).args(command.get_args()).stdout(Stdio::null());
    let (code, text) = failed_start(&mut full);
    assert_eq!(code, Some(5), "{text}");
    assert!(text.contains("could not be backed up before the upgrade"), "{text}");
    assert!(text.contains("nothing was changed") && text.contains("schema-3.backup"), "{text}");
    let others = |name: &String| !name.ends_with("-wal") && !name.ends_with("-shm");
    let names: Vec<_> = names_in(database.parent().unwrap()).into_iter().filter(others).collect();
    assert_eq!(names, ["portbook.db"]);
    assert!(fs::read(&database).unwrap() == before);
}

#[tokio::test]
async fn an_unused_database_needs_no_backup() {
    let mut server = Server::stopped();
    // A first start that was interrupted after the third migration.
    write_old_database(&server.database(), "pragma application_id = 0x50424f4b").await;
    server.launch();
    assert!(server.signal("TERM").await.success());
    assert_eq!(names_in(server.database().parent().unwrap()), ["portbook.db"]);
    let mut server = Server::start();
    assert!(server.signal("TERM").await.success());
    assert_eq!(names_in(server.database().parent().unwrap()), ["portbook.db"]);
}

#[tokio::test]
async fn a_newer_database_is_not_served_backed_up_or_verified() {
    let mut server = Server::start();
    assert!(server.signal("TERM").await.success());
    let options = SqliteConnectOptions::new().filename(server.database());
    let mut connection = SqliteConnection::connect_with(&options).await.unwrap();
    let newer = "insert into _sqlx_migrations (version, description, success, checksum, \
                 execution_time) values (99, 'later', true, x'00', 0)";
    connection.execute(newer).await.unwrap();
    connection.close().await.unwrap();
    let (code, text) = failed_start(&mut serve(&server.database()));
    assert_eq!(code, Some(5));
    assert!(text.contains("was written by a newer Portbook (schema 99"), "{text}");
    let (code, report) = verify(&server.database());
    assert_eq!(code, Some(6));
    assert!(report.contains("schema 99 is newer than this Portbook"), "{report}");
    assert!(!report.contains("differs from the history"), "{report}");
    let refused = back_up(&server.database(), &server.database().with_extension("b")).output();
    assert!(!refused.unwrap().status.success());
    let names = names_in(server.database().parent().unwrap());
    assert!(names.iter().all(|name| name.starts_with("portbook.db") && !name.contains("schema")));
}
