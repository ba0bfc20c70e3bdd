//! The files that a pass itself writes. Changes of them begin no pass.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::config::database_url::Backend;
use crate::scan::{Job, roots};

/// Returns the database and the log, if they lie among the music, without links. A pass writes to
/// them, and that must not begin the next pass.
pub(super) fn files(job: &Job, log_path: Option<&PathBuf>) -> Vec<PathBuf> {
    let database = match job.database.backend() {
        Backend::Sqlite(path) => Some(path.clone()),
        Backend::Postgres(_) => None,
    };
    let real = |path: PathBuf| {
        let path = roots::absolute(&path).ok()?;
        let folder = fs::canonicalize(path.parent()?).ok()?;
        Some(folder.join(path.file_name()?))
    };
    database.into_iter().chain(log_path.cloned()).filter_map(real).collect()
}

/// Reports whether `path` is one of these files, or one that SQLite or the scan keeps beside it.
pub(super) fn is_own(own: &[PathBuf], path: &Path) -> bool {
    let name = |path: &Path| path.file_name().map(OsStr::as_bytes).unwrap_or_default().to_vec();
    own.iter().any(|own| own.parent() == path.parent() && name(path).starts_with(&name(own)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_a_pass_writes_are_known_by_their_names() {
        let own = [PathBuf::from("/music/avalon.sqlite")];
        for (path, expected) in [
            ("/music/avalon.sqlite", true),
            ("/music/avalon.sqlite-wal", true),
            ("/music/avalon.sqlite.scan", true),
            ("/music/a/avalon.sqlite", false),
            ("/music/avalon.mp3", false),
        ] {
            assert_eq!(is_own(&own, Path::new(path)), expected, "{path}");
        }
    }
}
