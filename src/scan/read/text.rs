//! The bytes of a tag as text, in the encodings that taggers use. No bytes are refused: invalid
//! ones become U+FFFD, and the caller learns of it.

/// The encoding of a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum Encoding {
    Utf8,
    Latin1,
    Utf16(ByteOrder),
}

impl Encoding {
    /// Returns the name of the encoding for messages.
    pub(in crate::scan) fn name(self) -> &'static str {
        match self {
            Encoding::Utf8 => "UTF-8",
            Encoding::Latin1 => "Latin-1",
            Encoding::Utf16(_) => "UTF-16",
        }
    }
}

/// The order of the bytes of a unit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum ByteOrder {
    Little,
    Big,
}

impl ByteOrder {
    /// Returns the order that a byte order mark at the start of `value` states, and the value
    /// without it. A value without a mark has the order `otherwise`.
    pub(in crate::scan) fn of(value: &[u8], otherwise: ByteOrder) -> (ByteOrder, &[u8]) {
        match value {
            [0xff, 0xfe, text @ ..] => (ByteOrder::Little, text),
            [0xfe, 0xff, text @ ..] => (ByteOrder::Big, text),
            text => (otherwise, text),
        }
    }

    fn unit(self, bytes: [u8; 2]) -> u16 {
        match self {
            ByteOrder::Little => u16::from_le_bytes(bytes),
            ByteOrder::Big => u16::from_be_bytes(bytes),
        }
    }
}

/// Returns the text, and whether all of it could be decoded.
pub(in crate::scan) fn decode(bytes: &[u8], encoding: Encoding) -> (String, bool) {
    match encoding {
        Encoding::Latin1 => (bytes.iter().map(|byte| char::from(*byte)).collect(), true),
        Encoding::Utf8 => match std::str::from_utf8(bytes) {
            Ok(text) => (text.to_owned(), true),
            Err(_) => (String::from_utf8_lossy(bytes).into_owned(), false),
        },
        Encoding::Utf16(order) => {
            let mut whole = true;
            // A single byte at the end is mostly half of a NUL.
            let units = bytes.chunks(2).map(|unit| order.unit([unit[0], unit.get(1).copied().unwrap_or(0)]));
            let text = char::decode_utf16(units)
                .map(|unit| {
                    unit.unwrap_or_else(|_| {
                        whole = false;
                        char::REPLACEMENT_CHARACTER
                    })
                })
                .collect();
            (text, whole)
        }
    }
}

/// Returns the encoding of a text that ends at a NUL and has no stated encoding, and the text
/// without the bytes behind the NUL. It is UTF-16 if it has a mark, or if the high bytes of most
/// characters are no letters: the scripts before U+2000. Legacy code pages count as UTF-8, because
/// they cannot be told apart.
pub(in crate::scan) fn guess(bytes: &[u8]) -> (Encoding, &[u8]) {
    let (marked, text) = ByteOrder::of(bytes, ByteOrder::Little);
    let order = match text.len() < bytes.len() {
        true => Some(marked),
        false => [ByteOrder::Little, ByteOrder::Big].into_iter().find(|order| looks_like(text, *order)),
    };
    match order {
        Some(order) => {
            let units = text.chunks(2).take_while(|unit| unit.iter().any(|byte| *byte != 0)).count();
            (Encoding::Utf16(order), &text[..text.len().min(2 * units)])
        }
        None => (Encoding::Utf8, bytes.split(|byte| *byte == 0).next().unwrap_or_default()),
    }
}

/// Reports whether a text could be UTF-16 in this order.
fn looks_like(text: &[u8], order: ByteOrder) -> bool {
    let units = text.chunks_exact(2).map(|unit| order.unit([unit[0], unit[1]]));
    let units: Vec<u16> = units.take_while(|unit| *unit != 0).collect();
    let low = units.iter().filter(|unit| **unit < 0x2000).count();
    let letters = units.iter().filter(|unit| **unit & 0xff >= 0x20).count();
    !units.is_empty() && 3 * low >= 2 * units.len() && 2 * letters >= units.len()
}

/// Returns the bytes of a text whose end was cut off, without the incomplete character at their
/// end.
pub(in crate::scan) fn without_torn_end(bytes: &[u8], encoding: Encoding) -> &[u8] {
    let whole = match encoding {
        Encoding::Latin1 => bytes.len(),
        Encoding::Utf8 => {
            // A character has up to four bytes.
            let tail = bytes.len().saturating_sub(3);
            let is_torn = |at: &usize| match std::str::from_utf8(&bytes[*at..]) {
                Err(error) => error.error_len().is_none() && error.valid_up_to() == 0,
                Ok(_) => false,
            };
            (tail..bytes.len()).find(is_torn).unwrap_or(bytes.len())
        }
        Encoding::Utf16(order) => {
            let even = bytes.len() & !1;
            let last = bytes[..even].last_chunk().map_or(0, |unit| order.unit(*unit));
            if (0xd800..0xdc00).contains(&last) { even - 2 } else { even }
        }
    };
    &bytes[..whole]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_encoding_is_decoded_as_far_as_it_goes() {
        use ByteOrder::{Big, Little};
        for (bytes, encoding, text, whole) in [
            (&b"caf\xc3\xa9"[..], Encoding::Utf8, "caf\u{e9}", true),
            (b"caf\xe9", Encoding::Utf8, "caf\u{fffd}", false),
            (b"caf\xe9", Encoding::Latin1, "caf\u{e9}", true),
            (b"a\0\xe9\0", Encoding::Utf16(Little), "a\u{e9}", true),
            (b"\0a\0\xe9", Encoding::Utf16(Big), "a\u{e9}", true),
            (b"\x3d\xd8\x00\xde", Encoding::Utf16(Little), "\u{1f600}", true),
            (b"a\0\x3d\xd8b\0", Encoding::Utf16(Little), "a\u{fffd}b", false),
            (b"a\0b", Encoding::Utf16(Little), "ab", true),
            (b"", Encoding::Utf16(Big), "", true),
        ] {
            assert_eq!(decode(bytes, encoding), (text.to_owned(), whole), "{bytes:?}");
        }
        for (bytes, encoding, len) in [
            (&b"caf\xc3\xa9"[..], Encoding::Utf8, 5),
            (b"caf\xc3", Encoding::Utf8, 3),
            (b"c\xfff\xe2\x9d", Encoding::Utf8, 3),
            (b"caf\xe9", Encoding::Latin1, 4),
            (b"a\0\xe9", Encoding::Utf16(Little), 2),
            (b"a\0\x3d\xd8", Encoding::Utf16(Little), 2),
            (b"", Encoding::Utf16(Big), 0),
        ] {
            assert_eq!(without_torn_end(bytes, encoding).len(), len, "{bytes:?}");
        }
        assert_eq!(ByteOrder::of(b"\xfe\xffx", Little), (Big, &b"x"[..]));
        assert_eq!(ByteOrder::of(b"x", Big), (Big, &b"x"[..]));
    }
}
