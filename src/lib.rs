//! scaffold
pub mod access;
pub mod iana;
pub mod registry;
pub mod store;
