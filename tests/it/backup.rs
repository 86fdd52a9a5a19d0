//! `portbook backup` and `portbook restore`.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::process::{Command, Output, Stdio};
use std::task::Poll;
use std::time::Duration;

use jiff::Timestamp;
use portbook::grpc::proto::{self, AsOf, as_of};
use portbook::store::{DatabaseStore, Maintenance, RestoreOptions};

use crate::command_line::online;
use crate::harness::{FREE, QUIET, Server, portbook, register, sql_counts};
use crate::verify::report;
use crate::verify::{execute, forge, open};

/// The exit code of a command, and its stdout followed by its stderr.
pub fn code_and_output(output: &Output) -> (Option<i32>, String) {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    (output.status.code(), text(&output.stdout) + &text(&output.stderr))
}

pub fn back_up(database: &Path, file: &Path) -> Command {
    let mut command = portbook();
    command.arg("backup").arg(file).arg("--database").arg(database);
    command
}

pub fn restore(file: &Path, database: &Path) -> Command {
    let mut command = portbook();
    command.arg("restore").arg(file).arg("--database").arg(database);
    command
}

pub fn verify(file: &Path) -> (Option<i32>, String) {
    code_and_output(&portbook().arg("verify").arg(file).output().unwrap())
}

/// Asserts that the command succeeds; returns its output.
pub fn assert_success(command: &mut Command) -> String {
    let (code, text) = code_and_output(&command.output().unwrap());
    assert_eq!(code, Some(0), "{text}");
    text
}

/// Asserts that the command fails with this exit code; returns its stderr.
fn assert_failure(command: &mut Command, expected: i32) -> String {
    let (code, text) = code_and_output(&command.output().unwrap());
    assert_eq!(code, Some(expected), "{text}");
    text
}

/// The files of a folder and their contents.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let paths = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = paths.map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    files.sort();
    files
}

async fn revision_in(database: &Path) -> i64 {
    sql_counts(database, "select '', coalesce(max(revision), 0) from revision").await.remove(0).1
}

/// A stopped server with this many registrations.
async fn stopped_after(registrations: u32) -> Server {
    let mut server = Server::start();
    let mut writes = server.writes().await;
    for port in QUIET..QUIET + registrations {
        writes.register_port(register("held", port)).await.unwrap();
    }
    drop(writes);
    assert!(server.signal("TERM").await.success());
    server
}

fn backup_of(server: &Server) -> PathBuf {
    let file = server.database().with_extension("backup");
    assert_success(&mut back_up(&server.database(), &file));
    file
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_under_write_load_restores_to_the_same_responses() {
    let server = Server::start();
    let file = server.database().with_extension("backup");
    let mut writes = server.writes().await;
    writes.register_port(register("first", FREE)).await.unwrap();
    let (stop, mut stopped) = tokio::sync::oneshot::channel::<()>();
    let load = tokio::spawn(async move {
        let mut port = QUIET;
        while stopped.try_recv().is_err() {
            writes.register_port(register(&format!("load-{port}"), port)).await.unwrap();
            port = if port == QUIET + 500 { QUIET } else { port + 1 };
            if port == QUIET {
                break;
            }
        }
    });
    let (database, to) = (server.database(), file.clone());
    let text = tokio::task::spawn_blocking(move || assert_success(&mut back_up(&database, &to)));
    let text = text.await.unwrap();
    stop.send(()).ok();
    load.await.unwrap();

    let revision = text.split("revision ").nth(1).and_then(|rest| rest.split(',').next());
    let revision: u64 = revision.unwrap().parse().unwrap();
    assert!(0 < revision && revision < server.info().await.revision, "{text}");
    let (code, report) = verify(&file);
    assert_eq!(code, Some(0), "{report}");
    let mut elsewhere = Server::stopped();
    let text = assert_success(&mut restore(&file, &elsewhere.database()));
    assert!(text.contains(&format!("revision {revision}, ")), "{text}");
    elsewhere.launch();
    assert_eq!(elsewhere.info().await.revision, revision);
    assert_eq!(elsewhere.info().await.database_id, server.info().await.database_id);
    let then = Some(AsOf { moment: Some(as_of::Moment::Revision(revision)) });
    let all_namespaces = proto::AssignmentFilter { namespace: "-".into(), ..Default::default() };
    let held = server.registered(all_namespaces, then).await;
    assert_eq!(held.len() as u64, revision);
    assert_eq!(elsewhere.all_registrations().await, held);
    let mut history = server.history(proto::ChangeFilter::default()).await;
    history.truncate(held.len());
    assert_eq!(elsewhere.history(proto::ChangeFilter::default()).await, history);
}

#[tokio::test]
async fn a_backup_is_private_and_does_not_overwrite_without_force() {
    let server = Server::start();
    let file = server.database().with_extension("backup");
    assert_success(&mut back_up(&server.database(), &file));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&file), 0o600);
    let first = fs::read(&file).unwrap();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    let text = assert_failure(&mut back_up(&server.database(), &file), 3);
    assert!(text.contains("already exists") && text.contains("--force"), "{text}");
    assert!(fs::read(&file).unwrap() == first);
    let text = assert_success(back_up(&server.database(), &file).arg("--force"));
    assert!(text.contains("revision 1, 1 registered"), "{text}");
    assert_eq!(revision_in(&file).await, 1, "SQLite opens a sealed file");
    // Not even with --force.
    let text = assert_failure(back_up(&server.database(), &server.database()).arg("--force"), 5);
    assert!(text.contains("is the database itself"), "{text}");
    server.lookup(443).await;
}

#[tokio::test]
async fn a_backup_of_a_restored_database_contains_later_writes() {
    let origin = stopped_after(1).await;
    let mut server = Server::stopped();
    fs::copy(backup_of(&origin), server.database()).unwrap();
    server.launch();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    let (code, report) = verify(&server.database());
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("up to revision 2, "), "{report}");
    assert_eq!(revision_in(&backup_of(&server)).await, 2);
}

#[tokio::test]
async fn a_backup_includes_the_wal_of_a_sealed_file() {
    let server = stopped_after(1).await;
    let sealed = backup_of(&server);
    let mut connection = open(&sealed).await;
    execute(&mut connection, "pragma journal_mode = wal").await;
    let written = "insert into token (name, description, role, grants, create_time, creator, \
                   update_time) values ('late', '', 'ADMIN', '{}', 0, '', 0)";
    execute(&mut connection, written).await;
    let (code, report) = verify(&sealed);
    assert_eq!(code, Some(0), "{report}");
    let file = server.database().with_extension("second");
    assert_success(&mut back_up(&sealed, &file));
    let late = "select name, 1 from token where name = 'late'";
    assert_eq!(sql_counts(&file, late).await.len(), 1);
}

/// The files of a database that a server uses, and of another one that no server uses, are no targets,
/// by any path to them.
#[tokio::test]
async fn a_backup_replaces_no_file_of_a_database() {
    let server = Server::start();
    let other = stopped_after(1).await;
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    let (database, other) = (server.database(), other.database());
    let folder = database.parent().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let (link, alias) = (elsewhere.path().join("link"), elsewhere.path().join("alias"));
    std::os::unix::fs::symlink(with_suffix(&database, "-wal"), &link).unwrap();
    std::os::unix::fs::symlink(folder, &alias).unwrap();
    let name = database.file_name().unwrap();
    let mut targets = vec![link, alias.join(name), other.clone()];
    for suffix in ["-wal", "-shm", "-journal"] {
        targets.push(with_suffix(&database, suffix));
        targets.push(with_suffix(&alias.join(name), suffix));
        targets.push(with_suffix(&other, suffix));
    }
    let before = (files(folder), files(other.parent().unwrap()));
    for target in targets {
        let text = assert_failure(back_up(&database, &target).arg("--force"), 5);
        assert!(text.contains("give the name of another file"), "{target:?}: {text}");
    }
    assert!((files(folder), files(other.parent().unwrap())) == before);
    server.writes().await.register_port(register("shipping", FREE + 1)).await.unwrap();
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[tokio::test]
async fn a_named_pipe_and_a_device_are_rejected_at_once() {
    let server = stopped_after(1).await;
    let (database, folder) = (server.database(), server.database().parent().unwrap().to_owned());
    let pipe = folder.join("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for path in [pipe.as_path(), Path::new("/dev/null"), Path::new("/dev/zero")] {
        let mut verify = portbook();
        verify.arg("verify").arg(path);
        let mut serve = portbook();
        serve.args(["serve", "--listen", "127.0.0.1:0", "--database"]).arg(path);
        for command in [
            &mut verify,
            &mut serve,
            back_up(path, &folder.join("b")).arg("--force"),
            back_up(&database, path).arg("--force"),
            restore(path, &folder.join("new.db")).arg("--force"),
            restore(&database, path).arg("--force"),
        ] {
            let text = assert_failure(command, 5);
            assert!(text.contains("is not a regular file"), "{command:?}: {text}");
        }
    }
}

/// Runs a command of an admin.
fn administer(server: &Server, line: &str) -> String {
    let output = online(server, line);
    let (code, text) = code_and_output(&output);
    assert_eq!(code, Some(0), "{line}: {text}");
    text
}

fn secret_in(text: &str) -> String {
    let secret = text.split_whitespace().find(|word| word.starts_with("pbk_"));
    secret.unwrap_or_else(|| panic!("no secret: {text}")).to_owned()
}

async fn is_valid(server: &Server, secret: &str) -> bool {
    let mut writes = server.writes_as(Some(&format!("Bearer {secret}"))).await;
    let mut request = register("tried", FREE);
    request.validate_only = true;
    writes.register_port(request).await.is_ok()
}

#[tokio::test]
async fn a_restore_keeps_the_tokens_of_the_replaced_database() {
    let mut server = Server::start();
    let create = |server: &Server, name: &str| {
        secret_in(&administer(
            server,
            &format!("token create {name} --role registrar --grant default"),
        ))
    };
    let (revoked, rotated) = (create(&server, "revoked"), create(&server, "rotated"));
    create(&server, "unchanged");
    let file = backup_of(&server);
    administer(&server, "token revoke revoked");
    let renewed = secret_in(&administer(&server, "token rotate rotated --overlap 0s"));
    let created = create(&server, "created");
    server.signal("TERM").await;
    let text = assert_success(restore(&file, &server.database()).arg("--force"));
    let differing = "tokens: those of the previous database; they differ from the backup in: created, \
                     revoked, rotated";
    assert!(text.contains(differing), "{text}");
    server.launch();
    for (secret, expected) in
        [(&revoked, false), (&rotated, false), (&renewed, true), (&created, true)]
    {
        assert_eq!(is_valid(&server, secret).await, expected);
    }
    assert_eq!(verify(&server.database()).0, Some(0));

    server.signal("TERM").await;
    let mut requested = restore(&file, &server.database());
    let text = assert_success(requested.arg("--force").arg("--tokens-from-backup"));
    assert!(text.contains("is valid again; to revoke it: portbook token revoke NAME"), "{text}");
    server.launch();
    for (secret, expected) in
        [(&revoked, true), (&rotated, true), (&renewed, false), (&created, false)]
    {
        assert_eq!(is_valid(&server, secret).await, expected);
    }
}

#[tokio::test]
async fn a_restore_reports_tokens_of_the_backup_if_the_replaced_database_has_no_tokens() {
    let server = stopped_after(1).await;
    let file = backup_of(&server);
    for content in [&b""[..], b"damaged"] {
        fs::write(server.database(), content).unwrap();
        let text = assert_success(restore(&file, &server.database()).arg("--force"));
        assert!(text.contains("tokens: those of the backup"), "{text}");
    }
    let elsewhere = Server::stopped();
    let text = assert_success(&mut restore(&file, &elsewhere.database()));
    assert!(text.contains("tokens: those of the backup"), "{text}");
}

#[tokio::test]
async fn a_failed_backup_leaves_no_file_and_reports_the_cause() {
    let server = stopped_after(1).await;
    let database = server.database();
    let folder = database.parent().unwrap();
    let before = files(folder);
    let text = assert_failure(&mut back_up(&database, &folder.join("none/b")), 5);
    assert!(text.contains("none/b does not exist: create it first"), "{text}");
    let text = assert_failure(&mut back_up(&folder.join("none.db"), &folder.join("b")), 5);
    assert!(text.contains("does not exist") && text.contains("none.db"), "{text}");
    let text = assert_failure(back_up(&database, folder).arg("--force"), 5);
    assert!(text.contains("is a folder"), "{text}");
    // A file size limit simulates a full disk.
    let mut full = Command::new("sh");
    full.args(["-c", "trap '' XFSZ; ulimit -f 500; exec \"$@\"", "sh"]);
    let backup = back_up(&database, &folder.join("b"));
    full.arg(backup.get_program()).args(backup.get_args());
    let text = assert_failure(&mut full, 5);
    assert!(text.contains(&format!("{} can't be written", folder.join("b").display())), "{text}");
    assert!(files(folder) == before);
}

#[tokio::test]
async fn a_damaged_database_is_not_backed_up() {
    let server = stopped_after(1).await;
    let database = server.database();
    forge(&database, "update custom_assignment set service_name = 'other'").await;
    let text = assert_failure(&mut back_up(&database, &database.with_extension("backup")), 6);
    assert!(text.contains("failed its verification"), "{text}");
    assert!(text.contains(&format!("portbook verify {}", database.display())), "{text}");
    assert_eq!(files(database.parent().unwrap()).len(), 1);
}

#[tokio::test]
async fn the_database_of_a_running_server_is_not_replaced() {
    let server = Server::start();
    let file = backup_of(&server);
    let text = assert_failure(restore(&file, &server.database()).arg("--force"), 5);
    assert!(text.contains("in use by another portbook server"), "{text}");
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
}

#[tokio::test]
async fn restore_renames_the_previous_database() {
    let mut server = Server::start();
    let file = backup_of(&server);
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    // The last write is only in the WAL.
    server.kill();
    let text = assert_failure(&mut restore(&file, &server.database()), 3);
    assert!(text.contains("already exists") && text.contains("--force"), "{text}");
    fs::set_permissions(server.database(), fs::Permissions::from_mode(0o640)).unwrap();
    let text = assert_success(restore(&file, &server.database()).arg("--force"));
    let renamed = text.split("previous database: ").nth(1).unwrap().lines().next().unwrap();
    assert!(renamed.contains("portbook.db.replaced-"), "{renamed}");
    let (code, report) = verify(Path::new(renamed));
    assert_eq!(code, Some(0), "{report}");
    assert!(report.contains("up to revision 1, "), "{report}");
    let mode = fs::metadata(server.database()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o640, "the new file has the permissions of the old one");
    server.launch();
    assert!(server.ready_line.contains("revision 0, 15047 assignments"), "{}", server.ready_line);
    let names: Vec<_> = files(server.database().parent().unwrap())
        .into_iter()
        .map(|(path, _)| path.file_name().unwrap().to_str().unwrap().to_owned())
        .collect();
    assert_eq!(names.len(), 5, "the backup, the old file, and the new one's three: {names:?}");
}

#[tokio::test]
async fn restore_renames_an_unreadable_database() {
    let server = stopped_after(1).await;
    let file = backup_of(&server);
    let log = server.database().with_extension("db-wal");
    for (content, log_content) in [("not a database", "not a log"), ("", "what is left")] {
        fs::write(server.database(), content).unwrap();
        fs::write(&log, log_content).unwrap();
        let text = assert_success(restore(&file, &server.database()).arg("--force"));
        let renamed = text.split("previous database: ").nth(1).unwrap().lines().next().unwrap();
        assert_eq!(fs::read_to_string(renamed).unwrap(), content);
        assert_eq!(fs::read_to_string(format!("{renamed}-wal")).unwrap(), log_content);
        let (code, report) = verify(&server.database());
        assert_eq!(code, Some(0), "{report}");
    }
}

#[tokio::test]
async fn restore_does_not_apply_the_wal_of_another_database() {
    let mut other = Server::start();
    other.writes().await.register_port(register("other", FREE)).await.unwrap();
    other.kill();
    let mut server = stopped_after(3).await;
    let file = backup_of(&server);
    fs::remove_file(server.database()).unwrap();
    let log = server.database().with_extension("db-wal");
    fs::copy(other.database().with_extension("db-wal"), &log).unwrap();
    let (code, text) = crate::harness::failed_start(&mut crate::harness::serve(&server.database()));
    assert_eq!(code, Some(5));
    assert!(text.contains("is missing or empty, but its log"), "{text}");
    assert_success(&mut restore(&file, &server.database()));
    assert!(!log.exists(), "renamed");
    server.launch();
    assert!(server.ready_line.contains("revision 3, "), "{}", server.ready_line);
}

#[tokio::test]
async fn an_interrupted_restore_leaves_the_old_database_or_the_new_one() {
    let mut server = stopped_after(2).await;
    let file = backup_of(&server);
    server.launch();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    server.kill();
    let (database, mut found) = (server.database(), Vec::new());
    let renamed = database.with_extension("old");
    fs::copy(&database, &renamed).unwrap();
    let log = database.with_extension("db-wal");
    let old_log = fs::read(&log).unwrap();
    // Kill later and later, until a restore completes before it is killed.
    for delay in (0..100).map(|step| step * step * 2) {
        // Start from the old database, whose last write is only in the WAL.
        fs::copy(&renamed, &database).unwrap();
        fs::write(&log, &old_log).unwrap();
        let mut command = restore(&file, &database);
        command.arg("--force").stdout(Stdio::null()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        tokio::time::timeout(Duration::from_millis(delay), std::future::pending::<()>())
            .await
            .unwrap_err();
        child.kill().unwrap();
        child.wait().unwrap();
        let report = report(&database).await;
        assert!(report.is_ok(), "after {delay} ms: {report:?}");
        let revision = report.revision.unwrap().0;
        found.push(revision);
        if revision == 2 {
            break;
        }
    }
    assert_eq!((found.first(), found.last()), (Some(&3), Some(&2)), "{found:?}");
}

/// Polls a restore until it copies the backup, and no further.
async fn until_copying(restoring: &mut (impl Future<Output: std::fmt::Debug> + Unpin), at: &Path) {
    std::future::poll_fn(|context| {
        let polled = Pin::new(&mut *restoring).poll(context);
        assert!(polled.is_pending(), "{polled:?}");
        let is_partial = |path: &Path| path.extension().is_some_and(|name| name == "partial");
        let copies = files(at).into_iter().any(|(path, _)| is_partial(&path));
        if copies { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

#[tokio::test]
async fn a_server_started_during_a_restore_keeps_its_database() {
    let origin = stopped_after(3).await;
    let file = backup_of(&origin);
    for was_there in [false, true] {
        let mut server = Server::stopped();
        let (database, folder) = (server.database(), server.database());
        let folder = folder.parent().unwrap();
        if was_there {
            fs::copy(origin.database(), &database).unwrap();
        }
        let (now, options) = (
            Timestamp::now(),
            RestoreOptions { overwrite: was_there, ..RestoreOptions::default() },
        );
        let mut restoring =
            Box::pin(DatabaseStore::restore(&file, &database, options, now, |_, _| ()));
        until_copying(&mut restoring, folder).await;
        if was_there {
            fs::rename(&database, folder.join("elsewhere.db")).unwrap();
        }
        server.launch();
        server.writes().await.register_port(register("billing", FREE)).await.unwrap();
        let fault = restoring.await.unwrap_err().to_string();
        let says = if was_there { "is in use by another program" } else { "already exists" };
        assert!(fault.contains(says), "{fault}");
        server.writes().await.register_port(register("later", FREE + 1)).await.unwrap();
        server.kill();
        server.launch();
        assert!(server.ready_line.contains("revision 2, "), "{}", server.ready_line);
        let names = files(folder).into_iter().map(|(path, _)| path.display().to_string());
        let left = names.filter(|name| name.contains("replaced") || name.contains("partial"));
        assert_eq!(left.count(), 0);
    }
}

#[tokio::test]
async fn a_damaged_backup_is_not_restored() {
    let server = stopped_after(1).await;
    let file = backup_of(&server);
    let mut bytes = fs::read(&file).unwrap();
    let position = bytes.len() / 2;
    bytes[position] ^= 0x40;
    fs::write(&file, &bytes).unwrap();
    let before = files(server.database().parent().unwrap());
    let text = assert_failure(restore(&file, &server.database()).arg("--force"), 6);
    assert!(text.contains("failed its verification"), "{text}");
    assert!(text.contains("checksum: "), "{text}");
    bytes[position] ^= 0x40;
    fs::write(&file, &bytes[..bytes.len() - 4096]).unwrap();
    assert_failure(restore(&file, &server.database()).arg("--force"), 6);
    fs::write(&file, "not a backup").unwrap();
    let text = assert_failure(restore(&file, &server.database()).arg("--force"), 6);
    assert!(text.contains("not a SQLite database"), "{text}");
    let others = |files: Vec<(PathBuf, Vec<u8>)>| {
        files.into_iter().filter(|(path, _)| *path != file).collect::<Vec<_>>()
    };
    assert!(others(files(server.database().parent().unwrap())) == others(before));
}

#[tokio::test]
async fn a_plain_copy_is_restored_with_its_wal() {
    let mut server = Server::start();
    server.writes().await.register_port(register("billing", FREE)).await.unwrap();
    server.kill();
    let elsewhere = Server::stopped();
    assert_success(&mut restore(&server.database(), &elsewhere.database()));
    assert_eq!(revision_in(&elsewhere.database()).await, 1);
    let text = assert_failure(restore(&server.database(), &server.database()).arg("--force"), 5);
    assert!(text.contains("is the database itself"), "{text}");
}
