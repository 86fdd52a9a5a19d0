//! A database at its first start: it does not exist, or it is complete.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use crate::backup::verify;
use crate::harness::{failed_start, serve};

/// The wait before the next attempt to stop a first start later.
const STEP: Duration = Duration::from_millis(8);

fn log_of(database: &Path) -> PathBuf {
    let mut name = database.as_os_str().to_owned();
    name.push("-wal");
    name.into()
}

/// Starts a server and kills it when it is ready. Returns its stderr.
fn start_and_kill(database: &Path) -> String {
    let mut command = serve(database);
    command.env_remove("PORTBOOK_BOOTSTRAP_TOKEN");
    let mut server = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut ready = String::new();
    BufReader::new(server.stdout.take().unwrap()).read_line(&mut ready).unwrap();
    server.kill().unwrap();
    let output = server.wait_with_output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(ready.contains("listening on"), "{ready}{stderr}");
    stderr
}

#[test]
fn a_first_start_that_is_killed_leaves_no_database_or_a_complete_one() {
    let (mut missing, mut complete) = (0, 0);
    for number in 0..60 {
        let folder = tempfile::tempdir().unwrap();
        let database = folder.path().join("portbook.db");
        let mut server =
            serve(&database).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        std::thread::sleep(STEP * number);
        server.kill().unwrap();
        server.wait().unwrap();
        if database.exists() {
            let (code, report) = verify(&database);
            assert_eq!(code, Some(0), "killed after {:?}: {report}", STEP * number);
            complete += 1;
        } else {
            missing += 1;
        }
        start_and_kill(&database);
        if missing > 3 && complete > 3 {
            return;
        }
    }
    panic!("{missing} times no database, {complete} times a complete one");
}

/// The name of a damage, and what it does to a log.
type Damage = (&'static str, Box<dyn Fn(&Path)>);

fn damages() -> Vec<Damage> {
    let mut damages: Vec<Damage> = vec![
        ("deleted", Box::new(|log| drop(fs::remove_file(log)))),
        ("emptied", Box::new(|log| truncate(log, 0))),
        ("cut in its header", Box::new(|log| truncate(log, 20))),
        ("cut in its first frame", Box::new(|log| truncate(log, 1_000))),
    ];
    for position in (0..32 + 24 + 40).step_by(4) {
        damages.push(("changed", Box::new(move |log| flip(log, position))));
    }
    damages
}

fn truncate(log: &Path, length: u64) {
    if let Ok(file) = File::options().write(true).open(log) {
        file.set_len(length.min(file.metadata().unwrap().len())).unwrap();
    }
}

fn flip(log: &Path, position: u64) {
    let Ok(mut file) = File::options().read(true).write(true).open(log) else { return };
    let mut byte = [0];
    file.seek(SeekFrom::Start(position)).unwrap();
    if file.read(&mut byte).unwrap() == 1 {
        file.seek(SeekFrom::Start(position)).unwrap();
        file.write_all(&[!byte[0]]).unwrap();
    }
}

#[test]
fn a_new_database_stays_the_same_registry_without_its_log() {
    let original = tempfile::tempdir().unwrap();
    let database = original.path().join("portbook.db");
    let text = start_and_kill(&database);
    assert!(text.contains("This database is new"), "{text}");
    for (name, damage) in damages() {
        let folder = tempfile::tempdir().unwrap();
        let copy = folder.path().join("portbook.db");
        fs::copy(&database, &copy).unwrap();
        if log_of(&database).exists() {
            fs::copy(log_of(&database), log_of(&copy)).unwrap();
        }
        damage(&log_of(&copy));
        let text = start_and_kill(&copy);
        assert!(!text.contains("This database is new"), "log {name}: {text}");
    }
}

#[test]
fn a_file_with_the_mark_but_without_tables_is_damaged() {
    let folder = tempfile::tempdir().unwrap();
    let database = folder.path().join("portbook.db");
    // The first page of a new database whose log is lost, as 0.1.0 left it.
    let marked = tokio::runtime::Runtime::new().unwrap().block_on(async {
        use sqlx::Connection;
        let options =
            sqlx::sqlite::SqliteConnectOptions::new().filename(&database).create_if_missing(true);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let sql = "pragma application_id = 0x50424f4b";
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
        connection.close().await.unwrap();
        fs::read(&database).unwrap()
    });
    let (code, text) = failed_start(&mut serve(&database));
    assert_eq!(code, Some(6), "{text}");
    assert!(text.contains("is damaged") && text.contains("portbook restore"), "{text}");
    assert!(fs::read(&database).unwrap() == marked, "it is unchanged");
}
