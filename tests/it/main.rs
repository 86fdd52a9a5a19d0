//! Scenario tests with real clients, a real server and a database file, and property tests of the
//! layers.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test that can't go on has failed")]
#![expect(unreachable_pub, reason = "one binary: shared items are visible to all modules")]

mod harness;

mod access;
mod annotate;
mod architecture;
mod backup;
mod capabilities;
mod check_and_register;
mod check_port;
mod clock_steps;
mod command_line;
mod conformance;
mod crash;
mod decisions;
mod descriptive_fields;
mod docs;
mod encrypted_client;
mod ensure_port;
mod full_disk;
mod fuzz;
mod historical_queries;
mod history;
mod history_properties;
mod hostile_clients;
mod import;
mod in_process;
mod invalid_admin_requests;
mod invalid_history_requests;
mod invalid_requests;
mod leases;
mod limits;
mod list;
mod lookup;
mod namespaces;
mod other_writers;
mod policies;
mod pools;
mod properties;
mod raw_calls;
mod roles;
mod search;
mod seed;
mod shutdown;
mod start_and_stop;
mod store_failures;
mod telemetry;
mod tmpfs_disk;
mod tokens_command_line;
mod upgrade;
mod verify;
mod watch;
mod writer;
mod writes;
mod young_database;
