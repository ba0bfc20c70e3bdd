//! `ACCESS_LOGFORMAT`: the atoms of Gunicorn's access log in Python's `%(name)s` language, or JSON.
//!
//! A line is begun when the answer is made, from what the request and the answer's head say, and finished
//! when the body has left: how long that took and how much it was is written into gaps that were left.

use std::fmt::{self, Write};
use std::net::IpAddr;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::FormatError;
use super::fields::{Piece, compile};
use super::percent::{Kind, Spec, Value, push_escaped};
use super::values::is_unsafe;

/// The format that is none of Gunicorn's: a line is a JSON object.
const JSON: &str = "json";

/// A compiled format. Made by [`AccessFormat::parse`]; `Display` gives the text it was made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessFormat {
    source: String,
    pieces: Vec<Piece<Atom>>,
    json: bool,
}

/// What a request and its answer have to say. Texts are as they were sent; the line escapes them.
pub struct AccessRecord<'a> {
    /// Who has asked: the client, also through a proxy that is trusted; none for a Unix socket.
    pub client: Option<IpAddr>,
    /// `http` or `https`, as the client has asked.
    pub scheme: &'static str,
    /// The method.
    pub method: &'a str,
    /// Path and query string.
    pub target: &'a str,
    /// As `HTTP/1.1`.
    pub protocol: &'static str,
    /// Of the answer.
    pub status: u16,
    /// What identifies the request; empty for nothing.
    pub request_id: &'a [u8],
    /// Trace and calling span of the W3C trace context.
    pub trace: Option<(&'a str, &'a str)>,
    /// The value of a field of the request's head, by its name in lower case.
    pub request_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
    /// The same of the answer's.
    pub response_header: &'a dyn Fn(&str) -> Option<&'a [u8]>,
}

/// Gunicorn's atoms, and what is known only at the end.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Atom {
    Client,
    Dash,
    User,
    Time,
    RequestLine,
    Method,
    Path,
    Query,
    Protocol,
    Status,
    Referer,
    Agent,
    Process,
    RequestHeader(String),
    ResponseHeader(String),
    Late(Late),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Late {
    /// `B`, a number, and `b`, a text.
    Bytes,
    BytesText,
    Seconds,
    Milliseconds,
    Microseconds,
    /// `L`: seconds with six decimals.
    Decimal,
}

/// Gunicorn's names and what Python type each is.
const ATOMS: [(&str, Atom, Kind); 19] = [
    ("h", Atom::Client, Kind::Text),
    ("l", Atom::Dash, Kind::Text),
    ("u", Atom::User, Kind::Text),
    ("t", Atom::Time, Kind::Text),
    ("r", Atom::RequestLine, Kind::Text),
    ("m", Atom::Method, Kind::Text),
    ("U", Atom::Path, Kind::Text),
    ("q", Atom::Query, Kind::Text),
    ("H", Atom::Protocol, Kind::Text),
    ("s", Atom::Status, Kind::Text),
    ("B", Atom::Late(Late::Bytes), Kind::Int),
    ("b", Atom::Late(Late::BytesText), Kind::Text),
    ("f", Atom::Referer, Kind::Text),
    ("a", Atom::Agent, Kind::Text),
    ("T", Atom::Late(Late::Seconds), Kind::Int),
    ("M", Atom::Late(Late::Milliseconds), Kind::Int),
    ("D", Atom::Late(Late::Microseconds), Kind::Int),
    ("L", Atom::Late(Late::Decimal), Kind::Text),
    ("p", Atom::Process, Kind::Text),
];

impl AccessFormat {
    /// Compiles a format; `json` means a JSON object for each request.
    ///
    /// # Errors
    /// Whatever Python would refuse at the first request, with the column; a name that is none of the
    /// atoms, of which Gunicorn would make a dash; and a width or a precision above 1000.
    pub fn parse(text: &str) -> Result<AccessFormat, FormatError> {
        let json = text.eq_ignore_ascii_case(JSON);
        let pieces = if json { Vec::new() } else { compile(&text.replace(GAP, "\\x00"), find)? };
        Ok(AccessFormat { source: text.to_owned(), pieces, json })
    }

    /// Begins a line in an empty buffer. `time` is the beginning of the request, in Apache's form or, for
    /// JSON, in RFC 3339's.
    pub(super) fn begin(
        &self,
        record: &AccessRecord<'_>,
        time: &dyn fmt::Display,
        mut text: String,
    ) -> AccessLine {
        if self.json {
            super::access_json::begin(record, time, &mut text);
            return AccessLine { text };
        }
        for piece in &self.pieces {
            match piece {
                Piece::Literal(literal) => text.push_str(literal),
                Piece::Field(Atom::Late(_), _) => text.push(GAP),
                Piece::Field(atom, spec) => write_early(atom, spec, record, time, &mut text),
            }
        }
        AccessLine { text }
    }

    /// Appends a line that was begun, with its newline.
    pub(super) fn finish(&self, line: &AccessLine, bytes: u64, took: Duration, out: &mut String) {
        if self.json {
            out.push_str(&line.text);
            super::access_json::finish(bytes, took, out);
        } else {
            let mut late = self.pieces.iter().filter_map(|piece| match piece {
                Piece::Field(Atom::Late(late), spec) => Some((*late, spec)),
                _ => None,
            });
            let mut parts = line.text.split(GAP);
            out.push_str(parts.next().unwrap_or_default());
            for part in parts {
                if let Some((late, spec)) = late.next() {
                    write_late(late, spec, bytes, took, out);
                }
                out.push_str(part);
            }
        }
        out.push('\n');
    }

    /// Whether lines are JSON objects.
    pub(super) fn is_json(&self) -> bool {
        self.json
    }
}

impl fmt::Display for AccessFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.source)
    }
}

/// Stands where something belongs that is known only at the end. No text has it, as control characters are
/// escaped; those of the format itself as well.
const GAP: char = '\0';

/// A line without what is known only at the end.
#[derive(Debug)]
pub struct AccessLine {
    pub(super) text: String,
}

fn find(name: &str, column: usize) -> Result<(Atom, Kind), FormatError> {
    if let Some((_, atom, kind)) = ATOMS.iter().find(|(known, ..)| *known == name) {
        return Ok((atom.clone(), *kind));
    }
    let header = |end| name.strip_prefix('{')?.strip_suffix(end).map(str::to_ascii_lowercase);
    if let Some(header) = header("}i") {
        return Ok((Atom::RequestHeader(header), Kind::Text));
    }
    if let Some(header) = header("}o") {
        return Ok((Atom::ResponseHeader(header), Kind::Text));
    }
    let known = format!("{} {{header}}i {{header}}o", ATOMS.map(|(name, ..)| name).join(" "));
    Err(FormatError::Unknown { column, name: name.to_owned(), nearest: None, known })
}

fn write_early(
    atom: &Atom,
    spec: &Spec,
    record: &AccessRecord<'_>,
    time: &dyn fmt::Display,
    out: &mut String,
) {
    let header = |name| (record.request_header)(name).unwrap_or(b"-");
    let path = || record.target.split('?').next().unwrap_or_default();
    let query = || record.target.split_once('?').map_or("", |(_, query)| query);
    match atom {
        Atom::Client => match record.client {
            Some(client) => write_shown(spec, &client, out),
            None => spec.write(Value::Text("-"), out),
        },
        Atom::Dash => spec.write(Value::Text("-"), out),
        Atom::User => match user(record) {
            Some(user) => write_bytes(spec, &user, out),
            None => spec.write(Value::Text("-"), out),
        },
        Atom::Time => write_shown(spec, time, out),
        Atom::RequestLine if spec.is_plain() => {
            write_bytes(spec, record.method.as_bytes(), out);
            out.push(' ');
            write_bytes(spec, record.target.as_bytes(), out);
            out.push(' ');
            out.push_str(record.protocol);
        }
        Atom::RequestLine => {
            let line = [record.method, " ", record.target, " ", record.protocol].concat();
            write_bytes(spec, line.as_bytes(), out);
        }
        Atom::Method => write_bytes(spec, record.method.as_bytes(), out),
        Atom::Path => write_bytes(spec, &percent_decode_str(path()).collect::<Vec<u8>>(), out),
        Atom::Query => write_bytes(spec, query().as_bytes(), out),
        Atom::Protocol => spec.write(Value::Text(record.protocol), out),
        Atom::Status => write_shown(spec, &record.status, out),
        Atom::Referer => write_bytes(spec, header("referer"), out),
        Atom::Agent => write_bytes(spec, header("user-agent"), out),
        Atom::Process => write_shown(spec, &format_args!("<{}>", std::process::id()), out),
        Atom::RequestHeader(name) => write_bytes(spec, header(name), out),
        Atom::ResponseHeader(name) => write_bytes(spec, (record.response_header)(name).unwrap_or(b"-"), out),
        // Left for the end.
        Atom::Late(_) => {}
    }
}

fn write_late(late: Late, spec: &Spec, bytes: u64, took: Duration, out: &mut String) {
    let int = |number: u128| Value::Int(i64::try_from(number).unwrap_or(i64::MAX));
    match late {
        Late::Bytes => spec.write(int(bytes.into()), out),
        Late::BytesText => write_shown(spec, &bytes, out),
        Late::Seconds => spec.write(int(took.as_secs().into()), out),
        Late::Milliseconds => spec.write(int(took.as_millis()), out),
        Late::Microseconds => spec.write(int(took.as_micros()), out),
        Late::Decimal => {
            write_shown(spec, &format_args!("{}.{:06}", took.as_secs(), took.subsec_micros()), out);
        }
    }
}

/// The name in the credentials of HTTP's basic scheme, which a proxy may have checked.
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

/// Writes what is a text of ours when it is shown, mostly without making that text first.
fn write_shown(spec: &Spec, value: &dyn fmt::Display, out: &mut String) {
    if spec.is_plain() {
        // Writing to a String cannot fail.
        let _ = write!(out, "{value}");
    } else {
        spec.write(Value::Text(&value.to_string()), out);
    }
}

/// Writes what a client has sent: nothing in it ends the line, a quoted field, or steers a terminal.
fn write_bytes(spec: &Spec, bytes: &[u8], out: &mut String) {
    let harmless = |byte: &u8| (b' '..=b'~').contains(byte) && *byte != b'"' && *byte != b'\\';
    // The common case: as it is.
    if bytes.iter().all(harmless)
        && let Ok(text) = std::str::from_utf8(bytes)
    {
        return spec.write(Value::Text(text), out);
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
    spec.write(Value::Text(&escaped), out);
}

#[cfg(test)]
mod tests;
