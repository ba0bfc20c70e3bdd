//! A snapshot that outlives its master.
//!
//! A master leaves the snapshot that it serves to the next one: in systemd's descriptor store, and in the file at
//! `SNAPSHOT_PATH`, which a child writes. The next master takes it (`from`), has a loader verify it and serves it
//! at once, as *stale* data, because the database may have other rows by now. So it asks the database as soon as
//! the stale data are served (`Stale`), by making a generation for that alone (`Asking`). If that has the same
//! rows, the stale data are confirmed and the generation that serves goes on; if it has others, it takes over as
//! after any reload. Should the database not answer, the master tries again, less and less often (`next_try`).
//! Data that are not stale are left to the next master as soon as they serve.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use slog::{Logger, info, warn};

use crate::config::Config;
use crate::control::Contents;
use crate::master::generation::generations::{Generation, Served};
use crate::master::generation::loader::{Kept, Loaded, Source};
use crate::master::generation::saver::Saver;
use crate::master::wait::Wait;
use crate::snapshot::storage;

/// First and longest wait between two tries to read the database; the first try is at once.
const WAIT_FIRST: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(60);

/// The snapshot of a former master, and the one that is left to the next.
pub(crate) struct Restored {
    /// A snapshot of a former master, until a loader takes it.
    from: Option<Kept>,
    state: State,
    /// Tries to read the database that have failed.
    next_try: Wait,
    saver: Saver,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// No stale data are served, or not yet.
    Fresh,
    /// Stale data are served, and the database is asked at this time.
    Stale { due: Instant },
    /// The database is being asked: by this generation, or by a reload that was under way already.
    Asking { generation: Option<u64> },
}

impl Restored {
    /// Takes the snapshot that systemd has passed on, or the one at `SNAPSHOT_PATH`. Without either the first
    /// loader reads the database.
    pub(crate) fn find(stored: Option<std::os::fd::OwnedFd>, config: &Config, log: &Logger) -> Self {
        let from = stored.map(Kept::Stored).or_else(|| saved_snapshot(config, log));
        let next_try = Wait::new(WAIT_FIRST, WAIT_MAX);
        Restored { from, state: State::Fresh, next_try, saver: Saver::default() }
    }

    /// The snapshot for the first loader, once.
    pub(crate) fn take(&mut self) -> Option<Kept> {
        self.from.take()
    }

    /// When [`Restored::asks`] will say so.
    pub(crate) fn due(&self) -> Option<Instant> {
        match self.state {
            State::Stale { due } => Some(due),
            State::Fresh | State::Asking { .. } => None,
        }
    }

    /// Whether it is time to read the database, which is said once. `next` is the generation that a reload makes
    /// now; `None` if it would wait for another one.
    pub(crate) fn asks(&mut self, next: Option<u64>, now: Instant) -> bool {
        let is_due = self.due().is_some_and(|due| now >= due);
        if is_due {
            self.state = State::Asking { generation: next };
        }
        is_due
    }

    /// Whether the generation `number` was made only to ask the database, and the database holds what `current`
    /// serves. Then that is not stale any more, and nothing has to change.
    pub(crate) fn confirms(
        &mut self,
        number: u64,
        loaded: &Contents,
        current: Option<&mut Served>,
        log: &Logger,
    ) -> bool {
        let State::Asking { generation } = &mut self.state else { return false };
        if generation.take_if(|asking| *asking == number).is_none() {
            return false;
        }
        let Some(current) = current else { return false };
        let same = current.contents.hash == loaded.hash;
        current.stale = !same;
        if same {
            current.contents.revision = loaded.revision;
            info!(log, "the database holds what is served from the snapshot that was kept");
        }
        same
    }

    /// An attempt to make a generation has ended; `stale` says whether stale data are served now.
    pub(crate) fn reload_ended(&mut self, stale: bool, now: Instant) {
        if stale {
            self.next_try.failed(now, 1);
            self.state = State::Stale { due: self.next_try.until().unwrap_or(now) };
        } else {
            self.next_try.reset();
            self.state = State::Fresh;
        }
    }

    /// The product of a loader, as a generation with this configuration serves it.
    pub(crate) fn serve(
        &mut self,
        loaded: Loaded,
        source: Source,
        took: Duration,
        config: &Config,
    ) -> Served {
        let is_fresh = source == Source::Database;
        if let (Source::Saved, Some(path)) = (source, config.snapshot_path.as_deref()) {
            self.saver.holds(path, &loaded.contents.hash);
        }
        Served {
            snapshot: loaded.snapshot,
            contents: loaded.contents,
            source,
            made: Instant::now(),
            build: if is_fresh { took } else { Duration::ZERO },
            stale: !is_fresh,
        }
    }

    /// Writes what `current` serves to `SNAPSHOT_PATH`, unless it is stale or stands there already.
    pub(crate) fn save(&mut self, current: Option<&Generation>) {
        let Some((current, served)) = current.and_then(|current| Some((current, current.served.as_ref()?)))
        else {
            return;
        };
        let Some(path) = current.config.snapshot_path.as_deref().filter(|_| !served.stale) else { return };
        let first = current.first_steps().giving_way(true);
        let Served { snapshot, contents, .. } = served;
        if let Err(error) = self.saver.save(snapshot, &contents.hash, path, &current.logs.log, first) {
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
        let loaded = Loaded { snapshot: tempfile::tempfile().unwrap().into(), contents };
        let config = crate::config::load(&Default::default()).unwrap();
        restored().serve(loaded, Source::Stored, Duration::from_secs(3), &config)
    }

    #[test]
    fn tries_become_rarer_until_one_succeeds() {
        let (mut restored, mut now) = (restored(), Instant::now());
        restored.reload_ended(false, now);
        assert!(!restored.asks(None, now));
        for wait in [0, 5, 10, 20, 40, 60, 60] {
            restored.reload_ended(true, now);
            assert_eq!(restored.due(), Some(now + Duration::from_secs(wait)));
            now += Duration::from_secs(wait);
            assert!(restored.asks(None, now) && !restored.asks(None, now));
        }
        restored.reload_ended(true, now);
        restored.reload_ended(false, now);
        assert_eq!(restored.due(), None);
        restored.reload_ended(true, now);
        assert_eq!(restored.due(), Some(now));
    }

    #[test]
    fn same_rows_confirm_what_is_served_and_others_do_not() {
        for (hash, same) in [("00ff", true), ("beef", false)] {
            let (mut restored, mut current, now) = (restored(), served("00ff"), Instant::now());
            assert!(current.stale && current.build.is_zero());
            restored.reload_ended(true, now);
            assert!(restored.asks(Some(2), now));
            let loaded = Contents { hash: hash.to_owned(), ..Contents::default() };
            assert!(!restored.confirms(3, &loaded, Some(&mut current), &log()), "another generation");
            assert_eq!(restored.confirms(2, &loaded, Some(&mut current), &log()), same);
            assert_eq!(current.stale, !same);
        }
    }

    #[test]
    fn reload_that_an_operator_has_asked_for_confirms_nothing() {
        let (mut restored, mut current, now) = (restored(), served("00ff"), Instant::now());
        restored.reload_ended(true, now);
        assert!(restored.asks(None, now));
        let loaded = current.contents.clone();
        assert!(!restored.confirms(2, &loaded, Some(&mut current), &log()));
        assert!(current.stale);
    }

    #[test]
    fn snapshot_of_a_former_master_is_taken_once() {
        let mut restored = restored();
        assert!(matches!(restored.take(), Some(Kept::Stored(_))));
        assert!(restored.take().is_none());
    }
}
