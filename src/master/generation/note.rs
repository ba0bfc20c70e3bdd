//! The note beside the snapshot at `SNAPSHOT_PATH`: of which source and revision its rows are, which the snapshot
//! itself does not tell. A master that starts with that snapshot never goes back behind it.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use nix::libc;
use serde::{Deserialize, Serialize};

use crate::config::SourceUrl;
use crate::control::Contents;

/// Bytes of the longest note.
const LEN_MAX: u64 = 16 * 1024;

/// The origin of a saved snapshot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Note {
    /// The hash of the snapshot that it belongs to.
    pub(crate) hash: String,
    /// The URL of the source, without secrets.
    source: String,
    revision: Option<u64>,
    mark: String,
}

impl Note {
    /// That of a snapshot with these contents, whose rows are of this source.
    pub(crate) fn of(contents: &Contents, source: &SourceUrl) -> Note {
        let Contents { hash, revision, mark, .. } = contents.clone();
        Note { hash, source: source.to_string(), revision, mark }
    }

    /// The contents with revision and mark, if the note belongs to them and to this source.
    pub(crate) fn complete(&self, contents: Contents, source: &SourceUrl) -> Contents {
        match self.hash == contents.hash && self.source == source.to_string() {
            true => Contents { revision: self.revision, mark: self.mark.clone(), ..contents },
            false => contents,
        }
    }

    /// The file of the note of the snapshot at `path`.
    pub(crate) fn path(path: &Path) -> PathBuf {
        let mut name = OsString::from(path);
        name.push(".revision");
        PathBuf::from(name)
    }

    /// Reads the note of the snapshot at `path`, which is open as `snapshot`; `None` if there is none.
    ///
    /// # Errors
    /// The file is unreadable, no note, or belongs to another user than the snapshot.
    pub(crate) fn read(path: &Path, snapshot: &OwnedFd) -> io::Result<Option<Note>> {
        let mut options = OpenOptions::new();
        let options = options.read(true).custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK);
        let file = match options.open(Note::path(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            file => file?,
        };
        let (metadata, of) = (file.metadata()?, File::from(snapshot.try_clone()?).metadata()?);
        if !metadata.is_file() || metadata.uid() != of.uid() || metadata.mode() & 0o022 != 0 {
            return Err(io::Error::other("it is no file of the snapshot's owner alone"));
        }
        let mut text = Vec::new();
        file.take(LEN_MAX).read_to_end(&mut text)?;
        Ok(Some(serde_json::from_slice(&text)?))
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::config::DatabaseUrl;

    fn source(text: &str) -> SourceUrl {
        SourceUrl::Database(DatabaseUrl::parse(text).unwrap())
    }

    #[test]
    fn note_is_of_one_snapshot_and_one_source() {
        let hashed = |hash: &str| Contents { hash: hash.to_owned(), ..Contents::default() };
        let contents = Contents { revision: Some(7), mark: "a".to_owned(), ..hashed("00ff") };
        let here = source("sqlite:////a");
        let note = Note::of(&contents, &here);
        assert_eq!(note.complete(hashed("00ff"), &here), contents);
        assert_eq!(note.complete(hashed("00fe"), &here), hashed("00fe"));
        assert_eq!(note.complete(hashed("00ff"), &source("sqlite:////b")), hashed("00ff"));
    }

    #[test]
    fn note_that_others_can_write_is_of_no_use() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("kept");
        fs::write(&path, "").unwrap();
        let read = || Note::read(&path, &File::open(&path).unwrap().into());
        assert_eq!(read().unwrap(), None);
        let note = Note::of(&Contents::default(), &source("sqlite:////a"));
        fs::write(Note::path(&path), serde_json::to_vec(&note).unwrap()).unwrap();
        // Another test may change the mode of new files at this moment.
        fs::set_permissions(Note::path(&path), Permissions::from_mode(0o644)).unwrap();
        assert_eq!(read().unwrap(), Some(note));
        fs::set_permissions(Note::path(&path), Permissions::from_mode(0o666)).unwrap();
        assert!(read().is_err());
        fs::write(Note::path(&path), "{").unwrap();
        fs::set_permissions(Note::path(&path), Permissions::from_mode(0o600)).unwrap();
        assert!(read().is_err());
    }
}
