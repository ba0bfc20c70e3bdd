//! The kernel's events since the last pass: the folders in which something has changed. The events
//! only tell where to look; a scan finds the changes.

use std::collections::{HashMap, HashSet};
use std::ffi::OsString;
use std::time::{Duration, Instant};

use nix::sys::inotify::{AddWatchFlags, InotifyEvent, WatchDescriptor};

use crate::scan::exclude::IGNORE_FILE;

/// A pass begins after this time without changes ...
const QUIET: Duration = Duration::from_secs(2);
/// ... and at the latest this long after the first change: a program may write for hours.
const UNREST_MAX: Duration = Duration::from_secs(30);
/// A pass reads the state of the last scan at most this long before it is due: it holds the database's lock from
/// then on, while programs may still write one file after the other.
const LEAD_MAX: Duration = Duration::from_millis(1500);
/// With more folders than this, the pass looks at everything.
const FOLDERS_MAX: usize = 5_000;
/// With more names than this, the pass looks at the whole folder.
const NAMES_MAX: usize = 50;

/// The changes in a folder.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Files and folders with these names have changed.
    Some(HashSet<OsString>),
    /// Any entry may have changed.
    All,
}

/// The changes since the last pass.
#[derive(Debug, Default)]
pub(super) struct Dirty {
    pub(super) folders: HashMap<WatchDescriptor, Names>,
    /// The reason for a look at everything; `None` if the folders suffice.
    pub(super) all: Option<&'static str>,
    /// Times of the first and the last event.
    times: Option<(Instant, Instant)>,
}

impl Dirty {
    /// Takes in an event. Returns whether it is the first one.
    pub(super) fn add(&mut self, event: InotifyEvent, now: Instant) -> bool {
        if event.mask.contains(AddWatchFlags::IN_Q_OVERFLOW) {
            return self.add_all("the kernel has dropped events", now);
        }
        if event.mask.contains(AddWatchFlags::IN_UNMOUNT) {
            return self.add_all("a file system was unmounted", now);
        }
        // The kernel has removed a watch, after an event with the reason.
        if event.mask.contains(AddWatchFlags::IN_IGNORED) {
            return false;
        }
        if self.all.is_none() {
            self.note(event.wd, event.name);
        }
        if self.folders.len() > FOLDERS_MAX {
            return self.add_all("too many folders have changed", now);
        }
        self.stamp(now)
    }

    /// Requests a look at everything. Returns whether this is the first change.
    pub(super) fn add_all(&mut self, why: &'static str, now: Instant) -> bool {
        self.all.get_or_insert(why);
        self.folders = HashMap::new();
        self.stamp(now)
    }

    fn note(&mut self, folder: WatchDescriptor, name: Option<OsString>) {
        // Without a name the event is about the folder itself. Patterns hold for all of it.
        let name = name.filter(|name| name != IGNORE_FILE);
        let names = self.folders.entry(folder).or_insert_with(|| Names::Some(HashSet::new()));
        match (&mut *names, name) {
            (Names::All, _) => {}
            (Names::Some(known), Some(name)) if known.len() < NAMES_MAX || known.contains(&name) => {
                known.insert(name);
            }
            (Names::Some(_), _) => *names = Names::All,
        }
    }

    fn stamp(&mut self, now: Instant) -> bool {
        let is_first = self.times.is_none();
        self.times = Some((self.times.map_or(now, |(first, _)| first), now));
        is_first
    }

    /// Returns the time of the next pass; `None` if nothing has changed.
    pub(super) fn due(&self) -> Option<Instant> {
        self.times.map(|(first, last)| (last + QUIET).min(first + UNREST_MAX))
    }

    /// Returns the time at which a pass begins that takes `lead` to begin; `None` if nothing has changed.
    pub(super) fn soon(&self, lead: Duration) -> Option<Instant> {
        Some(self.due()? - lead.min(LEAD_MAX))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::inotify::{InitFlags, Inotify};

    fn watch(count: usize) -> Vec<WatchDescriptor> {
        let inotify = Inotify::init(InitFlags::IN_CLOEXEC).expect("inotify");
        let folders: Vec<_> = (0..count).map(|_| tempfile::tempdir().expect("folder")).collect();
        let add = |folder: &tempfile::TempDir| {
            inotify.add_watch(folder.path(), AddWatchFlags::IN_CREATE).expect("a watch")
        };
        folders.iter().map(add).collect()
    }

    fn event(wd: WatchDescriptor, mask: AddWatchFlags, name: Option<&str>) -> InotifyEvent {
        InotifyEvent { wd, mask, cookie: 0, name: name.map(OsString::from) }
    }

    #[test]
    fn a_pass_waits_for_quiet_but_not_for_ever() {
        let wd = watch(1)[0];
        let begin = Instant::now();
        let mut dirty = Dirty::default();
        assert_eq!(dirty.due(), None);
        let at = |seconds| begin + Duration::from_secs(seconds);
        assert!(dirty.add(event(wd, AddWatchFlags::IN_CREATE, Some("a")), begin));
        assert_eq!(dirty.due(), Some(at(2)));
        for second in 1..60 {
            assert!(!dirty.add(event(wd, AddWatchFlags::IN_MODIFY, Some("a")), at(second)));
        }
        assert_eq!(dirty.due(), Some(at(30)));
        assert_eq!(dirty.folders.len(), 1);
        assert_eq!(dirty.folders[&wd], Names::Some([OsString::from("a")].into()));
    }

    #[test]
    fn a_pass_begins_so_early_that_it_is_ready_when_it_is_due() {
        let begin = Instant::now();
        let mut dirty = Dirty::default();
        assert_eq!(dirty.soon(Duration::from_secs(1)), None);
        dirty.add_all("a test", begin);
        let after = |lead| dirty.soon(Duration::from_millis(lead)).expect("a time") - begin;
        assert_eq!(after(0), QUIET);
        assert_eq!(after(300), Duration::from_millis(1700));
        assert_eq!(after(60_000), Duration::from_millis(500), "the lock is free while files come in");
    }

    #[test]
    fn names_are_kept_while_they_are_few() {
        let wd = watch(1)[0];
        let now = Instant::now();
        let mut dirty = Dirty::default();
        for number in 0..=NAMES_MAX {
            assert!(matches!(dirty.folders.get(&wd), None | Some(Names::Some(_))), "{number}");
            dirty.add(event(wd, AddWatchFlags::IN_CREATE, Some(&number.to_string())), now);
        }
        assert_eq!(dirty.folders[&wd], Names::All);
        for name in [None, Some(IGNORE_FILE)] {
            let mut dirty = Dirty::default();
            dirty.add(event(wd, AddWatchFlags::IN_ATTRIB, name), now);
            dirty.add(event(wd, AddWatchFlags::IN_CREATE, Some("a")), now);
            assert_eq!(dirty.folders[&wd], Names::All, "{name:?}");
        }
    }

    #[test]
    fn events_that_the_kernel_lost_mean_everything() {
        let wd = watch(1)[0];
        let now = Instant::now();
        for mask in [AddWatchFlags::IN_Q_OVERFLOW, AddWatchFlags::IN_UNMOUNT] {
            let mut dirty = Dirty::default();
            dirty.add(event(wd, AddWatchFlags::IN_CREATE, Some("a")), now);
            dirty.add(event(wd, mask, None), now);
            dirty.add(event(wd, AddWatchFlags::IN_CREATE, Some("b")), now);
            assert!(dirty.all.is_some() && dirty.folders.is_empty(), "{mask:?}");
        }
        let mut dirty = Dirty::default();
        assert!(!dirty.add(event(wd, AddWatchFlags::IN_IGNORED, None), now));
        assert_eq!(dirty.due(), None);
    }
}
