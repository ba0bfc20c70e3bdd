//! The log of changes on a server. The table may be missing or another program's, or the role may lack the right to it:
//! the transaction goes on.

use ::postgres::{Error, Transaction};
use uuid::Uuid;

use super::revision::attempt;
use super::rows::{self, readable_query, song, value};
use super::tables::{ID_TYPE, missing_of};
use super::watched::Progress;
use crate::database::change_log::{self, ChangedIds, Entry, Since, TABLE, Touched, Unlogged};
use crate::database::changed::{ById, Changed};
use crate::database::revision::Version;
use crate::database::schema;
use crate::model::{Named, Owner, PerOwner};
use crate::rows::delta::{Delta, Edits, SongRow};

/// Entries and ids that go into one statement.
const BATCH: usize = 5_000;

/// Adds the entries of a scan that has counted the revisions from `first` to `last`; the reason if they cannot be
/// written.
///
/// # Errors
/// If the connection breaks, or the server ends the transaction.
pub(super) fn write(
    transaction: &mut Transaction<'_>,
    (first, last): (u64, u64),
    scan: Uuid,
    touched: Touched,
) -> Result<Result<(), Error>, Error> {
    attempt(transaction, is_answer, |transaction| {
        if !missing_of(transaction, [TABLE])?.is_empty() {
            transaction.batch_execute(&change_log::create(ID_TYPE, ""))?;
        }
        transaction.batch_execute(&change_log::make_room(first, last))?;
        let insert = format!(
            "INSERT INTO {TABLE} (counter, kind, id) SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::uuid[])"
        );
        for batch in touched.entries(first, last, scan).chunks(BATCH) {
            let counters: Vec<i64> = batch.iter().map(|entry| entry.counter).collect();
            let kinds: Vec<i64> = batch.iter().map(|entry| entry.kind).collect();
            let ids: Vec<Uuid> = batch.iter().map(|entry| entry.id).collect();
            transaction.execute(&insert, &[&counters, &kinds, &ids])?;
        }
        transaction.batch_execute(&change_log::forget_oldest())
    })
}

/// The rows that have changed, in the transaction that has found them to have this version.
///
/// # Errors
/// As for [`write()`].
pub(super) fn read(
    transaction: &mut Transaction<'_>,
    since: &Since,
    version: Version,
    progress: &Progress,
) -> Result<Result<Changed, Unlogged>, Error> {
    let read = attempt(transaction, is_answer, |transaction| {
        Ok(match changed_rows(transaction, since, version, progress) {
            Ok(changed) => Ok(changed),
            Err(Stopped::Unlogged(unlogged)) => Err(unlogged),
            Err(Stopped::Failed(error)) => return Err(error),
        })
    })?;
    Ok(read.unwrap_or_else(|error| {
        let reason =
            error.as_db_error().map_or_else(|| error.to_string(), |error| error.message().to_owned());
        Err(format!("as the log of changes cannot be read: {reason}").into())
    }))
}

/// Whether the server refuses a statement, and goes on: the class of codes is not that of interventions.
fn is_answer(error: &Error) -> bool {
    error.code().is_some_and(|code| !code.code().starts_with("57"))
}

/// The reason against reading rows by their ids.
enum Stopped {
    Unlogged(Unlogged),
    Failed(Error),
}

impl From<Unlogged> for Stopped {
    fn from(unlogged: Unlogged) -> Self {
        Stopped::Unlogged(unlogged)
    }
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Failed(error)
    }
}

fn changed_rows(
    transaction: &mut Transaction<'_>,
    since: &Since,
    version: Version,
    progress: &Progress,
) -> Result<Changed, Stopped> {
    let ChangedIds { names, songs } = changed_ids(transaction, since, &version)?;
    progress.made();
    let delta = Delta {
        names: PerOwner::try_new(|owner| names_by_id(transaction, owner, &names[owner], progress))?,
        songs: songs_by_id(transaction, &songs, progress)?,
    };
    let mut count = |table: &str| {
        let rows = rows::count(transaction, table)?;
        progress.made();
        Ok::<_, Error>(rows)
    };
    let names = PerOwner::try_new(|owner| count(owner.plural()))?;
    Ok(Changed { delta, names, songs: count("tracks")?, version })
}

fn changed_ids(
    transaction: &mut Transaction<'_>,
    since: &Since,
    version: &Version,
) -> Result<ChangedIds, Stopped> {
    let (from, to) = change_log::span(&since.version, version)?;
    if !missing_of(transaction, [TABLE])?.is_empty() {
        return Err(Stopped::Unlogged("as the database has no log of changes".into()));
    }
    let query = change_log::query(from, to, |column, kind| format!("{column}::{kind}"));
    let mut entries = Vec::new();
    for row in transaction.query(&query, &[])? {
        let columns: (Option<i64>, Option<i64>, Option<Uuid>) =
            (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        let (Some(counter), Some(kind), Some(id)) = columns else {
            return Err(Stopped::Unlogged("as the log of changes has an entry without a value".into()));
        };
        entries.push(Entry { counter, kind, id });
    }
    Ok(change_log::changed(entries.into_iter(), since, version)?)
}

fn names_by_id(
    transaction: &mut Transaction<'_>,
    owner: Owner,
    ids: &[Uuid],
    progress: &Progress,
) -> Result<Edits<Named>, Stopped> {
    let mut names = ById::new(ids);
    if ids.is_empty() {
        return Ok(names.finish());
    }
    let query =
        readable_query(transaction, owner.plural(), &schema::NAME_COLUMNS)? + " WHERE id = ANY($1::uuid[])";
    for batch in ids.chunks(BATCH) {
        for row in transaction.query(&query, &[&batch])? {
            progress.made();
            names.named(value(&row, 0)?, value(&row, 1)?)?;
        }
    }
    Ok(names.finish())
}

fn songs_by_id(
    transaction: &mut Transaction<'_>,
    ids: &[Uuid],
    progress: &Progress,
) -> Result<Edits<SongRow>, Stopped> {
    let mut songs = ById::new(ids);
    if ids.is_empty() {
        return Ok(songs.finish());
    }
    let query =
        readable_query(transaction, "tracks", &schema::TRACK_COLUMNS)? + " WHERE id = ANY($1::uuid[])";
    for batch in ids.chunks(BATCH) {
        for row in transaction.query(&query, &[&batch])? {
            progress.made();
            songs.song(&song(&row)?)?;
        }
    }
    Ok(songs.finish())
}
