//! The names in an ASF file: five fixed ones, a list of named values, and two more lists in the
//! extension of the head. Text is UTF-16, low byte first.

use std::io;

use crate::scan::read::chunks::{Chunk, Layout, number, number16};
use crate::scan::read::source::Source;
use crate::scan::read::tags::{ENCODED_MAX, Field, Reading, Tags};
use crate::scan::read::text::{ByteOrder, Encoding, decode};

/// Most bytes of the name of a value.
const NAME_MAX: u64 = 128;
/// Fields of the content description, in their order, as far as they count.
const DESCRIBED: [Option<Field>; 5] = [Some(Field::Title), Some(Field::Artist), None, None, None];
const UTF16: Encoding = Encoding::Utf16(ByteOrder::Little);

/// The values of the objects of names. Several objects may hold the same field.
#[derive(Debug, Default)]
pub(super) struct Names {
    /// A track number that counts from 0, which older files have.
    old_track: Option<u64>,
}

impl Names {
    /// Reads the fixed names: five lengths, and as many texts.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read_description(
        &mut self,
        object: &Chunk,
        source: &mut Source,
        reading: &mut Reading,
    ) -> io::Result<()> {
        let lengths = object.bytes(source, 10)?.to_vec();
        let mut at = object.from + 10;
        for (index, field) in DESCRIBED.into_iter().enumerate() {
            let len = u64::from(number16(&lengths, 2 * index, Layout::ASF.order));
            if let (Some(field), 1..) = (field, len) {
                self.read_value(field, (at, len), object, (source, reading))?;
            }
            at += len;
        }
        Ok(())
    }

    /// Reads named values: length, name, type, length, value.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read_extended(
        &mut self,
        object: &Chunk,
        source: &mut Source,
        reading: &mut Reading,
    ) -> io::Result<()> {
        let count = number16(object.bytes(source, 2)?, 0, Layout::ASF.order);
        let mut at = object.from + 2;
        for index in 0..count {
            let name_len = u64::from(number16(source.bytes(at, 2)?, 0, Layout::ASF.order));
            let name = (at + 2, name_len);
            let head = source.array::<4>(at + 2 + name_len)?.unwrap_or_default();
            let value = (at + 6 + name_len, u64::from(number16(&head, 2, Layout::ASF.order)));
            if value.0 > object.to {
                reading.lose("names", format!("they end after {index} of {count}"));
                return Ok(());
            }
            self.read_named(name, number16(&head, 0, Layout::ASF.order), value, object, (source, reading))?;
            at = value.0 + value.1;
        }
        Ok(())
    }

    /// Reads named values of a stream: language, stream, length of the name, type, length of
    /// the value, name, value.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read_library(
        &mut self,
        object: &Chunk,
        source: &mut Source,
        reading: &mut Reading,
    ) -> io::Result<()> {
        let order = Layout::ASF.order;
        let count = number16(object.bytes(source, 2)?, 0, order);
        let mut at = object.from + 2;
        for index in 0..count {
            let head = source.array::<12>(at)?.unwrap_or_default();
            let name = (at + 12, u64::from(number16(&head, 4, order)));
            let value = (name.0 + name.1, number(&head, 8, 4, order));
            if value.0 > object.to {
                reading.lose("names", format!("they end after {index} of {count}"));
                return Ok(());
            }
            self.read_named(name, number16(&head, 6, order), value, object, (source, reading))?;
            at = value.0 + value.1;
        }
        Ok(())
    }

    /// Adds the values that count only if no other object holds the field.
    pub(super) fn give(self, reading: &mut Reading) {
        let mut old = Tags::default();
        if let Some(track) = self.old_track {
            old.push(Field::Track, &track.saturating_add(1).to_string());
        }
        reading.tags.fill_from(old);
    }

    fn read_named(
        &mut self,
        name: (u64, u64),
        kind: u16,
        value: (u64, u64),
        object: &Chunk,
        (source, reading): (&mut Source, &mut Reading),
    ) -> io::Result<()> {
        if name.1 > NAME_MAX {
            return Ok(());
        }
        let (name, _) = decode(&source.vec(name.0, name.1, NAME_MAX as usize)?, UTF16);
        let name = name.trim_end_matches('\0').to_ascii_lowercase();
        if name == "wm/picture" {
            reading.has_cover = true;
        }
        let field = field(&name);
        if field.is_none() && name != "wm/track" {
            return Ok(());
        }
        let number_len = match kind {
            0 | 1 => 0,
            2 => value.1.min(4),
            3 => 4,
            4 => 8,
            _ => 2,
        };
        let number = number(&source.vec(value.0, number_len, 8)?, 0, number_len as usize, Layout::ASF.order);
        match (field, kind) {
            (Some(field), 0 | 1) => self.read_value(field, value, object, (source, reading))?,
            (Some(field), _) => add(field, &number.to_string(), reading),
            (None, 3..) => self.old_track = self.old_track.or(Some(number)),
            (None, _) => {}
        }
        Ok(())
    }

    fn read_value(
        &mut self,
        field: Field,
        (from, len): (u64, u64),
        object: &Chunk,
        (source, reading): (&mut Source, &mut Reading),
    ) -> io::Result<()> {
        let there = len.min(object.to.saturating_sub(from));
        if there < len {
            reading.lose(field.name(), format!("it claims {len} bytes, of which {there} are there"));
        }
        let bytes = source.vec(from, there, ENCODED_MAX)?;
        let (text, whole) = decode(&bytes, UTF16);
        let known = reading.tags.all(field).any(|value| value == text.trim_end_matches('\0'));
        match known && whole {
            true => {}
            false => reading.push_encoded(field, &bytes, UTF16),
        }
        Ok(())
    }
}

/// Adds a value, unless another object holds the field.
fn add(field: Field, value: &str, reading: &mut Reading) {
    if !reading.tags.all(field).any(|known| known == value) {
        reading.push(field, value);
    }
}

/// Returns the field of a name in lower case: Microsoft's, and those of Picard, foobar2000 and
/// ffmpeg.
fn field(name: &str) -> Option<Field> {
    Some(match name {
        "title" => Field::Title,
        "author" | "wm/author" => Field::Artist,
        "wm/artists" => Field::Artists,
        "wm/albumtitle" => Field::Album,
        "wm/albumartist" => Field::AlbumArtist,
        "wm/genre" => Field::Genre,
        "wm/tracknumber" => Field::Track,
        "wm/year" | "date" => Field::Date,
        "wm/originalreleaseyear" | "wm/originalreleasetime" => Field::OriginalDate,
        "wm/partofset" => Field::Disc,
        "tracktotal" | "totaltracks" => Field::TrackTotal,
        "disctotal" | "totaldiscs" => Field::DiscTotal,
        "wm/composer" => Field::Composer,
        "wm/titlesortorder" => Field::TitleSort,
        "wm/albumsortorder" => Field::AlbumSort,
        "wm/artistsortorder" => Field::ArtistSort,
        "wm/albumartistsortorder" => Field::AlbumArtistSort,
        "wm/composersortorder" => Field::ComposerSort,
        "wm/iscompilation" => Field::Compilation,
        "musicbrainz/track id" => Field::MusicbrainzRecording,
        "musicbrainz/release track id" => Field::MusicbrainzTrack,
        "musicbrainz/album id" => Field::MusicbrainzRelease,
        "musicbrainz/release group id" => Field::MusicbrainzReleaseGroup,
        "musicbrainz/artist id" => Field::MusicbrainzArtist,
        "musicbrainz/album artist id" => Field::MusicbrainzAlbumArtist,
        "replaygain_track_gain" | "replaygain/track gain" => Field::ReplayGainTrackGain,
        "replaygain_track_peak" | "replaygain/track peak" => Field::ReplayGainTrackPeak,
        "replaygain_album_gain" | "replaygain/album gain" => Field::ReplayGainAlbumGain,
        "replaygain_album_peak" | "replaygain/album peak" => Field::ReplayGainAlbumPeak,
        _ => return None,
    })
}
