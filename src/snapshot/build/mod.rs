//! From rows to bytes: sorted, indexed, deterministic. The module knows neither databases nor HTTP.

mod error;
pub(super) mod json;
mod names;
pub(super) mod order;
pub(super) mod packed;
mod parallel;
mod runs;
pub(super) mod search;
pub(super) mod sections;
pub(super) mod songs;
mod texts;

use std::io::{Seek, Write};

pub use error::BuildError;
use names::SortedNames;
pub(in crate::snapshot) use packed::Levels;
use parallel::at_once;
pub use parallel::on_two_threads;
use search::{Postings, write_sets};
use sections::Sections;
use songs::SortedSongs;

use super::format::{Column, VERSION};
use crate::model::{Kind, PerOwner};
use crate::rows::Rows;
use crate::rows::scratch::Folder;

/// The fewest word suffixes for which the build uses storage outside of memory.
const RUN_LEAST: usize = 1 << 19;

/// Writes the snapshot of `rows` to `out`, from its beginning. The same rows give the same bytes in any
/// order.
///
/// Memory holds fewer than a hundred bytes for each song; texts, records and the runs of the largest sort are in
/// temporary files of the folder of the rows.
///
/// # Errors
/// An error of `out` or of that folder, or a collection beyond the limits of the format.
pub fn build<W: Write + Seek>(rows: &Rows, out: W) -> Result<(), BuildError> {
    build_as(rows, VERSION, out)
}

/// Writes the snapshot in another version of the format, one of [`super::VERSIONS`]. Equal rows have equal
/// hashes in versions whose sections are the same.
///
/// # Errors
/// As [`build`].
pub fn build_as<W: Write + Seek>(rows: &Rows, version: u32, out: W) -> Result<(), BuildError> {
    build_with(rows, version, Levels::default(), RUN_LEAST, out)
}

/// Writes the snapshot with other levels of compression, and with `run_least` or more suffixes in memory.
pub(in crate::snapshot) fn build_with<W: Write + Seek>(
    rows: &Rows,
    version: u32,
    levels: Levels,
    run_least: usize,
    out: W,
) -> Result<(), BuildError> {
    let Rows { names, songs, by_id, folder } = rows;
    let names = PerOwner::try_new(|owner| SortedNames::new(owner, &names[owner]))?;
    let sorted = SortedSongs::new(songs, by_id, &names, folder)?;
    let run_len = run_least.max(sorted.count() as usize);
    // The end of a list without songs holds a warning.
    let with_songs = sorted.count() != 0;
    let pack = || PerOwner::new(|owner| with_songs.then(|| names[owner].pack(levels)).transpose());
    let (packed, sections) = at_once(pack, || write_all(&sorted, &names, run_len, folder, out));
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
    run_len: usize,
    folder: &Folder,
    out: W,
) -> Result<Sections<W>, BuildError> {
    let mut sections = Sections::create(out)?;
    let mut found_by = Vec::new();
    for (owner, names) in names.iter() {
        let search = names.write(run_len, folder, &mut sections)?;
        found_by.push((search, songs.write_postings(owner, &mut sections)?));
    }
    let search = songs.write(run_len, folder, &mut sections)?;
    let mut searches = vec![(&search, Postings::Itself)];
    searches.extend(found_by.iter().map(|(search, postings)| (search, postings.as_lists())));
    write_sets(songs.count(), &searches, &mut sections)?;
    sections.end_content()?;
    Ok(sections)
}
