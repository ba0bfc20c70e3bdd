//! What lofty reads: the length of every format we know, and the tags that are not ID3
//! at the start of a file. What one tag of a file lacks, the next one gives; the order is
//! by how much each can hold.

use std::io::{Read, Seek};

use lofty::aac::AacFile;
use lofty::ape::{ApeFile, ApeTag};
use lofty::config::{ParseOptions, ParsingMode};
use lofty::error::FileParseError;
use lofty::file::{AudioFile, FileType};
use lofty::flac::FlacFile;
use lofty::id3::v2::{Frame, FrameId, Id3v2Tag};
use lofty::iff::aiff::AiffFile;
use lofty::iff::wav::{RiffInfoList, WavFile};
use lofty::mp4::{AtomData, AtomIdent, Ilst, Mp4File};
use lofty::mpeg::MpegFile;
use lofty::musepack::MpcFile;
use lofty::ogg::tag::VorbisComments;
use lofty::ogg::{OpusFile, SpeexFile, VorbisFile};
use lofty::properties::FileProperties;
use lofty::tag::Accessor;
use lofty::wavpack::WavPackFile;

use super::tags::{Audio, Tags};
use super::{genre, id3};

/// Reads a file of this type. `id3` is what ID3v2 tags in front of it say.
///
/// # Errors
/// Why it cannot be played, in words.
pub(super) fn read<R: Read + Seek>(file_type: FileType, reader: &mut R, id3: Tags) -> Result<Audio, String> {
    // Date and track number are wanted as they stand, without lofty's conversions.
    let mut options = ParseOptions::new()
        .parsing_mode(ParsingMode::Relaxed)
        .implicit_conversions(false)
        .read_cover_art(false);
    match read_with(file_type, reader, id3.clone(), options) {
        Ok((tags, duration)) => Ok(Audio { tags, duration, damage: None }),
        // A tag that cannot be read is no reason to do without the song.
        Err(damage) => {
            reader.rewind().map_err(|error| error.to_string())?;
            match read_with(file_type, reader, id3, options.read_tags(false)) {
                Ok((tags, duration)) => Ok(Audio { tags, duration, damage: Some(chain(&damage)) }),
                Err(error) => Err(chain(&error)),
            }
        }
    }
}

fn read_with<R: Read + Seek>(
    file_type: FileType,
    reader: &mut R,
    id3: Tags,
    options: ParseOptions,
) -> Result<(Tags, std::time::Duration), FileParseError> {
    let of = |properties: FileProperties| properties.duration();
    Ok(match file_type {
        FileType::Mpeg => {
            let file = MpegFile::read_from(reader, options)?;
            (id3.or(ape(file.ape())).or(v1(reader)), file.properties().duration())
        }
        FileType::Aac => {
            let file = AacFile::read_from(reader, options)?;
            (id3.or(v1(reader)), file.properties().duration())
        }
        FileType::Ape => {
            let file = ApeFile::read_from(reader, options)?;
            (ape(file.ape()).or(id3).or(v1(reader)), file.properties().duration())
        }
        FileType::Mpc => {
            let file = MpcFile::read_from(reader, options)?;
            (ape(file.ape()).or(id3).or(v1(reader)), of(file.properties().clone().into()))
        }
        FileType::WavPack => {
            let file = WavPackFile::read_from(reader, options)?;
            (ape(file.ape()).or(id3).or(v1(reader)), file.properties().duration())
        }
        FileType::Flac => {
            let file = FlacFile::read_from(reader, options)?;
            let comments = file.vorbis_comments().map(vorbis).unwrap_or_default();
            (comments.or(id3), file.properties().duration())
        }
        FileType::Vorbis => {
            let file = VorbisFile::read_from(reader, options)?;
            (vorbis(file.vorbis_comments()).or(id3), file.properties().duration())
        }
        FileType::Opus => {
            let file = OpusFile::read_from(reader, options)?;
            (vorbis(file.vorbis_comments()).or(id3), file.properties().duration())
        }
        FileType::Speex => {
            let file = SpeexFile::read_from(reader, options)?;
            (vorbis(file.vorbis_comments()).or(id3), file.properties().duration())
        }
        FileType::Mp4 => {
            let file = Mp4File::read_from(reader, options)?;
            (file.ilst().map(mp4).unwrap_or_default().or(id3), file.properties().duration())
        }
        FileType::Wav => {
            let file = WavFile::read_from(reader, options)?;
            let inner = file.id3v2().map(id3_chunk).unwrap_or_default();
            let info = file.riff_info().map(riff).unwrap_or_default();
            (inner.or(id3).or(info), file.properties().duration())
        }
        FileType::Aiff => {
            let file = AiffFile::read_from(reader, options)?;
            let inner = file.id3v2().map(id3_chunk).unwrap_or_default();
            let text = file.text_chunks();
            let text = Tags {
                title: text.and_then(|chunks| chunks.title()).and_then(|title| first(&title)),
                artist: text.and_then(|chunks| chunks.artist()).and_then(|artist| first(&artist)),
                ..Tags::default()
            };
            (inner.or(id3).or(text), of(file.properties().clone().into()))
        }
        // Formats of resolvers, of which there are none.
        _ => return Err(lofty::error::UnknownFormatError.into()),
    })
}

/// The ID3v1 tag; that it cannot be read is no reason to do without the rest.
fn v1<R: Read + Seek>(reader: &mut R) -> Tags {
    id3::read_v1(reader).ok().flatten().unwrap_or_default()
}

/// Vorbis comments, with the names that avalonms took.
fn vorbis(comments: &VorbisComments) -> Tags {
    let text = |key| comments.get(key).and_then(first);
    Tags {
        title: text("TITLE"),
        album: text("ALBUM"),
        artist: text("ARTIST"),
        genre: text("GENRE"),
        track: text("TRACKNUMBER"),
        date: text("DATE"),
    }
}

/// APEv2. Its own names for track number and date are Track and Year; avalonms knew only
/// those of Vorbis comments, which therefore come first.
fn ape(tag: Option<&ApeTag>) -> Tags {
    let text = |key| tag.and_then(|tag| tag.get(key)?.text_values()?.next().and_then(first));
    Tags {
        title: text("Title"),
        album: text("Album"),
        artist: text("Artist"),
        genre: text("Genre"),
        track: text("tracknumber").or_else(|| text("Track")),
        date: text("date").or_else(|| text("Year")),
    }
}

fn mp4(tag: &Ilst) -> Tags {
    let data = |name: &[u8; 4]| tag.get(&AtomIdent::Fourcc(*name)).and_then(|atom| atom.data().next());
    let text = |name| match data(name) {
        Some(AtomData::UTF8(text) | AtomData::UTF16(text)) => first(text),
        _ => None,
    };
    // A genre by its ID3v1 number plus one, in two bytes.
    let number = || match data(b"gnre") {
        Some(AtomData::Unknown { data, .. }) => match data[..] {
            [high, low, ..] => usize::from(u16::from_be_bytes([high, low])).checked_sub(1),
            _ => None,
        },
        _ => None,
    };
    Tags {
        title: text(b"\xa9nam"),
        album: text(b"\xa9alb"),
        artist: text(b"\xa9ART"),
        genre: text(b"\xa9gen").or_else(|| number().and_then(genre::named).map(str::to_owned)),
        track: tag.track().map(|track| track.to_string()),
        date: text(b"\xa9day"),
    }
}

/// The INFO list of a RIFF file; there are two names for the track number.
fn riff(list: &RiffInfoList) -> Tags {
    let text = |key| list.get(key).and_then(first);
    Tags {
        title: text("INAM"),
        album: text("IPRD"),
        artist: text("IART"),
        genre: text("IGNR"),
        track: text("IPRT").or_else(|| text("ITRK")),
        date: text("ICRD"),
    }
}

/// An ID3v2 tag inside a WAV or AIFF file.
fn id3_chunk(tag: &Id3v2Tag) -> Tags {
    let frame = |id: &'static str| FrameId::Valid(id.into());
    let text = |id| tag.get_text(&frame(id)).and_then(first);
    let date = tag.into_iter().find_map(|frame| match frame {
        Frame::Timestamp(date) if frame.id_str() == "TDRC" => Some(date.timestamp.to_string()),
        _ => None,
    });
    Tags {
        title: text("TIT2"),
        album: text("TALB"),
        artist: text("TPE1"),
        genre: tag.get_text(&frame("TCON")).and_then(|values| genre::first(values.split('\0'))),
        track: text("TRCK"),
        date,
    }
}

/// The first of the values that a NUL parts; PostgreSQL takes no NUL in a text.
fn first(text: &str) -> Option<String> {
    text.split('\0').next().map(str::to_owned)
}

/// An error and its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}
