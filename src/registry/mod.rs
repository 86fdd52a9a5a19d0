//! The domain: the model of a port registry, and every rule of registration.
//!
//! Pure: no I/O, no clock, no randomness, no gRPC and no SQL. Time and ids are passed in, so each
//! rule can be tested without a server and applies to every store.

pub mod interner;
pub mod join;
pub mod lease;
pub mod name;
pub mod port;
pub mod port_set;
pub mod service_name;
mod similarity;
pub mod text;
mod words;

pub mod assignment;
pub mod details;
pub mod encoded;
pub mod guide;
pub mod namespace;
pub mod pool;

mod name_index;
pub mod reference;
pub mod snapshot;

pub mod counts;
pub mod endpoint;
pub mod list;
pub mod search;

pub mod finding;
pub mod judge;
pub mod usage;
pub mod verdict;

pub mod change;
pub mod command;
pub mod decide;

#[cfg(test)]
pub(crate) mod arbitrary;
