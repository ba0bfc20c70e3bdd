//! The file with the master's process id, locked while it runs.
//!
//! A new file replaces an old one, which the master never writes to: a link or a file of another kind at the
//! path stays as it is, at the start and at the end.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::libc;
use nix::unistd::getpid;

use crate::master::error::MasterError;
use crate::master::handover::paths::{Holder, Identity, Name};

/// Most bytes of a pid file: a number, and blanks that a person may have put around it.
const LEN_MAX: u64 = 32;

/// The pid file of this master. The process that wrote it removes it when it drops the value.
pub(crate) struct PidFile {
    path: PathBuf,
    identity: Identity,
    /// The lock lasts as long as the file is open.
    _file: Flock<File>,
}

impl PidFile {
    /// Writes the pid file. It replaces the file of a process that is gone; the lock shows that, not the
    /// number in the file.
    ///
    /// # Errors
    /// Another master holds the file, something other than a pid file is there, or the file system refuses.
    pub(crate) fn create(path: &Path) -> Result<Self, MasterError> {
        let named = |error: io::Error| failed(path, error.to_string());
        loop {
            // As long as this file is locked, no other master takes the path.
            let Some(_held) = take_place(path)? else { continue };
            let draft = beside(path).map_err(named)?;
            let (file, identity) = write(&draft).map_err(named)?;
            if let Err(error) = fs::rename(&draft, path) {
                let _ = fs::remove_file(&draft);
                return Err(named(error));
            }
            return Ok(PidFile { path: path.to_owned(), identity, _file: file });
        }
    }

    /// Writes the file again, after a program has removed or replaced it.
    ///
    /// # Errors
    /// As with [`PidFile::create`]; the file at the path then stays as it is.
    pub(crate) fn restore(&mut self) -> Result<(), MasterError> {
        *self = PidFile::create(&self.path)?;
        Ok(())
    }

    /// Replaces the file of a master that has gone, unless the path holds something else by now.
    pub(crate) fn rename(&mut self, path: &Path) {
        if matches!(take_place(path), Ok(Some(_))) && fs::rename(&self.path, path).is_ok() {
            self.path = path.to_owned();
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Its path, and the file that the master has put there.
    pub(crate) fn name(&self) -> Name {
        (self.path.clone(), self.identity)
    }

    /// The owner of the path.
    pub(crate) fn holder(&self) -> Holder {
        self.identity.holder(&self.path)
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if self.holder() == Holder::Ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn failed(path: &Path, problem: String) -> MasterError {
    MasterError::PidFile { path: path.to_owned(), problem }
}

/// Locks the pid file at `path` that no master holds, or an empty file if there was none. Returns `None` if
/// another process has just replaced it.
fn take_place(path: &Path) -> Result<Option<Flock<File>>, MasterError> {
    let named = |problem: String| failed(path, problem);
    let failed = |error: io::Error| named(error.to_string());
    let mut options = OpenOptions::new();
    options.read(true).write(true).mode(0o644).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let (opened, changed) = match fs::symlink_metadata(path) {
        Ok(found) if found.is_file() => (options.open(path), io::ErrorKind::NotFound),
        Ok(found) => {
            let what = if found.is_symlink() { "a link" } else { "no regular file" };
            return Err(named(format!(
                "{what} is there, which is left alone; name another file, or remove it"
            )));
        }
        // The rename follows no link and replaces no file that has appeared meanwhile. If there is still no
        // file, the folder is missing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            (options.create_new(true).open(path), io::ErrorKind::AlreadyExists)
        }
        Err(error) => return Err(failed(error)),
    };
    let file = match opened {
        Err(error) if error.kind() == changed => return Ok(None),
        opened => opened.map_err(failed)?,
    };
    let mut content = Vec::new();
    (&file).take(LEN_MAX + 1).read_to_end(&mut content).map_err(failed)?;
    let text = String::from_utf8_lossy(&content);
    if content.len() as u64 > LEN_MAX || !text.trim().bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(named(
            "it holds something else than a process id, and is left alone; name another".to_owned(),
        ));
    }
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock)
        .map_err(|_| named(format!("another master runs, with pid {}", text.trim())))?;
    // The former owner may have replaced or removed it between this open and this lock.
    let identity = held.metadata().map(|found| Identity::of(&found)).map_err(failed)?;
    Ok((identity.holder(path) == Holder::Ours).then_some(held))
}

/// Creates a locked file with the pid of this process.
fn write(draft: &Path) -> io::Result<(Flock<File>, Identity)> {
    // This draft may belong to a process that had the same pid and was killed meanwhile.
    match fs::remove_file(draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o644)
        .custom_flags(libc::O_NOFOLLOW)
        .open(draft)?;
    let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno)?;
    writeln!(*file, "{}", getpid())?;
    let identity = Identity::of(&file.metadata()?);
    Ok((file, identity))
}

/// The name under which the file is written.
fn beside(path: &Path) -> io::Result<PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::other("it names no file"))?;
    let mut draft = OsString::from(".");
    draft.push(name);
    draft.push(format!(".{}", getpid()));
    Ok(path.with_file_name(draft))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_held_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        for before in ["99999999\n", "", "\n", " 1"] {
            fs::write(&path, before).unwrap();
            let held = PidFile::create(&path).unwrap();
            assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", getpid()));
            let error = PidFile::create(&path).err().unwrap().to_string();
            assert!(error.contains(&format!("another master runs, with pid {}", getpid())), "{error}");
            assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
            drop(held);
            assert!(!path.exists());
        }
    }

    #[test]
    fn missing_folder_is_named() {
        let error = PidFile::create(Path::new("/nowhere/at/all")).err().unwrap().to_string();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }

    #[test]
    fn file_that_is_no_pid_file_stays_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        let [path, target] = ["pid", "target"].map(|name| folder.path().join(name));
        for content in ["12 monkeys\n", "data", &"1".repeat(100)] {
            fs::write(&path, content).unwrap();
            assert!(PidFile::create(&path).err().unwrap().to_string().contains("left alone"));
            assert_eq!(fs::read_to_string(&path).unwrap(), content);
        }
        fs::remove_file(&path).unwrap();
        // A link, also one that leads to a pid file or nowhere.
        std::os::unix::fs::symlink(&target, &path).unwrap();
        for content in [None, Some("1\n")] {
            content.iter().for_each(|content| fs::write(&target, content).unwrap());
            assert!(PidFile::create(&path).err().unwrap().to_string().contains("a link is there"));
            assert_eq!(fs::read_to_string(&target).ok().as_deref(), content);
            assert!(path.is_symlink());
        }
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(PidFile::create(&path).err().unwrap().to_string().contains("no regular file"));
    }

    #[test]
    fn file_that_has_taken_the_name_stays_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        let held = PidFile::create(&path).unwrap();
        fs::remove_file(&path).unwrap();
        assert_eq!(held.holder(), Holder::Unheld);
        fs::write(&path, "another's\n").unwrap();
        assert_eq!(held.holder(), Holder::Another);
        drop(held);
        assert_eq!(fs::read_to_string(&path).unwrap(), "another's\n");
    }

    #[test]
    fn former_name_is_taken_over_unless_it_is_something_else() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["pid", "pid.2"].map(|name| folder.path().join(name));
        let mut held = PidFile::create(&second).unwrap();
        fs::write(&first, "data").unwrap();
        held.rename(&first);
        assert_eq!((held.path(), fs::read_to_string(&first).unwrap().as_str()), (second.as_path(), "data"));
        fs::write(&first, "7\n").unwrap();
        held.rename(&first);
        assert_eq!((held.path(), second.exists()), (first.as_path(), false));
    }
}
