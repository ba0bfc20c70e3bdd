//! Years and track numbers from the texts in tags.
//!
//! Digits are Unicode's decimal digits, as Python's `int()` reads them, so that `５` and
//! `٥` are 5 while `²` and `①` are no numbers. Nothing is trimmed.

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// Largest number that both databases store.
const MAX: i64 = i32::MAX as i64;

/// Returns the year in a date: the whole value when it is one number, else the group of exactly
/// four digits at its start (`2004-05-06`), else the one at its end (`06-05-2004`).
///
/// `None` if there is no year or it exceeds 32 bits.
pub(super) fn year(date: &str) -> Option<i64> {
    let leading = digits(date.chars());
    if leading.len() == 4 || leading.len() == date.chars().count() {
        return number(&leading);
    }
    let mut trailing = digits(date.chars().rev());
    trailing.reverse();
    if trailing.len() == 4 { number(&trailing) } else { None }
}

/// Returns the track number: the digits at the start, before a `/`, before ` of ` or at the end (`3`, `3/12`,
/// `3 of 12`).
///
/// `None` if there is no number or it exceeds 32 bits.
pub(super) fn track(text: &str) -> Option<i64> {
    let leading = digits(text.chars());
    let rest = text.trim_start_matches(|c| digit(c).is_some());
    let ends = rest.is_empty() || rest.starts_with('/') || rest.starts_with(" of ");
    if ends { number(&leading) } else { None }
}

/// Returns the number that the whole text writes; `None` if it is no number or exceeds 32 bits.
pub(super) fn whole(text: &str) -> Option<i64> {
    let leading = digits(text.chars());
    if leading.len() == text.chars().count() { number(&leading) } else { None }
}

fn digits(chars: impl Iterator<Item = char>) -> Vec<u32> {
    chars.map_while(digit).collect()
}

/// Returns the number that these digits write; `None` for no digits and beyond [`MAX`].
fn number(digits: &[u32]) -> Option<i64> {
    if digits.is_empty() {
        return None;
    }
    digits.iter().try_fold(0, |sum: i64, digit| Some(sum * 10 + i64::from(*digit)).filter(|sum| *sum <= MAX))
}

/// Returns the value of a decimal digit of any script. Unicode keeps the digits in runs of ten,
/// zero first. Runs may adjoin, so the place within the run gives the value.
fn digit(c: char) -> Option<u32> {
    if c.is_ascii() {
        return c.to_digit(10);
    }
    if !is_decimal(c) {
        return None;
    }
    let before = (1..u32::from(c)).take_while(|n| char::from_u32(u32::from(c) - n).is_some_and(is_decimal));
    u32::try_from(before.count() % 10).ok()
}

fn is_decimal(c: char) -> bool {
    c.general_category() == GeneralCategory::DecimalNumber
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn years_of_every_common_spelling() {
        for (text, expected) in [
            ("2004", Some(2004)),
            ("04", Some(4)),
            ("0", Some(0)),
            ("0000", Some(0)),
            ("20040506", Some(20_040_506)),
            ("２００４", Some(2004)),
            ("2004-05", Some(2004)),
            ("2004-05-06", Some(2004)),
            ("2004-05-06T07:08:09Z", Some(2004)),
            ("2004/05/06", Some(2004)),
            ("2004 ", Some(2004)),
            ("2004 remaster", Some(2004)),
            ("06-05-2004", Some(2004)),
            ("5.6.2004", Some(2004)),
            ("c2004", Some(2004)),
            (" 2004", Some(2004)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("99999999999999999999", None),
            ("", None),
            ("unknown", None),
            ("04-05-06", None),
            ("20040506T07", None),
            ("12004-05", None),
            ("2004a12345", Some(2004)),
            ("c2004 ", None),
            ("²", None),
            ("-2004", Some(2004)),
        ] {
            assert_eq!(year(text), expected, "{text:?}");
        }
    }

    #[test]
    fn tracks_of_every_common_spelling() {
        for (text, expected) in [
            ("3", Some(3)),
            ("03", Some(3)),
            ("0", Some(0)),
            ("0/0", Some(0)),
            ("3/12", Some(3)),
            ("3/12 extra", Some(3)),
            ("12/3/4", Some(12)),
            ("3/", Some(3)),
            ("3/x", Some(3)),
            ("3 of 12", Some(3)),
            ("٥", Some(5)),
            ("３／12", None),
            ("３/12", Some(3)),
            ("2147483647", Some(2_147_483_647)),
            ("2147483648", None),
            ("99999999999999999999", None),
            ("", None),
            ("/12", None),
            (" of 12", None),
            ("A1", None),
            (" 3", None),
            ("3 ", None),
            ("3\n", None),
            ("+3", None),
            ("-1", None),
            ("3.0", None),
            ("3-12", None),
            ("3of12", None),
            ("²", None),
            ("①", None),
        ] {
            assert_eq!(track(text), expected, "{text:?}");
        }
    }

    /// One zero per script, and the mathematical digits, whose five runs adjoin.
    #[test]
    fn digits_of_every_script_have_their_value() {
        for zero in ['0', '\u{660}', '\u{6f0}', '\u{966}', '\u{e50}', '\u{1a80}', '\u{1a90}', '\u{ff10}']
            .into_iter()
            .chain((0..5).filter_map(|run| char::from_u32(0x1d7ce + 10 * run)))
        {
            for value in 0..10 {
                let c = char::from_u32(u32::from(zero) + value).expect("a digit");
                assert_eq!(digit(c), Some(value), "{c:?}");
            }
        }
        assert_eq!(digit('²'), None);
        assert_eq!(digit('Ⅳ'), None);
    }

    proptest! {
        #[test]
        fn any_text_is_a_number_in_range_or_none(text in any::<String>()) {
            for value in [year(&text), track(&text)].into_iter().flatten() {
                prop_assert!((0..=MAX).contains(&value));
            }
        }

        #[test]
        fn a_year_is_found_in_any_date(y in 1000_i64..=9999, m in 1..=12, d in 1..=31, sep in "[-./ T]") {
            prop_assert_eq!(year(&format!("{y}{sep}{m:02}{sep}{d:02}")), Some(y));
            prop_assert_eq!(year(&format!("{d:02}{sep}{m:02}{sep}{y}")), Some(y));
        }

        #[test]
        fn a_track_is_found_before_its_total(track_number in 0..=MAX, total in 0..1000) {
            for text in [format!("{track_number}"), format!("{track_number}/{total}"), format!("{track_number} of {total}")] {
                prop_assert_eq!(track(&text), Some(track_number));
            }
        }
    }
}
