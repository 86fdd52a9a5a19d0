//! scaffold
pub mod access;
pub mod config;
pub mod connection;
pub mod grpc;
pub mod iana;
pub mod registry;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod writer;
