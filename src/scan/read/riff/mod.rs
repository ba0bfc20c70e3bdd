//! WAV and its kin: RIFF, RIFX (big-endian), RF64 and BW64 (sizes of 64 bits in an extra chunk) and
//! Sony Wave64 (GUIDs and sizes of 64 bits). Names are in ID3 chunks and, with fewer fields, in the
//! INFO list.

mod format;
mod info;
#[cfg(test)]
mod tests;

use std::io;

pub(super) use format::WaveFormat;
pub(super) use info::read_list;

use super::chunks::{self, Chunk, Chunks, Layout, number, number32};
use super::source::Source;
use super::tags::{Reading, Unread};

/// A size of 32 bits that is not known yet, or that `ds64` holds.
const UNSET: u64 = 0xffff_ffff;
/// Multiples of this are missing in a size of 32 bits if the sound is longer.
const WRAP: u64 = 1 << 32;
/// Bytes of `fmt ` that matter.
const FORMAT_LEN: u64 = 40;
/// Most entries of the table in `ds64`.
const TABLE_MAX: u64 = 64;
/// Explanation of the length if the size of the sound is unusable.
const COUNTED: &str = "the file does not state the size of its sound: the bytes that are there count";

/// The chunks of a file that describe its sound.
#[derive(Debug, Default)]
struct Wave {
    format: Option<WaveFormat>,
    /// Samples, if the codec does not give them.
    fact: Option<u64>,
    data: Option<Data>,
}

/// The chunk with the sound.
#[derive(Debug, Clone, Copy)]
struct Data {
    len: u64,
    /// Whether `len` differs from the stated size.
    counted: bool,
}

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let (layout, from) = match source.bytes(0, 4)? {
        b"riff" => (Layout::WAVE64, 40),
        b"RIFX" => (Layout::IFF, 12),
        _ => (Layout::RIFF, 12),
    };
    let mut chunks = Chunks::new(layout, from, source.len());
    let mut wave = Wave::default();
    let mut sizes = Sizes::default();
    while let Some(mut chunk) = chunks.next_or_find(source, reading, wave.lacks())? {
        sizes.correct(&mut chunk, source.len());
        chunks.skip(chunk.from, chunk.len());
        match chunk.name() {
            b"ds64" => sizes = Sizes::read(&chunk, source)?,
            b"fmt " if wave.format.is_none() => {
                wave.format = Some(WaveFormat::of(chunk.bytes(source, FORMAT_LEN)?, layout.order));
            }
            b"fact" => {
                let len = if chunk.len() == 8 { 8 } else { 4 };
                wave.fact = Some(number(chunk.bytes(source, 8)?, 0, len, layout.order));
            }
            b"data" if wave.data.is_none() => {
                let data = sound(&chunk, &chunks, source)?;
                wave.data = Some(data);
                chunks.skip(chunk.from, data.len);
            }
            b"LIST" | b"list" => read_list(&chunk, layout, source, reading)?,
            [0xbc, 0x94, 0x5f, 0x92] => info::read_summary(&chunk, source, reading)?,
            b"id3 " | b"ID3 " => {
                chunks::read_id3(source, chunk.from, chunk.to, reading)?;
            }
            _ => {}
        }
    }
    let (Some(format), Some(data)) = (wave.format, wave.data) else {
        return Err(Unread::Broken(match wave.format {
            None => "it has no format chunk".to_owned(),
            Some(_) => "it has no sound: its data chunk is missing".to_owned(),
        }));
    };
    format.describe(&mut reading.sound);
    let fact = wave.fact.filter(|samples| !data.counted && *samples != 0 && *samples != UNSET);
    format.measure(data.len, fact, reading);
    if data.counted && reading.sound.length.is_some() {
        reading.guess = Some(COUNTED);
    }
    Ok(())
}

impl Wave {
    /// Returns the name of the chunk that is still missing.
    fn lacks(&self) -> Option<&'static [u8]> {
        match (&self.format, &self.data) {
            (None, _) => Some(b"fmt "),
            (_, None) => Some(b"data"),
            _ => None,
        }
    }
}

/// The sizes of 64 bits that `ds64` states, by the names of their chunks.
#[derive(Debug, Default)]
struct Sizes(Vec<([u8; 4], u64)>);

impl Sizes {
    fn read(chunk: &Chunk, source: &mut Source) -> io::Result<Sizes> {
        let order = Layout::RIFF.order;
        let bytes = chunk.bytes(source, 28 + 12 * TABLE_MAX)?;
        let mut sizes = vec![(*b"data", number(bytes, 8, 8, order))];
        let entries = u64::from(number32(bytes, 24, order)).min(TABLE_MAX) as usize;
        let table = bytes.get(28..).unwrap_or_default();
        for entry in table.chunks_exact(12).take(entries) {
            let name = [entry[0], entry[1], entry[2], entry[3]];
            sizes.push((name, number(entry, 4, 8, order)));
        }
        Ok(Sizes(sizes))
    }

    /// Replaces the size of a chunk by the one of 64 bits, if the chunk asks for it.
    fn correct(&self, chunk: &mut Chunk, file_len: u64) {
        let size = self.0.iter().find(|(name, _)| name == chunk.name());
        if let (UNSET, Some((_, size))) = (chunk.claimed, size) {
            chunk.claimed = *size;
            chunk.to = chunk.from.saturating_add(*size).min(file_len);
        }
    }
}

/// Returns the extent of the sound. Some sizes count only if a chunk begins right behind them: those
/// that a pipe left open (0 or about the maximum), those beyond the file, and those that wrapped at
/// 4 GiB.
fn sound(chunk: &Chunk, chunks: &Chunks, source: &mut Source) -> io::Result<Data> {
    let left = source.len() - chunk.from;
    let claimed = chunk.claimed;
    if claimed > left {
        return Ok(Data { len: left, counted: true });
    }
    let open = claimed == 0
        || (0x7fff_0000..=0x8000_0000).contains(&claimed)
        || (0xffff_0000..WRAP).contains(&claimed);
    let wrapped = left - claimed >= WRAP;
    if claimed >= WRAP || !(open || wrapped) || claimed == left {
        return Ok(Data { len: claimed, counted: false });
    }
    let behind = chunk.from + claimed;
    if chunks.begins(source, behind)? || chunks.begins(source, behind + (claimed & 1))? {
        return Ok(Data { len: claimed, counted: false });
    }
    let len = if open { left } else { claimed + (left - claimed) / WRAP * WRAP };
    Ok(Data { len, counted: true })
}
