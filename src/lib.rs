//! scaffold
pub mod access;
pub mod config;
pub mod iana;
pub mod registry;
pub mod store;
pub mod writer;
pub mod grpc;
pub mod server;
pub mod cli;
