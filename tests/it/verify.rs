//! `portbook verify`: valid databases pass, damage is found, and nothing is modified.

use std::cell::RefCell;
use std::fs;
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use portbook::grpc::proto::{FindingCode, NamespacePolicy};
use portbook::store::sqlite::Verifier;
use portbook::store::{Outcome, Report};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection, SqliteSynchronous};
use sqlx::{AssertSqlSafe, Connection, Row};

use crate::backup::{assert_success, back_up, files, verify};
use crate::harness::{
    FREE, QUIET, Random, Server, create_pool, ensure, failed_start, namespace, pool, portbook,
    register, release, seconds, serve,
};

/// A stopped server whose database has every kind of row.
async fn database_with_everything() -> Server {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    writes.create_namespace(namespace("lab", NamespacePolicy::default())).await.unwrap();
    writes.create_pool(create_pool(pool("web", QUIET, QUIET + 9))).await.unwrap();
    writes.ensure_port(ensure("web", "pooled")).await.unwrap();
    let mut request = register("billing", FREE);
    request.labels = [("tier".into(), "1".into())].into();
    request.description = "Invoices".into();
    request.ttl = seconds(86_400);
    writes.register_port(request).await.unwrap();
    let short = writes.register_port(register("short", FREE + 1)).await.unwrap().into_inner();
    writes.release_port(release(&short.assignments[0].uid)).await.unwrap();
    drop(writes);
    assert!(server.signal("TERM").await.success());
    server
}

/// The report on a file. All reports of a test use the same verifier.
pub async fn report(file: &Path) -> Report {
    thread_local! {
        static VERIFIER: RefCell<Verifier> = RefCell::default();
    }
    let mut verifier = VERIFIER.take();
    let report = verifier.verify(file, Timestamp::now()).await.unwrap();
    VERIFIER.set(verifier);
    report
}

fn wrong(report: &Report) -> String {
    report.problems().unwrap_or_default()
}

async fn assert_right(file: &Path) {
    let report = report(file).await;
    assert!(report.is_ok(), "{}", wrong(&report));
}

#[tokio::test]
async fn a_valid_database_passes_and_is_not_modified() {
    let mut server = Server::start();
    let folder = server.database().parent().unwrap().to_owned();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    // While a server runs, after a kill, after a clean stop, and with a WAL only.
    for state in ["served", "killed", "ended", "bare"] {
        match state {
            "killed" => server.kill(),
            "ended" => {
                server.launch();
                assert!(server.signal("TERM").await.success());
            }
            "bare" => {
                server.launch();
                server.writes().await.register_port(register("later", FREE + 1)).await.unwrap();
                server.kill();
                fs::remove_file(server.database().with_extension("db-shm")).unwrap();
            }
            _ => {}
        }
        let before = files(&folder);
        let (code, text) = verify(&server.database());
        assert_eq!(code, Some(0), "{state}: {text}");
        let revision = if state == "bare" { 2 } else { 1 };
        assert!(text.contains(&format!("up to revision {revision},")), "{state}: {text}");
        assert!(files(&folder) == before, "{state}");
    }
}

#[test]
fn a_missing_file_is_reported_and_not_created() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = verify(&folder.path().join("typo.db"));
    assert_eq!(code, Some(5));
    assert!(text.contains("does not exist") && text.contains("typo.db"), "{text}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn verification_reads_one_revision_during_writes() {
    let server = Server::start();
    let mut writes = server.writes().await;
    let load = tokio::spawn(async move {
        for round in 0..20 {
            for port in QUIET..QUIET + 50 {
                let mut request = register(&format!("load-{round}"), port);
                request.acknowledge = vec![FindingCode::CoolingDown.into()];
                let held = writes.register_port(request).await.unwrap().into_inner().assignments;
                writes.release_port(release(&held[0].uid)).await.unwrap();
            }
        }
    });
    let mut seen = Vec::new();
    while !load.is_finished() {
        let report = report(&server.database()).await;
        assert!(report.is_ok(), "{}", wrong(&report));
        seen.push(report.revision.unwrap());
    }
    load.await.unwrap();
    assert!(seen.is_sorted() && seen.first() < seen.last(), "{seen:?}");
}

#[tokio::test]
async fn any_flipped_byte_of_a_backup_is_found() {
    let server = database_with_everything().await;
    let file = server.database().with_extension("backup");
    assert_success(&mut back_up(&server.database(), &file));
    assert_right(&file).await;
    let bytes = fs::read(&file).unwrap();
    let length = bytes.len() as u32;
    let mut random = Random::new(4);
    let anywhere: Vec<_> = (0..200).map(|_| random.below(length)).collect();
    let edges = (0..32).chain(length - 48..length).step_by(3);
    for position in anywhere.into_iter().chain(edges) {
        let mut flipped = bytes.clone();
        flipped[position as usize] ^= 1 << random.below(8);
        fs::write(&file, flipped).unwrap();
        assert!(!report(&file).await.is_ok(), "the byte at {position} of {length}");
    }
    for cut in [1, 47, 48 + 1, 48 + 4096, bytes.len() - 10] {
        fs::write(&file, &bytes[..bytes.len() - cut]).unwrap();
        assert!(!report(&file).await.is_ok(), "{cut} bytes are missing");
    }
}

#[tokio::test]
async fn flipped_bytes_in_database_content_are_found() {
    let server = database_with_everything().await;
    let database = server.database();
    // Without free pages, whose content is not verified.
    let mut connection = open(&database).await;
    execute(&mut connection, "vacuum").await;
    connection.close().await.unwrap();
    assert_right(&database).await;
    let bytes = fs::read(&database).unwrap();
    let mut random = Random::new(6);
    let mut tried = 0;
    // Damage is found in the history and in the current state.
    for text in ["billing", "Invoices", "pooled", "\"tier\":", "create_time\":", "REGISTERED"] {
        let places = bytes.windows(text.len()).enumerate();
        for (position, _) in places.filter(|(_, found)| *found == text.as_bytes()) {
            let mut flipped = bytes.clone();
            flipped[position + random.below(text.len() as u32) as usize] ^= 1 << random.below(5);
            fs::write(&database, &flipped).unwrap();
            let report = report(&database).await;
            assert!(!report.is_ok(), "{text:?} at {position}");
            tried += 1;
        }
    }
    assert!(tried > 15, "{tried}");
}

pub async fn open(database: &Path) -> SqliteConnection {
    let options = SqliteConnectOptions::new().filename(database).foreign_keys(false);
    let options = options.synchronous(SqliteSynchronous::Off);
    SqliteConnection::connect_with(&options).await.unwrap()
}

pub async fn execute(connection: &mut SqliteConnection, sql: &str) {
    sqlx::raw_sql(AssertSqlSafe(sql.to_owned())).execute(connection).await.unwrap();
}

/// Modifies a database without triggers and constraints.
pub async fn forge(database: &Path, sql: &str) {
    let mut connection = open(database).await;
    let triggers = "select name, sql from sqlite_schema where type = 'trigger'";
    let triggers = sqlx::query(triggers).fetch_all(&mut connection).await.unwrap();
    execute(&mut connection, "pragma ignore_check_constraints = on").await;
    for trigger in &triggers {
        let name: String = trigger.get(0);
        execute(&mut connection, &format!("drop trigger {name}")).await;
    }
    execute(&mut connection, sql).await;
    for trigger in &triggers {
        execute(&mut connection, trigger.get(1)).await;
    }
    connection.close().await.unwrap();
}

/// A copy of the database, to be damaged.
fn copy(database: &Path) -> PathBuf {
    let copy = database.with_extension("copy");
    fs::copy(database, &copy).unwrap();
    copy
}

#[tokio::test]
async fn any_change_to_history_or_state_is_found() {
    let server = database_with_everything().await;
    let tables = ["custom_assignment", "namespace", "pool", "pool_run", "change"];
    let mut columns = Vec::new();
    let mut connection = open(&server.database()).await;
    for table in tables {
        let of_table = format!("select name, type from pragma_table_info('{table}')");
        for row in sqlx::query(AssertSqlSafe(of_table)).fetch_all(&mut connection).await.unwrap() {
            columns.push((table, row.get::<String, _>(0), row.get::<String, _>(1)));
        }
    }
    columns.push(("revision", "time".into(), "INTEGER".into()));
    connection.close().await.unwrap();
    assert_right(&copy(&server.database())).await;
    for (table, column, kind) in columns {
        // The longest valid text, or the next number.
        let other = match (kind.as_str(), column.as_str()) {
            ("INTEGER", _) => format!("coalesce({column}, 999999) + 1"),
            (_, "labels") => r#"'{"tier":"2"}'"#.into(),
            (_, "ports" | "excluded_ports") => "'[[29420,29428]]'".into(),
            (_, "accept" | "forbid") => r#"'["SYSTEM_PORT"]'"#.into(),
            (_, "transports") => r#"'["udp"]'"#.into(),
            (_, "transport") => "iif(transport is 'udp', 'tcp', 'udp')".into(),
            (_, "kind") => "iif(kind = 'RELEASED', 'EXPIRED', 'RELEASED')".into(),
            (_, "before" | "after") => format!("replace({column}, '1', '2')"),
            _ => format!("coalesce({column}, '') || 'x'"),
        };
        let database = copy(&server.database());
        // The last row only: a change of all rows may be undetectable.
        let key = if table == "revision" || table == "change" { "revision" } else { "rowid" };
        let last = match (table, column.as_str()) {
            ("change", "before") => {
                "revision = (select max(revision) from change where before is not null)".into()
            }
            ("change", "after") => {
                "revision = (select max(revision) from change where after is not null)".into()
            }
            ("change" | "revision", _) => format!("{key} = (select max({key}) from {table})"),
            ("namespace", _) => "name = 'lab'".into(),
            _ => "true".to_owned(),
        };
        forge(&database, &format!("update {table} set {column} = {other} where {last}")).await;
        let report = report(&database).await;
        assert!(!report.is_ok(), "{table}.{column} = {other}");
    }
    for (table, row) in [
        ("custom_assignment", "service_name = 'billing'"),
        ("namespace", "name = 'lab'"),
        ("pool_run", "true"),
        ("change", "revision = 4"),
        ("change", "revision = 6"),
        ("revision", "revision = 3"),
        ("iana_record", "ordinal = 100"),
        ("guide_alias", "alias = 'ws'"),
        ("_sqlx_migrations", "version = 2"),
    ] {
        let database = copy(&server.database());
        forge(&database, &format!("delete from {table} where {row}")).await;
        assert!(!report(&database).await.is_ok(), "{table} without {row}");
    }
}

#[tokio::test]
async fn missing_history_is_found_even_if_the_state_matches() {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    for (name, port) in [("short", FREE), ("brief", FREE + 2)] {
        let held = writes.register_port(register(name, port)).await.unwrap().into_inner();
        writes.release_port(release(&held.assignments[0].uid)).await.unwrap();
    }
    drop(writes);
    assert!(server.signal("TERM").await.success());
    assert_right(&copy(&server.database())).await;
    for (sql, position) in [
        (
            "delete from change where revision in (1, 2)",
            "change 0 of revision 3: the change before",
        ),
        ("delete from change where revision in (3, 4)", "no change of the last revision, 4"),
        ("delete from change", "no change of the last revision, 4"),
        (
            "update change set rest_until = null where revision = 2",
            "revision 2: the end of the cool-down",
        ),
        ("update change set rest_until = 1 where revision = 3", "revision 3: its columns"),
    ] {
        let database = copy(&server.database());
        forge(&database, sql).await;
        let text = wrong(&report(&database).await);
        assert!(text.starts_with("history: ") && text.contains(position), "{sql}: {text}");
    }
}

#[tokio::test]
async fn stored_responses_are_verified() {
    let mut server = Server::start();
    let mut request = register("billing", 443);
    request.request_id = "once".into();
    request.acknowledge = vec![FindingCode::IanaAssigned.into(), FindingCode::SystemPort.into()];
    server.writes().await.register_port(request).await.unwrap();
    assert!(server.signal("TERM").await.success());
    assert_right(&copy(&server.database())).await;
    for sql in [
        "update request set findings = '{}'",
        "update request set findings = replace(findings, 'SYSTEM_PORT', 'NO_SUCH')",
        "update request set findings = replace(findings, '443', '70000')",
    ] {
        let database = copy(&server.database());
        forge(&database, sql).await;
        let text = wrong(&report(&database).await);
        assert!(text.starts_with("history: ") && text.contains("admin's request once"), "{text}");
    }
}

#[tokio::test]
async fn an_error_names_its_location_and_the_command_to_run() {
    let server = database_with_everything().await;
    let overlap = "insert into custom_assignment select namespace, transport, first_port - 1, \
                   last_port, '0197f3a4-5c1e-7b52-9d0e-3f6a1b2c4d5e', 'other', '', '', '', '', '', \
                   '{}', create_time, update_time, revision, null, null, null, null, '' \
                   from custom_assignment where service_name = 'billing'";
    for (sql, check, position) in [
        (overlap, "assignments", "default: 7449-7450/tcp other"),
        (
            "update custom_assignment set pool = null, instance = null where service_name = 'pooled'",
            "assignments",
            "was allocated from pool none, but is in pool web",
        ),
        (
            "update iana_record set description = 'x' where ordinal = 7",
            "reference data",
            "iana_record, row 7",
        ),
        (
            "update common_use set reference = 'x' where ordinal = 3",
            "reference data",
            "common_use, row 3",
        ),
        ("update guide set title = 'x' where guide_id = 'ssh'", "reference data", "guide, row"),
        ("update registry set iana_date = '2000-01-01'", "reference data", "2000-01-01"),
        (
            "update namespace set cool_down = 1 where name = 'lab'",
            "state",
            "namespace lab differs from the history",
        ),
        ("update change set before = null where revision = 6", "history", "change 0 of revision 6"),
        ("update _sqlx_migrations set checksum = x'00' where version = 2", "schema", "migration 2"),
        (
            "insert into _sqlx_migrations select 99, '', installed_on, true, x'00', 0 from _sqlx_migrations limit 1",
            "schema",
            "newer",
        ),
        ("delete from _sqlx_migrations where version = 2", "schema", "migration 2 is missing"),
        ("insert into guide_alias values ('nowhere', 'no-such')", "links", "a row of guide_alias"),
        ("drop table token", "state", "token"),
    ] {
        let database = copy(&server.database());
        forge(&database, sql).await;
        let (code, text) = verify(&database);
        assert_eq!(code, Some(6), "{sql}: {text}");
        let line = text.lines().find(|line| line.starts_with(check) && line.contains(" WRONG "));
        assert!(line.is_some_and(|line| line.contains(position)), "{sql}: {text}");
        let name = database.display();
        assert!(text.contains(&format!("portbook restore BACKUP --database {name} --force")));
        assert!(text.contains(&format!("sqlite3 {name} .recover")), "{text}");
    }
    let database = copy(&server.database());
    let mut connection = open(&database).await;
    execute(&mut connection, "drop trigger custom_assignment_overlap").await;
    connection.close().await.unwrap();
    let (code, text) = verify(&database);
    assert_eq!(code, Some(6));
    assert!(text.contains("the trigger custom_assignment_overlap is missing"), "{text}");
}

#[tokio::test]
async fn json_report() {
    let server = database_with_everything().await;
    let mut command = portbook();
    command.args(["verify", "-o", "json"]).env("PORTBOOK_DATABASE", server.database());
    let output = command.output().unwrap();
    let text: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&text["is_right"], &text["revision"]), (&true.into(), &6.into()), "{text}");
    let results = text["checks"].as_array().unwrap().iter().map(|check| check["result"].clone());
    let wrong = results.filter(|result| *result != "OK").count();
    assert_eq!(wrong, 1, "a database has no checksum: {text}");
    let report = report(&server.database()).await;
    assert_eq!(report.checks[0].outcome, Outcome::Skipped);
}

#[tokio::test]
async fn a_start_on_a_damaged_database_names_the_command_to_run() {
    let server = database_with_everything().await;
    let whole = fs::read(server.database()).unwrap();
    let page = |from: usize, to: usize| {
        let mut damaged = whole.clone();
        damaged[from..to].fill(0xa5);
        damaged
    };
    let record = whole.windows(7).rposition(|word| word == b"billing").unwrap();
    let kind = "update custom_assignment set transport = 'ipx' where service_name = 'billing'";
    for (what, bytes, code, says) in [
        ("the first page", page(100, 4096), 6, "is damaged"),
        ("most pages", page(4096, whole.len()), 6, ""),
        (
            "the page of a registration",
            page(record / 4096 * 4096, record / 4096 * 4096 + 4096),
            6,
            "",
        ),
        ("cut", whole[..whole.len() / 2].to_vec(), 6, "is damaged"),
        ("a text", b"127.0.0.1 localhost\n".repeat(100), 6, "is not a SQLite database"),
        ("never written", whole.clone(), 6, "can't be read"),
    ] {
        fs::write(server.database(), &bytes).unwrap();
        if what == "never written" {
            forge(&server.database(), kind).await;
        }
        let (ended, text) = failed_start(&mut serve(&server.database()));
        assert_eq!(ended, Some(code), "{what}: {text}");
        assert!(text.contains(says), "{what}: {text}");
        let name = server.database();
        let name = name.display();
        let is_damaged = what != "a text";
        let check = format!("portbook verify {name}");
        assert_eq!(text.contains(&check), is_damaged, "{what}: {text}");
        let restore = format!("portbook restore BACKUP --database {name} --force");
        assert_eq!(text.contains(&restore), is_damaged, "{what}: {text}");
        let (ended, text) = verify(&server.database());
        assert_eq!(ended, Some(6), "{what}: {text}");
    }
}

#[tokio::test]
async fn an_unreadable_token_is_reported() {
    let server = database_with_everything().await;
    let token = "insert into token (name, description, role, grants, sha256, rotate_time, \
                 create_time, creator, update_time) \
                 values ('ci', '', 'VIEWER', '{}', zeroblob(32), 0, 0, 'admin', 0)";
    forge(&server.database(), token).await;
    assert_right(&server.database()).await;
    for (sql, position) in [
        ("update token set role = 'OWNER'", "role \"OWNER\""),
        ("update token set rotate_time = null", "an incomplete secret"),
        ("update token set former_sha256 = zeroblob(32)", "an incomplete secret"),
        (
            "update token set sha256 = null, rotate_time = null, former_sha256 = zeroblob(32), \
             former_expire_time = 0",
            "an incomplete secret",
        ),
    ] {
        let database = copy(&server.database());
        forge(&database, sql).await;
        let text = wrong(&report(&database).await);
        let state = text.lines().find(|line| line.starts_with("state: "));
        assert!(state.is_some_and(|line| line.contains(position)), "{sql}: {text}");
    }
}

#[tokio::test]
async fn a_garbage_wal_is_ignored() {
    let mut server = database_with_everything().await;
    for garbage in [vec![], vec![0xa5; 5000]] {
        fs::write(server.database().with_extension("db-wal"), garbage).unwrap();
        let (code, text) = verify(&server.database());
        assert_eq!(code, Some(0), "{text}");
        server.launch();
        assert!(server.ready_line.contains("revision 6, "), "{}", server.ready_line);
        assert!(server.signal("TERM").await.success());
    }
}
