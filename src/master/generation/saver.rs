//! The short-lived child that writes the snapshot to `SNAPSHOT_PATH`, so that the next start
//! serves before a load of the database.
//!
//! The file is replaced as a whole: it gets a name beside its place, is synced, and renamed. No reader ever sees half
//! of it, and a process that has mapped the former file keeps that one as it was. The file that workers map gets
//! the name itself if it is in the same file system; another one is copied.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, Read, Seek};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Instant;

use nix::libc;
use nix::unistd::Pid;
use slog::{Logger, info, warn};

use crate::master::exit::ExitCode;
use crate::master::generation::note::Note;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::snapshot::storage;
use crate::telemetry::Log;
use crate::title;

/// The saver at work, and the work of the last one.
#[derive(Default)]
pub(crate) struct Saver {
    pid: Option<Pid>,
    /// File and note of the last snapshot, saved or not.
    last: Option<(PathBuf, Note)>,
}

impl Saver {
    /// The file at `path` already holds the snapshot of this note.
    pub(crate) fn holds(&mut self, path: &Path, note: Note) {
        self.last = Some((path.to_owned(), note));
    }

    /// Forks a saver of the sealed `snapshot`, to which `note` belongs, unless both are saved already
    /// or another saver is still at work: at its end the master asks again.
    ///
    /// # Errors
    /// The kernel's error for the descriptor or the fork.
    pub(crate) fn save(
        &mut self,
        snapshot: &OwnedFd,
        note: Note,
        path: &Path,
        log: &Log,
        first: FirstSteps<'_>,
    ) -> io::Result<()> {
        let last = self.last.as_ref().filter(|(file, _)| file == path).map(|(_, last)| last);
        if last == Some(&note) || self.pid.is_some() {
            return Ok(());
        }
        // Of rows that are the same only their revision is new.
        let has_rows = last.is_some_and(|last| last.hash == note.hash);
        self.holds(path, note.clone());
        // Opened again, before the change of user, for a position that no other process moves.
        let snapshot = File::open(format!("/proc/self/fd/{}", snapshot.as_raw_fd()))?;
        self.pid = Some(fork(&first.keeping([snapshot.as_fd()]), || {
            title::set("avalon: saver");
            report((!has_rows).then_some(snapshot), &note, path, log.for_process("saver").logger())
        })?);
        Ok(())
    }

    /// Whether it was the saver that has ended.
    pub(crate) fn ended(&mut self, pid: Pid) -> bool {
        self.pid.take_if(|saver| *saver == pid).is_some()
    }

    /// The process at work.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.pid
    }
}

fn report(snapshot: Option<File>, note: &Note, path: &Path, log: &Logger) -> ExitCode {
    let begin = Instant::now();
    let saved = snapshot.map(|snapshot| save(snapshot, path)).transpose();
    let noted = || {
        serde_json::to_vec(note)
            .map_err(io::Error::from)
            .and_then(|text| put(&Note::path(path), |draft| copy(&text[..], draft)))
    };
    match saved.and_then(|bytes| noted().map(|_| bytes)) {
        Ok(None) => ExitCode::Stopped,
        Ok(Some(bytes)) => {
            info!(log, "snapshot saved"; "path" => %path.display(), "bytes" => bytes,
                "seconds" => format!("{:.3}", begin.elapsed().as_secs_f32()));
            ExitCode::Stopped
        }
        Err(error) => {
            warn!(log, "the snapshot is not saved, the next start loads the collection first: {}", error;
                "path" => %path.display());
            ExitCode::Failure
        }
    }
}

/// Makes `snapshot` the file at `path`; returns the number of bytes.
fn save(mut snapshot: File, path: &Path) -> io::Result<u64> {
    if !storage::is_replaceable(path)? {
        let message = "something else than a snapshot is there, and is left alone";
        return Err(io::Error::new(io::ErrorKind::AlreadyExists, message));
    }
    put(path, |draft| {
        if storage::link(&snapshot, draft)? {
            complete(&snapshot)?;
            return Ok(snapshot.metadata()?.len());
        }
        snapshot.rewind()?;
        copy(&mut snapshot, draft)
    })
}

/// Replaces the file at `path` as a whole by the draft that `make` puts there; returns the number of bytes.
fn put(path: &Path, make: impl FnOnce(&Path) -> io::Result<u64>) -> io::Result<u64> {
    let draft = beside(path)?;
    let saved = without(&draft).and_then(|()| make(&draft)).and_then(|bytes| {
        fs::rename(&draft, path)?;
        // The new name is on the disk only when its folder is.
        File::open(storage::folder_of(path))?.sync_all()?;
        Ok(bytes)
    });
    if saved.is_err() {
        // It is gone already if the folder failed; nothing else can be done about it.
        let _ = fs::remove_file(&draft);
    }
    saved
}

/// Removes the draft that a killed saver may have left.
fn without(draft: &Path) -> io::Result<()> {
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Writes `content` to a new file.
fn copy(mut content: impl Read, draft: &Path) -> io::Result<u64> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW)
        .open(draft)?;
    let bytes = io::copy(&mut content, &mut file)?;
    complete(&file)?;
    Ok(bytes)
}

/// The file must not change any more, and be on the disk before it replaces another one.
fn complete(file: &File) -> io::Result<()> {
    file.set_permissions(Permissions::from_mode(0o400))?;
    file.sync_all()
}

/// The name of the file until it is whole.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(".new");
    Ok(storage::folder_of(path).join(draft))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    fn snapshot(bytes: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(bytes).unwrap();
        file
    }

    fn content(folder: &Path) -> Vec<(String, Vec<u8>)> {
        let files = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap());
        files.map(|file| (file.file_name().into_string().unwrap(), fs::read(file.path()).unwrap())).collect()
    }

    #[test]
    fn former_file_is_replaced_and_nothing_is_left_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::write(folder.path().join(".kept.new"), b"of a saver that was killed").unwrap();
        assert_eq!(save(snapshot(b"\x89AVLN\r\n\x1afirst"), &path).unwrap(), 13);
        let mut former = File::open(&path).unwrap();
        assert_eq!(save(snapshot(b"\x89AVLN\r\n\x1asecond"), &path).unwrap(), 14);
        assert_eq!(content(folder.path()), [("kept".to_owned(), b"\x89AVLN\r\n\x1asecond".to_vec())]);
        let mut bytes = Vec::new();
        former.read_to_end(&mut bytes).unwrap();
        assert!(bytes.ends_with(b"first"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o400);
    }

    #[test]
    fn file_that_is_no_snapshot_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [path, target] = ["kept", "target"].map(|name| folder.path().join(name));
        fs::write(&path, "a database").unwrap();
        assert!(save(snapshot(b"new"), &path).unwrap_err().to_string().contains("left alone"));
        assert_eq!(content(folder.path()), [("kept".to_owned(), b"a database".to_vec())]);
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink(&target, &path).unwrap();
        assert!(save(snapshot(b"new"), &path).is_err());
        assert!(path.is_symlink() && !target.exists());
    }

    #[test]
    fn failure_leaves_the_former_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        // A file cannot replace a folder.
        fs::create_dir(&path).unwrap();
        fs::write(path.join("inside"), b"").unwrap();
        assert!(save(snapshot(b"new"), &path).is_err());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(save(snapshot(b"new"), &folder.path().join("nowhere/kept")).is_err());
    }
}
