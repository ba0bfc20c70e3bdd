//! Whole lists, compressed once for all clients.

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use zstd::stream::write::Encoder as ZstdEncoder;

use crate::snapshot::format::{LIST_HEAD, LIST_TAIL, PACKED_LEAST};

/// The levels of compression.
#[derive(Debug, Clone, Copy)]
pub(in crate::snapshot) struct Levels {
    pub(in crate::snapshot) gzip: u32,
    pub(in crate::snapshot) zstd: i32,
}

impl Default for Levels {
    /// These levels take a fraction of a second for a million songs. Higher ones take ten times as long and
    /// save another hundredth of the bytes.
    fn default() -> Self {
        Levels { gzip: 6, zstd: 6 }
    }
}

/// A list in both codings.
pub(in crate::snapshot) struct Packed {
    pub(in crate::snapshot) gzip: Vec<u8>,
    pub(in crate::snapshot) zstd: Vec<u8>,
}

/// Packs a list of `count` entities, if their texts are long enough. `append` appends the text of each, with
/// a comma.
pub(in crate::snapshot) fn pack(
    levels: Levels,
    count: u32,
    append: impl Fn(u32, &mut Vec<u8>),
) -> io::Result<Option<Packed>> {
    let mut gzip = GzEncoder::new(Vec::new(), Compression::new(levels.gzip));
    let mut zstd = ZstdEncoder::new(Vec::new(), levels.zstd)?;
    let (mut text, mut len) = (Vec::new(), 0);
    zstd.write_all(LIST_HEAD)?;
    gzip.write_all(LIST_HEAD)?;
    for at in 0..count {
        append(at, &mut text);
        len += text.len();
        if at + 1 == count {
            text.pop();
            text.extend_from_slice(LIST_TAIL);
        }
        gzip.write_all(&text)?;
        zstd.write_all(&text)?;
        text.clear();
    }
    let packed = Packed { gzip: gzip.finish()?, zstd: zstd.finish()? };
    Ok((len >= PACKED_LEAST).then_some(packed))
}
