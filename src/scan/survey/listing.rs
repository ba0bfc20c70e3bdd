//! The entries of a folder: the survey keeps unchanged files and reads the others.

use std::ffi::OsStr;
use std::path::Path;

use slog::{info, warn};

use super::task::{self, Task};
use super::{Plan, Survey};
use crate::model::library::{Outcome, Stamps};
use crate::scan::exclude::IGNORE_FILE;
use crate::scan::folders::{Reach, Visited};
use crate::scan::previous::{Index, Mark, Previous};
use crate::scan::shown::shown;
use crate::scan::skipped::Reason;
use crate::scan::stamping::{Stamping, UNSTABLE, is_suspect};
use crate::scan::walk::{Folder, Kind, Listing};

impl Survey<'_> {
    /// Takes in the listing of a folder, and returns the tasks that follow from it. If the early
    /// walk listed it, its folders were handed in already.
    pub(super) fn add_listing(
        &mut self,
        folder: Folder,
        mut listing: Listing,
        went_ahead: bool,
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Vec<Task> {
        for problem in &listing.bad_patterns {
            let file = folder.path.join(IGNORE_FILE);
            warn!(plan.log, "Passed over a pattern of {}: {problem}", shown(&file));
        }
        let place = previous.place(&folder.path);
        let is_unstable =
            !plan.full && previous.folder(&folder.path).is_some_and(|old| old.fs_type == UNSTABLE);
        // A scan of some paths begins in the middle of a file system.
        let is_start = listing.is_mount || folder.only.is_some() || *folder.root == *folder.path;
        let stamping = match (is_start, is_unstable) {
            (true, true) => Stamping::of(UNSTABLE),
            (true, false) => Stamping::of(listing.fs_type),
            (false, _) => self.stamping_above(&folder.path),
        };
        let mut tasks = Vec::new();
        let (mut files, mut folders, mut kept) = (0, 0, 0);
        for entry in std::mem::take(&mut listing.entries) {
            self.found += usize::from(!matches!(entry.kind, Kind::Folder));
            match entry.kind {
                Kind::File(stamps) => {
                    let known = place.and_then(|place| previous.find_in(place, &entry.name));
                    match compare(previous, known, stamps, stamping, plan.full) {
                        Look::No(index) => {
                            kept += 1;
                            self.keep(index, &folder.path, &entry.name, plan, previous);
                        }
                        Look::Perhaps(index) => {
                            self.suspects.push(&folder.root, index, folder.path.join(&entry.name));
                        }
                        Look::Yes => {
                            files += 1;
                            tasks.push(Task::Read(folder.path.join(&entry.name)));
                        }
                    }
                }
                Kind::Folder => {
                    folders += 1;
                    if !went_ahead {
                        let path = folder.path.join(&entry.name);
                        let wants_stamps = previous.folder(&path).is_some();
                        tasks.push(task::below(&folder, &listing, path, plan.roots, wants_stamps));
                    }
                }
                kind => self.pass_over(folder.path.join(&entry.name), kind, plan),
            }
        }
        if kept > 0 {
            self.folders.id(&folder.path, previous);
        }
        plan.progress.found(files, folders);
        plan.progress.listed();
        self.visit(folder, &listing, (stamping, is_unstable), plan, previous);
        tasks
    }

    /// Records a listed folder.
    fn visit(
        &mut self,
        folder: Folder,
        listing: &Listing,
        (stamping, is_unstable): (Stamping, bool),
        plan: &Plan<'_>,
        previous: &Previous,
    ) {
        let reach = match &listing.error {
            None => Reach::Listed,
            Some(error) => self.lose_folder(&folder.path, &error.to_string(), plan.log),
        };
        // The stored kind does not depend on where a scan of some paths begins.
        let fs_type = match listing.is_mount || *folder.root == *folder.path {
            true if is_unstable => UNSTABLE,
            true => listing.fs_type,
            false => 0,
        };
        let Listing { is_mount, is_empty, .. } = *listing;
        let visited = Visited { reach, root: folder.root, is_mount, fs_type, stamping, is_empty };
        self.folders.visit(&folder.path, visited, previous);
    }

    /// Returns the stamping of the folder that holds `path`, which was listed before.
    fn stamping_above(&self, path: &Path) -> Stamping {
        let above = path.parent().and_then(|above| self.folders.visited(above));
        above.map_or(Stamping::Exact, |above| above.stamping)
    }

    /// Takes over the record that the last scan made of a file. The caller ensures that its folder
    /// is stored.
    pub(super) fn keep(
        &mut self,
        index: Index,
        folder: &Path,
        name: &OsStr,
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) {
        previous.mark(index, Mark::Unchanged);
        self.unchanged += 1;
        let reason = match previous.file(index).outcome {
            Outcome::Song => {
                self.songs += 1;
                self.added += usize::from(previous.has_rowless() && previous.is_rowless(&folder.join(name)));
                return;
            }
            Outcome::NotAudio => Reason::NotAudio,
            Outcome::Unsupported => Reason::Unsupported,
            Outcome::Broken => Reason::Unreadable,
        };
        let path = folder.join(name);
        self.skips.add(reason, &path, None);
        if plan.verbose {
            info!(plan.log, "Skipped {}: {}, as the last scan found", shown(&path), reason.text());
        }
    }
}

/// Whether a file must be read.
enum Look {
    Yes,
    /// Only stamps differ that a file system may invent.
    Perhaps(Index),
    /// The file is unchanged.
    No(Index),
}

fn compare(
    previous: &Previous,
    known: Option<Index>,
    stamps: Option<Stamps>,
    stamping: Stamping,
    full: bool,
) -> Look {
    let (Some(index), Some(stamps), false) = (known, stamps, full) else { return Look::Yes };
    let known = previous.file(index);
    match known.is_settled {
        true if stamping.is_same(&known.stamps, &stamps) => Look::No(index),
        true if !stamping.is_sure() && is_suspect(&known.stamps, &stamps) => Look::Perhaps(index),
        _ => Look::Yes,
    }
}
