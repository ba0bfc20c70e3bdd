//! The field `Date`, which changes once a second. hyper's own stays in the future after the clock was set
//! back.

use std::sync::{Mutex, PoisonError};

use hyper::header::HeaderValue;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

/// The last value and its second.
pub(in crate::worker) struct Date(Mutex<(i64, HeaderValue)>);

impl Date {
    pub(in crate::worker) fn new() -> Self {
        let now = Timestamp::now();
        Date(Mutex::new((now.as_second(), written(now))))
    }

    /// Returns the value for an answer that is made now.
    pub(in crate::worker) fn now(&self) -> HeaderValue {
        self.at(Timestamp::now())
    }

    fn at(&self, now: Timestamp) -> HeaderValue {
        let mut last = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if last.0 != now.as_second() {
            *last = (now.as_second(), written(now));
        }
        last.1.clone()
    }
}

/// Formats a time in the form that RFC 9110 5.6.7 prefers. The form lacks years before 0 and after
/// 9999.
fn written(now: Timestamp) -> HeaderValue {
    let text = DateTimePrinter::new().timestamp_to_rfc9110_string(&now).ok();
    let value = text.and_then(|text| HeaderValue::try_from(text).ok());
    value.unwrap_or(HeaderValue::from_static("Thu, 01 Jan 1970 00:00:00 GMT"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_clock_in_both_directions() {
        let date = Date::new();
        for (second, expected) in [
            (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"),
            (784_111_778, "Sun, 06 Nov 1994 08:49:38 GMT"),
            (784_111_777 - 86_400, "Sat, 05 Nov 1994 08:49:37 GMT"),
            (784_111_777 - 86_400, "Sat, 05 Nov 1994 08:49:37 GMT"),
            (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
            (4_102_444_800, "Fri, 01 Jan 2100 00:00:00 GMT"),
        ] {
            assert_eq!(date.at(Timestamp::from_second(second).unwrap()), expected);
        }
    }
}
