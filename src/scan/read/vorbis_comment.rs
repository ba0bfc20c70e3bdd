//! Vorbis comments: `KEY=value` items, in FLAC and the codecs of Ogg. The reader takes the items
//! one by one and keeps none in memory; it skips a picture by its size.

use std::io;

use super::source::Source;
use super::tags::{ENCODED_MAX, Field, Reading};
use super::text::Encoding;

/// Longest key with a meaning for this program, in bytes.
const KEY_MAX: usize = 48;
/// Most items that are read.
const ITEMS_MAX: u32 = 10_000;

/// The bytes of the comments, in order. In Ogg they are spread over pages.
pub(super) trait Packet {
    /// Returns the next `len` bytes; fewer if the packet ends.
    fn take(&mut self, source: &mut Source, len: usize) -> io::Result<Vec<u8>>;

    /// Skips `len` bytes, and returns how many of them exist.
    fn skip(&mut self, source: &mut Source, len: u64) -> io::Result<u64>;
}

/// Comments in one piece.
#[derive(Debug)]
pub(super) struct Piece {
    /// Offset of the next byte.
    pub(super) at: u64,
    /// Offset where the piece ends.
    pub(super) end: u64,
}

impl Packet for Piece {
    fn take(&mut self, source: &mut Source, len: usize) -> io::Result<Vec<u8>> {
        let bytes = source.vec(self.at, self.end.saturating_sub(self.at), len)?;
        self.at += bytes.len() as u64;
        Ok(bytes)
    }

    fn skip(&mut self, source: &mut Source, len: u64) -> io::Result<u64> {
        let there = len.min(self.end.min(source.len()).saturating_sub(self.at));
        self.at += there;
        Ok(there)
    }
}

/// Reads the comments into [`Reading::tags`]. Later comments take precedence over earlier ones.
///
/// # Errors
/// Those of reading.
pub(super) fn read(source: &mut Source, packet: &mut impl Packet, reading: &mut Reading) -> io::Result<()> {
    let earlier = std::mem::take(&mut reading.tags);
    let result = read_items(source, packet, reading);
    reading.tags.fill_from(earlier);
    result
}

fn read_items(source: &mut Source, packet: &mut impl Packet, reading: &mut Reading) -> io::Result<()> {
    let vendor = number(source, packet)?;
    let vendor_is_whole = match vendor {
        Some(len) => packet.skip(source, u64::from(len))? == u64::from(len),
        None => false,
    };
    let count = if vendor_is_whole { number(source, packet)? } else { None };
    let Some(count) = count else {
        reading.lose("comments", "they end before their number; the names in them are lost");
        return Ok(());
    };
    for index in 0..count.min(ITEMS_MAX) {
        let Some(len) = number(source, packet)? else {
            reading.lose("comments", format!("{count} are claimed, and {index} are there"));
            return Ok(());
        };
        if !item(source, packet, u64::from(len), reading)? {
            reading.lose("comments", format!("number {} of {count} goes beyond their end", index + 1));
            return Ok(());
        }
    }
    if count > ITEMS_MAX {
        reading.lose("comments", format!("there are {count}; only the first {ITEMS_MAX} were looked at"));
    }
    Ok(())
}

/// Reads an item of `len` bytes; `false` when it is cut.
fn item(source: &mut Source, packet: &mut impl Packet, len: u64, reading: &mut Reading) -> io::Result<bool> {
    let short = usize::try_from(len).unwrap_or(usize::MAX);
    let mut head = packet.take(source, short.min(KEY_MAX))?;
    let mut rest = len - head.len() as u64;
    let Some(equals) = head.iter().position(|byte| *byte == b'=') else {
        let whole = packet.skip(source, rest)? == rest;
        if whole && 0 < len && len <= KEY_MAX as u64 {
            reading.lose("comment", "it has no '='; it was passed over");
        }
        return Ok(whole);
    };
    let key = head.drain(..=equals).take(equals).collect::<Vec<_>>();
    match key.to_ascii_uppercase().as_slice() {
        b"METADATA_BLOCK_PICTURE" | b"COVERART" => {
            let whole = packet.skip(source, rest)? == rest;
            reading.has_cover |= whole && len > equals as u64 + 1;
            Ok(whole)
        }
        key => {
            let Some(field) = field(key) else { return Ok(packet.skip(source, rest)? == rest) };
            let more = usize::try_from(rest).unwrap_or(usize::MAX).min(ENCODED_MAX);
            let tail = packet.take(source, more)?;
            rest -= tail.len() as u64;
            head.extend_from_slice(&tail);
            if packet.skip(source, rest)? != rest {
                return Ok(false);
            }
            reading.push_encoded(field, if rest > 0 { whole_chars(&head) } else { &head }, Encoding::Utf8);
            Ok(true)
        }
    }
}

/// `bytes` without the part of a UTF-8 character at the end of a cut value.
pub(super) fn whole_chars(bytes: &[u8]) -> &[u8] {
    let start = bytes.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0);
    &bytes[..start]
}

fn number(source: &mut Source, packet: &mut impl Packet) -> io::Result<Option<u32>> {
    Ok(packet.take(source, 4)?.try_into().ok().map(u32::from_le_bytes))
}

/// Returns the field of a key in upper case.
pub(super) fn field(key: &[u8]) -> Option<Field> {
    Some(match key {
        b"TITLE" => Field::Title,
        b"ALBUM" => Field::Album,
        b"ARTIST" => Field::Artist,
        b"GENRE" => Field::Genre,
        b"TRACKNUMBER" => Field::Track,
        b"DATE" => Field::Date,
        b"ALBUMARTIST" | b"ALBUM ARTIST" | b"ALBUM_ARTIST" => Field::AlbumArtist,
        b"ARTISTS" => Field::Artists,
        b"DISCNUMBER" => Field::Disc,
        b"TRACKTOTAL" | b"TOTALTRACKS" => Field::TrackTotal,
        b"DISCTOTAL" | b"TOTALDISCS" => Field::DiscTotal,
        b"COMPOSER" => Field::Composer,
        b"TITLESORT" => Field::TitleSort,
        b"ALBUMSORT" => Field::AlbumSort,
        b"ARTISTSORT" => Field::ArtistSort,
        b"ALBUMARTISTSORT" => Field::AlbumArtistSort,
        b"COMPOSERSORT" => Field::ComposerSort,
        b"COMPILATION" => Field::Compilation,
        b"ORIGINALDATE" | b"ORIGINALYEAR" => Field::OriginalDate,
        b"MUSICBRAINZ_TRACKID" => Field::MusicbrainzRecording,
        b"MUSICBRAINZ_RELEASETRACKID" => Field::MusicbrainzTrack,
        b"MUSICBRAINZ_ALBUMID" => Field::MusicbrainzRelease,
        b"MUSICBRAINZ_RELEASEGROUPID" => Field::MusicbrainzReleaseGroup,
        b"MUSICBRAINZ_ARTISTID" => Field::MusicbrainzArtist,
        b"MUSICBRAINZ_ALBUMARTISTID" => Field::MusicbrainzAlbumArtist,
        b"REPLAYGAIN_TRACK_GAIN" => Field::ReplayGainTrackGain,
        b"REPLAYGAIN_TRACK_PEAK" => Field::ReplayGainTrackPeak,
        b"REPLAYGAIN_ALBUM_GAIN" => Field::ReplayGainAlbumGain,
        b"REPLAYGAIN_ALBUM_PEAK" => Field::ReplayGainAlbumPeak,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::samples::{comments, losses};
    use super::super::tags::TEXT_MAX;
    use super::*;

    fn read_all(bytes: Vec<u8>) -> Reading {
        let mut piece = Piece { at: 0, end: bytes.len() as u64 };
        let mut reading = Reading::default();
        read(&mut Source::of(bytes), &mut piece, &mut reading).expect("bytes in memory");
        reading
    }

    #[test]
    fn an_odd_item_costs_itself() {
        let long = [b"GENRE=".as_slice(), "\u{e9}".repeat(TEXT_MAX).as_bytes()].concat();
        let picture = [b"metadata_block_picture=".as_slice(), &[b'A'; 100_000]].concat();
        for (item, lost) in [
            (&b"Genre=x"[..], ""),
            (b"GENRE=", ""),
            (b"GENRE=caf\xe9", "genre"),
            (b"no equals", "comment"),
            (b"", ""),
            (b"=", ""),
            (b"UNKNOWN=x", ""),
            (&long, "genre"),
            (&picture, ""),
        ] {
            let reading = read_all(comments(&[b"title=T", item, b"Artist=A", b"ARTIST=B"]));
            assert_eq!(reading.tags.first(Field::Title), Some("T"), "{item:?}");
            assert_eq!(reading.tags.all(Field::Artist).collect::<Vec<_>>(), ["A", "B"], "{item:?}");
            assert_eq!(losses(&reading), lost, "{item:?}");
            assert_eq!(reading.has_cover, item.len() == picture.len(), "{item:?}");
        }
    }

    #[test]
    fn items_before_a_wrong_size_are_kept() {
        let whole = comments(&[b"TITLE=T", b"ARTIST=A"]);
        let second = whole.len() - 12;
        for size in [9_u32, 0x7fff_ffff, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[second..second + 4].copy_from_slice(&size.to_le_bytes());
            let reading = read_all(bytes);
            assert_eq!(
                (reading.tags.first(Field::Title), losses(&reading).as_str()),
                (Some("T"), "comments")
            );
        }
        assert_eq!(losses(&read_all(b"\xff\xff\xff\xffTITLE".to_vec())), "comments");
        let many = comments(&vec![b"TITLE=T".as_slice(); ITEMS_MAX as usize + 1]);
        assert!(read_all(many).more_losses > 0);
    }

    #[test]
    fn later_comments_count_more() {
        let first = comments(&[b"TITLE=old", b"ALBUM=L"]);
        let mut bytes = first.clone();
        bytes.extend(comments(&[b"TITLE=new"]));
        let (mut source, mut reading) = (Source::of(bytes), Reading::default());
        let mut piece = Piece { at: 0, end: source.len() };
        read(&mut source, &mut piece, &mut reading).expect("bytes in memory");
        read(&mut source, &mut piece, &mut reading).expect("bytes in memory");
        assert_eq!(reading.tags.first(Field::Title), Some("new"));
        assert_eq!(reading.tags.first(Field::Album), Some("L"));
    }

    proptest! {
        #[test]
        fn any_item_keeps_all_others(item in prop::collection::vec(any::<u8>(), 0..100), place in 0..4_usize) {
            let mut items: Vec<&[u8]> = vec![b"TITLE=T", b"ALBUM=L", b"ARTIST=A"];
            items.insert(place, &item);
            let reading = read_all(comments(&items));
            for (field, value) in [(Field::Title, "T"), (Field::Album, "L"), (Field::Artist, "A")] {
                prop_assert!(reading.tags.all(field).any(|found| found == value));
            }
        }

        #[test]
        fn any_bytes_come_to_an_end(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            read_all(bytes);
        }
    }
}
