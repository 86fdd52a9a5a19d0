//! The import direction of the layers, and the module comment of every file.

use std::fs;
use std::path::{Path, PathBuf};

/// From the bottom up. A layer imports only itself and earlier ones.
const LAYERS: [&[&str]; 9] = [
    &["registry"],
    &["access"],
    &["iana"],
    &["metrics"],
    &["store"],
    &["writer"],
    &["grpc"],
    &["config", "telemetry", "connection", "server"],
    &["cli"],
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

#[test]
fn no_layer_imports_a_higher_layer() {
    for file in sources(&root()) {
        let module = file.strip_prefix(root()).unwrap().iter().next().unwrap();
        let module = module.to_str().unwrap().trim_end_matches(".rs");
        let Some(own) = layer_of(module) else {
            assert!(["lib", "main"].contains(&module), "{module} is in no layer");
            continue;
        };
        for used in fs::read_to_string(&file).unwrap().split("crate::").skip(1) {
            let used: String =
                used.chars().take_while(|c| c.is_ascii_lowercase() || *c == '_').collect();
            let layer = layer_of(&used).unwrap_or_else(|| panic!("{used} in {file:?}"));
            assert!(layer <= own, "{file:?} imports {used}");
        }
    }
}

#[test]
fn the_domain_has_no_io_clock_or_framework() {
    for file in sources(&root().join("registry")) {
        let text = fs::read_to_string(&file).unwrap();
        for forbidden in
            ["tonic", "prost", "sqlx", "tokio", "std::fs", "std::io", "std::thread", "::now("]
        {
            assert!(!text.contains(forbidden), "{file:?} mentions {forbidden}");
        }
    }
}

#[test]
fn only_a_store_and_its_selector_name_it() {
    for file in sources(&root()) {
        let is_in = |path: &str| file.starts_with(root().join(path));
        if is_in("store/sqlite") || is_in("store/selector.rs") {
            continue;
        }
        let text = fs::read_to_string(&file).unwrap().to_lowercase();
        // The declaration of the module is not a use of it.
        let text = text.replace("\npub mod sqlite;\n", "\n");
        for name in ["sqlite", "sqlx"] {
            assert!(!text.contains(name), "{file:?} names {name}");
        }
    }
}

#[test]
fn only_grpc_and_the_client_use_proto_types() {
    for file in sources(&root()) {
        let text = fs::read_to_string(&file).unwrap();
        let is_in = |folder: &str| file.starts_with(root().join(folder));
        if !is_in("grpc") && !is_in("cli") && !is_in("server") {
            assert!(!text.contains("proto::"), "{file:?} uses proto types");
        }
    }
}

#[test]
fn every_file_starts_with_a_module_comment() {
    for folder in [root(), root().with_file_name("tests")] {
        for file in sources(&folder) {
            let text = fs::read_to_string(&file).unwrap();
            assert!(text.starts_with("//! "), "{file:?}");
        }
    }
}
