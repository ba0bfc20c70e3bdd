//! Waits for locks of other clients, with messages and with a limit.

use std::time::{Duration, Instant};

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, Transaction};

use super::tables::Failure;
use crate::database::DatabaseError;
use crate::database::connect::Place;
use crate::database::error::ANOTHER_PROGRAM;
use crate::database::holder::Patience;
use crate::database::notice::{Notice, Tell};

/// Everything that the report of a wait needs.
pub(super) struct Waiter<'a> {
    pub(super) place: &'a Place,
    pub(super) patience: Patience,
    pub(super) tell: &'a Tell,
    /// Another connection, which finds out who holds a lock.
    pub(super) watch: &'a mut Client,
}

/// The reason why work that may wait was not done.
#[derive(Debug)]
pub(super) enum Stopped {
    Failed(Failure),
    Ended(DatabaseError),
}

impl<F: Into<Failure>> From<F> for Stopped {
    fn from(failure: F) -> Stopped {
        Stopped::Failed(failure.into())
    }
}

impl Waiter<'_> {
    /// Does `work`, and repeats it as long as another client holds a lock on one of `tables`. `conflicting`
    /// are the modes of locks that block it.
    pub(super) fn run<T>(
        &mut self,
        transaction: &mut Transaction<'_>,
        tables: &[&str],
        conflicting: &[&str],
        mut work: impl FnMut(&mut Transaction<'_>) -> Result<T, Failure>,
    ) -> Result<T, Stopped> {
        let began = Instant::now();
        let mut by = None;
        transaction.batch_execute("SAVEPOINT waiting")?;
        loop {
            let left = self.patience.give_up.saturating_sub(began.elapsed());
            limit_waits(transaction, self.patience.announce.min(left))?;
            match work(transaction) {
                Ok(done) => {
                    transaction.batch_execute("RELEASE SAVEPOINT waiting")?;
                    // The next statements need no more locks; if they do, their wait has a limit as well.
                    limit_waits(transaction, self.patience.give_up)?;
                    return Ok(done);
                }
                Err(Failure::Sql(error)) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => {}
                Err(failure) => return Err(failure.into()),
            }
            transaction.batch_execute("ROLLBACK TO SAVEPOINT waiting")?;
            let seconds = began.elapsed().as_secs();
            let is_told = by.is_some();
            let by = by.get_or_insert_with(|| {
                let found = holders(self.watch, tables, conflicting);
                found.ok().flatten().unwrap_or_else(|| ANOTHER_PROGRAM.to_owned())
            });
            if began.elapsed() >= self.patience.give_up {
                let (database, by) = (self.place.label(), by.clone());
                return Err(Stopped::Ended(DatabaseError::Locked { database, by, seconds }));
            }
            if !is_told {
                (self.tell)(Notice::Waiting {
                    database: self.place.label(),
                    by: by.clone(),
                    seconds,
                    limit: self.patience.give_up.as_secs(),
                });
            }
        }
    }
}

/// Limits waits. The server reads zero as no limit, so the limit is at least a millisecond.
fn limit_waits(transaction: &mut Transaction<'_>, limit: Duration) -> Result<(), Error> {
    transaction.batch_execute(&format!("SET LOCAL lock_timeout = {}", limit.as_millis().max(1)))
}

/// The clients that hold such locks now, as a text; `None` if there are none. The connection holds the lock
/// of the scan, which an error outside of a savepoint would release.
fn holders(watch: &mut Client, tables: &[&str], modes: &[&str]) -> Result<Option<String>, Error> {
    watch.batch_execute("SAVEPOINT looking")?;
    let found = look_for_holders(watch, tables, modes);
    watch.batch_execute("ROLLBACK TO SAVEPOINT looking; RELEASE SAVEPOINT looking")?;
    found
}

fn look_for_holders(watch: &mut Client, tables: &[&str], modes: &[&str]) -> Result<Option<String>, Error> {
    let rows = watch.query(
        "SELECT DISTINCT a.pid, coalesce(a.application_name, ''), coalesce(a.usename::text, '')
           FROM pg_locks l JOIN pg_stat_activity a USING (pid)
          WHERE locktype = 'relation' AND granted AND mode = ANY($2)
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND relation IN (SELECT to_regclass(name) FROM unnest($1::text[]) AS name)
          ORDER BY 1 LIMIT 5",
        &[&tables, &modes],
    )?;
    let mut names = Vec::new();
    for row in rows {
        let (pid, name, user): (i32, &str, &str) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let name = if name.is_empty() { String::new() } else { format!("{name}, ") };
        names.push(format!("server process {pid} ({name}user {user})"));
    }
    Ok((!names.is_empty()).then(|| names.join(" and ")))
}
