//! Portbook: the port registry of an organisation, served over gRPC.
//!
//! IANA's registry, the common uses that IANA does not record, and the organisation's own
//! registrations, served from memory and stored in a database.
//!
//! # The modules, in reading order
//!
//! - [`registry`]: the domain model and every rule of registration. Pure.
//! - [`access`]: callers, tokens and permissions. Pure too.
//! - [`iana`]: IANA's registry file, and the migration generated from it.
//! - [`metrics`]: counters and timers.
//! - [`store`]: persistent storage: the interface of a store, and a folder for each store.
//! - [`writer`]: the one task that changes a registry.
//! - [`grpc`]: the services of `portbook.v1`; every call passes through [`grpc::layer`].
//! - [`config`], [`telemetry`], [`connection`], [`server`]: the server process.
//! - [`cli`]: the command line, a client of the same services.
//!
//! A module imports only modules above it in this list; a test verifies this.
//!
//! # The invariants
//!
//! 1. A read uses exactly one [`registry::snapshot::Snapshot`] and never accesses the database.
//!    Historical queries also read the history, on separate connections.
//! 2. Only the writer commits and publishes: commit, publish, reply, in this order. A client that
//!    has received the reply to a write therefore reads that write on every connection to this server.
//! 3. Queued commands are decided one after another, each on the result of the previous one, and
//!    committed together, durably. A refused command does not affect the others. A failed commit
//!    fails every command of its batch, and every command decided on its result in the meantime,
//!    and publishes nothing. If another writer has appended first, nothing is committed, and all of
//!    them are decided again on the new state.
//! 4. An acknowledged write survives the end of the process and a power failure. Handlers may be
//!    dropped at any await; durable work belongs to the writer.
//! 5. The database also rejects two holders of a port, overlapping pools, and ports of a pool that
//!    were not registered through it: [`registry::decide`] checks first, the schema last.
//! 6. A new snapshot shares everything unchanged with the previous one: publishing costs as much
//!    as the change. The history is complete: replaying it yields the current state, and reverting
//!    it yields each earlier state.
//! 7. If the writer ends, the process ends. The server reports ready only once it has a snapshot.
//! 8. One server per database file.
//! 9. Released migrations never change. IANA's records and registrations are stored in separate
//!    tables.
//! 10. The role that an rpc requires is checked before its request is read; an rpc that is not in
//!     [`grpc::rpcs`] reaches no service. A change of a token applies to everything decided afterwards,
//!     including calls that began earlier.
//! 11. Everything that a client can make grow is bounded: connections, calls, queues, unread
//!     response bytes.

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
