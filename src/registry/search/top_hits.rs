//! The highest-ranked services that a search has found so far, up to its limit.

use super::service::{Rank, Service};

/// A service that was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// A service registered in the namespace, by its folded name.
    Custom(&'a str),
    /// A service of the reference.
    Reference(&'a Service),
}

/// Up to `limit` services, best first.
#[derive(Debug)]
pub(super) struct TopHits<'a> {
    limit: usize,
    found: Vec<(Rank, Found<'a>)>,
}

impl<'a> TopHits<'a> {
    pub(super) fn of(limit: usize) -> Self {
        Self { limit: limit.max(1), found: Vec::new() }
    }

    /// Whether a service of this rank would be among the best if it were first among equal ranks.
    pub(super) fn accepts(&self, rank: &Rank) -> bool {
        self.found.len() < self.limit || self.found.last().is_none_or(|(last, _)| rank <= last)
    }

    /// Inserts the service if it is among the best. Registered services with equal rank are ordered
    /// by name, others by arrival.
    pub(super) fn offer(&mut self, rank: Rank, service: Found<'a>) {
        if !self.accepts(&rank) {
            return;
        }
        let position = self.found.partition_point(|(other, found)| match (found, service) {
            (Found::Custom(found), Found::Custom(name)) => (other, *found) <= (&rank, name),
            _ => *other <= rank,
        });
        self.found.insert(position, (rank, service));
        self.found.truncate(self.limit);
    }

    /// The highest rank.
    pub(super) fn first(&self) -> Option<Rank> {
        self.found.first().map(|(rank, _)| *rank)
    }

    pub(super) fn is_full(&self) -> bool {
        self.found.len() >= self.limit
    }

    pub(super) fn into_found(self) -> Vec<(Rank, Found<'a>)> {
        self.found
    }
}
