//! Text as the API compares it.
//!
//! Two foldings, never mixed: [`lower`] for exact, case-insensitive filters and for
//! ids, and [`search_form`] for `query`.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Full Unicode lower case, as Python's `str.lower`: final sigma by context, `İ` to
/// two code points.
pub fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// White space as Python's `str.split` and `str.strip` see it: Unicode's White_Space
/// and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// The form in which names are indexed and queries are looked up: NFD, category Mn
/// removed, lower case, final sigma as sigma, trimmed, each run of white space one
/// space. Empty for blank text.
pub fn search_form(text: &str) -> String {
    if text.is_ascii() {
        return join_words(&text.to_ascii_lowercase());
    }
    let bare: String = text.nfd().filter(|c| !is_nonspacing_mark(*c)).collect();
    join_words(&bare.to_lowercase().replace('ς', "σ"))
}

/// Byte offsets at which the words of a [`search_form`] begin; none for the empty one.
pub fn word_starts(search_form: &str) -> impl Iterator<Item = usize> + '_ {
    let first = (!search_form.is_empty()).then_some(0);
    first.into_iter().chain(search_form.match_indices(' ').map(|(at, _)| at + 1))
}

fn is_nonspacing_mark(c: char) -> bool {
    c.general_category() == GeneralCategory::NonspacingMark
}

fn join_words(text: &str) -> String {
    let mut joined = String::with_capacity(text.len());
    for word in text.split(is_space).filter(|word| !word.is_empty()) {
        if !joined.is_empty() {
            joined.push(' ');
        }
        joined.push_str(word);
    }
    joined
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn search_form_folds_marks_case_and_space() {
        for (text, form) in [
            ("Beyonce\u{301}", "beyonce"),
            ("Beyonc\u{e9}", "beyonce"),
            ("\u{130}stanbul  Attack", "istanbul attack"),
            ("ΣΊΣΥΦΟΣ", "σισυφοσ"),
            ("Σίσυφος", "σισυφοσ"),
            ("  Two\u{1f}Leading\t", "two leading"),
            ("STRA\u{1e9e}E", "straße"),
            ("\u{30d1}\u{30f3}", "\u{30cf}\u{30f3}"),
            ("한", "\u{1112}\u{1161}\u{11ab}"),
            ("\u{3000}\u{1c}", ""),
            ("\u{301}", ""),
        ] {
            assert_eq!(search_form(text), form, "{text:?}");
        }
    }

    #[test]
    fn words_begin_where_a_rest_begins() {
        assert_eq!(word_starts("").count(), 0);
        assert_eq!(word_starts("the bouncing souls").collect::<Vec<_>>(), [0, 4, 13]);
    }

    #[test]
    fn lower_is_pythons() {
        assert_eq!(lower("ΟΔΟΣ ΟΔΟΣ"), "οδος οδος");
        assert_eq!(lower("\u{130}\u{1e9e}\u{212a}"), "i\u{307}ßk");
    }
}
