//! The reasons why a scan stores nothing. The old collection is intact after each of them.

use std::error::Error;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::exclude::PatternError;
use super::loss::Loss;
use super::shown::shown;
use super::skipped::Skipped;
use crate::database::{DatabaseError, Unstorable};

/// The reason why a scan stores nothing.
#[derive(Debug)]
pub enum ScanError {
    /// A path to scan that does not exist.
    Missing {
        /// The path.
        path: PathBuf,
    },
    /// A path to scan that is no folder.
    NotFolder {
        /// The path.
        path: PathBuf,
    },
    /// A path to scan whose entries cannot be listed.
    Unreadable {
        /// The path.
        path: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// A path to scan lies inside a folder of COLLECTION, so storing it alone would remove
    /// the rest of that folder.
    InsideCollection {
        /// The path.
        path: PathBuf,
        /// The folder of COLLECTION.
        folder: PathBuf,
    },
    /// A path that is to be scanned alone lies below none of the roots.
    OutsideRoots {
        /// The path.
        path: PathBuf,
        /// The roots.
        roots: Vec<PathBuf>,
    },
    /// EXCLUDE holds an invalid pattern.
    Pattern(PatternError),
    /// No song lies below any of the paths. An unmounted folder is a more likely cause than an
    /// empty collection.
    NothingReadable {
        /// The counts of skipped files and folders.
        skipped: Skipped,
    },
    /// Too many songs of the last scan would disappear.
    TooMuchLost {
        /// The places, and their losses.
        losses: Vec<Loss>,
    },
    /// None of the folders exists, although the last scan found songs in them.
    NothingThere {
        /// Each folder, and the reason why it cannot be read.
        roots: Vec<(PathBuf, String)>,
        /// Songs of the last scan below them.
        songs: usize,
    },
    /// The database cannot hold a text.
    Unstorable {
        /// The file that holds it.
        path: PathBuf,
        /// The field that holds it.
        field: &'static str,
        /// The text.
        value: String,
        /// The encoding of the database, and the advice for the user.
        why: Unstorable,
    },
    /// The database failed.
    Database(DatabaseError),
    /// The kernel refused a thread.
    Threads(io::Error),
    /// The temporary folder cannot keep the records until they are stored.
    Spool(io::Error),
}

impl fmt::Display for ScanError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScanError::Missing { path } => write!(f, "folder {} does not exist", path.display()),
            ScanError::NotFolder { path } => {
                write!(f, "{} is not a folder; give the folder that holds the music", path.display())
            }
            ScanError::Unreadable { path, .. } => write!(f, "folder {} cannot be read", path.display()),
            ScanError::InsideCollection { path, folder } => write_inside(f, path, folder),
            ScanError::OutsideRoots { path, roots } => write_outside(f, path, roots),
            ScanError::Pattern(problem) => write!(f, "EXCLUDE holds an invalid pattern: {problem}"),
            ScanError::NothingReadable { skipped } => write!(
                f,
                "no audio was found, files skipped: {skipped}; is the folder mounted? To store an empty \
                 collection, add --allow-empty"
            ),
            ScanError::TooMuchLost { losses } => write_losses(f, losses),
            ScanError::NothingThere { roots, songs } => {
                let roots: Vec<String> =
                    roots.iter().map(|(root, why)| format!("{} ({why})", root.display())).collect();
                write!(
                    f,
                    "refused: all {songs} songs of the last scan would disappear, because no folder can be \
                     reached: {}; is it mounted? The old collection is untouched. If this loss is meant, \
                     add --force or --expect-loss PATH",
                    roots.join(", ")
                )
            }
            ScanError::Unstorable { path, field, value, why } => {
                write!(f, "the {field} of {} cannot be stored, {value:?}: {why}", shown(path))
            }
            ScanError::Database(error) => error.fmt(f),
            ScanError::Threads(_) => f.write_str("cannot start a thread"),
            ScanError::Spool(_) => write!(
                f,
                "cannot keep the records of scanned files in {}; set TMPDIR to another folder",
                std::env::temp_dir().display()
            ),
        }
    }
}

fn write_inside(f: &mut fmt::Formatter<'_>, path: &Path, folder: &Path) -> fmt::Result {
    write!(
        f,
        "{} lies inside {}, a folder of COLLECTION: a scan of it would remove all other songs from the \
         database. To bring this part up to date, add --only; to keep only the songs of {}, add --replace",
        path.display(),
        folder.display(),
        path.display()
    )
}

fn write_outside(f: &mut fmt::Formatter<'_>, path: &Path, roots: &[PathBuf]) -> fmt::Result {
    if roots.is_empty() {
        return write!(
            f,
            "--only {}: COLLECTION names no folder and nothing was scanned yet; scan the whole folder first",
            path.display()
        );
    }
    let roots: Vec<String> = roots.iter().map(|root| root.display().to_string()).collect();
    write!(
        f,
        "--only {}: the path lies below none of the scanned folders ({})",
        path.display(),
        roots.join(", ")
    )
}

fn write_losses(f: &mut fmt::Formatter<'_>, losses: &[Loss]) -> fmt::Result {
    f.write_str("refused, too much would be lost: ")?;
    for (index, loss) in losses.iter().enumerate() {
        write!(f, "{}{loss}", if index == 0 { "" } else { "; " })?;
    }
    f.write_str(
        ". Is everything mounted? The old collection is untouched. If this loss is meant, add --force or \
         --expect-loss PATH",
    )
}

impl Error for ScanError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            ScanError::Unreadable { source, .. } | ScanError::Threads(source) | ScanError::Spool(source) => {
                Some(source)
            }
            _ => None,
        }
    }
}

impl From<DatabaseError> for ScanError {
    fn from(error: DatabaseError) -> ScanError {
        ScanError::Database(error)
    }
}
