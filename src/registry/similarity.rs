//! Similarity of names: which existing names a mistyped name may refer to.

use std::cmp::Ordering;

/// A summary of a name's characters that bounds the similarity of two names cheaply.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CharSignature {
    /// One bit for each character that occurs; some characters share a bit.
    mask: u64,
    /// The number of characters.
    count: u32,
}

impl CharSignature {
    pub(super) const NONE: Self = Self { mask: 0, count: 0 };

    pub(super) fn of(name: &str) -> Self {
        let mut signature = Self::NONE;
        for c in name.chars() {
            signature.mask |= 1 << (u32::from(c) % 64);
            signature.count += 1;
        }
        signature
    }

    /// The signature of the same name with this many hyphens inserted.
    pub(super) fn with_hyphens(self, hyphens: usize) -> Self {
        let mask = if hyphens == 0 { 0 } else { Self::of("-").mask };
        Self { mask: self.mask | mask, count: self.count + hyphens as u32 }
    }

    /// The number of characters.
    pub(super) const fn count(self) -> usize {
        self.count as usize
    }

    /// A lower bound for the number of insertions, deletions, replacements and transpositions that
    /// turn one name into the other.
    pub(super) fn least_distance(self, other: Self) -> usize {
        self.missing_in(other).max(other.missing_in(self)).max(self.count.abs_diff(other.count))
            as usize
    }

    /// An upper bound for the Jaro-Winkler similarity of names with a common prefix of this length.
    fn max_similarity(self, other: Self, common_prefix: u32) -> f64 {
        if self.count == 0 || other.count == 0 {
            return 1.0;
        }
        let shared =
            (self.count - self.missing_in(other)).min(other.count - other.missing_in(self));
        let shared = f64::from(shared);
        let jaro = (shared / f64::from(self.count) + shared / f64::from(other.count) + 1.0) / 3.0;
        // Tolerates rounding errors.
        jaro + 0.1 * f64::from(common_prefix) * (1.0 - jaro) + 1e-9
    }

    /// A lower bound for the number of characters that the other name does not contain.
    fn missing_in(self, other: Self) -> u32 {
        (self.mask & !other.mask).count_ones()
    }
}

/// An existing name and its signature.
#[derive(Clone, Copy, Debug)]
pub(super) struct KnownName<'n> {
    pub(super) name: &'n str,
    pub(super) signature: CharSignature,
}

impl<'n> From<&'n str> for KnownName<'n> {
    fn from(name: &'n str) -> Self {
        Self { name, signature: CharSignature::of(name) }
    }
}

/// Up to five existing names that are similar to the query, most similar first. None if the query
/// is too long to be a typing error.
pub(super) fn nearest<'n>(query: &str, known: impl Iterator<Item = KnownName<'n>>) -> Vec<String> {
    const MAX_RESULTS: usize = 5;
    const MIN_SIMILARITY: f64 = 0.8;
    const MAX_LENGTH: usize = 40;
    if query.len() > MAX_LENGTH {
        return Vec::new();
    }
    let signature = CharSignature::of(query);
    let mut best: Vec<(f64, &str)> = Vec::with_capacity(MAX_RESULTS + 1);
    let mut min_similarity = MIN_SIMILARITY;
    for KnownName { name, signature: other } in known {
        let has_similar_length = name.len().abs_diff(query.len()) <= 2 + query.len() / 2;
        if !has_similar_length
            || signature.max_similarity(other, common_prefix(query, name)) < min_similarity
        {
            continue;
        }
        let similarity = strsim::jaro_winkler(query, name);
        if similarity < min_similarity {
            continue;
        }
        let nearer = |a: &(f64, &str), b: &(f64, &str)| b.0.total_cmp(&a.0).then(a.1.cmp(b.1));
        let position = best.partition_point(|other| nearer(other, &(similarity, name)).is_lt());
        if best
            .get(position)
            .is_some_and(|other| nearer(other, &(similarity, name)) == Ordering::Equal)
        {
            continue;
        }
        best.insert(position, (similarity, name));
        best.truncate(MAX_RESULTS);
        if let [.., (last, _)] = best[..]
            && best.len() == MAX_RESULTS
        {
            min_similarity = last;
        }
    }
    best.into_iter().map(|(_, name)| name.to_owned()).collect()
}

/// The length of the common prefix, at most four.
fn common_prefix(a: &str, b: &str) -> u32 {
    a.chars().zip(b.chars()).take(4).take_while(|(a, b)| a == b).count() as u32
}

/// The end of an error message for an unknown name.
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

    /// A naive implementation of [`nearest`] that compares each name.
    fn naive_nearest(query: &str, known: &[String]) -> Vec<String> {
        if query.len() > 40 {
            return Vec::new();
        }
        let mut similar: Vec<(f64, &String)> = known
            .iter()
            .filter(|name| name.len().abs_diff(query.len()) <= 2 + query.len() / 2)
            .map(|name| (strsim::jaro_winkler(query, name), name))
            .filter(|(similarity, _)| *similarity >= 0.8)
            .collect();
        similar.sort_by(|a, b| b.0.total_cmp(&a.0).then_with(|| a.1.cmp(b.1)));
        similar.dedup();
        similar.into_iter().take(5).map(|(_, name)| name.clone()).collect()
    }

    fn names() -> impl Strategy<Value = String> {
        prop_oneof!["[a-c0-1-]{0,8}", "[a-e]{3,6}-[a-c]{2,4}", "[äß€a-c]{0,5}"]
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn nearest_equals_a_comparison_with_every_name(
            query in names(),
            known in proptest::collection::vec(names(), 0..60),
        ) {
            let found = nearest(&query, known.iter().map(|name| KnownName::from(name.as_str())));
            prop_assert_eq!(found, naive_nearest(&query, &known));
        }

        #[test]
        fn signatures_never_overestimate_the_distance(a in names(), b in names()) {
            let least = CharSignature::of(&a).least_distance(CharSignature::of(&b));
            prop_assert!(least <= strsim::osa_distance(&a, &b));
        }
    }
}
