//! Compiles the protos to Rust and to the descriptor set that reflection serves. Needs no `protoc`.

use std::error::Error;
use std::path::Path;
use std::{env, fs};

use prost::Message;

/// Responses that are assembled from encoded records: see `src/grpc/wire.rs`.
const ASSEMBLED_RESPONSES: [&str; 3] =
    ["LookupPortResponse", "LookupEndpointResponse", "BatchLookupPortsResponse"];

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=proto");
    println!("cargo:rerun-if-changed=migrations");
    let services =
        ["portbook/v1/port_registry_service.proto", "portbook/v1/port_admin_service.proto"];
    let others = ["portbook/v1/error_reason.proto"];
    let descriptors = protox::compile(services.iter().chain(&others), ["proto"])?;
    let out = env::var("OUT_DIR")?;
    fs::write(Path::new(&out).join("portbook.bin"), descriptors.encode_to_vec())?;

    let mut builder = tonic_prost_build::configure().btree_map(".portbook.v1");
    for response in ASSEMBLED_RESPONSES {
        builder = builder.extern_path(
            format!(".portbook.v1.{response}"),
            format!("crate::grpc::wire::{response}"),
        );
    }
    builder.compile_fds(descriptors)?;
    Ok(())
}
