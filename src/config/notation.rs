//! Values in the notation of texts: paths, mode bits, numbers of bytes and times.

use std::path::PathBuf;

use super::problem::Problem;

/// Parses a path, in which `~` is the home folder as in a shell; `None` for the empty text.
pub(super) fn path(text: &str) -> Result<Option<PathBuf>, Problem> {
    let Some(rest) = text.strip_prefix('~') else {
        return Ok(Some(PathBuf::from(text)).filter(|_| !text.is_empty()));
    };
    if !rest.is_empty() && !rest.starts_with('/') {
        return Err(Problem::OtherHome(text.to_owned()));
    }
    let home = std::env::var_os("HOME").filter(|home| !home.is_empty());
    let home = home.ok_or_else(|| Problem::NoHome(text.to_owned()))?;
    Ok(Some(PathBuf::from(home).join(rest.trim_start_matches('/'))))
}

/// Parses mode bits as Gunicorn does: octal after a `0` or `0o`, hexadecimal after `0x`, else
/// decimal.
pub(super) fn parse_mode(text: &str) -> Option<u32> {
    let text = text.trim().to_ascii_lowercase();
    let (digits, radix) = match text.strip_prefix('0') {
        None | Some("") => (text.as_str(), 10),
        Some(rest) => match rest.strip_prefix('x') {
            Some(digits) => (digits, 16),
            None => (rest.strip_prefix('o').unwrap_or(rest), 8),
        },
    };
    // A sign is not a digit.
    let is_number = digits.chars().all(|c| c.is_digit(radix));
    is_number.then(|| u32::from_str_radix(digits, radix).ok())?
}

/// Parses a number of bytes; K, M and G are powers of 1024.
pub(super) fn parse_bytes(text: &str) -> Option<u64> {
    let units = [('K', 10), ('M', 20), ('G', 30)];
    let unit = units.iter().find(|(letter, _)| text.ends_with([*letter, letter.to_ascii_lowercase()]));
    let digits = unit.map_or(text, |_| &text[..text.len() - 1]);
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << unit.map_or(0, |(_, bits)| *bits))
}

/// Parses a time in seconds: one number, or several with their units, as `1h30m`.
pub(super) fn parse_interval(text: &str) -> Option<i64> {
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok();
    }
    let mut seconds = 0_i64;
    let mut number = String::new();
    for c in text.chars() {
        let unit = match c.to_ascii_lowercase() {
            '0'..='9' => {
                number.push(c);
                continue;
            }
            's' => 1,
            'm' => 60,
            'h' => 3_600,
            'd' => 86_400,
            _ => return None,
        };
        seconds = number.parse::<i64>().ok()?.checked_mul(unit)?.checked_add(seconds)?;
        number.clear();
    }
    number.is_empty().then_some(seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn intervals_have_units_or_are_seconds() {
        for (text, seconds) in [
            ("0", 0),
            ("45", 45),
            ("45s", 45),
            ("30m", 1_800),
            ("1h", 3_600),
            ("1h30M", 5_400),
            ("2d", 172_800),
        ] {
            assert_eq!(parse_interval(text), Some(seconds), "{text}");
        }
        for text in ["", "h", "1h30", "-1", "+1", "1.5h", "1w", "1 h", "999999999999999999d", "1hs"] {
            assert_eq!(parse_interval(text), None, "{text}");
        }
    }

    #[test]
    fn tilde_is_the_home_folder() {
        let home = PathBuf::from(std::env::var_os("HOME").unwrap());
        assert_eq!(path("~").unwrap().unwrap().as_path(), home);
        assert_eq!(path("~/a/b").unwrap().unwrap(), home.join("a/b"));
        assert_eq!(path("/a/~").unwrap().unwrap().as_path(), std::path::Path::new("/a/~"));
        assert_eq!(path("").unwrap(), None);
        assert!(path("~other/a").is_err());
    }

    #[test]
    fn modes_are_gunicorns() {
        for (text, bits) in
            [("0", 0), ("022", 0o22), ("0o22", 0o22), ("0O22", 0o22), ("18", 0o22), ("0x12", 0o22)]
        {
            assert_eq!(parse_mode(text), Some(bits), "{text}");
        }
        for text in ["", "09", "x", "-1", "+1", "0o", "0x", "0b1", "99999999999"] {
            assert_eq!(parse_mode(text), None, "{text}");
        }
    }
}
