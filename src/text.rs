//! Text comparison of the API.
//!
//! There are two foldings, and no comparison mixes them: `lower` for exact, case-insensitive filters and for
//! ids, and `search_form` for `query`.

use unicode_normalization::UnicodeNormalization;
use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Returns the full Unicode lower case, as Python's `str.lower`: final sigma by context, `İ` to two
/// code points.
pub fn lower(text: &str) -> String {
    text.to_lowercase()
}

/// Separates the two texts of an [`index_form`]. No query holds this byte, because it is not valid
/// UTF-8.
const SECOND_TEXT: u8 = 0xff;

/// Reports whether Python's `str.split` and `str.strip` treat a character as white space: Unicode's
/// White_Space and the four separators U+001C to U+001F.
pub fn is_space(c: char) -> bool {
    c.is_whitespace() || is_separator(c)
}

/// Reports whether a character is white space in Python and not in Unicode. It separates words, but
/// does not match a space.
fn is_separator(c: char) -> bool {
    ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Returns the form in which the API compares names with queries: NFD, category Mn removed, lower case, final
/// sigma as sigma, trimmed, each run of White_Space one space. Blank text has the empty form.
pub fn search_form(text: &str) -> String {
    if is_plain(text) {
        return text.to_ascii_lowercase();
    }
    if text.is_ascii() {
        return join_words(&text.to_ascii_lowercase(), char::is_whitespace);
    }
    let bare: String = text.nfd().filter(|c| !is_nonspacing_mark(*c)).collect();
    join_words(&bare.to_lowercase().replace('ς', "σ"), char::is_whitespace)
}

/// Returns the form of a name in which queries search: its search form. If that holds separators other than
/// spaces, a second text follows, in which they are spaces.
///
/// A query matches at the beginning of the first text, and at the beginning of any word but the first in the
/// last text: avalonms joins the words of a name by single spaces from the second on.
pub fn index_form(name: &str) -> Vec<u8> {
    let form = search_form(name);
    let spaced = form.bytes().any(|byte| is_separator(byte.into())).then(|| join_words(&form, is_space));
    let mut bytes = form.into_bytes();
    if let Some(spaced) = spaced {
        bytes.push(SECOND_TEXT);
        bytes.extend_from_slice(spaced.as_bytes());
    }
    bytes
}

/// Returns the byte offsets in an [`index_form`] at which a query may match; the empty form has none.
pub fn word_starts(index_form: &[u8]) -> impl Iterator<Item = usize> + '_ {
    let last_text = index_form.iter().position(|byte| *byte == SECOND_TEXT).map_or(0, |at| at + 1);
    let spaces = (last_text..index_form.len()).filter(|at| index_form[*at] == b' ');
    let first = (!index_form.is_empty()).then_some(0);
    first.into_iter().chain(spaces.map(|at| at + 1))
}

/// Reports whether the text is ASCII and differs from its search form only in case: words with one space
/// between them, as in nearly all names.
fn is_plain(text: &str) -> bool {
    let mut before = b' ';
    for &byte in text.as_bytes() {
        if !(b' '..0x7f).contains(&byte) || (byte == b' ' && before == b' ') {
            return false;
        }
        before = byte;
    }
    before != b' ' || text.is_empty()
}

fn is_nonspacing_mark(c: char) -> bool {
    c.general_category() == GeneralCategory::NonspacingMark
}

/// Joins the words between the gaps by single spaces, and trims as Python does.
fn join_words(text: &str, is_gap: impl Fn(char) -> bool) -> String {
    let mut joined = String::with_capacity(text.len());
    for word in text.trim_matches(is_space).split(is_gap).filter(|word| !word.is_empty()) {
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
            ("  Two \t Leading\t", "two leading"),
            ("\u{1c}Unit\u{1f}Separator \u{1e}", "unit\u{1f}separator"),
            ("STRA\u{1e9e}E", "straße"),
            ("\u{30d1}\u{30f3}", "\u{30cf}\u{30f3}"),
            ("한", "\u{1112}\u{1161}\u{11ab}"),
            ("\u{3000}\u{1c}", ""),
            ("\u{301}", ""),
            ("Plain Words", "plain words"),
            ("Two  Spaces", "two spaces"),
            (" Before", "before"),
            ("Behind ", "behind"),
            (" ", ""),
            ("", ""),
            ("Delete\u{7f}", "delete\u{7f}"),
        ] {
            assert_eq!(search_form(text), form, "{text:?}");
        }
    }

    #[test]
    fn words_begin_where_a_rest_begins() {
        let starts = |name: &str| word_starts(&index_form(name)).collect::<Vec<_>>();
        assert_eq!(starts(""), [0; 0]);
        assert_eq!(starts("The  Bouncing Souls"), [0, 4, 13]);
        assert_eq!(index_form("A\u{1f}b c"), b"a\x1fb c\xffa b c");
        assert_eq!(starts("A\u{1f}b c"), [0, 8, 10]);
    }

    #[test]
    fn lower_is_pythons() {
        assert_eq!(lower("ΟΔΟΣ ΟΔΟΣ"), "οδος οδος");
        assert_eq!(lower("\u{130}\u{1e9e}\u{212a}"), "i\u{307}ßk");
    }
}
