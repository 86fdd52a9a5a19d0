//! The guarantees of `Store`, checked on each store: one function for each guarantee, and one test for
//! each function and store.

mod guarantees;
pub mod memory;
mod workload;

use std::path::Path;

use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;
use tokio::sync::OnceCell;

use self::memory::MemoryStore;
pub use self::workload::registration;

/// Implements methods of `Store` by calls of the field `store`: those that every test store delegates,
/// and those that are named.
macro_rules! delegate_to_store {
    ($($method:ident)*) => {
        async fn open(_: &std::path::Path) -> Result<Self, portbook::store::OpenError> {
            unreachable!("the test opens the store")
        }

        async fn load(
            &mut self,
            now: jiff::Timestamp,
        ) -> Result<portbook::store::Contents, portbook::store::StoreError> {
            self.store.load(now).await
        }

        fn history(&self) -> std::sync::Arc<dyn portbook::store::history::History> {
            self.store.history()
        }

        fn size(&self) -> portbook::store::SizeReader {
            self.store.size()
        }

        async fn stored_outcome(
            &mut self,
            actor: &portbook::access::Actor,
            request_id: &str,
        ) -> Result<Option<portbook::store::StoredOutcome>, portbook::store::StoreError> {
            self.store.stored_outcome(actor, request_id).await
        }

        async fn close(self) -> Result<(), portbook::store::StoreError> {
            self.store.close().await
        }

        $($crate::conformance::delegate_to_store!(@$method);)*
    };
    (@entries_since) => {
        async fn entries_since(
            &mut self,
            revision: portbook::registry::assignment::Revision,
        ) -> Result<portbook::store::LogTail, portbook::store::StoreError> {
            self.store.entries_since(revision).await
        }
    };
    (@put_token) => {
        async fn put_token(
            &mut self,
            token: &portbook::access::Token,
        ) -> Result<(), portbook::store::StoreError> {
            self.store.put_token(token).await
        }
    };
}
pub(crate) use delegate_to_store;

/// A store that the suite can create and break.
trait TestedStore: Store {
    /// Opens a database, which is created if it does not exist.
    async fn open_or_create(database: &Path) -> Self;

    /// Makes appends fail after a part of them was written, or succeed again.
    async fn set_fails(database: &Path, fails: bool);
}

impl TestedStore for SqliteStore {
    async fn open_or_create(database: &Path) -> Self {
        if !database.exists() {
            static SEEDED: OnceCell<Vec<u8>> = OnceCell::const_new();
            let seeded = SEEDED.get_or_init(async || {
                let folder = tempfile::tempdir().unwrap();
                let file = folder.path().join("portbook.db");
                Self::open(&file).await.unwrap().close().await.unwrap();
                std::fs::read(&file).unwrap()
            });
            std::fs::write(database, seeded.await).unwrap();
        }
        Self::open(database).await.unwrap()
    }

    async fn set_fails(database: &Path, fails: bool) {
        use sqlx::Connection;
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(database);
        let mut connection = sqlx::SqliteConnection::connect_with(&options).await.unwrap();
        let sql = if fails {
            "create trigger injected before insert on custom_assignment \
             begin select raise(abort, 'injected by the test'); end"
        } else {
            "drop trigger injected"
        };
        sqlx::raw_sql(sql).execute(&mut connection).await.unwrap();
    }
}

impl TestedStore for MemoryStore {
    async fn open_or_create(database: &Path) -> Self {
        Self::open(database).await.unwrap()
    }

    async fn set_fails(database: &Path, fails: bool) {
        Self::open(database).await.unwrap().set_fails(fails);
    }
}

/// Defines a test of each guarantee for a store.
macro_rules! conformance {
    ($store:ident, $module:ident: $($guarantee:ident)*) => {
        mod $module {
            $(
                #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $guarantee() {
                    let folder = tempfile::tempdir().unwrap();
                    let database = folder.path().join("portbook.db");
                    super::guarantees::$guarantee::<super::$store>(&database).await;
                }
            )*
        }
    };
}

/// Defines the tests for several stores.
macro_rules! conformance_of_each {
    ($($guarantee:ident)*) => {
        conformance!(SqliteStore, sqlite: $($guarantee)*
            a_backup_is_a_verified_copy_that_can_be_restored);
        conformance!(MemoryStore, in_memory: $($guarantee)*
            of_several_writers_one_appends_and_the_others_are_behind);
    };
}

conformance_of_each! {
    a_new_database_contains_only_the_seed
    the_loaded_state_is_the_result_of_all_entries
    cool_downs_end_at_their_time_after_a_load
    an_append_with_a_wrong_expected_revision_stores_nothing
    an_append_stores_all_entries_or_none
    a_failed_append_stores_nothing_and_the_next_one_succeeds
    acknowledged_data_survives_a_reopen
    acknowledged_data_survives_without_a_close
    history_is_in_order_in_both_directions_with_any_limit
    history_returns_exactly_the_changes_that_match
    revision_at_is_the_last_revision_at_or_before_the_time
    the_beginning_does_not_change
    an_append_is_in_the_history_immediately
    readers_see_complete_revisions_only
    entries_since_a_revision_are_all_after_it_in_order
    the_outcome_of_a_request_is_stored_for_its_actor_only
    tokens_are_stored_and_replaced_by_name
    the_size_grows_with_the_entries
}
