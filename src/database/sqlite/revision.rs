//! The revision of the rows in a file. If the table belongs to another program, there is none.

use rusqlite::{Connection, ErrorCode, OptionalExtension};
use uuid::Uuid;

use super::tables::has_table;
use crate::database::revision::{self, Notation, Version};

const NOTATION: Notation = Notation { one: "1", id: "TEXT", moment: "TIMESTAMP" };

/// The revision of the rows in this transaction.
pub(super) fn read(connection: &Connection) -> rusqlite::Result<Option<u64>> {
    Ok(read_version(connection)?.revision)
}

/// The version of the rows in this transaction, without a mark of the file.
pub(super) fn read_version(connection: &Connection) -> rusqlite::Result<Version> {
    let row = connection.query_row(revision::QUERY, [], |row| Ok((row.get(0)?, row.get(1)?))).optional();
    let (counter, scan): (_, Option<String>) = unless_refused(row)?.flatten().unwrap_or_default();
    Ok(match revision::of_counter(counter) {
        None => Version::default(),
        revision => Version { revision, mark: scan.unwrap_or_default() },
    })
}

/// Counts a change of the rows. Returns whether the revision can be written.
pub(super) fn count(connection: &Connection, scan: Uuid) -> rusqlite::Result<bool> {
    let counted = (|| {
        if !has_table(connection, revision::TABLE)? {
            connection.execute_batch(&NOTATION.create())?;
        }
        connection.execute_batch(&revision::count(scan))
    })();
    Ok(unless_refused(counted)?.is_some())
}

/// Records the scan that has changed the rows, and returns their revision.
pub(super) fn sign(connection: &Connection, scan: Uuid) -> rusqlite::Result<Option<u64>> {
    connection.execute_batch(&revision::sign(scan))?;
    read(connection)
}

/// `None` if a table or column is missing, or a value has another type.
pub(super) fn unless_refused<T>(outcome: rusqlite::Result<T>) -> rusqlite::Result<Option<T>> {
    match outcome {
        Ok(done) => Ok(Some(done)),
        Err(rusqlite::Error::InvalidColumnType(..) | rusqlite::Error::IntegralValueOutOfRange(..)) => {
            Ok(None)
        }
        Err(rusqlite::Error::SqlInputError { error, .. } | rusqlite::Error::SqliteFailure(error, _))
            if error.code == ErrorCode::Unknown =>
        {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
