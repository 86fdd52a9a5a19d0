//! How much of something is used, as a bar.

use crate::grpc::proto;

/// How many characters a bar has.
const WIDTH: u32 = 20;

/// `████░░░░░░░░░░░░░░░░  20/100 held, 3 cooling, 5 skipped, 72 free`.
///
/// One that is held at all has something full, and one that is not held to the last something
/// empty.
pub(in crate::cli) fn usage(usage: &proto::PoolUsage) -> String {
    let proto::PoolUsage { size, held, cooling, skipped, free } = *usage;
    let full = match (held, size) {
        (0, _) | (_, 0) => 0,
        (held, size) if held >= size => WIDTH,
        (held, size) => {
            let share = u64::from(held) * u64::from(WIDTH) / u64::from(size);
            u32::try_from(share).unwrap_or(WIDTH).clamp(1, WIDTH - 1)
        }
    };
    let bar = |character: &str, count: u32| character.repeat(count as usize);
    format!(
        "{}{}  {held}/{size} held, {cooling} cooling, {skipped} skipped, {free} free",
        bar("█", full),
        bar("░", WIDTH - full)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn full(held: u32, size: u32) -> usize {
        let usage = proto::PoolUsage { size, held, ..proto::PoolUsage::default() };
        super::usage(&usage).matches('█').count()
    }

    #[test]
    fn a_bar_is_as_full_as_the_pool() {
        let usage = proto::PoolUsage { size: 100, held: 62, cooling: 3, skipped: 5, free: 30 };
        assert_eq!(
            super::usage(&usage),
            "████████████░░░░░░░░  62/100 held, 3 cooling, 5 skipped, 30 free"
        );
        assert_eq!((full(0, 100), full(1, 1000), full(999, 1000), full(100, 100)), (0, 1, 19, 20));
        assert_eq!((full(0, 0), full(1, 2), full(1, 1)), (0, 10, 20));
    }

    proptest! {
        #[test]
        fn a_bar_is_always_as_wide_and_grows_with_what_is_held(size: u32, a: u32, b: u32) {
            let usage = proto::PoolUsage { size, held: a, ..proto::PoolUsage::default() };
            let bar: String = super::usage(&usage).chars().take_while(|c| *c != ' ').collect();
            prop_assert_eq!(bar.chars().count(), 20);
            prop_assert!(full(a.min(b), size) <= full(a.max(b), size));
        }
    }
}
