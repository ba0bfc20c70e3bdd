//! Python's `%` operator for one value: flags, width, precision and conversion type, as in
//! CPython's `unicode_format_arg` (Objects/unicodeobject.c). The values are defined in `format`.

use std::fmt::Write;
use std::iter::repeat_n;

use unicode_properties::{GeneralCategory, UnicodeGeneralCategory};

/// The widest field and the longest precision of a format, in characters. Python has no such limit;
/// a typing error there can produce gigabytes per record.
pub(super) const SIZE_MAX: usize = 1000;

/// A value to be converted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Value<'a> {
    Text(&'a str),
    Int(i64),
    Float(f64),
    /// Python's `None`.
    None,
}

/// The type of a value, known before the value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Int,
    Float,
    None,
}

impl Kind {
    /// Returns the name of the type in error messages.
    pub(super) fn noun(self) -> &'static str {
        match self {
            Kind::Text => "text",
            Kind::Int => "an integer",
            Kind::Float => "a number",
            Kind::None => "None",
        }
    }
}

/// The part of a field between the name and its end: `-8s`, `03d`, `.3f`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Spec {
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    alternate: bool,
    width: usize,
    precision: Option<usize>,
    conversion: u8,
}

/// The fault of a specification; `format` adds the column.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum SpecError {
    /// No conversion type follows, or this invalid character.
    Conversion(Option<char>),
    /// A width or precision above [`SIZE_MAX`].
    Size,
}

impl Spec {
    /// Parses a specification at the start of `text`, and returns its length in bytes.
    pub(super) fn parse(text: &str) -> Result<(Spec, usize), SpecError> {
        let bytes = text.as_bytes();
        let mut spec = Spec::default();
        let mut at = 0;
        while let Some(flag) = bytes.get(at).and_then(|&byte| spec.flag(byte)) {
            *flag = true;
            at += 1;
        }
        spec.width = number(bytes, &mut at)?;
        if bytes.get(at) == Some(&b'.') {
            at += 1;
            // A bare point means 0.
            spec.precision = Some(number(bytes, &mut at)?);
        }
        // C's length of a number has no effect here.
        if bytes.get(at).is_some_and(|byte| b"hlL".contains(byte)) {
            at += 1;
        }
        match bytes.get(at) {
            Some(&conversion) if b"sracdiuoxXeEfFgG".contains(&conversion) => {
                spec.conversion = conversion;
                Ok((spec, at + 1))
            }
            _ => Err(SpecError::Conversion(text[at..].chars().next())),
        }
    }

    fn flag(&mut self, byte: u8) -> Option<&mut bool> {
        match byte {
            b'-' => Some(&mut self.left),
            b'0' => Some(&mut self.zero),
            b'+' => Some(&mut self.plus),
            b' ' => Some(&mut self.space),
            b'#' => Some(&mut self.alternate),
            _ => None,
        }
    }

    /// Reports whether a text is written unchanged.
    pub(super) fn is_plain(&self) -> bool {
        self.conversion == b's' && self.width == 0 && self.precision.is_none()
    }

    /// Returns the conversion type as written.
    pub(super) fn conversion(&self) -> char {
        self.conversion.into()
    }

    /// Reports whether Python converts a value of this type, rather than raising a TypeError.
    pub(super) fn accepts(&self, kind: Kind) -> bool {
        match self.conversion {
            b's' | b'r' | b'a' => true,
            b'c' | b'o' | b'x' | b'X' => kind == Kind::Int,
            _ => matches!(kind, Kind::Int | Kind::Float),
        }
    }

    /// Appends the converted value. A pair that [`Spec::accepts`] refuses is written as text.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "a float of more than 38 digits is cut, as it ever was"
    )]
    pub(super) fn write(&self, value: Value<'_>, out: &mut String) {
        match (self.conversion, value) {
            (b'c', Value::Int(code)) => self.write_char(code, out),
            (b'd' | b'i' | b'u', Value::Int(number)) => self.write_int(number.into(), out),
            (b'd' | b'i' | b'u', Value::Float(number)) => self.write_int(number as i128, out),
            (b'o' | b'x' | b'X', Value::Int(number)) => self.write_int(number.into(), out),
            (b'e' | b'E' | b'f' | b'F' | b'g' | b'G', Value::Int(number)) => {
                self.write_float(number as f64, out)
            }
            (b'e' | b'E' | b'f' | b'F' | b'g' | b'G', Value::Float(number)) => self.write_float(number, out),
            (b'r' | b'a', Value::Text(text)) => self.write_text(&quoted(text, self.conversion == b'a'), out),
            (_, Value::Text(text)) => self.write_text(text, out),
            (_, Value::Int(number)) => self.write_text(&number.to_string(), out),
            (_, Value::Float(number)) => self.write_text(&float_repr(number), out),
            (_, Value::None) => self.write_text("None", out),
        }
    }

    fn write_text(&self, text: &str, out: &mut String) {
        let (text, count) = match self.precision {
            Some(precision) => match text.char_indices().nth(precision) {
                Some((end, _)) => (&text[..end], precision),
                None => (text, text.chars().count()),
            },
            // The common case needs no count.
            None if self.width == 0 => (text, 0),
            None => (text, text.chars().count()),
        };
        let fill = self.width.saturating_sub(count);
        if !self.left {
            out.extend(repeat_n(' ', fill));
        }
        out.push_str(text);
        if self.left {
            out.extend(repeat_n(' ', fill));
        }
    }

    fn write_char(&self, code: i64, out: &mut String) {
        let character =
            u32::try_from(code).ok().and_then(char::from_u32).unwrap_or(char::REPLACEMENT_CHARACTER);
        let unlimited = Spec { precision: None, ..self.clone() };
        unlimited.write_text(character.encode_utf8(&mut [0; 4]), out);
    }

    fn write_int(&self, number: i128, out: &mut String) {
        let magnitude = number.unsigned_abs();
        let (prefix, digits) = match self.conversion {
            b'o' => ("0o", format!("{magnitude:o}")),
            b'x' => ("0x", format!("{magnitude:x}")),
            b'X' => ("0X", format!("{magnitude:X}")),
            _ => ("", magnitude.to_string()),
        };
        let prefix = if self.alternate { prefix } else { "" };
        let zeros = self.precision.unwrap_or(0).saturating_sub(digits.len());
        let body: String = repeat_n('0', zeros).chain(digits.chars()).collect();
        self.write_number(number < 0, prefix, &body, out);
    }

    fn write_float(&self, number: f64, out: &mut String) {
        let precision = self.precision.unwrap_or(6);
        let magnitude = number.abs();
        let mut body = match self.conversion.to_ascii_lowercase() {
            _ if magnitude.is_nan() => "nan".to_owned(),
            _ if magnitude.is_infinite() => "inf".to_owned(),
            b'e' => exponential(magnitude, precision, self.alternate),
            b'g' => general(magnitude, precision.max(1), self.alternate),
            _ => fixed(magnitude, precision, self.alternate),
        };
        if self.conversion.is_ascii_uppercase() {
            body.make_ascii_uppercase();
        }
        self.write_number(number.is_sign_negative() && !number.is_nan(), "", &body, out);
    }

    /// Sign, prefix and digits; zeros go between prefix and digits, blanks outside.
    fn write_number(&self, negative: bool, prefix: &str, body: &str, out: &mut String) {
        let sign = match (negative, self.plus, self.space) {
            (true, _, _) => "-",
            (false, true, _) => "+",
            (false, false, true) => " ",
            (false, false, false) => "",
        };
        let fill = self.width.saturating_sub(sign.len() + prefix.len() + body.len());
        let (before, zeros, after) = match (self.left, self.zero) {
            (true, _) => (0, 0, fill),
            (false, true) => (0, fill, 0),
            (false, false) => (fill, 0, 0),
        };
        out.extend(repeat_n(' ', before));
        out.push_str(sign);
        out.push_str(prefix);
        out.extend(repeat_n('0', zeros));
        out.push_str(body);
        out.extend(repeat_n(' ', after));
    }
}

/// Parses decimal digits from `at` on, possibly none (0).
fn number(bytes: &[u8], at: &mut usize) -> Result<usize, SpecError> {
    let mut number = 0;
    while let Some(digit) = bytes.get(*at).filter(|byte| byte.is_ascii_digit()) {
        number = number * 10 + usize::from(digit - b'0');
        if number > SIZE_MAX {
            return Err(SpecError::Size);
        }
        *at += 1;
    }
    Ok(number)
}

fn fixed(magnitude: f64, precision: usize, keep_point: bool) -> String {
    let mut text = format!("{magnitude:.precision$}");
    if keep_point && precision == 0 {
        text.push('.');
    }
    text
}

fn exponential(magnitude: f64, precision: usize, keep_point: bool) -> String {
    let (digits, exponent) = scientific(magnitude, precision);
    let point = if keep_point && precision == 0 { "." } else { "" };
    format!("{digits}{point}e{}", signed_exponent(exponent))
}

/// Returns the shorter of both notations with `precision` significant digits (at least 1), as C's
/// `%g`.
fn general(magnitude: f64, precision: usize, keep_zeros: bool) -> String {
    let (digits, exponent) = scientific(magnitude, precision - 1);
    // Both numbers are small: a precision has at most SIZE_MAX digits, an exponent three.
    let places = i32::try_from(precision).unwrap_or(i32::MAX) - 1 - exponent;
    // Digits after the point of a number that is written without an exponent.
    let small = usize::try_from(places).ok().filter(|_| exponent >= -4);
    let mut text = small.map_or(digits, |places| format!("{magnitude:.places$}"));
    if keep_zeros {
        if !text.contains('.') {
            text.push('.');
        }
    } else if text.contains('.') {
        text.truncate(text.trim_end_matches('0').trim_end_matches('.').len());
    }
    if small.is_none() {
        text.push('e');
        text.push_str(&signed_exponent(exponent));
    }
    text
}

/// Rust's `{:e}` taken apart: the digits with their point, and the decimal exponent.
fn scientific(magnitude: f64, precision: usize) -> (String, i32) {
    let text = format!("{magnitude:.precision$e}");
    match text.split_once('e') {
        Some((digits, exponent)) => (digits.to_owned(), exponent.parse().unwrap_or(0)),
        None => (text, 0),
    }
}

/// An exponent with a sign and at least two digits, as in C and Python.
fn signed_exponent(exponent: i32) -> String {
    format!("{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.unsigned_abs())
}

/// Python's `repr` of a float: the shortest digits that read back as the same number.
fn float_repr(number: f64) -> String {
    let magnitude = number.abs();
    if number.is_nan() {
        "nan".to_owned()
    } else if number.is_infinite() {
        if number > 0.0 { "inf" } else { "-inf" }.to_owned()
    } else if magnitude != 0.0 && !(1e-4..1e16).contains(&magnitude) {
        let text = format!("{number:e}");
        let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
        format!("{digits}e{}", signed_exponent(exponent.parse().unwrap_or(0)))
    } else {
        format!("{number:?}")
    }
}

/// Python's `repr` of a string, or its `ascii`.
fn quoted(text: &str, ascii: bool) -> String {
    let quote = if text.contains('\'') && !text.contains('"') { '"' } else { '\'' };
    let mut out = String::with_capacity(text.len() + 2);
    out.push(quote);
    for character in text.chars() {
        match character {
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\\' => out.push_str("\\\\"),
            _ if character == quote => out.extend(['\\', character]),
            _ if is_printable(character) && (!ascii || character.is_ascii()) => out.push(character),
            _ => push_escaped(character, &mut out),
        }
    }
    out.push(quote);
    out
}

/// Appends a character as Python escapes it: `\x1b`, `\u2028`, `\U0001f600`.
pub(super) fn push_escaped(character: char, out: &mut String) {
    let code = u32::from(character);
    // Writing to a String cannot fail.
    let _ = match code {
        0..=0xff => write!(out, "\\x{code:02x}"),
        0x100..=0xffff => write!(out, "\\u{code:04x}"),
        _ => write!(out, "\\U{code:08x}"),
    };
}

/// Python's `str.isprintable` of one character.
fn is_printable(character: char) -> bool {
    use GeneralCategory::*;
    character == ' '
        || !matches!(
            character.general_category(),
            Control
                | Format
                | Surrogate
                | PrivateUse
                | Unassigned
                | LineSeparator
                | ParagraphSeparator
                | SpaceSeparator
        )
}
