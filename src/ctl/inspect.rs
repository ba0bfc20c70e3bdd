//! `avalonctl inspect`: a report on a snapshot.

use std::io::Cursor;
use std::path::PathBuf;
use std::time::Instant;

use super::exit::Exit;
use crate::cli::chain;
use crate::config::{self, DatabaseUrl, Overrides};
use crate::database;
use crate::rows::scratch::Folder;
use crate::snapshot::{self, inspect};

/// Returns a report on the snapshot in a file, or on one that this function builds from a database.
pub(super) fn report(
    overrides: &Overrides,
    snapshot: Option<PathBuf>,
    database: Option<String>,
) -> Result<String, (Exit, String)> {
    let config = || config::load(overrides).map_err(|error| (Exit::Usage, chain(&error)));
    let file = match (snapshot, &database) {
        (None, None) => config()?.snapshot_path.clone().filter(|path| path.exists()),
        (file, _) => file,
    };
    if let Some(path) = file {
        let bytes =
            std::fs::read(&path).map_err(|error| (Exit::Failed, format!("{}: {error}", path.display())))?;
        return inspect::report(&bytes)
            .map_err(|error| (Exit::Failed, format!("{}: {}", path.display(), chain(&error))));
    }
    let url = match database.filter(|url| !url.is_empty()) {
        Some(url) => DatabaseUrl::parse(&url).map_err(|error| (Exit::Usage, chain(&error)))?,
        None => config()?.database_url,
    };
    let begin = Instant::now();
    let loaded = database::load(&url, &Folder::default()).map_err(|error| (Exit::Failed, chain(&error)))?;
    let read = begin.elapsed();
    let mut bytes = Cursor::new(Vec::new());
    snapshot::build(&loaded.rows, &mut bytes).map_err(|error| (Exit::Failed, chain(&error)))?;
    let built = begin.elapsed() - read;
    let report = inspect::report(bytes.get_ref()).map_err(|error| (Exit::Failed, chain(&error)))?;
    let (read, built) = (read.as_secs_f64(), built.as_secs_f64());
    Ok(format!("{url}: read in {read:.3} s, snapshot built in {built:.3} s\n{report}"))
}
