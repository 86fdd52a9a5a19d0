//! The normal forms of names and texts for search.

/// The name in lower case, reduced to letters and digits.
pub(super) fn compact(name: &str) -> String {
    name.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Appends the words of the text in lower case, a space after each.
pub(super) fn append_words(words: &mut String, text: &str) {
    if text.is_ascii() {
        return append_ascii_words(words, text);
    }
    for word in text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()) {
        words.extend(word.chars().flat_map(char::to_lowercase));
        words.push(' ');
    }
}

/// The same for ASCII, which is most texts, and much faster.
fn append_ascii_words(words: &mut String, text: &str) {
    words.reserve(text.len() + 1);
    let mut in_word = false;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            words.push(char::from(byte.to_ascii_lowercase()));
            in_word = true;
        } else if in_word {
            words.push(' ');
            in_word = false;
        }
    }
    if in_word {
        words.push(' ');
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn words_consist_of_letters_and_digits() {
        let words = |text| {
            let mut words = String::new();
            append_words(&mut words, text);
            words
        };
        assert_eq!(words("  The Invoices, of R&D (2nd)"), "the invoices of r d 2nd ");
        assert_eq!(words("Zürich: ÄÖ-x"), "zürich äö x ");
        assert_eq!(words("-- "), "");
    }

    proptest! {
        #[test]
        fn ascii_words_equal_those_of_the_general_implementation(text in "[ -~]{0,40}") {
            let mut fast = String::new();
            append_words(&mut fast, &text);
            // A character that is not ASCII selects the general implementation, and is a separate
            // word.
            let mut slow = String::new();
            append_words(&mut slow, &format!("{text} é"));
            prop_assert_eq!(format!("{fast}é "), slow);
        }
    }
}
