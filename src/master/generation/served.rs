//! The snapshot that a generation serves, and the origin of its rows.

use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::control::Contents;
use crate::database::{Since, Version};
use crate::master::generation::before::Origin;
use crate::master::generation::loader::Source;
use crate::snapshot::merge::most_changes;

/// The snapshot of a generation.
pub(crate) struct Served {
    pub(crate) snapshot: OwnedFd,
    pub(crate) contents: Contents,
    pub(crate) source: Source,
    pub(crate) made: Instant,
    /// How long its loader took; zero for a restored snapshot.
    pub(crate) build: Duration,
    /// Where its rows are from.
    pub(crate) origin: Origin,
    /// Whether a former master has made the snapshot, and this one has not read the same rows from the database.
    pub(crate) is_unconfirmed: bool,
}

impl Served {
    /// The snapshot, if this program has made it, or the same bytes, of rows in the database; `config` is that of its
    /// generation. One of another program may hold other search forms of the same names.
    pub(crate) fn own(&self, config: &Config) -> Option<&OwnedFd> {
        (config.snapshot_url.is_none() && !self.is_unconfirmed).then_some(&self.snapshot)
    }

    /// The rows of its snapshot, if each row of the database that `next` names was among them and as it is; `config` is
    /// that of its generation. Where there are none the database may be missing.
    pub(crate) fn since(&self, config: &Config, next: &Config) -> Option<Since> {
        let is_same = next.snapshot_url.is_none() && config.database_url == next.database_url;
        if !is_same || !self.origin.is_whole || self.contents.songs == 0 {
            return None;
        }
        self.own(config)?;
        let Contents { albums, artists, genres, songs, .. } = self.contents;
        let entities = usize::try_from(albums + artists + genres + songs).unwrap_or(usize::MAX);
        Some(Since { version: self.version()?, most: most_changes(entities) })
    }

    /// The version of its rows in the source; `None` if neither this master has read it nor a former one noted it.
    pub(crate) fn version(&self) -> Option<Version> {
        let is_known = !self.is_unconfirmed || self.contents.revision.is_some();
        (is_known && self.source != Source::Substitute).then(|| version(&self.contents))
    }
}

/// The version of the rows that a loader has read.
pub(crate) fn version(contents: &Contents) -> Version {
    Version { revision: contents.revision, mark: contents.mark.clone() }
}
