//! The revision of the rows on a server. The role may lack the right to it, or the table may belong to
//! another program: then there is no revision, and the transaction continues.

use ::postgres::{Error, SimpleQueryMessage, Transaction};
use uuid::Uuid;

use super::tables::missing_of;
use crate::database::revision::{self, Notation, Version};

pub(super) use crate::database::revision::TABLE;

const NOTATION: Notation = Notation { one: "true", id: "UUID", moment: "TIMESTAMPTZ" };

/// The revision of the rows in this transaction.
///
/// # Errors
/// The connection breaks, or the server ends the transaction.
pub(super) fn read(transaction: &mut Transaction<'_>) -> Result<Option<u64>, Error> {
    Ok(read_version(transaction)?.revision)
}

/// The version of the rows in this transaction.
///
/// # Errors
/// As for [`read`].
pub(super) fn read_version(transaction: &mut Transaction<'_>) -> Result<Version, Error> {
    let messages = attempt(transaction, is_refusal, |transaction| transaction.simple_query(revision::QUERY))?;
    Ok(messages.map(|messages| version(&messages)).unwrap_or_default())
}

/// The version from the answer to [`revision::QUERY`], which is text for all types of columns.
pub(super) fn version(messages: &[SimpleQueryMessage]) -> Version {
    let row = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    let counter = row.and_then(|row| row.get(0)?.parse().ok());
    match counter.and_then(revision::of_counter) {
        None => Version::default(),
        revision => {
            let scan = row.and_then(|row| row.get(1)).unwrap_or_default();
            Version { revision, mark: scan.to_owned() }
        }
    }
}

/// Counts a change of the rows; returns the reason if the server refuses to write the revision.
///
/// # Errors
/// As for [`read`].
pub(super) fn count(transaction: &mut Transaction<'_>, scan: Uuid) -> Result<Result<(), Error>, Error> {
    attempt(transaction, is_refusal, |transaction| {
        if !missing_of(transaction, [TABLE])?.is_empty() {
            transaction.batch_execute(&NOTATION.create())?;
        }
        transaction.batch_execute(&revision::count(scan))
    })
}

/// Records the scan that has changed the rows, and returns their revision.
///
/// # Errors
/// As for [`read`].
pub(super) fn sign(transaction: &mut Transaction<'_>, scan: Uuid) -> Result<Option<u64>, Error> {
    transaction.batch_execute(&revision::sign(scan))?;
    read(transaction)
}

/// Does `work`, and undoes it if the server refuses a part of it. The inner error is the refusal.
///
/// # Errors
/// As for [`read`].
pub(super) fn attempt<T>(
    transaction: &mut Transaction<'_>,
    is_refusal: fn(&Error) -> bool,
    work: impl FnOnce(&mut Transaction<'_>) -> Result<T, Error>,
) -> Result<Result<T, Error>, Error> {
    transaction.batch_execute("SAVEPOINT revision")?;
    match work(transaction) {
        Ok(done) => {
            transaction.batch_execute("RELEASE SAVEPOINT revision")?;
            Ok(Ok(done))
        }
        Err(error) if is_refusal(&error) => {
            transaction.batch_execute("ROLLBACK TO SAVEPOINT revision; RELEASE SAVEPOINT revision")?;
            Ok(Err(error))
        }
        Err(error) => Err(error),
    }
}

/// Whether the code belongs to the class for missing rights, tables and columns.
pub(super) fn is_refusal(error: &Error) -> bool {
    error.code().is_some_and(|code| code.code().starts_with("42"))
}
