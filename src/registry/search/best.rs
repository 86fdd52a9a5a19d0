//! The best of what was found, as far as it will be answered.

use super::service::{Rank, Service};

/// A service that was found.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'a> {
    /// One of the namespace's own, by its folded name.
    Own(&'a str),
    /// One of the reference.
    Reference(&'a Service),
}

/// At most so many services, best first.
#[derive(Debug)]
pub(super) struct Best<'a> {
    limit: usize,
    found: Vec<(Rank, Found<'a>)>,
}

impl<'a> Best<'a> {
    pub(super) fn of(limit: usize) -> Self {
        Self { limit: limit.max(1), found: Vec::new() }
    }

    /// Whether a service of this rank would be among the best, were it the first of its like.
    pub(super) fn takes(&self, rank: &Rank) -> bool {
        self.found.len() < self.limit || self.found.last().is_none_or(|(last, _)| rank <= last)
    }

    /// Takes the service if it is among the best. Of the namespace's own those of the same rank stand
    /// by name; others stand as they come.
    pub(super) fn offer(&mut self, rank: Rank, service: Found<'a>) {
        if !self.takes(&rank) {
            return;
        }
        let place = self.found.partition_point(|(other, found)| match (found, service) {
            (Found::Own(found), Found::Own(name)) => (other, *found) <= (&rank, name),
            _ => *other <= rank,
        });
        self.found.insert(place, (rank, service));
        self.found.truncate(self.limit);
    }

    /// The rank of the best of all.
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
