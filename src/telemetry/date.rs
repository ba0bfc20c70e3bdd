//! `LOG_DATE_FORMAT`: the time of a record in the machine's time zone, through strftime or as Python's
//! logging writes it when no format is given.

use std::fmt::{self, Write};

use jiff::fmt::strtime::{BrokenDownTime, Config, PosixCustom};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ZonedDateTime};

/// Python's default, to which it appends a comma and the milliseconds.
const PYTHON: &str = "%Y-%m-%d %H:%M:%S";

/// The reason why a text is not a date format.
#[derive(Debug, Clone)]
pub struct DateFormatError(jiff::Error);

impl fmt::Display for DateFormatError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl std::error::Error for DateFormatError {}

/// Checks a date format; an empty one is valid.
///
/// # Errors
/// The first conversion that strftime does not know.
pub fn check_date_format(format: &str) -> Result<(), DateFormatError> {
    let sample = Timestamp::UNIX_EPOCH.to_zoned_datetime(TimeZone::UTC);
    strftime(format, &sample, &mut String::new()).map_err(DateFormatError)
}

/// Writes times in one format and one time zone.
///
/// The zone is looked up once: a record must not depend on readable files, and a master that runs
/// for months should not change its hour because `/etc/localtime` was replaced. Daylight saving is
/// part of the zone.
#[derive(Debug, Clone)]
pub(super) struct Clock {
    format: String,
    zone: TimeZone,
}

impl Clock {
    /// Returns a clock in the zone of `TZ`, else of `/etc/localtime`, else in UTC.
    pub(super) fn local(format: &str) -> Clock {
        Clock::in_zone(format, TimeZone::try_system().unwrap_or(TimeZone::UTC))
    }

    fn in_zone(format: &str, zone: TimeZone) -> Clock {
        Clock { format: format.to_owned(), zone }
    }

    /// Appends the time.
    pub(super) fn write(&self, time: Timestamp, out: &mut String) {
        let local = time.to_zoned_datetime(self.zone.clone());
        if !self.format.is_empty() {
            let start = out.len();
            if strftime(&self.format, &local, out).is_ok() {
                return;
            }
            // The format was checked at start; should it still fail, a date in another form is
            // better than none.
            out.truncate(start);
        }
        // Neither the format nor a write to a String can fail.
        let _ = strftime(PYTHON, &local, out);
        let _ = write!(out, ",{:03}", time.subsec_nanosecond().max(0) / 1_000_000);
    }
}

/// strftime as the C library does it in the POSIX locale.
fn strftime(format: &str, time: &ZonedDateTime, out: &mut String) -> Result<(), jiff::Error> {
    let config = Config::new().custom(PosixCustom::new());
    BrokenDownTime::from(time).format_with_config(&config, format, out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(format: &str, zone: TimeZone) -> String {
        let mut out = String::new();
        let time = Timestamp::new(1_795_499_160, 123_999_999).unwrap();
        Clock::in_zone(format, zone).write(time, &mut out);
        out
    }

    /// The expected texts are those of Python 3.11's `time.strftime` under LC_ALL=C.
    #[test]
    fn dates_are_written_as_python_writes_them() {
        for (format, expected) in [
            ("%Y-%m-%dT%H:%M:%S", "2026-11-24T05:46:00"),
            ("", "2026-11-24 05:46:00,123"),
            ("%a %A %b %B %d %e %j", "Tue Tuesday Nov November 24 24 328"),
            ("%c | %x | %X | %r", "Tue Nov 24 05:46:00 2026 | 11/24/26 | 05:46:00 | 05:46:00 AM"),
            ("%I %p %y %Z %z %s %%", "05 AM 26 UTC +0000 1795499160 %"),
            ("%D %F %R %T %G-W%V-%u %U %W %w %C", "11/24/26 2026-11-24 05:46 05:46:00 2026-W48-2 47 47 2 20"),
            ("Zürich", "Zürich"),
        ] {
            assert_eq!(written(format, TimeZone::UTC), expected, "{format}");
            assert!(check_date_format(format).is_ok(), "{format}");
        }
    }

    /// Hundreds of formats and their results in Python; `generate.py` beside the file recorded
    /// them.
    #[test]
    fn dates_are_those_that_python_wrote() {
        let cases = include_str!("../../tests/fixtures/logging/dates.jsonl").lines();
        assert!(cases.clone().count() >= 400);
        for case in cases {
            let (format, zone, seconds, msecs, expected): (String, String, i64, i32, String) =
                serde_json::from_str(case).unwrap();
            let zone = TimeZone::posix(&zone).unwrap();
            let time = Timestamp::new(seconds, msecs * 1_000_000).unwrap();
            let mut got = String::new();
            Clock::in_zone(&format, zone).write(time, &mut got);
            assert_eq!(got, expected, "{case}");
        }
    }

    #[test]
    fn the_time_zone_counts_with_its_daylight_saving() {
        let zone = TimeZone::posix("CET-1CEST,M3.5.0,M10.5.0/3").unwrap();
        assert_eq!(written("%H:%M %Z", zone.clone()), "06:46 CET");
        let mut summer = String::new();
        Clock::in_zone("", zone).write(Timestamp::new(1_782_270_000, 0).unwrap(), &mut summer);
        assert_eq!(summer, "2026-06-24 05:00:00,000");
    }

    #[test]
    fn unknown_conversions_are_refused() {
        for format in ["%", "%!", "%Y-%", "%Ey", "%+"] {
            let problem = check_date_format(format).unwrap_err().to_string();
            assert!(!problem.is_empty() && !problem.contains('\n'), "{problem}");
        }
    }

    #[test]
    fn a_format_that_fails_later_falls_back_to_the_default() {
        assert_eq!(written("%Y %!", TimeZone::UTC), "2026-11-24 05:46:00,123");
    }
}
