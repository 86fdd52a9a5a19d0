//! What a registry takes of memory, by part: built part by part, with a count of what is allocated.
//!
//! usage: memory

#![expect(clippy::unwrap_used, reason = "what can't go on has failed")]

#[path = "common/registrations.rs"]
#[allow(dead_code, reason = "what measures time uses more of it")]
mod registrations;

use std::alloc::System;
use std::hint::black_box;
use std::sync::Arc;

use cap::Cap;
use itertools::iproduct;
use jiff::Timestamp;
use portbook::grpc::wire::{encode_port_info, encoded_guide};
use portbook::registry::port::{Port, Transport};
use portbook::registry::reference::Reference;
use portbook::registry::snapshot::Snapshot;
use portbook::store::Store;
use portbook::store::sqlite::SqliteStore;
use tokio::runtime::Builder;

use crate::registrations::{Size, empty, records};

#[global_allocator]
static ALLOCATOR: Cap<System> = Cap::new(System, usize::MAX);

/// A million registrations in 200 namespaces.
const MILLION: Size = (200, 5_000);

fn main() {
    println!("{:<52} {:>10} {:>12}", "part", "MiB", "bytes each");
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    let load = async {
        let mut store = SqliteStore::in_memory().await.unwrap();
        let contents = store.load(Timestamp::UNIX_EPOCH).await.unwrap();
        store.close().await.unwrap();
        contents
    };
    let (records_of_all, contents) = taken(|| runtime.block_on(load));
    let count = contents.reference.len();
    tell("IANA's records, common uses and guides", records_of_all, count);
    let (indexes, reference) =
        taken(|| Arc::new(Reference::new(contents.edition, contents.reference, contents.guides)));
    tell("their indexes, for lookups, lists, search and labels", indexes, count);
    let snapshot = empty(&reference, (1, 0));
    let (encoded, ()) = taken(|| look_all_up(&snapshot));
    tell("their answers, encoded, once all were asked for", encoded, count);

    let (registrations, made) = taken(|| records(MILLION));
    tell("a million registrations", registrations, made.len());
    let (indexes, snapshot) = taken(|| empty(&reference, MILLION).with([], made.iter().cloned()));
    tell("their indexes, for lookups, lists and search", indexes, made.len());
    let (encoded, ()) = taken(|| look_all_up(&snapshot));
    tell("their answers, encoded, once all were asked for", encoded, made.len());
}

/// How many bytes more are allocated after this than before.
fn taken<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATOR.allocated();
    let value = make();
    (ALLOCATOR.allocated() - before, value)
}

/// Asks for every port from every namespace.
fn look_all_up(snapshot: &Snapshot) {
    let reference = snapshot.reference();
    for view in snapshot.views_after(None) {
        for (port, transport) in iproduct!(0..=u16::MAX, Transport::ALL) {
            let answer = view.lookup_port(Port::new(port), Some(transport));
            black_box(encode_port_info(reference, &answer, &[]));
        }
    }
    for guide in reference.guides() {
        black_box(encoded_guide(guide));
    }
}

fn tell(part: &str, bytes: usize, count: usize) {
    println!("{part:<52} {:>10} {:>12}", bytes >> 20, bytes / count);
}
