//! Content codings: the one that a client accepts, and compression while the answer is sent.

use std::io::{self, Write};

use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

use crate::snapshot::Packing;

/// Levels at which a list of songs shrinks to three twentieths of its bytes or less, and is complete sooner
/// than uncompressed on a link of 1 Gbit/s (figures in docs/decisions). gzip's first level has fixed codes,
/// which suit the digits of ids badly; from the third on, the additional time saves almost no bytes.
const SENT_GZIP_LEVEL: u32 = 2;
const SENT_ZSTD_LEVEL: i32 = 1;

/// A content coding that the worker can make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) enum Coding {
    Gzip,
    Zstd,
}

impl Coding {
    /// Returns its name in HTTP and in this server's entity tags.
    pub(in crate::worker) fn name(self) -> &'static str {
        match self {
            Coding::Gzip => "gzip",
            Coding::Zstd => "zstd",
        }
    }

    /// Returns its name in the snapshot.
    pub(in crate::worker) fn packing(self) -> Packing {
        match self {
            Coding::Gzip => Packing::Gzip,
            Coding::Zstd => Packing::Zstd,
        }
    }

    pub(in crate::worker) fn named(name: &[u8]) -> Option<Coding> {
        [Coding::Zstd, Coding::Gzip].into_iter().find(|coding| {
            name.eq_ignore_ascii_case(coding.name().as_bytes())
                // RFC 9110 8.4.1.3.
                || (*coding == Coding::Gzip && name.eq_ignore_ascii_case(b"x-gzip"))
        })
    }
}

/// A coding that a client accepts and that the worker would send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Acceptable {
    coding: Coding,
    /// Smallest body that is compressed, in bytes.
    least: u64,
}

impl Acceptable {
    /// Returns the coding that `Accept-Encoding` prefers (RFC 9110 12.5.3), zstd among equals;
    /// `None` for no coding. Bodies of less than `least` bytes are not compressed, unless the
    /// client forbids plain ones.
    pub(in crate::worker) fn of(headers: &HeaderMap, least: u64) -> Option<Acceptable> {
        let (mut zstd, mut gzip, mut identity, mut any) = (None, None, None, None);
        for value in headers.get_all(ACCEPT_ENCODING) {
            for item in value.as_bytes().split(|byte| *byte == b',') {
                let mut parts = item.split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
                let name = parts.next().unwrap_or_default();
                let weight = parts.find_map(weight).unwrap_or(1000);
                let slot = match Coding::named(name) {
                    Some(Coding::Zstd) => &mut zstd,
                    Some(Coding::Gzip) => &mut gzip,
                    None if name.eq_ignore_ascii_case(b"identity") => &mut identity,
                    None if name == b"*" => &mut any,
                    None => continue,
                };
                *slot = Some(weight);
            }
        }
        let codings = [(Coding::Gzip, gzip), (Coding::Zstd, zstd)];
        let weighed = codings.map(|(coding, weight)| (coding, weight.or(any).unwrap_or(0)));
        // The last of equal weights wins.
        let (coding, weight) = weighed.into_iter().max_by_key(|(_, weight)| *weight)?;
        let forbidden = identity.or(any) == Some(0);
        if weight == 0 || (weight < identity.unwrap_or(0) && !forbidden) {
            return None;
        }
        Some(Acceptable { coding, least: if forbidden { 0 } else { least } })
    }

    pub(in crate::worker) fn for_body_of(self, len: u64) -> Option<Coding> {
        (len >= self.least).then_some(self.coding)
    }
}

/// Returns a quality value in thousandths; `None` if it is malformed.
#[allow(clippy::cast_possible_truncation, reason = "the value is 0 to 1")]
fn weight(parameter: &[u8]) -> Option<u16> {
    let text = std::str::from_utf8(parameter).ok()?;
    let (name, value) = text.split_once('=')?;
    if !name.trim().eq_ignore_ascii_case("q") {
        return None;
    }
    let value: f32 = value.trim().parse().ok()?;
    (0.0..=1.0).contains(&value).then_some((value * 1000.0) as u16)
}

/// Compresses a body at once.
pub(in crate::worker) fn whole(coding: Coding, bytes: &[u8]) -> Bytes {
    let mut packed = Packed::new(coding);
    let begun = packed.push(bytes).unwrap_or_default();
    let rest = packed.finish().unwrap_or_default();
    if begun.is_empty() { rest } else { [begun, rest].concat().into() }
}

/// Compresses a body piece by piece.
pub(in crate::worker) struct Packed(Option<Encoder>);

enum Encoder {
    Gzip(GzEncoder<Vec<u8>>),
    Zstd(zstd::stream::write::Encoder<'static, Vec<u8>>),
}

impl Packed {
    pub(in crate::worker) fn new(coding: Coding) -> Self {
        let encoder = match coding {
            Coding::Gzip => Ok(Encoder::Gzip(GzEncoder::new(Vec::new(), Compression::new(SENT_GZIP_LEVEL)))),
            Coding::Zstd => zstd::stream::write::Encoder::new(Vec::new(), SENT_ZSTD_LEVEL).map(Encoder::Zstd),
        };
        Packed(encoder.ok())
    }

    /// Compresses a piece, and returns the bytes that are ready to be sent, perhaps none. `None` if
    /// the encoder has failed, for example for lack of memory: the body then lacks the end of the
    /// coding, and the client notices.
    pub(in crate::worker) fn push(&mut self, piece: &[u8]) -> Option<Bytes> {
        let pushed = match self.0.as_mut()? {
            Encoder::Gzip(encoder) => encoder.write_all(piece).map(|()| std::mem::take(encoder.get_mut())),
            Encoder::Zstd(encoder) => encoder.write_all(piece).map(|()| std::mem::take(encoder.get_mut())),
        };
        pushed.ok().map(Bytes::from)
    }

    /// Returns the last bytes; then `None`.
    pub(in crate::worker) fn finish(&mut self) -> Option<Bytes> {
        let finished: io::Result<Vec<u8>> = match self.0.take()? {
            Encoder::Gzip(encoder) => encoder.finish(),
            Encoder::Zstd(encoder) => encoder.finish(),
        };
        finished.ok().map(Bytes::from)
    }
}

/// Decompresses the bytes.
#[cfg(test)]
pub(in crate::worker) fn unpacked(coding: Coding, bytes: &[u8]) -> Vec<u8> {
    use std::io::Read;
    let mut unpacked = Vec::new();
    match coding {
        Coding::Gzip => flate2::read::GzDecoder::new(bytes).read_to_end(&mut unpacked),
        Coding::Zstd => zstd::stream::read::Decoder::new(bytes).unwrap().read_to_end(&mut unpacked),
    }
    .unwrap();
    unpacked
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    fn accepted(values: &[&'static str]) -> Option<&'static str> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(value));
        }
        Acceptable::of(&headers, 100)?.for_body_of(100).map(Coding::name)
    }

    #[test]
    fn codings_are_chosen_as_rfc_9110_has_it() {
        for (values, coding) in [
            (&[][..], None),
            (&[""], None),
            (&["gzip"], Some("gzip")),
            (&["GZIP"], Some("gzip")),
            (&["x-gzip"], Some("gzip")),
            (&["zstd"], Some("zstd")),
            (&["gzip, deflate, br, zstd"], Some("zstd")),
            (&["gzip", "zstd"], Some("zstd")),
            (&["gzip;q=1.0, zstd;q=0.5"], Some("gzip")),
            (&["gzip ; Q=0.2 , zstd; q=0.001"], Some("gzip")),
            (&["gzip;q=0"], None),
            (&["br, deflate"], None),
            (&["identity"], None),
            (&["identity;q=0.5, gzip;q=0.2"], None),
            (&["identity;q=0.2, gzip;q=0.5"], Some("gzip")),
            (&["*"], Some("zstd")),
            (&["*;q=0"], None),
            (&["*;q=0, gzip"], Some("gzip")),
            (&["zstd;q=0, *"], Some("gzip")),
            (&["gzip;q=nonsense"], Some("gzip")),
            (&["gzip;q=7"], Some("gzip")),
        ] {
            assert_eq!(accepted(values), coding, "{values:?}");
        }
    }

    #[test]
    fn short_bodies_are_left_alone_unless_that_is_forbidden() {
        let of = |value| {
            let headers = HeaderMap::from_iter([(ACCEPT_ENCODING, HeaderValue::from_static(value))]);
            Acceptable::of(&headers, 100).and_then(|accepted| accepted.for_body_of(99))
        };
        assert_eq!(of("gzip"), None);
        assert_eq!(of("gzip, identity;q=0"), Some(Coding::Gzip));
        assert_eq!(of("gzip, *;q=0"), Some(Coding::Gzip));
    }

    #[test]
    fn pieces_make_a_whole() {
        let text = "a song, and another song, ".repeat(20_000);
        for coding in [Coding::Gzip, Coding::Zstd] {
            let mut packed = Packed::new(coding);
            let mut bytes: Vec<u8> = Vec::new();
            for piece in text.as_bytes().chunks(7000) {
                bytes.extend_from_slice(&packed.push(piece).unwrap());
            }
            bytes.extend_from_slice(&packed.finish().unwrap());
            assert_eq!(packed.finish(), None);
            for bytes in [bytes, whole(coding, text.as_bytes()).to_vec()] {
                let unpacked = unpacked(coding, &bytes);
                assert!(unpacked == text.as_bytes() && bytes.len() < text.len() / 10);
            }
        }
    }
}
