//! The lock of the database, and the beginning of a scan before its paths are known: a watch reads the state of the
//! last scan while it waits until programs have written their files.

use slog::{Level, Logger, debug, error, info, warn};

use super::error::ScanError;
use super::job::Job;
use super::previous::{self, Previous, Rows};
use crate::config::DatabaseUrl;
use crate::database::{Holder, Notice, Session};

/// A scan that holds the lock of the database and has read the state of the last scan.
pub(super) struct Early {
    pub(super) me: Holder,
    pub(super) session: Session,
    pub(super) state: (Previous, Rows),
}

impl Early {
    /// Takes the lock, and reads the state.
    ///
    /// # Errors
    /// If another scan runs, or the database cannot be read.
    pub(super) fn begin(job: &Job, log: &Logger) -> Result<Early, ScanError> {
        let me = Holder::this_process();
        let mut session = open(&job.database, &me, log)?;
        let state = previous::read(&mut session)?;
        Ok(Early { me, session, state })
    }
}

/// Opens the database and takes the scan lock. This comes before the first music file is opened.
pub(super) fn open(url: &DatabaseUrl, me: &Holder, log: &Logger) -> Result<Session, ScanError> {
    let log = log.clone();
    let tell = move |notice: Notice| match notice.level() {
        Level::Critical | Level::Error => error!(log, "{notice}"),
        Level::Warning => warn!(log, "{notice}"),
        Level::Info => info!(log, "{notice}"),
        Level::Debug | Level::Trace => debug!(log, "{notice}"),
    };
    Ok(Session::open(url, me, tell)?)
}
