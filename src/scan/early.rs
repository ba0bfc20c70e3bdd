//! The beginning of a scan, before its paths are known. A watch reads the state of the last scan while it waits
//! until programs have written their files.

use slog::Logger;

use super::error::ScanError;
use super::job::Job;
use super::open;
use super::previous::{self, Previous, Rows};
use crate::database::{Holder, Session};

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
