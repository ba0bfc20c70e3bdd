//! Rows as SQLite hands them over.

use rusqlite::Row;
use rusqlite::types::ValueRef;

use crate::database::rows::{SongRow, Value};

/// A row of [`TRACK_COLUMNS`](crate::database::schema::TRACK_COLUMNS).
pub(super) fn song<'a>(row: &'a Row<'_>) -> rusqlite::Result<SongRow<'a>> {
    SongRow::read(|column| value(row, column))
}

pub(super) fn value<'a>(row: &'a Row<'_>, index: usize) -> rusqlite::Result<Value<'a>> {
    Ok(match row.get_ref(index)? {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => Value::Integer(number),
        ValueRef::Real(number) => Value::Real(number),
        ValueRef::Text(bytes) | ValueRef::Blob(bytes) => Value::Text(bytes),
    })
}
