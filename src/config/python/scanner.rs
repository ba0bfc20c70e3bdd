//! Literals of Python.

use super::literal::Literal;

/// The levels of Python's logging module, by name.
const LEVELS: [(&str, i64); 7] = [
    ("CRITICAL", 50),
    ("FATAL", 50),
    ("ERROR", 40),
    ("WARNING", 30),
    ("WARN", 30),
    ("INFO", 20),
    ("DEBUG", 10),
];

/// A scanner for a text, from the front.
pub(super) struct Scanner<'t> {
    pub(super) rest: &'t str,
}

impl<'t> Scanner<'t> {
    pub(super) fn skip_space(&mut self) {
        loop {
            let before = self.rest;
            self.rest = self.rest.trim_start().trim_start_matches("\\\n").trim_start_matches("\\\r\n");
            if self.rest.starts_with('#') {
                self.rest = &self.rest[self.rest.find('\n').unwrap_or(self.rest.len())..];
            }
            if self.rest.len() == before.len() {
                return;
            }
        }
    }

    pub(super) fn is_at_end(&mut self) -> bool {
        self.skip_space();
        self.rest.is_empty()
    }

    fn take(&mut self, text: &str) -> bool {
        self.skip_space();
        let rest = self.rest.strip_prefix(text);
        self.rest = rest.unwrap_or(self.rest);
        rest.is_some()
    }

    /// Scans a name with dots that is not the prefix of a string.
    pub(super) fn name(&mut self) -> Option<&'t str> {
        let is_part = |c: char| c.is_alphanumeric() || c == '_' || c == '.';
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|c: char| c.is_ascii_digit()) || rest.starts_with(['\'', '"'])
        {
            return None;
        }
        self.rest = rest;
        Some(name)
    }

    /// Scans a literal; a tuple needs no brackets here.
    pub(super) fn expression(&mut self) -> Option<Literal> {
        let first = self.literal()?;
        if !self.take(",") {
            return Some(first);
        }
        let mut items = vec![first];
        while !self.is_at_end() {
            items.push(self.literal()?);
            if !self.take(",") {
                break;
            }
        }
        Some(Literal::List(items))
    }

    /// Scans a literal; texts may follow each other, or be added.
    pub(super) fn literal(&mut self) -> Option<Literal> {
        let mut value = self.atom()?;
        while let Literal::Text(text) = &mut value {
            let added = self.take("+");
            self.skip_space();
            let before = self.rest;
            match self.atom() {
                Some(Literal::Text(more)) => text.push_str(&more),
                _ if added => return None,
                _ => {
                    self.rest = before;
                    break;
                }
            }
        }
        Some(value)
    }

    fn atom(&mut self) -> Option<Literal> {
        self.skip_space();
        for (open, close) in [('(', ")"), ('[', "]")] {
            if self.rest.starts_with(open) {
                return self.bracketed(open, close);
            }
        }
        if let Some(name) = self.name() {
            return named(name);
        }
        match self.rest.chars().next()? {
            '0'..='9' | '-' | '+' => self.integer(),
            _ => self.text(),
        }
    }

    fn bracketed(&mut self, open: char, close: &str) -> Option<Literal> {
        self.rest = &self.rest[1..];
        let (mut items, mut comma) = (Vec::new(), false);
        while !self.take(close) {
            if !items.is_empty() && !comma {
                return None;
            }
            items.push(self.literal()?);
            comma = self.take(",");
        }
        match items.len() {
            // Brackets around a single value do not make a tuple.
            1 if open == '(' && !comma => items.pop(),
            _ => Some(Literal::List(items)),
        }
    }

    fn integer(&mut self) -> Option<Literal> {
        let is_part = |c: char| c.is_alphanumeric() || "_.+-".contains(c);
        let end = self.rest.find(|c| !is_part(c)).unwrap_or(self.rest.len());
        let (digits, rest) = self.rest.split_at(end);
        self.rest = rest;
        let (sign, digits) = match digits.strip_prefix('-') {
            Some(digits) => (-1, digits),
            None => (1, digits.strip_prefix('+').unwrap_or(digits)),
        };
        let digits = digits.replace('_', "").to_ascii_lowercase();
        let (digits, radix) = match digits.get(..2) {
            Some("0x") => (&digits[2..], 16),
            // Python 2 wrote it as 022.
            Some("0o") => (&digits[2..], 8),
            Some(start) if start.starts_with('0') => (&digits[1..], 8),
            _ => (digits.as_str(), 10),
        };
        i64::from_str_radix(digits, radix).ok()?.checked_mul(sign).map(Literal::Integer)
    }

    fn text(&mut self) -> Option<Literal> {
        let quote = self.rest.find(['\'', '"'])?;
        let prefix = self.rest[..quote].to_ascii_lowercase();
        // A formatted text needs computation.
        if !["", "r", "u", "b", "br", "rb"].contains(&prefix.as_str()) {
            return None;
        }
        self.rest = &self.rest[quote..];
        let raw = prefix.contains('r');
        let inner = self.quoted()?;
        if raw { Some(Literal::Text(inner.to_owned())) } else { unescaped(inner).map(Literal::Text) }
    }

    /// Returns the text between the next quotes, unchanged.
    pub(super) fn quoted(&mut self) -> Option<&'t str> {
        let quote = self.rest.get(..1)?;
        let triple = quote.repeat(3);
        let quotes = if self.rest.starts_with(&triple) { triple.as_str() } else { quote };
        let inner = &self.rest[quotes.len()..];
        let mut at = 0;
        while !inner[at..].starts_with(quotes) {
            let c = inner[at..].chars().next()?;
            if c == '\n' && quotes.len() == 1 {
                return None;
            }
            at += c.len_utf8();
            if c == '\\' {
                at += inner[at..].chars().next()?.len_utf8();
            }
        }
        self.rest = &inner[at + quotes.len()..];
        Some(&inner[..at])
    }
}

fn named(name: &str) -> Option<Literal> {
    let level = name.strip_prefix("logging.").unwrap_or_default();
    match name {
        "None" => Some(Literal::None),
        "True" => Some(Literal::Boolean(true)),
        "False" => Some(Literal::Boolean(false)),
        _ => LEVELS.iter().find(|(name, _)| *name == level).map(|(_, number)| Literal::Integer(*number)),
    }
}

/// Decodes Python's escapes; `None` for invalid ones and for names of characters.
fn unescaped(text: &str) -> Option<String> {
    let mut result = String::new();
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            result.push(c);
            continue;
        }
        let escaped = chars.next()?;
        let mut hex = |len: usize| {
            let digits: String = chars.by_ref().take(len).collect();
            u32::from_str_radix(&digits, 16).ok().filter(|_| digits.len() == len).and_then(char::from_u32)
        };
        match escaped {
            '\n' => {}
            'n' => result.push('\n'),
            't' => result.push('\t'),
            'r' => result.push('\r'),
            '0' => result.push('\0'),
            'x' => result.push(hex(2)?),
            'u' => result.push(hex(4)?),
            'U' => result.push(hex(8)?),
            '\\' | '\'' | '"' => result.push(escaped),
            'N' | '1'..='7' | 'a' | 'b' | 'f' | 'v' | '\r' => return None,
            other => result.extend(['\\', other]),
        }
    }
    Some(result)
}
