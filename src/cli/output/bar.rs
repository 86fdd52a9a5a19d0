//! The usage of a pool as a bar.

use crate::grpc::proto;

/// The width of a bar in characters.
const WIDTH: u32 = 20;

/// `████░░░░░░░░░░░░░░░░  20/100 held, 3 cooling, 5 skipped, 72 free`.
///
/// At least one character is filled if any port is held, and at least one is empty if any is not.
pub(in crate::cli) fn usage(usage: &proto::PoolUsage) -> String {
    let proto::PoolUsage { size, held, cooling, skipped, free } = *usage;
    let filled = match (held, size) {
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
        bar("█", filled),
        bar("░", WIDTH - filled)
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filled(held: u32, size: u32) -> usize {
        let usage = proto::PoolUsage { size, held, ..proto::PoolUsage::default() };
        super::usage(&usage).matches('█').count()
    }

    #[test]
    fn the_bar_shows_the_share_of_held_ports() {
        let usage = proto::PoolUsage { size: 100, held: 62, cooling: 3, skipped: 5, free: 30 };
        assert_eq!(
            super::usage(&usage),
            "████████████░░░░░░░░  62/100 held, 3 cooling, 5 skipped, 30 free"
        );
        assert_eq!(
            (filled(0, 100), filled(1, 1000), filled(999, 1000), filled(100, 100)),
            (0, 1, 19, 20)
        );
        assert_eq!((filled(0, 0), filled(1, 2), filled(1, 1)), (0, 10, 20));
    }

    proptest! {
        #[test]
        fn the_bar_has_a_fixed_width_and_grows_with_the_held_ports(size: u32, a: u32, b: u32) {
            let usage = proto::PoolUsage { size, held: a, ..proto::PoolUsage::default() };
            let bar: String = super::usage(&usage).chars().take_while(|c| *c != ' ').collect();
            prop_assert_eq!(bar.chars().count(), 20);
            prop_assert!(filled(a.min(b), size) <= filled(a.max(b), size));
        }
    }
}
