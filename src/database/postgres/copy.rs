//! COPY in its text format: the server parses the values, with any column types.

use std::io::Write;

use ::postgres::Transaction;

use super::tables::Failure;

/// Bytes of rows that go into one message to the server.
const CHUNK: usize = 64 * 1024;

/// A row under construction.
#[derive(Debug, Default)]
pub(super) struct Line {
    bytes: Vec<u8>,
}

/// Adds rows to a table.
pub(super) fn copy<T>(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    rows: impl IntoIterator<Item = T>,
    write_line: impl Fn(T, &mut Line),
) -> Result<(), Failure> {
    let statement = format!("COPY {table} ({}) FROM STDIN", columns.join(", "));
    let mut writer = transaction.copy_in(&statement)?;
    let mut chunk = Line { bytes: Vec::with_capacity(2 * CHUNK) };
    for row in rows {
        write_line(row, &mut chunk);
        chunk.end();
        if chunk.bytes.len() >= CHUNK {
            writer.write_all(&chunk.bytes)?;
            chunk.bytes.clear();
        }
    }
    writer.write_all(&chunk.bytes)?;
    writer.finish()?;
    Ok(())
}

impl Line {
    /// Adds a text. PostgreSQL cannot store NUL: it becomes U+FFFD.
    pub(super) fn text(&mut self, text: &str) {
        for byte in text.bytes() {
            match byte {
                b'\\' => self.bytes.extend_from_slice(b"\\\\"),
                b'\t' => self.bytes.extend_from_slice(b"\\t"),
                b'\n' => self.bytes.extend_from_slice(b"\\n"),
                b'\r' => self.bytes.extend_from_slice(b"\\r"),
                0 => self.bytes.extend_from_slice("\u{fffd}".as_bytes()),
                _ => self.bytes.push(byte),
            }
        }
        self.bytes.push(b'\t');
    }

    pub(super) fn optional(&mut self, text: Option<&str>) {
        match text {
            Some(text) => self.text(text),
            None => self.bytes.extend_from_slice(b"\\N\t"),
        }
    }

    /// Adds a number, an id or a flag, none of which needs an escape.
    pub(super) fn plain(&mut self, value: impl std::fmt::Display) {
        // A write to a Vec cannot fail.
        let _ = write!(self.bytes, "{value}\t");
    }

    pub(super) fn number(&mut self, number: Option<i64>) {
        match number {
            Some(number) => self.plain(number),
            None => self.optional(None),
        }
    }

    /// Adds bytes in the hexadecimal form of BYTEA.
    pub(super) fn bytes(&mut self, bytes: &[u8]) {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        self.bytes.extend_from_slice(b"\\\\x");
        for byte in bytes {
            let (high, low) = (byte >> 4, byte & 15);
            self.bytes.extend_from_slice(&[DIGITS[usize::from(high)], DIGITS[usize::from(low)]]);
        }
        self.bytes.push(b'\t');
    }

    /// Ends the row: a line feed replaces the last tab.
    fn end(&mut self) {
        self.bytes.pop();
        self.bytes.push(b'\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped_for_copy() {
        let mut line = Line::default();
        line.text("\\N a\tb\r\n\0\u{e9}\\.");
        line.bytes(b"\xffa");
        line.optional(None);
        line.number(Some(-1));
        line.end();
        let expected = "\\\\N a\\tb\\r\\n\u{fffd}\u{e9}\\\\.\t\\\\xff61\t\\N\t-1\n";
        assert_eq!(line.bytes, expected.as_bytes());
    }
}
