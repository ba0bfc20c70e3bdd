//! `ACCESS_LOGFORMAT`: the atoms of Gunicorn's access log in Python's `%(name)s` language, or JSON.
//!
//! A line begins when the answer is made, from the request and the answer's head. It ends when the
//! body has been sent: only then are its length and its time known, for which the line has gaps.

use std::fmt::{self, Write};
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::FormatError;
use super::access_json;
use super::access_record::AccessRecord;
use super::fields::{Piece, compile};
use super::percent::{Kind, Spec, Value, push_escaped};
use super::values::is_unsafe;

/// A compiled format. Made by [`AccessFormat::parse`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AccessFormat {
    /// A line is a JSON object.
    Json,
    /// A line consists of Gunicorn's atoms.
    Gunicorn(GunicornFormat),
}

/// A format in Gunicorn's language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GunicornFormat(Vec<Piece<Atom>>);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Atom {
    /// The atom at this place in [`ATOMS`].
    Listed(usize),
    RequestHeader(String),
    ResponseHeader(String),
}

/// An atom with a name in Gunicorn.
struct Listed {
    name: &'static str,
    /// The type of its value in Python.
    kind: Kind,
    known: Known,
}

/// The time when the value of an atom is known, and the way to write it.
#[derive(Clone, Copy)]
enum Known {
    AtBegin(fn(&Request<'_, '_>, Field<'_>)),
    AtEnd(fn(Sent, Field<'_>)),
}

/// A request and the time at which it began.
struct Request<'a, 'r> {
    record: &'a AccessRecord<'r>,
    time: &'a dyn fmt::Display,
}

/// The number of sent bytes of a body, and the time of the request.
#[derive(Debug, Clone, Copy)]
struct Sent {
    bytes: u64,
    took: Duration,
}

const fn early(name: &'static str, write: fn(&Request<'_, '_>, Field<'_>)) -> Listed {
    Listed { name, kind: Kind::Text, known: Known::AtBegin(write) }
}

const fn late(name: &'static str, kind: Kind, write: fn(Sent, Field<'_>)) -> Listed {
    Listed { name, kind, known: Known::AtEnd(write) }
}

/// Gunicorn's atoms. An atom without a value in a request is a dash.
const ATOMS: [Listed; 19] = [
    early("h", |request, field| match request.record.client {
        Some(client) => field.shown(&client),
        None => field.dash(),
    }),
    early("l", |_, field| field.dash()),
    early("u", |request, field| match user(request.record) {
        Some(user) => field.sent(&user),
        None => field.dash(),
    }),
    early("t", |request, field| field.shown(request.time)),
    early("r", |request, field| field.request_line(request.record)),
    early("m", |request, field| field.sent(request.record.method.as_bytes())),
    early("U", |request, field| {
        let path = request.record.target.split('?').next().unwrap_or_default();
        field.sent(&percent_decode_str(path).collect::<Vec<u8>>());
    }),
    early("q", |request, field| {
        let query = request.record.target.split_once('?').map_or("", |(_, query)| query);
        field.sent(query.as_bytes());
    }),
    early("H", |request, field| field.text(request.record.protocol)),
    early("s", |request, field| field.shown(&request.record.status)),
    late("B", Kind::Int, |sent, field| field.int(sent.bytes.into())),
    late("b", Kind::Text, |sent, field| field.shown(&sent.bytes)),
    early("f", |request, field| field.header((request.record.request_header)("referer"))),
    early("a", |request, field| field.header((request.record.request_header)("user-agent"))),
    late("T", Kind::Int, |sent, field| field.int(sent.took.as_secs().into())),
    late("M", Kind::Int, |sent, field| field.int(sent.took.as_millis())),
    late("D", Kind::Int, |sent, field| field.int(sent.took.as_micros())),
    // Seconds with six decimals.
    late("L", Kind::Text, |sent, field| {
        field.shown(&format_args!("{}.{:06}", sent.took.as_secs(), sent.took.subsec_micros()));
    }),
    early("p", |_, field| field.shown(&format_args!("<{}>", std::process::id()))),
];

impl AccessFormat {
    /// Compiles a format; `json` means a JSON object for each request.
    ///
    /// # Errors
    /// For each format that Python would refuse at the first request, with the column; for a name
    /// that is not an atom, of which Gunicorn would make a dash; and for a width or a precision
    /// above 1000.
    pub fn parse(text: &str) -> Result<AccessFormat, FormatError> {
        if text.eq_ignore_ascii_case("json") {
            return Ok(AccessFormat::Json);
        }
        // A line holds no control character, not even one from its format.
        let pieces = compile(&text.replace('\0', "\\x00"), find)?;
        Ok(AccessFormat::Gunicorn(GunicornFormat(pieces)))
    }

    /// Begins a line in an empty one. `time` is the beginning of the request, in Apache's form or,
    /// for JSON, in the form of RFC 3339.
    pub(super) fn begin(
        &self,
        record: &AccessRecord<'_>,
        time: &dyn fmt::Display,
        mut line: AccessLine,
    ) -> AccessLine {
        match self {
            AccessFormat::Json => {
                access_json::begin(record, time, &mut line.text);
                line.leave_gap(|sent, field| access_json::finish(sent.bytes, sent.took, field.out), None);
            }
            AccessFormat::Gunicorn(format) => format.begin(&Request { record, time }, &mut line),
        }
        line
    }
}

impl GunicornFormat {
    fn begin(&self, request: &Request<'_, '_>, line: &mut AccessLine) {
        for piece in &self.0 {
            let (atom, spec) = match piece {
                Piece::Literal(literal) => {
                    line.text.push_str(literal);
                    continue;
                }
                Piece::Field(atom, spec) => (atom, spec),
            };
            let field = Field { spec, out: &mut line.text };
            match atom {
                Atom::RequestHeader(name) => field.header((request.record.request_header)(name)),
                Atom::ResponseHeader(name) => field.header((request.record.response_header)(name)),
                Atom::Listed(at) => match ATOMS[*at].known {
                    Known::AtBegin(write) => write(request, field),
                    Known::AtEnd(write) => line.leave_gap(write, Some(spec)),
                },
            }
        }
    }
}

/// A line that has begun: its text, with gaps for the values that are known only at the end.
#[derive(Debug, Default)]
pub struct AccessLine {
    text: String,
    gaps: Vec<Gap>,
}

#[derive(Debug)]
struct Gap {
    /// Offset in the text.
    at: usize,
    write: fn(Sent, Field<'_>),
    spec: Spec,
}

impl AccessLine {
    fn leave_gap(&mut self, write: fn(Sent, Field<'_>), spec: Option<&Spec>) {
        self.gaps.push(Gap { at: self.text.len(), write, spec: spec.cloned().unwrap_or_default() });
    }

    /// Appends the whole line to `out`, with its newline. Returns an empty line, which reuses the
    /// buffers of this one.
    pub(super) fn finish(mut self, bytes: u64, took: Duration, out: &mut String) -> AccessLine {
        let mut written = 0;
        for gap in &self.gaps {
            out.push_str(&self.text[written..gap.at]);
            (gap.write)(Sent { bytes, took }, Field { spec: &gap.spec, out });
            written = gap.at;
        }
        out.push_str(&self.text[written..]);
        out.push('\n');
        self.text.clear();
        self.gaps.clear();
        self
    }

    /// Returns the bytes of memory that it holds.
    pub(super) fn capacity(&self) -> usize {
        self.text.capacity()
    }
}

fn find(name: &str, column: usize) -> Result<(Atom, Kind), FormatError> {
    if let Some(at) = ATOMS.iter().position(|atom| atom.name == name) {
        return Ok((Atom::Listed(at), ATOMS[at].kind));
    }
    let header = |end| name.strip_prefix('{')?.strip_suffix(end).map(str::to_ascii_lowercase);
    if let Some(header) = header("}i") {
        return Ok((Atom::RequestHeader(header), Kind::Text));
    }
    if let Some(header) = header("}o") {
        return Ok((Atom::ResponseHeader(header), Kind::Text));
    }
    let known = format!("{} {{header}}i {{header}}o", ATOMS.map(|atom| atom.name).join(" "));
    Err(FormatError::Unknown { column, name: name.to_owned(), nearest: None, known })
}

/// Returns the user in the credentials of HTTP's basic scheme, which a proxy may have checked.
fn user(record: &AccessRecord<'_>) -> Option<Vec<u8>> {
    use base64::prelude::{BASE64_STANDARD, Engine};

    let credentials = (record.request_header)("authorization")?;
    let (scheme, encoded) = credentials.split_at_checked("basic ".len())?;
    if !scheme.eq_ignore_ascii_case(b"basic ") {
        return None;
    }
    let mut decoded = BASE64_STANDARD.decode(encoded.trim_ascii()).ok()?;
    decoded.truncate(decoded.iter().position(|byte| *byte == b':').unwrap_or(decoded.len()));
    Some(decoded).filter(|user| !user.is_empty())
}

/// The place and the form of a value.
struct Field<'a> {
    spec: &'a Spec,
    out: &'a mut String,
}

impl Field<'_> {
    fn text(self, text: &str) {
        self.spec.write(Value::Text(text), self.out);
    }

    fn dash(self) {
        self.text("-");
    }

    fn int(self, number: u128) {
        self.spec.write(Value::Int(i64::try_from(number).unwrap_or(i64::MAX)), self.out);
    }

    /// Writes a value of the server itself, mostly without making a text of it first.
    fn shown(self, value: &dyn fmt::Display) {
        if self.spec.is_plain() {
            // Writing to a String cannot fail.
            let _ = write!(self.out, "{value}");
        } else {
            self.text(&value.to_string());
        }
    }

    fn header(self, value: Option<&[u8]>) {
        self.sent(value.unwrap_or(b"-"));
    }

    fn request_line(self, record: &AccessRecord<'_>) {
        let AccessRecord { method, target, protocol, .. } = record;
        if !self.spec.is_plain() {
            return self.sent([method, " ", target, " ", protocol].concat().as_bytes());
        }
        let Field { spec, out } = self;
        Field { spec, out: &mut *out }.sent(method.as_bytes());
        out.push(' ');
        Field { spec, out: &mut *out }.sent(target.as_bytes());
        out.push(' ');
        out.push_str(protocol);
    }

    /// Writes bytes of a client. They cannot end the line or a quoted field, or control a terminal.
    fn sent(self, bytes: &[u8]) {
        let harmless = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\';
        // The common case: unchanged.
        if bytes.iter().all(harmless)
            && let Ok(text) = std::str::from_utf8(bytes)
        {
            return self.text(text);
        }
        let mut escaped = String::new();
        for chunk in bytes.utf8_chunks() {
            for character in chunk.valid().chars() {
                match character {
                    '"' | '\\' => escaped.extend(['\\', character]),
                    _ if is_unsafe(character) => push_escaped(character, &mut escaped),
                    _ => escaped.push(character),
                }
            }
            for byte in chunk.invalid() {
                push_escaped(char::from(*byte), &mut escaped);
            }
        }
        self.text(&escaped);
    }
}

#[cfg(test)]
mod tests;
