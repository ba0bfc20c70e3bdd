//! Ogg: pages of one or more streams. The first stream of supported audio makes the song. The
//! comments of a video stream fill in the fields that the audio stream lacks. A video without
//! supported audio is a song too, as in avalonms.

mod codec;
mod length;
mod page;
mod stream;
#[cfg(test)]
mod tests;

use std::io;
use std::mem;

use super::flac;
use super::source::Source;
use super::tags::{Reading, Unread};
use super::vorbis_comment::{self, Packet as _};
use codec::{Codec, HEAD_MAX};
use page::{Cursor, Page};
use stream::{Stream, headers};

/// Most streams that begin at the head of a file.
const STREAMS_MAX: usize = 64;
/// Most packets of metadata of a FLAC stream.
const BLOCKS_MAX: u64 = 1000;

/// Reads a file that begins with `OggS`.
///
/// # Errors
/// If it holds no audio, or no supported audio.
pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let streams = streams(source)?;
    if streams.is_empty() {
        return Err(Unread::Broken("no stream begins at its head".to_owned()));
    }
    let audio = streams.iter().find(|stream| stream.codec.is_audio());
    let video = streams.iter().find(|stream| matches!(stream.codec, Codec::Theora(_)));
    let Some(mut stream) = audio.or(video).cloned() else {
        return Err(match streams.iter().any(|stream| stream.codec == Codec::Video) {
            true => Unread::NotAudio,
            false => Unread::Unsupported("Ogg that is neither Vorbis, Opus, Speex, FLAC nor Theora"),
        });
    };
    let sound = read_comments(source, &mut stream, reading)?;
    if sound >= source.len() {
        return Err(Unread::Broken("no sound follows its headers".to_owned()));
    }
    if let Some(video) = video.filter(|_| audio.is_some()) {
        let audio = mem::take(&mut reading.tags);
        read_comments(source, &mut video.clone(), reading)?;
        let video = mem::replace(&mut reading.tags, audio);
        reading.tags.fill_from(video);
    }
    stream.codec.describe(reading);
    match stream.codec {
        Codec::Theora(frames) => length::find_of_video(source, &streams, (&stream, frames), sound, reading)?,
        _ => length::find(source, &streams, &stream, sound, reading)?,
    }
    if streams.len() == 1 {
        reading.set_average_bit_rate(source.len().saturating_sub(sound));
    }
    Ok(())
}

/// Returns the streams that begin at the head.
fn streams(source: &mut Source) -> io::Result<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut at = 0;
    while let Some(page) = Page::at(source, at)?.filter(Page::is_first) {
        if streams.len() == STREAMS_MAX {
            break;
        }
        at = page.end();
        let head = Cursor::new(page.clone()).take(source, HEAD_MAX)?;
        streams.push(Stream { page, codec: Codec::of(&head), head });
    }
    Ok(streams)
}

/// Reads the comments of a stream, and returns the start of its sound.
fn read_comments(source: &mut Source, stream: &mut Stream, reading: &mut Reading) -> io::Result<u64> {
    let mut cursor = Cursor::new(stream.page.clone());
    if matches!(stream.codec, Codec::Flac(_)) {
        return read_blocks(source, stream, cursor, reading);
    }
    let mark: &[u8] = match stream.codec {
        Codec::Vorbis { .. } => b"\x03vorbis",
        Codec::Opus { .. } => b"OpusTags",
        Codec::Theora(_) => b"\x81theora",
        _ => b"",
    };
    if cursor.next(source)? && cursor.take(source, mark.len())? == mark {
        vorbis_comment::read(source, &mut cursor, reading)?;
    } else {
        reading.lose("comments", "no packet of them follows the first packet");
        return Ok(cursor.page_end());
    }
    for _ in 1..headers(&stream.codec, &stream.head).min(BLOCKS_MAX) {
        if !cursor.next(source)? {
            break;
        }
    }
    cursor.skip(source, u64::MAX)?;
    Ok(cursor.page_end())
}

/// Reads the metadata blocks of a FLAC stream, each of which is a packet.
fn read_blocks(
    source: &mut Source,
    stream: &mut Stream,
    mut cursor: Cursor,
    reading: &mut Reading,
) -> io::Result<u64> {
    let mut sound = cursor.page_end();
    for _ in 0..BLOCKS_MAX {
        if !cursor.next(source)? {
            break;
        }
        // A frame of sound begins with ff. It follows here if the last block lacks its mark.
        let Ok([kind @ 0..=0xfe, a, b, c]) = <[u8; 4]>::try_from(cursor.take(source, 4)?) else { break };
        match kind & 0x7f {
            flac::STREAMINFO => {
                let info = flac::Info::of(&cursor.take(source, flac::INFO_LEN)?);
                stream.codec = Codec::Flac(info);
            }
            flac::COMMENT => vorbis_comment::read(source, &mut cursor, reading)?,
            flac::PICTURE => {
                reading.has_cover = true;
                cursor.skip(source, u64::from(u32::from_be_bytes([0, a, b, c])))?;
            }
            _ => {}
        }
        cursor.skip(source, u64::MAX)?;
        sound = cursor.page_end();
        if kind & 0x80 != 0 {
            break;
        }
    }
    Ok(sound)
}
