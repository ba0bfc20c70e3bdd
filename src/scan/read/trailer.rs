//! The tags behind the sound, in any order: ID3v1, ID3v2 with a footer, APEv2, and Lyrics3,
//! which is only skipped.

use std::io;

use super::source::Source;
use super::tags::{Reading, Tags};
use super::{ape_tag, id3};

/// Most tags behind the sound that are read.
const TAGS_MAX: usize = 8;
/// Last bytes of Lyrics3, version 1 and 2.
const LYRICS_END_1: &[u8] = b"LYRICSEND";
const LYRICS_END_2: &[u8] = b"LYRICS200";
/// First bytes of Lyrics3.
const LYRICS_BEGIN: &[u8] = b"LYRICSBEGIN";
/// Bytes before the end of version 2 that state its length.
const LYRICS_SIZE_LEN: u64 = 6;
/// Most bytes of version 1, its marks included.
const LYRICS_1_MAX: usize = 5120;
/// Bytes and mark of an extension before ID3v1.
const V1_EXTENSION_LEN: u64 = 227;
const V1_EXTENSION: &[u8] = b"TAG+";

/// The tags behind the sound.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Trailer {
    /// The values of the APEv2 tag.
    pub(super) ape: Tags,
    /// The values of the ID3v1 tag, or of an ID3v2 tag at its place.
    pub(super) v1: Tags,
}

/// Reads the tags behind the sound, and removes them from the view.
///
/// # Errors
/// Those of reading.
pub(super) fn read(source: &mut Source, reading: &mut Reading) -> io::Result<Trailer> {
    let mut trailer = Trailer::default();
    for _ in 0..TAGS_MAX {
        let end = if let Some(tags) = id3::read_v1(source)? {
            trailer.v1.fill_from(tags);
            extension_before(source, source.len() - id3::V1_LEN)?
        } else if let Some((tags, start)) = ape_tag::read_at_end(source, reading)? {
            trailer.ape.fill_from(tags);
            start
        } else if let Some(start) = id3::v2_before_end(source)? {
            if let Some(tag) = id3::read_v2(source, start, reading)? {
                trailer.v1.override_by(tag.tags);
            }
            start
        } else if let Some(start) = lyrics(source)? {
            start
        } else {
            break;
        };
        source.narrow(0, end);
    }
    Ok(trailer)
}

/// Returns the start of the extension of an ID3v1 tag at `at`; `at` if there is none.
fn extension_before(source: &mut Source, at: u64) -> io::Result<u64> {
    let Some(start) = at.checked_sub(V1_EXTENSION_LEN) else { return Ok(at) };
    let is_there = source.bytes(start, V1_EXTENSION.len())? == V1_EXTENSION;
    Ok(if is_there { start } else { at })
}

/// Returns the start of Lyrics3 at the end of the view.
fn lyrics(source: &mut Source) -> io::Result<Option<u64>> {
    let Some(mark_at) = source.len().checked_sub(LYRICS_END_2.len() as u64) else { return Ok(None) };
    let mark = source.bytes(mark_at, LYRICS_END_2.len())?;
    if mark == LYRICS_END_1 {
        let from = source.len().saturating_sub(LYRICS_1_MAX as u64);
        let bytes = source.bytes(from, LYRICS_1_MAX)?;
        let begin = memchr::memmem::rfind(bytes, LYRICS_BEGIN);
        return Ok(begin.map(|offset| from + offset as u64));
    }
    if mark != LYRICS_END_2 {
        return Ok(None);
    }
    let Some(size_at) = mark_at.checked_sub(LYRICS_SIZE_LEN) else { return Ok(None) };
    let size = std::str::from_utf8(source.bytes(size_at, LYRICS_SIZE_LEN as usize)?).ok();
    let size = size.and_then(|size| size.parse::<u32>().ok());
    let Some(start) = size.and_then(|size| size_at.checked_sub(size.into())) else { return Ok(None) };
    let is_there = source.bytes(start, LYRICS_BEGIN.len())? == LYRICS_BEGIN;
    Ok(is_there.then_some(start))
}

#[cfg(test)]
mod tests;
