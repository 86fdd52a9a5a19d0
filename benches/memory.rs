//! The memory of a registry, part by part, measured with a counting allocator.
//!
//! usage: memory

#![expect(clippy::unwrap_used, reason = "a measurement that cannot continue has failed")]

#[path = "common/registrations.rs"]
#[allow(dead_code, reason = "the time benchmarks use more of it")]
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
use portbook::store::sqlite::SqliteStore;
use portbook::store::{Store, TwoThreads};
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
    let (contents_bytes, contents) = measure(|| runtime.block_on(load));
    let count = contents.reference.len();
    print_row("IANA's records, common uses and guides", contents_bytes, count);
    let (indexes, reference) = measure(|| {
        Arc::new(Reference::new(contents.edition, contents.reference, contents.guides, &TwoThreads))
    });
    print_row("their indexes, for lookups, lists, search and labels", indexes, count);
    let snapshot = empty(&reference, (1, 0));
    let (encoded, ()) = measure(|| look_up_all(&snapshot));
    print_row("their encoded responses, after a lookup of each", encoded, count);

    let (bytes, registrations) = measure(|| records(MILLION));
    print_row("a million registrations", bytes, registrations.len());
    let (indexes, snapshot) = measure(|| {
        empty(&reference, MILLION).with_contents([], registrations.iter().cloned(), &TwoThreads)
    });
    print_row("their indexes, for lookups, lists and search", indexes, registrations.len());
    let (encoded, ()) = measure(|| look_up_all(&snapshot));
    print_row("their encoded responses, after a lookup of each", encoded, registrations.len());
}

/// The result of a function, and the number of bytes that it allocated and did not free.
fn measure<T>(make: impl FnOnce() -> T) -> (usize, T) {
    let before = ALLOCATOR.allocated();
    let value = make();
    (ALLOCATOR.allocated() - before, value)
}

/// Looks up every port in every namespace.
fn look_up_all(snapshot: &Snapshot) {
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

fn print_row(part: &str, bytes: usize, count: usize) {
    println!("{part:<52} {:>10} {:>12}", bytes >> 20, bytes / count);
}
