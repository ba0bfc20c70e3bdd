//! Temporary bytes: few of them stay in memory, many are in a file without a name, whose pages the kernel may
//! evict. The program writes them from the first to the last, and then reads them in any order.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::ops::Deref;
use std::path::{Path, PathBuf};

use memmap2::Mmap;

/// Most bytes that stay in memory, and the bytes that one write to the file takes.
const MEMORY_MAX: usize = 2 << 20;

/// The folder of temporary files.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// The folder `folder`, or without one that of TMPDIR.
    pub fn new(folder: Option<&Path>) -> Self {
        Folder(folder.map_or_else(std::env::temp_dir, Path::to_owned))
    }

    /// Opens a file without a name. If the account may not write in the folder, as that of a server whose
    /// folder belongs to root, the file is in the folder of TMPDIR.
    fn file(&self) -> Result<File, ScratchError> {
        match tempfile::tempfile_in(&self.0) {
            Err(error)
                if error.kind() == io::ErrorKind::PermissionDenied && self.0 != std::env::temp_dir() =>
            {
                Folder::default().file()
            }
            outcome => outcome.map_err(|error| self.context(error)),
        }
    }

    /// An error in this folder.
    fn context(&self, error: io::Error) -> ScratchError {
        ScratchError { folder: self.0.clone(), source: error }
    }
}

impl Default for Folder {
    fn default() -> Self {
        Folder::new(None)
    }
}

/// A temporary file that could not be made, written or mapped.
#[derive(Debug)]
pub struct ScratchError {
    /// The folder.
    pub folder: PathBuf,
    /// The kernel's error.
    pub source: io::Error,
}

impl fmt::Display for ScratchError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let folder = self.folder.display();
        write!(
            f,
            "cannot keep the rows in {folder} for the build (SNAPSHOT_DIR or TMPDIR names another folder)"
        )
    }
}

impl Error for ScratchError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.source)
    }
}

/// Collects bytes.
#[derive(Debug)]
pub struct Scratch {
    folder: Folder,
    /// A file without a name, once there are many bytes.
    file: Option<File>,
    /// The bytes that follow those in the file.
    memory: Vec<u8>,
    len: u64,
}

impl Scratch {
    /// Begins without bytes.
    pub fn new(folder: &Folder) -> Self {
        Scratch { folder: folder.clone(), file: None, memory: Vec::new(), len: 0 }
    }

    /// The number of bytes.
    pub fn size(&self) -> u64 {
        self.len
    }

    /// Appends `bytes`.
    ///
    /// # Errors
    /// The folder is missing, full or read-only.
    #[inline]
    pub fn push(&mut self, bytes: &[u8]) -> Result<(), ScratchError> {
        self.memory.extend_from_slice(bytes);
        self.len += bytes.len() as u64;
        if self.memory.len() >= MEMORY_MAX { self.spill() } else { Ok(()) }
    }

    fn spill(&mut self) -> Result<(), ScratchError> {
        let file = match &mut self.file {
            Some(file) => file,
            none => none.insert(self.folder.file()?),
        };
        file.write_all(&self.memory).map_err(|error| self.folder.context(error))?;
        self.memory.clear();
        Ok(())
    }

    /// The bytes, for reads in any order.
    ///
    /// # Errors
    /// As for [`Scratch::push`], or the kernel cannot map the file.
    pub fn finish(mut self) -> Result<Stored, ScratchError> {
        if self.file.is_some() {
            self.spill()?;
        }
        match self.file {
            None => Ok(Stored::Memory(self.memory)),
            Some(file) => map(file).map(Stored::Mapped).map_err(|error| self.folder.context(error)),
        }
    }
}

/// Bytes that are written and can be read.
#[derive(Debug)]
pub enum Stored {
    /// Few bytes.
    Memory(Vec<u8>),
    /// Many bytes, in a file without a name.
    Mapped(Mmap),
}

impl Deref for Stored {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Stored::Memory(bytes) => bytes,
            Stored::Mapped(map) => map,
        }
    }
}

/// Maps a file without a name, and closes it.
#[allow(unsafe_code)]
fn map(file: File) -> io::Result<Mmap> {
    // SAFETY: the bytes never change and never go away while they are mapped. The file has no name, so no other
    // process can open it, and its only descriptor is closed before the mapping is handed out.
    unsafe { Mmap::map(&file) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_bytes_stay_in_memory_and_many_are_mapped() {
        let folder = tempfile::tempdir().unwrap();
        for (len, is_mapped) in [(0, false), (1000, false), (MEMORY_MAX + 7, true), (3 * MEMORY_MAX, true)] {
            let mut scratch = Scratch::new(&Folder::new(Some(folder.path())));
            let bytes: Vec<u8> = (0..len).map(|at| (at % 251) as u8).collect();
            bytes.chunks(999).for_each(|chunk| scratch.push(chunk).unwrap());
            assert_eq!(scratch.size(), len as u64);
            let stored = scratch.finish().unwrap();
            assert!(stored[..] == bytes && matches!(stored, Stored::Mapped(_)) == is_mapped, "{len}");
        }
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "the files have no names");
    }

    #[test]
    fn missing_folder_is_named_once_it_is_needed() {
        let mut scratch = Scratch::new(&Folder::new(Some(Path::new("/nowhere/at/all"))));
        scratch.push(b"few").unwrap();
        let error = scratch.push(&vec![0; MEMORY_MAX]).unwrap_err();
        assert!(
            error.to_string().contains("/nowhere/at/all") && error.to_string().contains("TMPDIR"),
            "{error}"
        );
        assert_eq!(error.source.kind(), io::ErrorKind::NotFound);
    }
}
