//! JSON by value, as strictly as the comparison needs it: numbers are kept as they are
//! written (some are larger than any number type), and a key that occurs twice is an error.

use std::collections::BTreeMap;
use std::fmt::Write;

/// A JSON value.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Json {
    Null,
    Bool(bool),
    /// As written: `1` and `1.0` are two values.
    Number(String),
    Text(String),
    List(Vec<Json>),
    Object(BTreeMap<String, Json>),
}

impl Json {
    /// Reads one value that fills `bytes`.
    pub(super) fn parse(bytes: &[u8]) -> Result<Json, String> {
        let text = std::str::from_utf8(bytes).map_err(|error| error.to_string())?;
        let mut reader = Reader { text, at: 0 };
        let value = reader.value()?;
        reader.skip_space();
        if reader.at < text.len() { Err(reader.wrong("something after the value")) } else { Ok(value) }
    }

    /// Returns the member of this name; `None` also if the value is not an object.
    pub(super) fn get(&self, name: &str) -> Option<&Json> {
        match self {
            Json::Object(members) => members.get(name),
            _ => None,
        }
    }

    pub(super) fn text(&self) -> Option<&str> {
        match self {
            Json::Text(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn list(&self) -> Option<&[Json]> {
        match self {
            Json::List(items) => Some(items),
            _ => None,
        }
    }

    pub(super) fn number(&self) -> Option<i128> {
        match self {
            Json::Number(digits) => digits.parse().ok(),
            _ => None,
        }
    }

    /// Returns the canonical form (sorted keys, no white space, ASCII), from which the recorded
    /// digests were made.
    pub(super) fn canonical(&self) -> String {
        let mut text = String::new();
        self.write(&mut text);
        text
    }

    fn write(&self, out: &mut String) {
        match self {
            Json::Null => out.push_str("null"),
            Json::Bool(value) => out.push_str(if *value { "true" } else { "false" }),
            Json::Number(digits) => out.push_str(digits),
            Json::Text(text) => write_text(text, out),
            Json::List(items) => {
                out.push('[');
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    item.write(out);
                }
                out.push(']');
            }
            Json::Object(members) => {
                out.push('{');
                for (at, (name, member)) in members.iter().enumerate() {
                    if at > 0 {
                        out.push(',');
                    }
                    write_text(name, out);
                    out.push(':');
                    member.write(out);
                }
                out.push('}');
            }
        }
    }
}

/// Escapes as Python's `json` does with `ensure_ascii`.
fn write_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            ' '..='~' => out.push(c),
            _ => {
                for unit in c.encode_utf16(&mut [0; 2]) {
                    write!(out, "\\u{unit:04x}").expect("a String takes all");
                }
            }
        }
    }
    out.push('"');
}

struct Reader<'t> {
    text: &'t str,
    at: usize,
}

impl Reader<'_> {
    fn wrong(&self, what: &str) -> String {
        format!("{what} at byte {} of the JSON", self.at)
    }

    fn peek(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    fn skip_space(&mut self) {
        while matches!(self.peek(), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
    }

    fn take(&mut self, token: &str) -> bool {
        let found = self.text.as_bytes()[self.at..].starts_with(token.as_bytes());
        if found {
            self.at += token.len();
        }
        found
    }

    fn expect(&mut self, token: &str) -> Result<(), String> {
        if self.take(token) { Ok(()) } else { Err(self.wrong(&format!("no {token:?}"))) }
    }

    fn value(&mut self) -> Result<Json, String> {
        self.skip_space();
        match self.peek() {
            Some(b'{') => self.object(),
            Some(b'[') => self.list(),
            Some(b'"') => Ok(Json::Text(self.string()?)),
            Some(b't') => self.expect("true").map(|()| Json::Bool(true)),
            Some(b'f') => self.expect("false").map(|()| Json::Bool(false)),
            Some(b'n') => self.expect("null").map(|()| Json::Null),
            Some(b'-' | b'0'..=b'9') => self.number(),
            _ => Err(self.wrong("no value")),
        }
    }

    fn object(&mut self) -> Result<Json, String> {
        let mut members = BTreeMap::new();
        self.expect("{")?;
        self.skip_space();
        while !self.take("}") {
            if !members.is_empty() {
                self.expect(",")?;
                self.skip_space();
            }
            let name = self.string()?;
            self.skip_space();
            self.expect(":")?;
            let member = self.value()?;
            if members.insert(name, member).is_some() {
                return Err(self.wrong("a key that occurs twice"));
            }
            self.skip_space();
        }
        Ok(Json::Object(members))
    }

    fn list(&mut self) -> Result<Json, String> {
        let mut items = Vec::new();
        self.expect("[")?;
        self.skip_space();
        while !self.take("]") {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.value()?);
            self.skip_space();
        }
        Ok(Json::List(items))
    }

    fn digits(&mut self) -> Result<(), String> {
        let begin = self.at;
        while matches!(self.peek(), Some(b'0'..=b'9')) {
            self.at += 1;
        }
        if self.at == begin { Err(self.wrong("no digit")) } else { Ok(()) }
    }

    fn number(&mut self) -> Result<Json, String> {
        let begin = self.at;
        self.take("-");
        if !self.take("0") {
            self.digits()?;
        }
        if self.take(".") {
            self.digits()?;
        }
        if self.take("e") || self.take("E") {
            let _ = self.take("-") || self.take("+");
            self.digits()?;
        }
        Ok(Json::Number(self.text[begin..self.at].to_owned()))
    }

    fn string(&mut self) -> Result<String, String> {
        self.expect("\"")?;
        let mut text = String::new();
        loop {
            let rest = &self.text.as_bytes()[self.at..];
            let plain = rest.iter().position(|byte| matches!(byte, b'"' | b'\\' | 0..0x20));
            let plain = plain.ok_or_else(|| self.wrong("a string without end"))?;
            text.push_str(&self.text[self.at..self.at + plain]);
            self.at += plain + 1;
            match rest[plain] {
                b'"' => return Ok(text),
                b'\\' => text.push(self.escaped()?),
                _ => return Err(self.wrong("a control character in a string")),
            }
        }
    }

    fn escaped(&mut self) -> Result<char, String> {
        let letter = self.peek().ok_or_else(|| self.wrong("a string without end"))?;
        self.at += 1;
        match letter {
            b'"' | b'\\' | b'/' => Ok(char::from(letter)),
            b'b' => Ok('\u{8}'),
            b'f' => Ok('\u{c}'),
            b'n' => Ok('\n'),
            b'r' => Ok('\r'),
            b't' => Ok('\t'),
            b'u' => {
                let first = self.unit()?;
                let units = if (0xd800..0xdc00).contains(&first) {
                    self.expect("\\u")?;
                    vec![first, self.unit()?]
                } else {
                    vec![first]
                };
                String::from_utf16(&units)
                    .ok()
                    .and_then(|text| text.chars().next())
                    .ok_or_else(|| self.wrong("half a surrogate pair"))
            }
            _ => Err(self.wrong("an unknown escape")),
        }
    }

    fn unit(&mut self) -> Result<u16, String> {
        let digits = self.text.get(self.at..self.at + 4).unwrap_or("");
        let unit = u16::from_str_radix(digits, 16).map_err(|_| self.wrong("no four hexadecimal digits"))?;
        self.at += 4;
        Ok(unit)
    }
}

#[test]
fn values_are_read_and_written() {
    for (text, canonical) in [
        ("null", "null"),
        (" [ true , false ,[]] ", "[true,false,[]]"),
        ("{\"b\":1,\"a\":{}}", "{\"a\":{},\"b\":1}"),
        ("-1000000000000000000000000000000", "-1000000000000000000000000000000"),
        ("1.0", "1.0"),
        ("1e-5", "1e-5"),
        ("\"\u{e9}\\u00e9\\ud83c\\udfb8\\n\\/\u{7f}\"", "\"\\u00e9\\u00e9\\ud83c\\udfb8\\n/\\u007f\""),
    ] {
        assert_eq!(Json::parse(text.as_bytes()).unwrap().canonical(), canonical, "{text}");
    }
}

#[test]
fn text_that_is_no_json_is_refused() {
    for text in [
        "",
        "nul",
        "[1,]",
        "[1 2]",
        "{\"a\":1,}",
        "{\"a\":1,\"a\":1}",
        "{a:1}",
        "01",
        "-",
        "1.",
        "NaN",
        "\"",
        "\"\n\"",
        "\"\\x\"",
        "\"\\ud800\"",
        "1 1",
        "[",
        "{\"a\"}",
    ] {
        assert!(Json::parse(text.as_bytes()).is_err(), "{text}");
    }
    assert!(Json::parse(b"\"\xff\"").is_err());
}
