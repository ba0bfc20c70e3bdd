//! The message of a record and its key-values as one line of text. The line holds no character that
//! could end it early or control the terminal that shows it.

use std::fmt::{self, Write};
use std::ops::Range;

use slog::{KV, OwnedKVList, Record};

use super::percent::push_escaped;

/// The key-values of a record: those of the logger first, in the order of the program.
#[derive(Debug, Default)]
pub(super) struct Values {
    text: String,
    /// slog passes them last first.
    pairs: Vec<Pair>,
}

#[derive(Debug)]
struct Pair {
    key: slog::Key,
    value: Range<usize>,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Text,
    /// A number or a truth value: JSON as it is written.
    Literal,
    /// Nothing: no text, and `null` in JSON.
    Null,
}

impl Values {
    pub(super) fn clear(&mut self) {
        self.text.clear();
        self.pairs.clear();
    }

    /// Adds the key-values of a record and of its logger.
    pub(super) fn collect(&mut self, record: &Record<'_>, context: &OwnedKVList) {
        // A value whose output fails appears as far as it was written.
        let _ = record.kv().serialize(record, self);
        let _ = context.serialize(record, self);
    }

    /// Appends the message alone, not escaped.
    pub(super) fn write_bare_message(message: &fmt::Arguments<'_>, out: &mut String) {
        // A value whose output fails appears as far as it was written.
        let _ = write!(out, "{message}");
    }

    /// Appends the message and the key-values as `message key=value key="some value"`.
    pub(super) fn write_message(&self, message: &fmt::Arguments<'_>, out: &mut String) {
        let _ = write!(Escaped(out), "{message}");
        for (key, value) in self.iter() {
            if !out.is_empty() {
                out.push(' ');
            }
            escape(key, out);
            out.push('=');
            push_value(value, out);
        }
    }

    /// Returns the pairs as they were written, not escaped.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.pairs.iter().rev().map(|pair| (pair.key(), &self.text[pair.value.clone()]))
    }

    /// Returns the pairs, and whether the value is valid JSON.
    pub(super) fn typed(&self) -> impl Iterator<Item = (&str, &str, bool)> {
        self.pairs.iter().rev().map(|pair| match pair.kind {
            Kind::Text => (pair.key(), &self.text[pair.value.clone()], false),
            Kind::Literal => (pair.key(), &self.text[pair.value.clone()], true),
            Kind::Null => (pair.key(), "null", true),
        })
    }

    fn push(&mut self, key: slog::Key, value: impl fmt::Display, kind: Kind) -> slog::Result {
        let start = self.text.len();
        let _ = write!(self.text, "{value}");
        self.pairs.push(Pair { key, value: start..self.text.len(), kind });
        Ok(())
    }
}

impl Pair {
    fn key(&self) -> &str {
        AsRef::<str>::as_ref(&self.key)
    }
}

/// Methods for values whose text is JSON.
macro_rules! literals {
    ($($method:ident: $type:ty),*) => {
        $(fn $method(&mut self, key: slog::Key, value: $type) -> slog::Result {
            self.push(key, value, Kind::Literal)
        })*
    };
}

impl slog::Serializer for Values {
    fn emit_arguments(&mut self, key: slog::Key, value: &fmt::Arguments<'_>) -> slog::Result {
        self.push(key, value, Kind::Text)
    }

    literals!(emit_bool: bool, emit_usize: usize, emit_isize: isize, emit_u8: u8, emit_i8: i8, emit_u16: u16,
        emit_i16: i16, emit_u32: u32, emit_i32: i32, emit_u64: u64, emit_i64: i64, emit_u128: u128,
        emit_i128: i128);

    fn emit_f32(&mut self, key: slog::Key, value: f32) -> slog::Result {
        // JSON has no infinity.
        self.push(key, value, if value.is_finite() { Kind::Literal } else { Kind::Text })
    }

    fn emit_f64(&mut self, key: slog::Key, value: f64) -> slog::Result {
        self.push(key, value, if value.is_finite() { Kind::Literal } else { Kind::Text })
    }

    fn emit_none(&mut self, key: slog::Key) -> slog::Result {
        self.push(key, "", Kind::Null)
    }
}

/// A writer that escapes its input.
struct Escaped<'a>(&'a mut String);

impl fmt::Write for Escaped<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        escape(text, self.0);
        Ok(())
    }
}

/// Reports whether a character could end the line early, control the terminal that shows it, or
/// reorder the text around it.
pub(super) fn is_unsafe(character: char) -> bool {
    character.is_control()
        || matches!(character, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn escape(text: &str, out: &mut String) {
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            _ if is_unsafe(character) => push_escaped(character, out),
            _ => out.push(character),
        }
    }
}

/// Appends a value bare, or in quotes if it could be mistaken for its neighbours.
fn push_value(value: &str, out: &mut String) {
    let ambiguous =
        |character: char| character.is_whitespace() || is_unsafe(character) || "\"=".contains(character);
    if !value.is_empty() && !value.contains(ambiguous) {
        return out.push_str(value);
    }
    out.push('"');
    for part in value.split_inclusive(['"', '\\']) {
        let (plain, last) = match part.strip_suffix(['"', '\\']) {
            Some(plain) => (plain, &part[plain.len()..]),
            None => (part, ""),
        };
        escape(plain, out);
        if !last.is_empty() {
            out.push('\\');
            out.push_str(last);
        }
    }
    out.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{b, o, record};

    fn message(values: OwnedKVList, record: &Record<'_>) -> String {
        let mut collected = Values::default();
        collected.collect(record, &values);
        let mut out = String::new();
        collected.write_message(record.msg(), &mut out);
        out
    }

    #[test]
    fn values_keep_the_order_they_were_written_in_after_those_of_the_logger() {
        let root = slog::Logger::root(slog::Discard, o!("worker" => 3, "gen" => 2));
        let child = root.new(o!("pid" => 4711));
        let line = message(
            child.list().clone(),
            &record!(slog::Level::Info, "", &format_args!("worker ready"), b!("songs" => 10, "ms" => 1.5)),
        );
        assert_eq!(line, "worker ready worker=3 gen=2 pid=4711 songs=10 ms=1.5");
    }

    #[test]
    fn values_are_quoted_where_they_could_be_misread() {
        for (value, expected) in [
            ("plain", "v=plain"),
            ("Björk", "v=Björk"),
            ("", "v=\"\""),
            ("two words", "v=\"two words\""),
            ("a=b", "v=\"a=b\""),
            ("say \"hi\"", "v=\"say \\\"hi\\\"\""),
            ("C:\\dir", "v=C:\\dir"),
            ("C:\\my dir\\", "v=\"C:\\\\my dir\\\\\""),
            ("no\u{a0}break", "v=\"no\u{a0}break\""),
            ("line\nbreak", "v=\"line\\nbreak\""),
        ] {
            let line =
                message(o!().into(), &record!(slog::Level::Info, "", &format_args!(""), b!("v" => value)));
            assert_eq!(line, expected);
        }
    }

    #[test]
    fn control_characters_are_escaped_and_other_text_is_kept() {
        let hostile = "a\nb\r\tc\u{1b}[31m\0\u{7f}\u{9b}\u{2028}\u{202e}d é 😀 \\n";
        let line = message(o!().into(), &record!(slog::Level::Info, "", &format_args!("{hostile}"), b!()));
        assert_eq!(line, "a\\nb\\r\\tc\\x1b[31m\\x00\\x7f\\x9b\\u2028\\u202ed é 😀 \\n");
    }

    #[test]
    fn none_and_failing_values_leave_the_line_whole() {
        struct Refuses;
        impl fmt::Display for Refuses {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("half")?;
                Err(fmt::Error)
            }
        }
        let line = message(
            o!().into(),
            &record!(
                slog::Level::Info,
                "",
                &format_args!("m"),
                b!("a" => None::<u8>, "b" => %Refuses, "c" => Some(1))
            ),
        );
        assert_eq!(line, "m a=\"\" b=half c=1");
    }
}
