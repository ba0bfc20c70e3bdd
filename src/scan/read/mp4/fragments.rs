//! The length of fragmented files. The index of the file states it, or an index of segments does,
//! or it is the sum of the tables of all fragments.

use std::io;

use super::atom::{Atom, Atoms};
use super::track::{Track, is_long, times};
use crate::scan::read::source::Source;
use crate::scan::read::tags::Reading;

/// Most fragments of a file.
const FRAGMENTS_MAX: usize = 400_000;
/// Most tables of a fragment.
const TABLES_MAX: usize = 1000;

/// Units of time, and how many of them make a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Length {
    pub(super) units: u64,
    pub(super) per_second: u32,
}

/// Returns the length of the track with all fragments, or of the track itself without any.
///
/// # Errors
/// Those of reading.
pub(super) fn length(
    source: &mut Source,
    moov: Atom,
    track: &Track,
    reading: &mut Reading,
) -> io::Result<Length> {
    let own = Length { units: track.duration, per_second: track.timescale };
    let Some(mvex) = moov.child(source, b"mvex")? else { return Ok(own) };
    if let Some(stated) = stated(source, moov, mvex)? {
        return Ok(stated);
    }
    if let Some(indexed) = indexed(source, moov)? {
        let before =
            u128::from(own.units) * u128::from(indexed.per_second) / u128::from(own.per_second.max(1));
        let before = u64::try_from(before).unwrap_or(u64::MAX);
        return Ok(Length { units: indexed.units.saturating_add(before), ..indexed });
    }
    let summed = sum(source, moov, mvex, track, reading)?;
    if summed > 0 {
        reading.guess = Some("by summing up its fragments");
    }
    Ok(Length { units: own.units.saturating_add(summed), ..own })
}

/// Returns the length in `mehd`, in the units of the file.
fn stated(source: &mut Source, moov: Atom, mvex: Atom) -> io::Result<Option<Length>> {
    let Some(mehd) = mvex.child(source, b"mehd")? else { return Ok(None) };
    let Some(mvhd) = moov.child(source, b"mvhd")? else { return Ok(None) };
    let (per_second, _) = times(source, mvhd)?;
    let units = match is_long(source, mehd)? {
        true => mehd.u64(source, 4)?,
        false => mehd.u32(source, 4)?.map(u64::from),
    };
    Ok(units.filter(|units| *units > 0 && per_second > 0).map(|units| Length { units, per_second }))
}

/// Returns the length in the index of segments, if it covers the file.
fn indexed(source: &mut Source, moov: Atom) -> io::Result<Option<Length>> {
    let end = source.len();
    let mut atoms = Atoms::of_file(source, moov.end);
    let sidx = loop {
        match atoms.next(source)? {
            Some(atom) if atom.name == *b"sidx" => break atom,
            Some(atom) if atom.name != *b"moof" && atom.name != *b"mdat" => {}
            _ => return Ok(None),
        }
    };
    let per_second = sidx.u32(source, 8)?.unwrap_or(0);
    let (first, list) = match is_long(source, sidx)? {
        true => (sidx.u64(source, 20)?, 28),
        false => (sidx.u32(source, 16)?.map(u64::from), 20),
    };
    let count = sidx.array(source, list + 2)?.map_or(0, u16::from_be_bytes);
    let mut at = sidx.end.saturating_add(first.unwrap_or(0));
    let mut units = 0_u64;
    for index in 0..u64::from(count) {
        let Some(entry) = sidx.u64(source, list + 4 + 12 * index)? else { return Ok(None) };
        at = at.saturating_add(entry >> 32 & 0x7fff_ffff);
        units = units.saturating_add(entry & 0xffff_ffff);
    }
    let goes_on = Atoms::of_file(source, at).next(source)?;
    let covers = goes_on.is_none_or(|atom| !matches!(&atom.name, b"moof" | b"sidx" | b"styp" | b"emsg"));
    Ok((covers && at <= end && units > 0 && per_second > 0).then_some(Length { units, per_second }))
}

/// Returns the sum of the durations in all fragments, in units of the track.
fn sum(source: &mut Source, moov: Atom, mvex: Atom, track: &Track, reading: &mut Reading) -> io::Result<u64> {
    let default = default_duration(source, mvex, track.id)?;
    let mut span: Option<(u64, u64)> = None;
    let mut atoms = Atoms::of_file(source, moov.end).up_to(FRAGMENTS_MAX);
    while let Some(moof) = atoms.next(source)? {
        if moof.name != *b"moof" {
            continue;
        }
        let mut parts = moof.children().up_to(TABLES_MAX);
        while let Some(traf) = parts.next(source)? {
            if traf.name == *b"traf"
                && let Some((start, units)) = fragment(source, traf, track.id, default)?
            {
                let (first, last) = span.unwrap_or_else(|| (start.unwrap_or(0), start.unwrap_or(0)));
                let end = start.unwrap_or(last).saturating_add(units);
                span = Some((first, last.max(end)));
            }
        }
    }
    atoms.tell_fault("the file", reading);
    Ok(span.map_or(0, |(first, last)| last.saturating_sub(first)))
}

/// Returns the duration of a sample that neither fragment nor table states.
fn default_duration(source: &mut Source, mvex: Atom, id: u32) -> io::Result<u32> {
    let mut children = mvex.children();
    while let Some(trex) = children.next(source)? {
        if trex.name == *b"trex" && trex.u32(source, 4)? == Some(id) {
            return Ok(trex.u32(source, 12)?.unwrap_or(0));
        }
    }
    Ok(0)
}

/// Returns the start of a fragment of a track, if stated, and its duration.
fn fragment(
    source: &mut Source,
    traf: Atom,
    id: u32,
    mut default: u32,
) -> io::Result<Option<(Option<u64>, u64)>> {
    let (mut start, mut units, mut is_ours) = (None, 0_u64, false);
    let mut parts = traf.children().up_to(TABLES_MAX);
    while let Some(part) = parts.next(source)? {
        match &part.name {
            b"tfhd" => {
                is_ours = part.u32(source, 4)? == Some(id);
                let flags = part.u32(source, 0)?.unwrap_or(0);
                let before =
                    [(1, 8), (2, 4)].iter().filter(|(flag, _)| flags & flag != 0).map(|(_, len)| len);
                if flags & 8 != 0 {
                    default = part.u32(source, 8 + before.sum::<u64>())?.unwrap_or(default);
                }
            }
            b"tfdt" => {
                start = match is_long(source, part)? {
                    true => part.u64(source, 4)?,
                    false => part.u32(source, 4)?.map(u64::from),
                };
            }
            b"trun" => units = units.saturating_add(run(source, part, default)?),
            _ => {}
        }
    }
    Ok(is_ours.then_some((start, units)))
}

/// Returns the duration of a run of samples.
fn run(source: &mut Source, trun: Atom, default: u32) -> io::Result<u64> {
    let flags = trun.u32(source, 0)?.unwrap_or(0);
    let count = u64::from(trun.u32(source, 4)?.unwrap_or(0));
    let fields = |mask: u32| u64::from((flags & mask).count_ones()) * 4;
    let (start, stride) = (8 + fields(0b101), fields(0xf00));
    if flags & 0x100 == 0 {
        return Ok(count.saturating_mul(u64::from(default)));
    }
    let mut units = 0_u64;
    for index in 0..count.min(trun.len() / stride.max(4)) {
        let Some(duration) = trun.u32(source, start + index * stride)? else { break };
        units = units.saturating_add(u64::from(duration));
    }
    Ok(units)
}
