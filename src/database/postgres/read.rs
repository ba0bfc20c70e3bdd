//! Reads the rows for the comparison of a scan.

use std::borrow::Cow;

use ::postgres::types::Type;
use ::postgres::{Error, Row, Transaction};
use uuid::Uuid;

use super::rows::{for_each_row, for_each_row_of, value};
use super::tables::missing_of;
use crate::database::difference::StoredSong;
use crate::database::orphans::WithoutOrphans;
use crate::database::previous::{Previous, State, Visit};
use crate::database::rows::Value;
use crate::database::{schema, state};
use crate::model::Owner;

/// The tables of a scan that exist.
pub(super) fn tables(transaction: &mut Transaction<'_>) -> Result<Vec<&'static str>, Error> {
    let all = || schema::TABLES.into_iter().chain(state::TABLES);
    let missing = missing_of(transaction, all())?;
    Ok(all().filter(|table| !missing.contains(table)).collect())
}

/// Reads the tables that exist.
pub(super) fn all(
    transaction: &mut Transaction<'_>,
    tables: &[&str],
    visit: &mut dyn Visit,
) -> Result<Previous, Error> {
    let last_scan = match tables.contains(&"avalon_scans") {
        true => last_scan(transaction)?,
        false => 0,
    };
    let mut state = State::Absent;
    if tables.contains(&"avalon_folders") && tables.contains(&"avalon_files") {
        let mut visit = WithoutOrphans::to(visit);
        let is_whole = folders(transaction, &mut visit)? & files(transaction, &mut visit)?;
        state = if is_whole && !visit.were_there { State::Whole } else { State::Damaged };
    }
    let mut is_clean = true;
    for owner in Owner::ALL.into_iter().filter(|owner| tables.contains(&owner.plural())) {
        is_clean &= names(transaction, owner, visit)?;
    }
    if tables.contains(&"tracks") {
        is_clean &= songs(transaction, visit)?;
    }
    Ok(Previous { state, is_clean, last_scan })
}

pub(super) fn last_scan(transaction: &mut Transaction<'_>) -> Result<i64, Error> {
    transaction.query_one("SELECT coalesce(max(id), 0) FROM avalon_scans", &[])?.try_get(0)
}

fn folders(transaction: &mut Transaction<'_>, visit: &mut dyn Visit) -> Result<bool, Error> {
    let query = format!("SELECT {} FROM avalon_folders", state::FOLDER_COLUMNS.join(", "));
    let mut is_whole = true;
    for_each_row_of(transaction, "avalon_folders", &query, |row| {
        let (id, path, root) = (row.try_get(0)?, row.try_get(1)?, row.try_get(2)?);
        match state::folder(id, path, root, row.try_get(3)?, row.try_get(4)?) {
            Some(folder) => visit.folder(folder),
            None => is_whole = false,
        }
        Ok(())
    })?;
    Ok(is_whole)
}

fn files(transaction: &mut Transaction<'_>, visit: &mut dyn Visit) -> Result<bool, Error> {
    // The query asks for no order: the server would sort the rows on its disk.
    let query = format!("SELECT {} FROM avalon_files", state::FILE_COLUMNS.join(", "));
    let mut is_whole = true;
    for_each_row_of(transaction, "avalon_files", &query, |row| {
        match state::file(row)? {
            Some(file) => visit.file(file),
            None => is_whole = false,
        }
        Ok(())
    })?;
    Ok(is_whole)
}

impl state::FileColumns for Row {
    type Error = Error;

    fn number(&self, index: usize) -> Result<Option<i64>, Error> {
        self.try_get(index)
    }

    /// A text, converted with losses: a database with the encoding SQL_ASCII may hold any bytes.
    fn text(&self, index: usize) -> Result<Option<Cow<'_, str>>, Error> {
        Ok(value(self, index)?.text())
    }

    fn bytes(&self, index: usize) -> Result<&[u8], Error> {
        self.try_get(index)
    }

    fn flag(&self, index: usize) -> Result<bool, Error> {
        self.try_get(index)
    }
}

fn names(transaction: &mut Transaction<'_>, owner: Owner, visit: &mut dyn Visit) -> Result<bool, Error> {
    let mut is_whole = true;
    for_each_row(transaction, owner.plural(), &schema::NAME_COLUMNS, |row| {
        match (id(row, 0)?, value(row, 1)?) {
            (Some(id), Value::Text(name)) if is_text(row, 1) => match std::str::from_utf8(name) {
                Ok(name) => visit.name(owner, id, name),
                Err(_) => is_whole = false,
            },
            _ => is_whole = false,
        }
        Ok(())
    })?;
    Ok(is_whole && !has_duplicates(transaction, owner.plural())?)
}

fn songs(transaction: &mut Transaction<'_>, visit: &mut dyn Visit) -> Result<bool, Error> {
    let mut is_whole = true;
    for_each_row(transaction, "tracks", &schema::TRACK_COLUMNS, |row| {
        match song(row)? {
            Some(song) => visit.song(&song),
            None => is_whole = false,
        }
        Ok(())
    })?;
    Ok(is_whole && !has_duplicates(transaction, "tracks")?)
}

fn song(row: &Row) -> Result<Option<StoredSong<'_>>, Error> {
    let number = |index| match value(row, index) {
        Ok(Value::Null) => Ok(Some(None)),
        Ok(Value::Integer(number)) => Ok(Some(Some(number))),
        Ok(_) => Ok(None),
        Err(error) => Err(error),
    };
    let name = match value(row, 1)? {
        Value::Null => Some(None),
        Value::Text(text) if is_text(row, 1) => std::str::from_utf8(text).ok().map(Some),
        _ => None,
    };
    let song = (id(row, 0)?, name, number(2)?, number(3)?, number(4)?, id(row, 5)?, id(row, 6)?, id(row, 7)?);
    let (Some(id), Some(name), Some(length), Some(track), Some(year), Some(album), Some(artist), Some(genre)) =
        song
    else {
        return Ok(None);
    };
    Ok(Some(StoredSong { id, name, length, track, year, names: [album, artist, genre].into() }))
}

/// An id, only from a column of PostgreSQL's own type: in other types, one id may have several spellings.
fn id(row: &Row, index: usize) -> Result<Option<Uuid>, Error> {
    Ok(match value(row, index)? {
        Value::Id(id) => Some(id),
        _ => None,
    })
}

/// Whether the column is text. A column of another type has been converted to text as well.
fn is_text(row: &Row, index: usize) -> bool {
    [Type::VARCHAR, Type::TEXT].contains(row.columns()[index].type_())
}

/// Whether two rows have the same id. If avalonms made the table, its primary key prevents that.
fn has_duplicates(transaction: &mut Transaction<'_>, table: &str) -> Result<bool, Error> {
    let is_unique = "SELECT EXISTS (SELECT 1 FROM pg_index JOIN pg_attribute
         ON attrelid = indrelid AND attnum = indkey[0]
         WHERE indrelid = to_regclass($1::text) AND indisunique AND indisvalid AND indimmediate
         AND indpred IS NULL AND indnkeyatts = 1 AND attname = 'id')";
    if transaction.query_one(is_unique, &[&table])?.try_get(0)? {
        return Ok(false);
    }
    let query = format!("SELECT EXISTS (SELECT 1 FROM {table} GROUP BY id HAVING count(*) > 1)");
    transaction.query_one(&query, &[])?.try_get(0)
}
