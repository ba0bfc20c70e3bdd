//! A snapshot that outlives its master.
//!
//! A master leaves the snapshot that it serves to the next one: in systemd's descriptor store, and in the file at
//! `SNAPSHOT_PATH`, which a child writes. The next master takes it (`from`), has a loader verify it and serves it
//! at once, unconfirmed, because the database may have other rows by now. `freshness.rs` says when the database is
//! asked, by making a generation for that alone. If that has the same rows, the snapshot is confirmed and the
//! generation that serves goes on; if it has others, it takes over as after any reload. A snapshot that is confirmed
//! is left to the next master as soon as it serves.

use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use slog::{Logger, info, warn};

use crate::config::Config;
use crate::control::Contents;
use crate::master::generation::before::Origin;
use crate::master::generation::generations::Generation;
use crate::master::generation::loader::{Kept, Loaded, Source};
use crate::master::generation::note::Note;
use crate::master::generation::reading::Work;
use crate::master::generation::saver::Saver;
use crate::master::generation::served::Served;
use crate::snapshot::storage;

/// The snapshot of a former master, and the one that is left to the next.
pub(crate) struct Restored {
    /// A snapshot of a former master, until a loader takes it.
    from: Option<Kept>,
    /// Its source and revision, if a note names them.
    note: Option<Note>,
    saver: Saver,
}

impl Restored {
    /// Takes the snapshot that systemd has passed on, or the one at `SNAPSHOT_PATH`. Without either the first
    /// loader reads the database.
    pub(crate) fn find(stored: Option<std::os::fd::OwnedFd>, config: &Config, log: &Logger) -> Self {
        let from = stored.map(Kept::Stored).or_else(|| saved_snapshot(config, log));
        let note = note_of(from.as_ref(), config, log);
        Restored { from, note, saver: Saver::default() }
    }

    /// The snapshot for the first loader, once.
    pub(crate) fn take(&mut self) -> Option<Kept> {
        self.from.take()
    }

    /// The product of a loader, as a generation with this configuration serves it.
    pub(crate) fn serve(
        &mut self,
        loaded: Loaded,
        source: Source,
        took: Duration,
        config: &Config,
    ) -> Served {
        let source = if loaded.work == Work::Substitute { Source::Substitute } else { source };
        let is_fresh = source == Source::Origin;
        let (mut contents, url) = (loaded.contents, config.source_url());
        if let Some(note) = self.note.as_ref().filter(|_| [Source::Saved, Source::Stored].contains(&source)) {
            contents = note.complete(contents, &url);
        }
        if let (Source::Saved, Some(path)) = (source, config.snapshot_path.as_deref()) {
            self.saver.holds(path, Note::of(&contents, &url));
        }
        Served {
            snapshot: loaded.snapshot,
            contents,
            source,
            made: Instant::now(),
            build: if is_fresh { took } else { Duration::ZERO },
            origin: loaded.origin,
            is_unconfirmed: !is_fresh,
        }
    }

    /// Saves the snapshot of `current` at `SNAPSHOT_PATH`, unless it is unconfirmed or stands there already.
    pub(crate) fn save(&mut self, current: Option<&Generation>) {
        let Some((current, served)) = current.and_then(|current| Some((current, current.served.as_ref()?)))
        else {
            return;
        };
        let Some(path) = current.config.snapshot_path.as_deref().filter(|_| !served.is_unconfirmed) else {
            return;
        };
        let first = current.first_steps().giving_way(true);
        let Served { snapshot, contents, .. } = served;
        let note = Note::of(contents, &current.config.source_url());
        if let Err(error) = self.saver.save(snapshot, note, path, &current.logs.log, first) {
            warn!(current.logs.logger(), "the snapshot cannot be saved: {}", error);
        }
    }

    /// The process `pid` has ended; says whether it was the saver.
    pub(crate) fn saver_ended(&mut self, pid: Pid) -> bool {
        self.saver.ended(pid)
    }

    /// The saver at work.
    pub(crate) fn saver(&self) -> Option<Pid> {
        self.saver.pid()
    }
}

/// Whether a load that was made only to ask the source, a `noun`, has found the rows that `current` serves. Then that
/// is confirmed, and nothing has to change.
pub(crate) fn confirms(
    loaded: &Contents,
    origin: Origin,
    current: Option<&mut Served>,
    noun: &str,
    log: &Logger,
) -> bool {
    let Some(current) = current.filter(|current| current.contents.hash == loaded.hash) else { return false };
    current.origin = origin;
    if current.source == Source::Substitute {
        current.source = Source::Origin;
    }
    current.is_unconfirmed = false;
    current.contents.revision = loaded.revision;
    current.contents.mark.clone_from(&loaded.mark);
    info!(log, "the {} holds the rows that are served", noun);
    true
}

/// The snapshot of `current`, for the next generation: a load has found these rows in the source, and the snapshot is
/// not made once more.
///
/// # Errors
/// Other rows serve by now, or the kernel has no descriptor left.
pub(crate) fn again(loaded: &Contents, origin: Origin, current: Option<&Served>) -> io::Result<Served> {
    let current = current.filter(|current| current.contents.hash == loaded.hash);
    let current =
        current.ok_or_else(|| io::Error::other("what the loader has found again serves no more"))?;
    let (revision, mark) = (loaded.revision, loaded.mark.clone());
    Ok(Served {
        snapshot: current.snapshot.try_clone()?,
        contents: Contents { revision, mark, ..current.contents.clone() },
        source: if current.source == Source::Substitute { Source::Origin } else { current.source },
        made: current.made,
        build: current.build,
        origin,
        is_unconfirmed: false,
    })
}

/// The note of a snapshot that a former master has saved. One that it has left to systemd is mostly the same.
fn note_of(kept: Option<&Kept>, config: &Config, log: &Logger) -> Option<Note> {
    let (Kept::Saved(snapshot) | Kept::Stored(snapshot)) = kept?;
    let path = config.snapshot_path.as_deref()?;
    let unread = |error| {
        let path = Note::path(path);
        warn!(log, "the revision of the saved snapshot is not known: {}", error; "path" => %path.display());
    };
    Note::read(path, snapshot).map_err(unread).ok()?
}

/// The snapshot that a former master has saved.
fn saved_snapshot(config: &Config, log: &Logger) -> Option<Kept> {
    let path: &Path = config.snapshot_path.as_deref()?;
    storage::open_saved(path)
        .map_err(|error| warn!(log, "the saved snapshot is of no use: {}", error; "path" => %path.display()))
        .ok()?
        .map(Kept::Saved)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    fn restored() -> Restored {
        let config = crate::config::load(&Default::default()).unwrap();
        Restored::find(Some(tempfile::tempfile().unwrap().into()), &config, &log())
    }

    fn served(hash: &str) -> Served {
        let contents = Contents { hash: hash.to_owned(), ..Contents::default() };
        let loaded = Loaded {
            snapshot: tempfile::tempfile().unwrap().into(),
            contents,
            work: Work::Made,
            origin: Origin::default(),
        };
        let config = crate::config::load(&Default::default()).unwrap();
        restored().serve(loaded, Source::Stored, Duration::from_secs(3), &config)
    }

    #[test]
    fn same_rows_confirm_what_is_served_and_others_do_not() {
        for (hash, same) in [("00ff", true), ("beef", false)] {
            let mut current = served("00ff");
            assert!(current.is_unconfirmed && current.build.is_zero());
            let loaded = Contents { hash: hash.to_owned(), ..Contents::default() };
            assert!(!confirms(&loaded, Origin::default(), None, "database", &log()), "nothing serves");
            assert_eq!(confirms(&loaded, Origin::default(), Some(&mut current), "store", &log()), same);
            assert_eq!(current.is_unconfirmed, !same);
        }
    }

    #[test]
    fn snapshot_of_a_former_master_is_taken_once() {
        let mut restored = restored();
        assert!(matches!(restored.take(), Some(Kept::Stored(_))));
        assert!(restored.take().is_none());
    }
}
