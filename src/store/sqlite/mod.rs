//! The embedded store: one SQLite file, with one connection that writes and several that read the
//! history. Contains all SQL.

mod append;
mod backup;
mod backup_seal;
mod backup_target;
mod create;
mod error;
mod history;
mod load;
mod open;
mod partial_copy;
mod read_only;
mod restore;
mod restored_tokens;
mod token;
mod verify;

use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use jiff::Timestamp;
use sqlx::Connection;
use sqlx::sqlite::SqliteConnection;

pub use verify::Verifier;

use self::backup::backup;
use self::history::{EmptyHistory, SqliteHistory};
use self::restore::restore;
use self::verify::verify;
use super::history::History;
use super::history::format::{
    TextInterner, decode_change, decode_findings, hash_from, revision_from_integer,
};
use super::{
    AppendOutcome, Backup, BackupError, Contents, Entry, LogTail, Maintenance, OpenError, Report,
    RestoreError, RestoreOptions, Restored, SizeReader, Store, StoreError, StoredOutcome,
    check_revisions,
};
use crate::access::{Actor, Token};
use crate::registry::assignment::Revision;

/// A registry in one SQLite file.
#[derive(Debug)]
pub struct SqliteStore {
    connection: SqliteConnection,
    file: Option<LockedFile>,
    history: Option<SqliteHistory>,
}

/// The file, locked until the store is dropped, so that no other server opens it.
#[derive(Debug)]
struct LockedFile {
    path: PathBuf,
    file: File,
}

impl LockedFile {
    /// Whether the path still names the file that was opened.
    fn is_in_place(&self) -> bool {
        match (self.file.metadata(), self.path.metadata()) {
            (Ok(opened), Ok(found)) => (opened.dev(), opened.ino()) == (found.dev(), found.ino()),
            _ => false,
        }
    }
}

impl SqliteStore {
    /// Fails if the file was moved or deleted: a write would be lost.
    fn check_in_place(&self) -> Result<(), StoreError> {
        match self.file.as_ref().filter(|file| !file.is_in_place()) {
            Some(moved) => Err(StoreError::Moved(moved.path.clone())),
            None => Ok(()),
        }
    }
}

impl Store for SqliteStore {
    async fn open(database: &Path) -> Result<Self, OpenError> {
        Self::open_file(database).await
    }

    async fn load(&mut self, now: Timestamp) -> Result<Contents, StoreError> {
        load::contents(&mut self.connection, now).await
    }

    fn history(&self) -> Arc<dyn History> {
        match &self.history {
            Some(history) => Arc::new(history.clone()),
            None => Arc::new(EmptyHistory),
        }
    }

    fn size(&self) -> SizeReader {
        let path = self.file.as_ref().map(|file| file.path.clone());
        Box::new(move || path.as_deref().map_or(0, read_only::size))
    }

    /// Never returns `Behind`: a file has one server, so another writer is an error.
    async fn append(
        &mut self,
        expected: Revision,
        entries: &[Entry],
    ) -> Result<AppendOutcome, StoreError> {
        self.check_in_place()?;
        let appended = match check_revisions(expected, entries) {
            Ok(()) => append::entries(&mut self.connection, expected, entries).await,
            Err(error) => Err(error),
        };
        let Err(error) = appended else {
            return Ok(AppendOutcome::Committed);
        };
        // Fails if SQLite has rolled back already; the error to return is the first one.
        if let Err(error) = execute(&mut self.connection, "rollback").await {
            tracing::debug!(error = &error as &dyn std::error::Error, "nothing to roll back");
        }
        // If another program has written, that is the cause of any error.
        match last_revision(&mut self.connection).await {
            Ok(found) if found != expected => Err(StoreError::Conflict { expected, found }),
            _ => Err(error),
        }
    }

    async fn entries_since(&mut self, revision: Revision) -> Result<LogTail, StoreError> {
        let entries = history::entries_since(&mut self.connection, revision).await?;
        Ok(LogTail { entries, tokens: token::all(&mut self.connection).await? })
    }

    async fn put_token(&mut self, token: &Token) -> Result<(), StoreError> {
        self.check_in_place()?;
        token::put(&mut self.connection, token).await?;
        // The first token of a new database must survive the loss of the log, as its tables do.
        open::checkpoint(&mut self.connection).await;
        Ok(())
    }

    async fn stored_outcome(
        &mut self,
        actor: &Actor,
        request_id: &str,
    ) -> Result<Option<StoredOutcome>, StoreError> {
        let actor = &*actor.0;
        let Some(request) = sqlx::query!(
            "select fingerprint, revision, findings from request where actor = ? and request_id = ?",
            actor,
            request_id
        )
        .fetch_optional(&mut self.connection)
        .await?
        else {
            return Ok(None);
        };
        let changes = sqlx::query!(
            "select kind, before, after, rest_until from change where revision = ? order by position",
            request.revision
        )
        .fetch_all(&mut self.connection)
        .await?;
        let mut texts = TextInterner::default();
        Ok(Some(StoredOutcome {
            fingerprint: hash_from(request.fingerprint)?,
            revision: revision_from_integer(request.revision)?,
            changes: changes
                .into_iter()
                .map(|row| {
                    decode_change(&row.kind, row.before, row.after, row.rest_until, &mut texts)
                })
                .collect::<Result<_, _>>()?,
            findings: decode_findings(&request.findings, &mut texts)?,
        }))
    }

    /// Moves the write-ahead log into the file and closes it.
    async fn close(self) -> Result<(), StoreError> {
        // The last connection to close moves the log.
        if let Some(history) = &self.history {
            history.close().await;
        }
        Ok(self.connection.close().await?)
    }
}

impl Maintenance for SqliteStore {
    async fn backup(
        database: &Path,
        target: &Path,
        overwrite: bool,
        now: Timestamp,
        report_progress: impl FnMut(u64, u64),
    ) -> Result<Backup, BackupError> {
        backup(database, target, overwrite, now, report_progress).await
    }

    async fn restore(
        backup: &Path,
        database: &Path,
        options: RestoreOptions,
        now: Timestamp,
        report_progress: impl FnMut(u64, u64),
    ) -> Result<Restored, RestoreError> {
        restore(backup, database, options, now, report_progress).await
    }

    async fn verify(database: &Path, now: Timestamp) -> Result<Report, OpenError> {
        verify(database, now).await
    }

    fn recovery_command(quoted: &str) -> String {
        format!("sqlite3 {quoted} .recover")
    }
}

async fn execute(
    connection: &mut SqliteConnection,
    statement: &'static str,
) -> Result<(), sqlx::Error> {
    sqlx::raw_sql(statement).execute(connection).await?;
    Ok(())
}

async fn last_revision(connection: &mut SqliteConnection) -> Result<Revision, StoreError> {
    let last =
        sqlx::query_scalar!(r#"select coalesce(max(revision), 0) as "last!: i64" from revision"#)
            .fetch_one(connection)
            .await?;
    revision_from_integer(last)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::assignment::Uid;
    use crate::registry::command::{Command, Register};
    use crate::registry::decide::{Context, decide};
    use crate::registry::details::{DetailEdits, TextField};
    use crate::registry::name::NamespaceName;
    use crate::registry::port::{Port, PortRange, Transport};
    use crate::registry::text::Labels;

    /// An entry that registers a large record.
    fn entry(loaded: &crate::store::LoadedRegistry, revision: Revision, port: u16) -> Entry {
        let mut details = DetailEdits::default();
        for field in TextField::ALL {
            details.set_text(field, &"n".repeat(field.max_bytes())).unwrap();
        }
        details.set_labels(Labels::parse([("tier".to_owned(), "1".to_owned())]).unwrap());
        let command = Command::Register(Register {
            namespace: NamespaceName::default(),
            service_name: "large".parse().unwrap(),
            ports: PortRange::single(Port::new(port)),
            transports: Transport::ALL.to_vec(),
            pool: None,
            ttl: None,
            details,
            acknowledge: crate::registry::finding::FindingCode::ALL.into_iter().collect(),
        });
        let mut new_uid = || Uid::new(uuid::Uuid::now_v7());
        let mut context = Context { now: Timestamp::UNIX_EPOCH, new_uid: &mut new_uid };
        let decision = decide(&loaded.snapshot, &command, &mut context).unwrap();
        Entry {
            revision,
            time: context.now,
            actor: Actor("test".into()),
            reason: String::new(),
            changes: decision.changes,
            findings: Vec::new(),
            request: None,
        }
    }

    #[tokio::test]
    async fn a_full_disk_fails_a_commit_and_nothing_after_it() {
        let folder = tempfile::tempdir().unwrap();
        let mut store = SqliteStore::open(&folder.path().join("portbook.db")).await.unwrap();
        let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
        execute(&mut store.connection, "pragma max_page_count = 1").await.unwrap();
        let mut last = Revision(0);
        let full = loop {
            let entry = entry(&loaded, last.next(), 10_000 + last.0 as u16);
            match store.append(last, &[entry]).await {
                Ok(_) => last = last.next(),
                Err(error) => break error,
            }
        };
        assert!(matches!(full, StoreError::Full(_)), "{full:?}");
        // Full again, then space is freed.
        let next = || [entry(&loaded, last.next(), 20_000)];
        assert!(store.append(last, &next()).await.is_err());
        execute(&mut store.connection, "pragma max_page_count = 1000000").await.unwrap();
        store.append(last, &next()).await.unwrap();
        assert_eq!(store.load(Timestamp::UNIX_EPOCH).await.unwrap().revision, last.next());
    }

    #[tokio::test]
    async fn an_append_to_a_moved_file_fails() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("portbook.db");
        let mut store = SqliteStore::open(&path).await.unwrap();
        let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
        std::fs::rename(&path, folder.path().join("elsewhere.db")).unwrap();
        let moved = store.append(Revision(0), &[entry(&loaded, Revision(1), 10_000)]).await;
        assert!(matches!(moved, Err(StoreError::Moved(_))), "{moved:?}");
    }

    /// A field that a query, a row or the schema lacks fails this test.
    #[tokio::test]
    async fn every_descriptive_field_is_stored_and_in_the_history() {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
        store.append(Revision(0), &[entry(&loaded, Revision(1), 10_000)]).await.unwrap();
        let loaded = store.load(Timestamp::UNIX_EPOCH).await.unwrap().into_loaded();
        let record = loaded.snapshot.custom().next().unwrap();
        let query = "select after from change";
        let after: String =
            sqlx::query_scalar(query).fetch_one(&mut store.connection).await.unwrap();
        let after: serde_json::Value = serde_json::from_str(&after).unwrap();
        for field in TextField::ALL {
            let text = "n".repeat(field.max_bytes());
            assert_eq!(**record.details.text(field), *text, "loaded {field:?}");
            assert_eq!(after[field.name()], *text, "history {field:?}");
        }
        assert_eq!(record.details.labels.pairs()["tier"], "1");
        assert_eq!(after["labels"]["tier"], "1");
    }
}
