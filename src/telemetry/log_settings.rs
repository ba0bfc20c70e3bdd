//! The settings of the log.

use std::path::PathBuf;

use slog::Level;

use super::format::LogFormat;

/// The settings of the log.
#[derive(Debug, Clone, PartialEq)]
pub struct LogSettings {
    /// `LOG_FORMAT`.
    pub format: LogFormat,
    /// `LOG_DATE_FORMAT`: a strftime format that passed [`check_date_format`](super::check_date_format), or empty
    /// for Python's default.
    pub date_format: String,
    /// `LOG_LEVEL`: records below it are not made.
    pub level: Level,
    /// `LOG_PATH`: the file to append to; none for stderr.
    pub path: Option<PathBuf>,
}

/// Reads a log level by Python's names, in any case, or by Python's numbers (10 is DEBUG, 50 is CRITICAL;
/// a number between two levels is the upper one, 0 is everything).
pub fn parse_level(text: &str) -> Option<Level> {
    if let Ok(number) = text.parse::<u8>() {
        return match number {
            0..=10 => Some(Level::Debug),
            11..=20 => Some(Level::Info),
            21..=30 => Some(Level::Warning),
            31..=40 => Some(Level::Error),
            41..=50 => Some(Level::Critical),
            _ => None,
        };
    }
    match text.to_ascii_uppercase().as_str() {
        "DEBUG" | "NOTSET" => Some(Level::Debug),
        "INFO" => Some(Level::Info),
        "WARN" | "WARNING" => Some(Level::Warning),
        "ERROR" => Some(Level::Error),
        "CRITICAL" | "FATAL" => Some(Level::Critical),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_read_by_name_and_number() {
        for (text, expected) in [
            ("DEBUG", Some(Level::Debug)),
            ("info", Some(Level::Info)),
            ("Warn", Some(Level::Warning)),
            ("WARNING", Some(Level::Warning)),
            ("error", Some(Level::Error)),
            ("CRITICAL", Some(Level::Critical)),
            ("fatal", Some(Level::Critical)),
            ("10", Some(Level::Debug)),
            ("0", Some(Level::Debug)),
            ("25", Some(Level::Warning)),
            ("50", Some(Level::Critical)),
            ("51", None),
            ("-1", None),
            ("", None),
            (" INFO", None),
            ("verbose", None),
        ] {
            assert_eq!(parse_level(text), expected, "{text:?}");
        }
    }
}
