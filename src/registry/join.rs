//! Running two independent computations. The core starts no threads, so its callers decide how.

/// A way to run two independent computations.
pub trait Join {
    /// Runs both functions and returns both results.
    fn join<A: Send, B>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B);
}

/// Runs one function after the other.
#[derive(Clone, Copy, Debug)]
pub struct Sequential;

impl Join for Sequential {
    fn join<A: Send, B>(&self, a: impl FnOnce() -> A + Send, b: impl FnOnce() -> B) -> (A, B) {
        (a(), b())
    }
}
