//! One of the streams of a file.

use super::codec::Codec;
use super::page::Page;

/// A stream that begins at the head of the file.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    /// Its first page.
    pub(super) page: Page,
    pub(super) codec: Codec,
    /// The start of its first packet.
    pub(super) head: Vec<u8>,
}

/// Returns how many packets of headers follow the first one.
pub(super) fn headers(codec: &Codec, head: &[u8]) -> u64 {
    match codec {
        Codec::Vorbis { .. } | Codec::Theora(_) => 2,
        Codec::Speex { extra_headers, .. } => 1 + u64::from(*extra_headers),
        // 0 says that the number is unknown; mostly it is the comments.
        Codec::Flac(_) if head.starts_with(b"\x7fFLAC") => {
            let count = head.get(7..9).map_or(0, |count| u64::from(count[0]) << 8 | u64::from(count[1]));
            count.max(1)
        }
        _ => 1,
    }
}
