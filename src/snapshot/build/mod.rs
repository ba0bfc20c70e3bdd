//! From rows to bytes: sorted, indexed, deterministic. Knows no database and no HTTP.

mod error;
mod json;
mod names;
mod order;
mod packed;
mod parallel;
mod search;
mod sections;
mod songs;

use std::io::{Seek, Write};

pub use error::BuildError;
use names::SortedNames;
pub(in crate::snapshot) use packed::Levels;
use parallel::at_once;
use search::{Postings, write_sets};
use sections::Sections;
use songs::SortedSongs;

use super::format::{Column, VERSION};
use crate::model::{Collection, Kind, PerOwner};

/// Writes the snapshot of `collection` to `out`, from its beginning. The same rows, in
/// whatever order, give the same bytes.
///
/// # Errors
/// An error of `out`, or a collection beyond the limits of the format.
pub fn build<W: Write + Seek>(collection: &Collection, out: W) -> Result<(), BuildError> {
    build_as(collection, VERSION, out)
}

/// The same in another version of the format, one of [`super::VERSIONS`]. Equal rows have equal hashes in versions
/// whose sections are the same.
///
/// # Errors
/// As [`build`].
pub fn build_as<W: Write + Seek>(collection: &Collection, version: u32, out: W) -> Result<(), BuildError> {
    build_with(collection, version, Levels::default(), out)
}

/// The same with other levels of compression.
pub(in crate::snapshot) fn build_with<W: Write + Seek>(
    collection: &Collection,
    version: u32,
    levels: Levels,
    out: W,
) -> Result<(), BuildError> {
    let names = PerOwner::try_new(|owner| SortedNames::new(owner, collection))?;
    let songs = SortedSongs::new(collection, &names)?;
    // Without songs a list has a warning in its end.
    let with_songs = !songs.songs.is_empty();
    let pack = || PerOwner::new(|owner| with_songs.then(|| names[owner].pack(levels)).transpose());
    let (packed, sections) = at_once(pack, || write_all(&songs, &names, out));
    let mut sections = sections?;
    for (owner, packed) in packed {
        if let Some(packed) = packed?.flatten() {
            sections.bytes(Kind::Of(owner), Column::Gzip, &packed.gzip)?;
            sections.bytes(Kind::Of(owner), Column::Zstd, &packed.zstd)?;
        }
    }
    sections.finish(version)
}

/// Writes all sections but the compressed lists.
fn write_all<W: Write + Seek>(
    songs: &SortedSongs<'_>,
    names: &PerOwner<SortedNames<'_>>,
    out: W,
) -> Result<Sections<W>, BuildError> {
    let mut sections = Sections::create(out)?;
    let mut found_by = Vec::new();
    for (owner, names) in names.iter() {
        let search = names.write(&mut sections)?;
        found_by.push((search, songs.write_postings(owner, &mut sections)?));
    }
    let search = songs.write(&mut sections)?;
    let mut searches = vec![(&search, Postings::Itself)];
    searches.extend(found_by.iter().map(|(search, postings)| (search, postings.as_lists())));
    write_sets(songs.songs.len() as u32, &searches, &mut sections)?;
    sections.end_content()?;
    Ok(sections)
}
