//! The tags of Matroska. Each has a target: the track, the album, or none. Values of the track
//! count most.

use std::io;

use super::element::Element;
use crate::scan::read::source::Source;
use crate::scan::read::tags::{ENCODED_MAX, Field, Reading, Tags};
use crate::scan::read::text::Encoding;
use crate::scan::read::vorbis_comment::{self, whole_chars};

const TAG: u32 = 0x7373;
const TARGETS: u32 = 0x63c0;
const TARGET_LEVEL: u32 = 0x68ca;
const TARGET_TRACK: u32 = 0x63c5;
const TARGET_EDITION: u32 = 0x63c9;
const TARGET_CHAPTER: u32 = 0x63c4;
const TARGET_ATTACHMENT: u32 = 0x63c6;
const SIMPLE: u32 = 0x67c8;
const NAME: u32 = 0x45a3;
const STRING: u32 = 0x4487;
const BINARY: u32 = 0x4485;

/// The level of a track; higher levels are albums and groups of albums.
const TRACK_LEVEL: u64 = 30;
const ALBUM_LEVEL: u64 = 50;
/// Longest name with a meaning for this program, in bytes.
const NAME_MAX: usize = 64;

/// The target of a tag, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Level {
    Track,
    Unstated,
    Album,
}

/// The tags found so far, by level.
#[derive(Debug, Default)]
pub(super) struct Levels([Tags; 3]);

impl Levels {
    /// Reads an element of tags.
    ///
    /// # Errors
    /// Those of reading.
    pub(super) fn read(
        &mut self,
        source: &mut Source,
        tags: Element,
        reading: &mut Reading,
    ) -> io::Result<()> {
        if tags.is_cut {
            reading.lose("tags", "they go beyond the end of the file");
        }
        let mut children = tags.children();
        while let Some(tag) = children.next(source)? {
            if tag.id == TAG {
                self.read_tag(source, tag, reading)?;
            }
        }
        if children.is_broken {
            reading.lose("tags", "something in them is no element; the rest is lost");
        }
        Ok(())
    }

    /// Returns all values, the strongest first.
    pub(super) fn merge(self) -> Tags {
        let [mut merged, unstated, album] = self.0;
        merged.fill_from(unstated);
        merged.fill_from(album);
        merged
    }

    fn read_tag(&mut self, source: &mut Source, tag: Element, reading: &mut Reading) -> io::Result<()> {
        let mut level = Some(Level::Unstated);
        let mut children = tag.children();
        while let Some(child) = children.next(source)? {
            match child.id {
                TARGETS => level = read_targets(source, child)?,
                SIMPLE => {
                    if let Some(level) = level {
                        let others =
                            std::mem::replace(&mut reading.tags, std::mem::take(&mut self.0[level as usize]));
                        let result = read_simple(source, child, level, reading);
                        self.0[level as usize] = std::mem::replace(&mut reading.tags, others);
                        result?;
                    }
                }
                _ => {}
            }
        }
        if children.is_broken {
            reading.lose("tag", "something in it is no element; the rest is lost");
        }
        Ok(())
    }
}

/// Returns the target of a tag; `None` if it is not sound but a chapter or a picture.
fn read_targets(source: &mut Source, targets: Element) -> io::Result<Option<Level>> {
    let mut level = None;
    let mut is_of_track = false;
    let mut children = targets.children();
    while let Some(child) = children.next(source)? {
        let value = child.uint(source)?;
        match child.id {
            TARGET_LEVEL => level = Some(value),
            TARGET_TRACK => is_of_track |= value != 0,
            TARGET_EDITION | TARGET_CHAPTER | TARGET_ATTACHMENT if value != 0 => return Ok(None),
            _ => {}
        }
    }
    Ok(Some(match level {
        Some(level) if level <= TRACK_LEVEL => Level::Track,
        Some(level) if level >= ALBUM_LEVEL && !is_of_track => Level::Album,
        _ if is_of_track => Level::Track,
        _ => Level::Unstated,
    }))
}

/// Reads a name and its value.
fn read_simple(source: &mut Source, simple: Element, level: Level, reading: &mut Reading) -> io::Result<()> {
    let (mut name, mut value, mut is_binary) = (Vec::new(), None, false);
    let mut sort = None;
    let mut children = simple.children();
    while let Some(child) = children.next(source)? {
        match child.id {
            NAME => name = child.text(source, NAME_MAX)?.to_ascii_uppercase(),
            STRING => value = Some(child),
            BINARY => is_binary = true,
            SIMPLE => sort = sort.or(sort_name(source, child)?),
            _ => {}
        }
    }
    let Some(field) = field(&name, level) else { return Ok(()) };
    match value {
        Some(value) => push(source, value, field, reading)?,
        None if is_binary => reading.lose(field.name(), "its value is no text"),
        None => reading.lose(field.name(), "it has no value"),
    }
    let sorted = match field {
        Field::Title => Some(Field::TitleSort),
        Field::Album => Some(Field::AlbumSort),
        Field::Artist => Some(Field::ArtistSort),
        Field::AlbumArtist => Some(Field::AlbumArtistSort),
        Field::Composer => Some(Field::ComposerSort),
        _ => None,
    };
    match (sort, sorted) {
        (Some(sort), Some(field)) => push(source, sort, field, reading),
        _ => Ok(()),
    }
}

/// Returns the value of an inner name, if it is the sort name of the outer one.
fn sort_name(source: &mut Source, simple: Element) -> io::Result<Option<Element>> {
    let (mut is_sort, mut value) = (false, None);
    let mut children = simple.children();
    while let Some(child) = children.next(source)? {
        match child.id {
            NAME => is_sort = child.text(source, NAME_MAX)?.eq_ignore_ascii_case(b"SORT_WITH"),
            STRING => value = Some(child),
            _ => {}
        }
    }
    Ok(value.filter(|_| is_sort))
}

/// Adds the text of an element.
pub(super) fn push(
    source: &mut Source,
    text: Element,
    field: Field,
    reading: &mut Reading,
) -> io::Result<()> {
    if text.is_cut {
        reading.lose(field.name(), "its value goes beyond its tag");
    }
    let bytes = text.text(source, ENCODED_MAX)?;
    let is_cut = text.len() > ENCODED_MAX as u64;
    reading.push_encoded(field, if is_cut { whole_chars(&bytes) } else { &bytes }, Encoding::Utf8);
    Ok(())
}

/// Returns the field of a name at a level. Without a stated level (from ffmpeg), names are those of
/// a track.
fn field(name: &[u8], level: Level) -> Option<Field> {
    let is_album = level == Level::Album;
    Some(match name {
        b"TITLE" if is_album => Field::Album,
        b"ARTIST" if is_album => Field::AlbumArtist,
        b"SORT_WITH" => return None,
        b"PART_NUMBER" if is_album => Field::Disc,
        b"PART_NUMBER" | b"TRACK" => Field::Track,
        b"TOTAL_PARTS" => Field::TrackTotal,
        b"DISC" => Field::Disc,
        b"DATE_RELEASED" | b"DATE_RECORDED" | b"YEAR" => Field::Date,
        b"LEAD_PERFORMER" => Field::Artist,
        _ => vorbis_comment::field(name)?,
    })
}
