//! Portbook: the port registry of an organisation, served over gRPC.
//!
//! IANA's registry, the everyday uses that IANA does not record, and the organisation's own
//! registrations, looked up from memory and kept in one file.
//!
//! # The map, in reading order
//!
//! - [`registry`]: the domain. What a registry is, and every rule it keeps. Pure.
//! - [`access`]: who calls, and what they may do. Pure too.
//! - [`iana`]: IANA's file, and the migration made of it.
//! - [`metrics`]: what is counted and timed.
//! - [`store`]: where a registry is kept; [`store::sqlite`] has all the SQL.
//! - [`writer`]: the one task that changes a registry.
//! - [`grpc`]: the services of `portbook.v1`; [`grpc::layer`] is what every call passes through.
//! - [`config`], [`telemetry`], [`connection`], [`server`]: the process that serves.
//! - [`cli`]: the command line, a client of the same services.
//!
//! Imports point up this list only; a test keeps it.
//!
//! # The invariants
//!
//! 1. A read takes exactly one [`registry::snapshot::Snapshot`] and never touches the database;
//!    what is asked of the past reads the history as well, on connections of its own.
//! 2. Only the writer commits and publishes: commit, publish, reply, in this order. So whoever has
//!    the reply to a write reads it from every connection.
//! 3. Commands that wait are decided one on the other and committed together, durably. A refused
//!    one never fails its neighbours; a failed commit fails all of its waiters, those that were
//!    decided on it meanwhile included, and publishes nothing.
//! 4. A write that was acknowledged survives the end of the process and a loss of power. Handlers
//!    may be dropped at any await; durable work is the writer's.
//! 5. The database refuses two holders of a port too, pools that meet, and ports of a pool that
//!    were not asked for through it: [`registry::decide`] is the first line, the schema the last.
//! 6. A new snapshot shares what did not change: publishing costs what changed. History is the
//!    whole truth: replayed it leads to what stands, and taken back to what stood.
//! 7. If the writer ends, the process ends. The server says it is ready only with a snapshot.
//! 8. One server per database file.
//! 9. Migrations that were released never change, and IANA's records and registrations are kept in
//!    tables of their own.
//! 10. What an rpc asks of its caller is decided before anything else, and what nobody has opened is
//!     closed. A change of a token holds for all that is decided from then on, calls that began
//!     before included.
//! 11. Everything that a client can make grow has a bound: connections, calls, what waits, what it
//!     leaves unread.

pub mod registry;

pub mod access;
pub mod iana;
pub mod metrics;
pub mod store;
pub mod writer;

pub mod grpc;

pub mod config;
pub mod connection;
pub mod server;
pub mod telemetry;

pub mod cli;
