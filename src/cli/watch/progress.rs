//! The progress of a watch: which changes were printed. A watch that resumes neither repeats nor
//! omits a change.

use crate::grpc::proto;

/// The progress of a watch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The last completely printed revision; `None` until one is known.
    complete: Option<u64>,
    /// The last printed change, as revision and position. More changes of its revision may follow.
    last: Option<(u64, u32)>,
}

impl Progress {
    /// A watch that starts at this revision; 0 starts at the next one.
    pub(super) const fn from(start: u64) -> Self {
        Self { complete: start.checked_sub(1), last: None }
    }

    /// The first revision that was not printed completely; 0 if none is known.
    pub(super) fn next(&self) -> u64 {
        self.complete.map_or(0, |revision| revision.saturating_add(1))
    }

    /// Records a message as printed, and returns its changes that were not printed before.
    pub(super) fn record(
        &mut self,
        message: proto::WatchAssignmentsResponse,
    ) -> Vec<proto::Change> {
        let mut new = message.changes;
        new.retain(|change| {
            let is_new = self.is_new(change);
            if is_new {
                self.last = Some((change.revision, change.position));
            }
            is_new
        });
        self.complete = self.complete.max(Some(message.revision));
        new
    }

    fn is_new(&self, change: &proto::Change) -> bool {
        let position = (change.revision, change.position);
        self.complete.is_none_or(|complete| change.revision > complete)
            && self.last.is_none_or(|last| position > last)
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

    fn positions(changes: &[proto::Change]) -> Vec<(u64, u32)> {
        changes.iter().map(|change| (change.revision, change.position)).collect()
    }

    #[test]
    fn a_watch_without_a_start_revision_starts_after_the_first_message() {
        let mut progress = Progress::from(0);
        assert_eq!(progress.next(), 0);
        assert!(progress.record(message(&[], 7)).is_empty());
        assert_eq!(progress.next(), 8);
        assert_eq!(Progress::from(5).next(), 5);
    }

    #[test]
    fn a_partially_printed_revision_is_resumed_after_its_last_printed_change() {
        let mut progress = Progress::from(3);
        assert_eq!(
            positions(&progress.record(message(&[(3, 0), (4, 0), (4, 1)], 3))),
            [(3, 0), (4, 0), (4, 1)]
        );
        // The connection is lost, and the new stream starts at revision 4.
        assert_eq!(progress.next(), 4);
        let again = message(&[(4, 0), (4, 1), (4, 2), (5, 0)], 5);
        assert_eq!(positions(&progress.record(again)), [(4, 2), (5, 0)]);
        assert_eq!(progress.next(), 6);
        assert!(progress.record(message(&[(5, 0)], 5)).is_empty());
        // A progress message with an earlier revision has no effect.
        progress.record(message(&[], 2));
        assert_eq!(progress.next(), 6);
    }

    proptest! {
        /// Each change is printed once and in order, for any division of the stream into messages
        /// and any lost connections.
        #[test]
        fn each_change_is_printed_once(
            sizes in proptest::collection::vec(0..4u32, 1..12),
            splits in proptest::collection::vec((1..5usize, any::<bool>()), 0..40),
        ) {
            let all: Vec<(u64, u32)> = (1..)
                .zip(&sizes)
                .flat_map(|(revision, &size)| (0..size).map(move |position| (revision, position)))
                .collect();
            let end = sizes.len() as u64;
            let mut progress = Progress::from(1);
            let mut printed = Vec::new();
            let mut remaining = all.clone();
            for (size, is_lost) in splits.into_iter().chain([(all.len(), false), (all.len(), false)]) {
                if is_lost {
                    let from = progress.next();
                    remaining = all.iter().copied().filter(|&(revision, _)| revision >= from).collect();
                }
                let rest = remaining.split_off(size.min(remaining.len()));
                // The next change may belong to the same revision, which is then not complete.
                let complete = rest.first().map_or(end, |&(revision, _)| revision - 1);
                printed.extend(positions(&progress.record(message(&remaining, complete))));
                remaining = rest;
            }
            prop_assert_eq!(printed, all);
            prop_assert_eq!(progress.next(), end + 1);
        }
    }
}
