//! The gRPC services: conversion between proto and domain types, access control, errors.
//!
//! The only user of proto types in the server. Contains no rules of registration.

pub mod admin_service;
pub mod annotate;
pub mod convert;
pub mod details;
pub mod fields;
pub mod layer;
pub mod page_token;
pub mod registry_service;
pub mod request;
pub mod rpcs;
pub mod services;
pub mod status;
pub mod wire;

/// The types and services of `portbook.v1`, generated from `proto/`.
#[expect(clippy::pedantic, reason = "generated: the protos hold the documentation")]
pub mod proto {
    tonic::include_proto!("portbook.v1");

    /// The encoded descriptors of `portbook.v1`.
    pub const FILE_DESCRIPTOR_SET: &[u8] =
        include_bytes!(concat!(env!("OUT_DIR"), "/portbook.bin"));
}

#[cfg(test)]
mod tests {
    mod replaced_reference;
}
