//! MP4 and QuickTime: nested atoms. `moov` describes the tracks and holds the names; it
//! stands before or behind the sound.

mod atom;
mod fragments;
mod ilst;
mod quicktime;
#[cfg(test)]
mod tests;
mod track;

use std::io;

use super::source::{Source, WINDOW};
use super::tags::{Reading, Unread};
use atom::{Atom, Atoms};
use track::Track;

/// Most atoms before `moov`; a fragmented file may have its `moov` only at the end.
const ATOMS_MAX: usize = 100_000;

/// Most texts right in `udta`.
const TEXTS_MAX: usize = 256;
/// Most bytes before the end of the file in which to search a lost `moov`.
const TAIL_MAX: u64 = 1 << 20;

/// Reads an MP4 file.
///
/// # Errors
/// When it has no index, or no audio.
pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut sound_len = 0_u64;
    let mut moov = None;
    let mut atoms = Atoms::of_file(source, 0).up_to(ATOMS_MAX);
    while moov.is_none()
        && let Some(atom) = atoms.next(source)?
    {
        match &atom.name {
            b"moov" => moov = Some(atom),
            b"mdat" => sound_len += atom.len(),
            _ => {}
        }
    }
    if moov.is_none() {
        moov = lost_moov(source)?;
    }
    let Some(moov) = moov else {
        return Err(Unread::Broken("it has no index of its sound (moov)".to_owned()));
    };
    let Some(track) = Track::find(source, moov)? else {
        return Err(Unread::Broken("it has no track of audio".to_owned()));
    };
    if moov.is_cut {
        reading.lose("index (moov)", "it goes beyond the end of the file");
    }
    read_tags(source, moov, reading)?;
    reading.sound = track.sound.clone();
    let length = fragments::length(source, moov, &track, reading)?;
    reading.set_samples(length.units, length.per_second);
    if length.units == 0 || length.per_second == 0 {
        whole_length(source, moov, reading)?;
    }
    if sound_len == 0 {
        sound_len = source.len().saturating_sub(moov.end);
    }
    reading.set_average_bit_rate(sound_len);
    Ok(())
}

/// Returns the index near the end of a file in which the size of another atom lies.
fn lost_moov(source: &mut Source) -> io::Result<Option<Atom>> {
    let len = source.len();
    let mut end = len;
    while end > len.saturating_sub(TAIL_MAX) {
        // Marks that begin in the last bytes of a part were seen with the part behind it.
        let from = end.saturating_sub(WINDOW as u64 - 16);
        let bytes = source.bytes(from, WINDOW)?;
        // The header of the file follows that of the index.
        let mark =
            |index: &usize| bytes[*index..].starts_with(b"moov") && bytes[index + 8..].starts_with(b"mvhd");
        let found = (4..bytes.len().saturating_sub(12)).rev().find(mark);
        if let Some(index) = found {
            return Atoms::of_file(source, from + index as u64 - 4).next(source);
        }
        end = from;
    }
    Ok(None)
}

/// Reads the length of the whole file, where that of the track is unknown.
fn whole_length(source: &mut Source, moov: Atom, reading: &mut Reading) -> io::Result<()> {
    let (per_second, units) = match moov.child(source, b"mvhd")? {
        Some(mvhd) => track::times(source, mvhd)?,
        None => (0, 0),
    };
    if units > 0 && per_second > 0 {
        reading.set_samples(units, per_second);
        reading.guess = Some("from the length of the whole file");
    } else {
        reading.sound.length = None;
        reading.lose("length", "neither track nor file state it");
    }
    Ok(())
}

/// Reads the names, which stand in `udta` or, seldom, in `moov` itself.
fn read_tags(source: &mut Source, moov: Atom, reading: &mut Reading) -> io::Result<()> {
    let mut texts = Vec::new();
    let mut children = moov.children();
    while let Some(child) = children.next(source)? {
        match &child.name {
            b"udta" => {
                let mut parts = child.children();
                while let Some(part) = parts.next(source)? {
                    match &part.name {
                        b"meta" => read_meta(source, part, reading)?,
                        [0xa9, ..] if texts.len() < TEXTS_MAX => texts.push(part),
                        _ => {}
                    }
                }
                parts.tell_fault("user data (udta)", reading);
            }
            b"meta" => read_meta(source, child, reading)?,
            _ => {}
        }
    }
    children.tell_fault("the index (moov)", reading);
    for text in texts {
        quicktime::read_text(source, text, reading)?;
    }
    Ok(())
}

fn read_meta(source: &mut Source, meta: Atom, reading: &mut Reading) -> io::Result<()> {
    // Version and flags go before the atoms, but not in QuickTime.
    let is_bare = meta.array(source, 4)?.is_some_and(|name: [u8; 4]| name.iter().all(u8::is_ascii_lowercase));
    let start = if is_bare { meta.start } else { meta.start + 4 };
    let mut keys = Vec::new();
    let mut children = Atoms::new(start, meta.end);
    while let Some(child) = children.next(source)? {
        match &child.name {
            b"keys" => keys = quicktime::read_keys(source, child)?,
            b"ilst" if keys.is_empty() => ilst::read(source, child, reading)?,
            b"ilst" => quicktime::read_list(source, child, &keys, reading)?,
            _ => {}
        }
    }
    children.tell_fault("the tag (meta)", reading);
    Ok(())
}
