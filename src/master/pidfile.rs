//! The file with the master's process id, locked while it runs.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg};
use nix::unistd::getpid;

/// A pid file of ours; removed when dropped by the process that wrote it.
pub(super) struct PidFile {
    path: PathBuf,
    file: Flock<File>,
}

impl PidFile {
    /// Writes the pid file. One left by a process that is gone is taken over; the lock, not
    /// the number in it, tells.
    ///
    /// # Errors
    /// A sentence that names the file, and the master that holds it.
    pub(super) fn create(path: &Path) -> Result<Self, String> {
        let named = |error: io::Error| format!("pid file {}: {error}", path.display());
        loop {
            let file = OpenOptions::new()
                .read(true)
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o644)
                .open(path)
                .map_err(named)?;
            let mut file = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(mut file, _)| {
                let mut holder = String::new();
                let _ = file.read_to_string(&mut holder);
                format!("pid file {}: another master runs, with pid {}", path.display(), holder.trim())
            })?;
            // Its former owner may have removed it between our open and our lock.
            if !same_file(&file, path) {
                continue;
            }
            file.set_len(0).and_then(|()| writeln!(*file, "{}", getpid())).map_err(named)?;
            return Ok(PidFile { path: path.to_owned(), file });
        }
    }

    /// Takes the place of the file of a master that has gone.
    pub(super) fn rename(&mut self, path: &Path) {
        if fs::rename(&self.path, path).is_ok() {
            self.path = path.to_owned();
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        if same_file(&self.file, &self.path) {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    let identity = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::metadata(path)) {
        (Ok(open), Ok(named)) => identity(open) == identity(named),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pid_file_is_held_and_removed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pid");
        fs::write(&path, "99999999\n").unwrap();
        let held = PidFile::create(&path).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", getpid()));
        let error = PidFile::create(&path).err().unwrap();
        assert!(error.contains(&format!("another master runs, with pid {}", getpid())), "{error}");
        drop(held);
        assert!(!path.exists());
    }

    #[test]
    fn missing_folder_is_named() {
        let error = PidFile::create(Path::new("/nowhere/at/all")).err().unwrap();
        assert!(error.contains("/nowhere/at/all"), "{error}");
    }
}
