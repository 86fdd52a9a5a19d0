//! How far a watch has come: what was told, so that nothing is told twice and nothing is left out
//! when it goes on elsewhere.

use crate::grpc::proto;

/// How far a watch has come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The revision up to which everything was told; nothing until that is known.
    told: Option<u64>,
    /// The last change told of a revision of which there may be more to come: revision, position.
    begun: Option<(u64, u32)>,
}

impl Progress {
    /// A watch that begins with this revision; 0 is from now on.
    pub(super) const fn from(start: u64) -> Self {
        Self { told: start.checked_sub(1), begun: None }
    }

    /// The first revision that was not told whole; 0 as long as none is known.
    pub(super) fn next(&self) -> u64 {
        self.told.map_or(0, |told| told.saturating_add(1))
    }

    /// The changes of a message that were not told before, which are now, and how far that brings
    /// it.
    pub(super) fn take(&mut self, answer: proto::WatchAssignmentsResponse) -> Vec<proto::Change> {
        let mut fresh = answer.changes;
        fresh.retain(|change| {
            let is_fresh = self.is_fresh(change);
            if is_fresh {
                self.begun = Some((change.revision, change.position));
            }
            is_fresh
        });
        self.told = self.told.max(Some(answer.revision));
        fresh
    }

    fn is_fresh(&self, change: &proto::Change) -> bool {
        let place = (change.revision, change.position);
        self.told.is_none_or(|told| change.revision > told)
            && self.begun.is_none_or(|last| place > last)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(changes: &[(u64, u32)], revision: u64) -> proto::WatchAssignmentsResponse {
        let change = |&(revision, position): &(u64, u32)| proto::Change {
            revision,
            position,
            ..proto::Change::default()
        };
        proto::WatchAssignmentsResponse { changes: changes.iter().map(change).collect(), revision }
    }

    fn places(changes: &[proto::Change]) -> Vec<(u64, u32)> {
        changes.iter().map(|change| (change.revision, change.position)).collect()
    }

    #[test]
    fn a_watch_from_now_on_learns_where_it_is_from_the_first_message() {
        let mut progress = Progress::from(0);
        assert_eq!(progress.next(), 0);
        assert!(progress.take(message(&[], 7)).is_empty());
        assert_eq!(progress.next(), 8);
        assert_eq!(Progress::from(5).next(), 5);
    }

    #[test]
    fn a_revision_that_was_begun_goes_on_where_it_was_left() {
        let mut progress = Progress::from(3);
        assert_eq!(
            places(&progress.take(message(&[(3, 0), (4, 0), (4, 1)], 3))),
            [(3, 0), (4, 0), (4, 1)]
        );
        // The connection is lost, and what is told anew begins with revision 4.
        assert_eq!(progress.next(), 4);
        let again = message(&[(4, 0), (4, 1), (4, 2), (5, 0)], 5);
        assert_eq!(places(&progress.take(again)), [(4, 2), (5, 0)]);
        assert_eq!(progress.next(), 6);
        assert!(progress.take(message(&[(5, 0)], 5)).is_empty());
        // A mark never takes it back.
        progress.take(message(&[], 2));
        assert_eq!(progress.next(), 6);
    }

    proptest! {
        /// However a watch is cut into messages, and wherever the connection is lost, each change
        /// is told once, in order.
        #[test]
        fn each_change_is_told_once(
            sizes in proptest::collection::vec(0..4u32, 1..12),
            cuts in proptest::collection::vec((1..5usize, any::<bool>()), 0..40),
        ) {
            let all: Vec<(u64, u32)> = (1..)
                .zip(&sizes)
                .flat_map(|(revision, &size)| (0..size).map(move |position| (revision, position)))
                .collect();
            let end = sizes.len() as u64;
            let mut progress = Progress::from(1);
            let mut told = Vec::new();
            let mut left = all.clone();
            for (size, is_lost) in cuts.into_iter().chain([(all.len(), false), (all.len(), false)]) {
                if is_lost {
                    let from = progress.next();
                    left = all.iter().copied().filter(|&(revision, _)| revision >= from).collect();
                }
                let rest = left.split_off(size.min(left.len()));
                // What comes next is of this revision, so it is not told whole.
                let whole = rest.first().map_or(end, |&(revision, _)| revision - 1);
                told.extend(places(&progress.take(message(&left, whole))));
                left = rest;
            }
            prop_assert_eq!(told, all);
            prop_assert_eq!(progress.next(), end + 1);
        }
    }
}
