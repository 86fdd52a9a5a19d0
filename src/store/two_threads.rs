//! Runs two computations of the core in parallel, which shortens a start.

use std::panic::resume_unwind;
use std::thread;

use crate::registry::join::Join;

/// Runs the first function on another thread.
#[derive(Clone, Copy, Debug)]
pub struct TwoThreads;

impl Join for TwoThreads {
    fn join<A: Send, B>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
        thread::scope(|scope| {
            let a = scope.spawn(a);
            let b = b();
            (a.join().unwrap_or_else(|panic| resume_unwind(panic)), b)
        })
    }
}
