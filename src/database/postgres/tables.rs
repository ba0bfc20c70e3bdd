//! The tables on a server: the missing ones, their creation, and its errors.

use std::io;

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, IsolationLevel, Transaction};

use crate::database::connect::Place;
use crate::database::{DatabaseError, schema};
use crate::rows::scratch::ScratchError;

pub(super) const ID_TYPE: &str = "UUID";

/// An error of a connected session.
#[derive(Debug)]
pub(super) enum Failure {
    Sql(Error),
    Schema { missing: Vec<&'static str>, error: Error },
    Copy(io::Error),
    Scratch(ScratchError),
}

impl From<ScratchError> for Failure {
    fn from(error: ScratchError) -> Failure {
        Failure::Scratch(error)
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Sql(error)
    }
}

/// A [`CopyInWriter`](::postgres::CopyInWriter) wraps the error of the client.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        error.downcast().map_or_else(Failure::Copy, Failure::Sql)
    }
}

pub(super) fn explain(place: &Place, failure: Failure) -> DatabaseError {
    match failure {
        Failure::Scratch(error) => error.into(),
        Failure::Sql(error) => place.explain(&error),
        Failure::Copy(error) => place.failed(error.to_string()),
        Failure::Schema { missing, error } => match place.explain(&error) {
            DatabaseError::Failed { database, reason } => DatabaseError::Failed {
                database,
                reason: format!("cannot create the missing tables ({}): {reason}", missing.join(", ")),
            },
            other => other,
        },
    }
}

pub(super) fn begin_reading(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let mut transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start()?;
    // A database with the encoding SQL_ASCII holds any bytes, and the server would refuse to send those that
    // are not UTF-8.
    let encoding = transaction.query_one("SHOW server_encoding", &[])?;
    if encoding.try_get::<_, &str>(0)? == "SQL_ASCII" {
        transaction.batch_execute("SET LOCAL client_encoding = 'SQL_ASCII'")?;
    }
    Ok(transaction)
}

/// The missing tables, searched for in the places of unqualified names: along the search path.
pub(super) fn missing_tables(transaction: &mut Transaction<'_>) -> Result<Vec<&'static str>, Error> {
    missing_of(transaction, schema::TABLES)
}

/// The tables in `tables` that are missing, in their order.
pub(super) fn missing_of(
    transaction: &mut Transaction<'_>,
    tables: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<&'static str>, Error> {
    let tables: Vec<&str> = tables.into_iter().collect();
    let rows = transaction.query(
        "SELECT to_regclass(name) IS NULL FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, number)
          ORDER BY number",
        &[&tables],
    )?;
    let missing = rows.iter().map(|row| row.try_get(0)).collect::<Result<Vec<bool>, Error>>()?;
    Ok(tables
        .into_iter()
        .zip(missing)
        .filter_map(|(table, is_missing)| is_missing.then_some(table))
        .collect())
}

/// Creates the missing tables. Another process may do the same at this moment: then one of the two learns
/// that a name is taken, once the other has committed, and checks again.
pub(super) fn create_schema(client: &mut Client) -> Result<(), Failure> {
    let mut tries_left = 5;
    loop {
        let mut transaction = client.transaction()?;
        let missing = missing_tables(&mut transaction)?;
        if missing.is_empty() {
            return Ok(());
        }
        tries_left -= 1;
        match create(transaction, &missing) {
            Ok(()) => return Ok(()),
            Err(error) if tries_left > 0 && lost_a_race(&error) => {}
            Err(error) => return Err(Failure::Schema { missing, error }),
        }
    }
}

fn create(mut transaction: Transaction<'_>, tables: &[&'static str]) -> Result<(), Error> {
    create_tables(&mut transaction, tables, schema::statements)?;
    transaction.commit()
}

pub(super) fn create_tables(
    transaction: &mut Transaction<'_>,
    tables: &[&str],
    statements: fn(&str, &str) -> Vec<String>,
) -> Result<(), Error> {
    let mut statements = tables.iter().flat_map(|table| statements(table, ID_TYPE));
    statements.try_for_each(|statement| transaction.batch_execute(&statement))
}

pub(super) fn lost_a_race(error: &Error) -> bool {
    // If both began before either committed, the catalog's own unique index is violated.
    let codes = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}
