//! Names that are nearly right: which of those there are somebody may have meant.

use std::cmp::Ordering;

/// What a name is made of, in a form that tells quickly how alike two names can be at the most.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CharSignature {
    /// One bit for each letter that is there, though some share a bit.
    mask: u64,
    /// How many there are.
    count: u32,
}

impl CharSignature {
    pub(super) const NONE: Self = Self { mask: 0, count: 0 };

    pub(super) fn of(name: &str) -> Self {
        let mut letters = Self::NONE;
        for letter in name.chars() {
            letters.mask |= 1 << (u32::from(letter) % 64);
            letters.count += 1;
        }
        letters
    }

    /// Those of the same name with so many hyphens in it.
    pub(super) fn with_hyphens(self, more: usize) -> Self {
        let mask = if more == 0 { 0 } else { Self::of("-").mask };
        Self { mask: self.mask | mask, count: self.count + more as u32 }
    }

    /// How many there are.
    pub(super) const fn count(self) -> usize {
        self.count as usize
    }

    /// How many letters have to be put in, left out, replaced or swapped to make one name of the
    /// other, at the least.
    pub(super) fn least_distance(self, other: Self) -> usize {
        self.alone(other).max(other.alone(self)).max(self.count.abs_diff(other.count)) as usize
    }

    /// How like each other, as Jaro and Winkler have it, the names can be at the most, if so many of
    /// their first letters are the same.
    fn most_alike(self, other: Self, same_at_first: u32) -> f64 {
        if self.count == 0 || other.count == 0 {
            return 1.0;
        }
        let shared = (self.count - self.alone(other)).min(other.count - other.alone(self));
        let shared = f64::from(shared);
        let jaro = (shared / f64::from(self.count) + shared / f64::from(other.count) + 1.0) / 3.0;
        // The last digits of such figures are nobody's.
        jaro + 0.1 * f64::from(same_at_first) * (1.0 - jaro) + 1e-9
    }

    /// How many letters, at the least, have none to go with in the other.
    fn alone(self, other: Self) -> u32 {
        (self.mask & !other.mask).count_ones()
    }
}

/// A known name, and what it is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownName<'n> {
    pub(super) name: &'n str,
    pub(super) letters: CharSignature,
}

impl<'n> From<&'n str> for KnownName<'n> {
    fn from(name: &'n str) -> Self {
        Self { name, letters: CharSignature::of(name) }
    }
}

/// Up to five of the known names that look like the one asked for, nearest first. None for a name
/// so long that it can't be a slip of the hand.
pub(super) fn nearest<'n>(asked: &str, known: impl Iterator<Item = KnownName<'n>>) -> Vec<String> {
    const AT_MOST: usize = 5;
    const ALIKE: f64 = 0.8;
    const LONGEST: usize = 40;
    if asked.len() > LONGEST {
        return Vec::new();
    }
    let letters = CharSignature::of(asked);
    let mut best: Vec<(f64, &str)> = Vec::with_capacity(AT_MOST + 1);
    let mut least = ALIKE;
    for KnownName { name, letters: its } in known {
        let may_be_meant = name.len().abs_diff(asked.len()) <= 2 + asked.len() / 2;
        if !may_be_meant || letters.most_alike(its, same_at_first(asked, name)) < least {
            continue;
        }
        let likeness = strsim::jaro_winkler(asked, name);
        if likeness < least {
            continue;
        }
        let nearer = |a: &(f64, &str), b: &(f64, &str)| b.0.total_cmp(&a.0).then(a.1.cmp(b.1));
        let place = best.partition_point(|other| nearer(other, &(likeness, name)).is_lt());
        if best.get(place).is_some_and(|other| nearer(other, &(likeness, name)) == Ordering::Equal)
        {
            continue;
        }
        best.insert(place, (likeness, name));
        best.truncate(AT_MOST);
        if let [.., (last, _)] = best[..]
            && best.len() == AT_MOST
        {
            least = last;
        }
    }
    best.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// How many of the first four letters are the same.
fn same_at_first(a: &str, b: &str) -> u32 {
    a.chars().zip(b.chars()).take(4).take_while(|(a, b)| a == b).count() as u32
}

/// The end of a sentence that says a name is not known.
pub(super) fn nearest_hint(nearest: &[String]) -> String {
    if nearest.is_empty() {
        String::new()
    } else {
        format!("; the nearest names are {}", nearest.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What [`nearest`] says, told by looking at each name.
    fn nearest_of_all(asked: &str, known: &[String]) -> Vec<String> {
        if asked.len() > 40 {
            return Vec::new();
        }
        let mut alike: Vec<(f64, &String)> = known
            .iter()
            .filter(|name| name.len().abs_diff(asked.len()) <= 2 + asked.len() / 2)
            .map(|name| (strsim::jaro_winkler(asked, name), name))
            .filter(|(likeness, _)| *likeness >= 0.8)
            .collect();
        alike.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        alike.dedup();
        alike.into_iter().take(5).map(|(_, name)| name.clone()).collect()
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c0-1-]{0,8}", "[a-e]{3,6}-[a-c]{2,4}", "[äß€a-c]{0,5}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn the_nearest_names_are_those_that_a_look_at_each_finds(
            asked in names(),
            known in proptest::collection::vec(names(), 0..60),
        ) {
            let found = nearest(&asked, known.iter().map(|name| KnownName::from(name.as_str())));
            prop_assert_eq!(found, nearest_of_all(&asked, &known));
        }

        #[test]
        fn no_two_names_are_nearer_than_their_letters_let_them(a in names(), b in names()) {
            let least = CharSignature::of(&a).least_distance(CharSignature::of(&b));
            prop_assert!(least <= strsim::osa_distance(&a, &b));
        }
    }
}
