//! Makes the next snapshot of the one before and the rows that differ. It copies kept entities, and normalises and
//! sorts only new names. A build of all rows gives the same bytes.
//!
//! This holds for a snapshot that this program has built or merged. Another program may fold letters otherwise, and its
//! compressed lists would be copied.

mod compare;
mod error;
mod names;
mod orders;
mod plan;
mod sets;
mod songs;
mod stored;
mod weave;
mod words;

use std::io::{Seek, Write};

pub use compare::{compare, settle};
pub use error::MergeError;

use self::names::packed;
use self::plan::{NamesPlan, SongsPlan};
use self::sets::Part;
use super::build::BuildError;
use super::build::packed::Levels;
use super::build::search::Postings;
use super::build::sections::Sections;
use super::build::songs::OwnedPostings;
use super::format::{Column, VERSION};
use super::open::Snapshot;
use crate::model::{Kind, PerOwner};
use crate::rows::delta::Delta;
use crate::rows::scratch::Folder;

/// The share of changed entities, one in this many, from which on a build is as quick as a merge.
const SHARE: usize = 10;

/// The most changed entities for which a merge with a snapshot of `entities` costs less than a build.
pub fn most_changes(entities: usize) -> usize {
    entities / SHARE
}

/// The entities that come and go between two snapshots.
pub struct Merge<'a> {
    old: &'a Snapshot<'a>,
    names: PerOwner<NamesPlan<'a>>,
    songs: SongsPlan,
}

impl<'a> Merge<'a> {
    /// Finds the places of the changed entities in `old`, and the songs that show a changed name.
    ///
    /// # Errors
    /// The changes do not fit.
    pub fn new(old: &'a Snapshot<'a>, delta: Delta) -> Result<Self, MergeError> {
        let [albums, artists, genres] = delta.names.into();
        let mut edits = [Some(albums), Some(artists), Some(genres)];
        let names = PerOwner::try_new(|owner| {
            let edits = edits[owner as usize].take().unwrap_or_default();
            NamesPlan::new(old.entities(Kind::Of(owner)), edits)
        })?;
        let songs = SongsPlan::new(old, &names, delta.songs)?;
        Ok(Merge { old, names, songs })
    }

    /// The numbers of entities that go and that come; a changed one does both.
    pub fn edits(&self) -> (usize, usize) {
        let weaves = self.names.values().map(|plan| &plan.weave).chain([&self.songs.weave]);
        weaves.map(|weave| weave.edits()).fold((0, 0), |sum, edits| (sum.0 + edits.0, sum.1 + edits.1))
    }

    /// How many albums, artists and genres the next snapshot has, and how many songs.
    pub fn counts(&self) -> (PerOwner<u64>, u64) {
        let names = PerOwner::new(|owner| self.names[owner].weave.count().into());
        (names, self.songs.weave.count().into())
    }

    /// Writes the next snapshot to `out`, from its beginning. A few megabytes and some sixty bytes for each song are
    /// in memory, word suffixes in temporary files in `folder`.
    ///
    /// # Errors
    /// As for a build, or the changes do not fit.
    pub fn write<W: Write + Seek>(&self, folder: &Folder, out: W) -> Result<(), MergeError> {
        self.write_with(Levels::default(), folder, out)
    }

    /// The same with other levels of compression.
    pub(in crate::snapshot) fn write_with<W: Write + Seek>(
        &self,
        levels: Levels,
        folder: &Folder,
        out: W,
    ) -> Result<(), MergeError> {
        let Merge { old, names, songs } = self;
        let owners = PerOwner::try_new(|owner| songs::owners(owner, &old.songs, songs, &names[owner]))?;
        let mut out = Sections::create(out)?;
        let mut postings = Vec::new();
        let woven = PerOwner::try_new(|owner| {
            let woven = names::write(owner, &old.names[owner], &names[owner], folder, &mut out)?;
            let count = names[owner].weave.count();
            postings.push(OwnedPostings::write(owner, count, &owners[owner], &mut out)?);
            Ok::<_, BuildError>(woven)
        })?;
        let words = songs::write(&old.songs, songs, names, &owners, &woven, folder, &mut out)?;
        let parts = PerOwner::try_new(|owner| {
            let words = &woven[owner].words;
            let postings = postings[owner as usize].as_lists();
            Ok::<_, BuildError>(Part { words, suffixes: words.suffixes()?, postings })
        })?;
        let itself = Part { words: &words, suffixes: words.suffixes()?, postings: Postings::Itself };
        sets::write(&old.songs.sets, songs, &parts, &itself, &mut out)?;
        out.end_content()?;
        // Without songs a list has a warning in its end.
        if songs.weave.count() > 0 {
            let had_songs = old.count(Kind::Song) > 0;
            for (owner, plan) in names.iter() {
                if let Some(packed) = packed(&old.names[owner], plan, had_songs, levels)? {
                    out.bytes(Kind::Of(owner), Column::Gzip, &packed.gzip)?;
                    out.bytes(Kind::Of(owner), Column::Zstd, &packed.zstd)?;
                }
            }
        }
        Ok(out.finish(VERSION)?)
    }
}
