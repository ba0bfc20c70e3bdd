//! Prometheus' text format 0.0.4, without a client library: those count values of one process, while these
//! values are sums over shared memory. The format takes a few lines.

use std::fmt::{self, Display, Write};
use std::time::Duration;

use crate::scoreboard::{BOUNDS, Number, Reading};

/// Returns a time in milliseconds.
pub(super) fn seconds(number: &Number) -> Seconds {
    Seconds(Duration::from_millis(number.get()))
}

/// Seconds, written in full, with a point.
pub(super) struct Seconds(Duration);

impl Display for Seconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{:09}", self.0.as_secs(), self.0.subsec_nanos())
    }
}

/// The types of metrics.
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

/// A page that grows by one family after the other.
pub(super) struct Page(String);

impl Page {
    /// Creates an empty page with room for this many bytes.
    pub(super) fn with_capacity(bytes: usize) -> Page {
        Page(String::with_capacity(bytes))
    }

    /// Returns the text.
    pub(super) fn finish(self) -> String {
        self.0
    }

    /// Begins a family, which appears even without samples.
    pub(super) fn family(&mut self, name: &'static str, kind: Kind, help: &str) -> Family<'_> {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
            Kind::Histogram => "histogram",
        };
        let text = &mut self.0;
        text.extend(["# HELP ", name, " "]);
        escape(text, help, false);
        text.extend(["\n# TYPE ", name, " ", kind, "\n"]);
        Family { text, name }
    }

    /// Adds a family of one sample.
    pub(super) fn gauge(&mut self, name: &'static str, help: &str, number: &Number) {
        self.family(name, Kind::Gauge, help).sample(&[], number.get());
    }
}

/// A metric, with samples that differ in their labels.
pub(super) struct Family<'p> {
    text: &'p mut String,
    name: &'static str,
}

impl Family<'_> {
    /// Adds a value under these labels.
    pub(super) fn sample(&mut self, labels: &[(&str, &str)], value: impl Display) {
        self.line("", labels, value);
    }

    /// Adds a histogram of the times of answers, under two labels.
    pub(super) fn histogram(&mut self, [endpoint, code]: [(&str, &str); 2], reading: &Reading) {
        for (bound, count) in BOUNDS.iter().zip(reading.cumulative()) {
            let bound = (*bound as f64 / 1e6).to_string();
            self.line("_bucket", &[endpoint, code, ("le", &bound)], count);
        }
        self.line("_bucket", &[endpoint, code, ("le", "+Inf")], reading.count());
        self.line("_sum", &[endpoint, code], Seconds(reading.sum()));
        self.line("_count", &[endpoint, code], reading.count());
    }

    fn line(&mut self, suffix: &str, labels: &[(&str, &str)], value: impl Display) {
        self.text.extend([self.name, suffix]);
        for (at, (label, value)) in labels.iter().enumerate() {
            self.text.extend([if at == 0 { "{" } else { "," }, label, "=\""]);
            escape(self.text, value, true);
            self.text.push('"');
        }
        let end = if labels.is_empty() { "" } else { "}" };
        // A write to a String cannot fail.
        let _ = writeln!(self.text, "{end} {value}");
    }
}

/// Escapes backslashes and line feeds, and in values of labels also quotation marks.
fn escape(to: &mut String, text: &str, quotes: bool) {
    for c in text.chars() {
        match c {
            '\\' => to.push_str("\\\\"),
            '\n' => to.push_str("\\n"),
            '"' if quotes => to.push_str("\\\""),
            c => to.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_help_are_escaped() {
        let mut page = Page(String::new());
        page.family("x_total", Kind::Counter, "a \"b\" \\ c\nd")
            .sample(&[("one", "a\"b\\c\nd\u{e9}"), ("two", "")], 7);
        assert_eq!(
            page.0,
            "# HELP x_total a \"b\" \\\\ c\\nd\n# TYPE x_total counter\n\
             x_total{one=\"a\\\"b\\\\c\\nd\u{e9}\",two=\"\"} 7\n"
        );
    }
}
