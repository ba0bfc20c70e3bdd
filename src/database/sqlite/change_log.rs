//! The log of changes in a file. The table may be missing or another program's.

use rusqlite::{Connection, ErrorCode, params};
use uuid::Uuid;

use super::revision::unless_refused;
use super::rows::{song, value};
use super::tables::{ID_TYPE, has_table, hex, insert, select};
use crate::database::change_log::{self, ChangedIds, Entry, Since, TABLE, Touched, Unlogged};
use crate::database::changed::{ById, Changed};
use crate::database::revision::Version;
use crate::database::schema;
use crate::model::{Named, Owner, PerOwner};
use crate::rows::delta::{Delta, Edits, SongRow};

/// Adds the entries of a scan that has counted the revisions from `first` to `last`. Where the table is another
/// program's it stays as it is.
pub(super) fn write(
    connection: &Connection,
    (first, last): (u64, u64),
    scan: Uuid,
    touched: Touched,
) -> rusqlite::Result<()> {
    connection.execute_batch("SAVEPOINT log")?;
    let written = (|| {
        if !has_table(connection, TABLE)? {
            connection.execute_batch(&change_log::create(ID_TYPE, " WITHOUT ROWID"))?;
        }
        connection.execute_batch(&change_log::make_room(first, last))?;
        let mut statement = connection.prepare(&insert(TABLE, &["counter", "kind", "id"]))?;
        for Entry { counter, kind, id } in touched.entries(first, last, scan) {
            statement.execute(params![counter, kind, hex(id, &mut [0; 32])])?;
        }
        connection.execute_batch(&change_log::forget_oldest())
    })();
    let is_refused =
        |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation);
    let written = match written {
        Err(error) if is_refused(&error) => None,
        written => unless_refused(written)?,
    };
    if written.is_none() {
        connection.execute_batch("ROLLBACK TO log")?;
    }
    connection.execute_batch("RELEASE log")
}

/// The rows that have changed, in the transaction that has found them to have this version.
pub(super) fn read(
    connection: &Connection,
    since: &Since,
    version: Version,
) -> rusqlite::Result<Result<Changed, Unlogged>> {
    let ids = match changed_ids(connection, since, &version)? {
        Ok(ids) => ids,
        Err(unlogged) => return Ok(Err(unlogged)),
    };
    let ChangedIds { names, songs } = ids;
    let delta = names_by_id(connection, &names)
        .and_then(|names| Ok(Delta { names, songs: songs_by_id(connection, &songs)? }));
    let delta = match delta {
        Ok(delta) => delta,
        Err(Stopped::Unlogged(unlogged)) => return Ok(Err(unlogged)),
        Err(Stopped::Failed(error)) => return Err(error),
    };
    let count = |table: &str| -> rusqlite::Result<i64> {
        connection.query_row(&format!("SELECT count(*) FROM {table}"), [], |row| row.get(0))
    };
    let names = PerOwner::try_new(|owner| Ok::<_, rusqlite::Error>(count(owner.plural())?.cast_unsigned()))?;
    Ok(Ok(Changed { delta, names, songs: count("tracks")?.cast_unsigned(), version }))
}

/// The reason against reading rows by their ids.
enum Stopped {
    Unlogged(Unlogged),
    Failed(rusqlite::Error),
}

impl From<Unlogged> for Stopped {
    fn from(unlogged: Unlogged) -> Self {
        Stopped::Unlogged(unlogged)
    }
}

impl From<rusqlite::Error> for Stopped {
    fn from(error: rusqlite::Error) -> Self {
        Stopped::Failed(error)
    }
}

fn changed_ids(
    connection: &Connection,
    since: &Since,
    version: &Version,
) -> rusqlite::Result<Result<ChangedIds, Unlogged>> {
    let (from, to) = match change_log::span(&since.version, version) {
        Ok(span) => span,
        Err(unlogged) => return Ok(Err(unlogged)),
    };
    let entries = (|| {
        let query = change_log::query(from, to, |column, _| column.to_owned());
        let mut statement = connection.prepare(&query)?;
        let mut rows = statement.query([])?;
        let mut entries = Vec::new();
        while let Some(row) = rows.next()? {
            let id: Option<Uuid> = value(row, 2)?.id();
            entries.push((row.get(0)?, row.get(1)?, id));
        }
        Ok(entries)
    })();
    let Some(entries) = unless_refused(entries)? else {
        return Ok(Err("as the database has no log of changes".into()));
    };
    let entry = |(counter, kind, id): (i64, i64, Option<Uuid>)| Some(Entry { counter, kind, id: id? });
    let entries: Option<Vec<Entry>> = entries.into_iter().map(entry).collect();
    Ok(match entries {
        Some(entries) => change_log::changed(entries.into_iter(), since, version),
        None => Err("as the log of changes has an entry without an id".into()),
    })
}

fn names_by_id(
    connection: &Connection,
    ids: &PerOwner<Vec<Uuid>>,
) -> Result<PerOwner<Edits<Named>>, Stopped> {
    PerOwner::try_new(|owner: Owner| {
        let mut names = ById::new(&ids[owner]);
        let query = select(owner.plural(), &schema::NAME_COLUMNS) + " WHERE id = ?";
        let mut statement = connection.prepare(&query)?;
        for id in &ids[owner] {
            let mut rows = statement.query([hex(*id, &mut [0; 32])])?;
            while let Some(row) = rows.next()? {
                names.named(value(row, 0)?, value(row, 1)?)?;
            }
        }
        Ok(names.finish())
    })
}

fn songs_by_id(connection: &Connection, ids: &[Uuid]) -> Result<Edits<SongRow>, Stopped> {
    let mut songs = ById::new(ids);
    let mut statement = connection.prepare(&(select("tracks", &schema::TRACK_COLUMNS) + " WHERE id = ?"))?;
    for id in ids {
        let mut rows = statement.query([hex(*id, &mut [0; 32])])?;
        while let Some(row) = rows.next()? {
            songs.song(&song(row)?)?;
        }
    }
    Ok(songs.finish())
}
