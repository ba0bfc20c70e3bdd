//! A PostgreSQL server: rows are streamed both ways inside one transaction.

mod copy;
mod lock;
mod read;
mod session;
mod wait;
mod write;

use std::collections::HashSet;
use std::io;

use ::postgres::error::SqlState;
use ::postgres::types::{FromSql, Type};
use ::postgres::{Client, Error, IsolationLevel, Row, Transaction};
use uuid::Uuid;

use super::connect::{self, Place};
use super::rows::{Loaded, NameRows, SongRow, SongRows, Value};
use super::{DatabaseError, schema};
use crate::config::database_url::PostgresSettings;
use crate::model::Collection;

pub(super) use session::Session;

const ID_TYPE: &str = "UUID";

/// Rows asked for at once.
const PORTION: u32 = 10_000;

pub(super) fn load(settings: &PostgresSettings) -> Result<Loaded, DatabaseError> {
    run(settings, |client| {
        if let Some(loaded) = read_if_complete(client)? {
            return Ok(loaded);
        }
        create_schema(client)?;
        Ok(read(&mut begin_reading(client)?)?)
    })
}

pub(super) fn replace(settings: &PostgresSettings, collection: &Collection) -> Result<(), DatabaseError> {
    run(settings, |client| {
        create_schema(client)?;
        write(client, collection)
    })
}

/// What went wrong once connected.
#[derive(Debug)]
enum Failure {
    Sql(Error),
    Schema { missing: Vec<&'static str>, error: Error },
    Copy(io::Error),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Sql(error)
    }
}

/// What a [`CopyInWriter`](::postgres::CopyInWriter) says holds what the client said.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        error.downcast().map_or_else(Failure::Copy, Failure::Sql)
    }
}

/// Connects, does `work` and disconnects.
fn run<T>(
    settings: &PostgresSettings,
    work: impl FnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, DatabaseError> {
    let place = Place::new(settings);
    let mut client = connect::connect(&place)?;
    work(&mut client).map_err(|failure| explain(&place, &failure))
}

fn explain(place: &Place, failure: &Failure) -> DatabaseError {
    match failure {
        Failure::Sql(error) => place.explain(error),
        Failure::Copy(error) => place.failed(error.to_string()),
        Failure::Schema { missing, error } => match place.explain(error) {
            DatabaseError::Failed { database, reason } => DatabaseError::Failed {
                database,
                reason: format!("cannot create the missing tables ({}): {reason}", missing.join(", ")),
            },
            other => other,
        },
    }
}

fn begin_reading(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let mut transaction =
        client.build_transaction().isolation_level(IsolationLevel::RepeatableRead).read_only(true).start()?;
    // A database with encoding SQL_ASCII holds any bytes, and the server would refuse to
    // send those that are not UTF-8.
    let encoding = transaction.query_one("SHOW server_encoding", &[])?;
    if encoding.try_get::<_, &str>(0)? == "SQL_ASCII" {
        transaction.batch_execute("SET LOCAL client_encoding = 'SQL_ASCII'")?;
    }
    Ok(transaction)
}

fn read_if_complete(client: &mut Client) -> Result<Option<Loaded>, Error> {
    let mut transaction = begin_reading(client)?;
    if missing_tables(&mut transaction)?.is_empty() {
        return Ok(Some(read(&mut transaction)?));
    }
    transaction.rollback()?;
    Ok(None)
}

/// Tables are looked for where unqualified names are: along the search path.
fn missing_tables(transaction: &mut Transaction<'_>) -> Result<Vec<&'static str>, Error> {
    missing_of(transaction, schema::TABLES)
}

/// Those of `tables` that are not there, in their order.
fn missing_of(
    transaction: &mut Transaction<'_>,
    tables: impl IntoIterator<Item = &'static str>,
) -> Result<Vec<&'static str>, Error> {
    let tables: Vec<&str> = tables.into_iter().collect();
    let rows = transaction.query(
        "SELECT number FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, number)
          WHERE to_regclass(name) IS NULL ORDER BY number",
        &[&tables],
    )?;
    // Counted from 1.
    rows.iter().map(|row| row.try_get(0).map(|number: i64| tables[number as usize - 1])).collect()
}

/// Creates what is missing. Another process may be doing the same: then one of the two is
/// told that a name is taken, once the other has committed, and looks again.
fn create_schema(client: &mut Client) -> Result<(), Failure> {
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

fn create_tables(
    transaction: &mut Transaction<'_>,
    tables: &[&str],
    statements: fn(&str, &str) -> Vec<String>,
) -> Result<(), Error> {
    let mut statements = tables.iter().flat_map(|table| statements(table, ID_TYPE));
    statements.try_for_each(|statement| transaction.batch_execute(&statement))
}

fn lost_a_race(error: &Error) -> bool {
    // The catalog's own unique index is violated when both began before either committed.
    let codes = [
        SqlState::DUPLICATE_TABLE,
        SqlState::DUPLICATE_OBJECT,
        SqlState::UNIQUE_VIOLATION,
        SqlState::T_R_DEADLOCK_DETECTED,
    ];
    error.code().is_some_and(|code| codes.contains(code))
}

fn read(transaction: &mut Transaction<'_>) -> Result<Loaded, Error> {
    let names = [
        read_names(transaction, "albums")?,
        read_names(transaction, "artists")?,
        read_names(transaction, "genres")?,
    ];
    let mut songs = SongRows::new(names);
    for_each_row(transaction, "tracks", &schema::TRACK_COLUMNS, |row| {
        songs.push(&SongRow {
            id: value(row, 0)?,
            name: value(row, 1)?,
            length: value(row, 2)?,
            track: value(row, 3)?,
            year: value(row, 4)?,
            album: value(row, 5)?,
            artist: value(row, 6)?,
            genre: value(row, 7)?,
        });
        Ok(())
    })?;
    Ok(songs.finish())
}

fn read_names(transaction: &mut Transaction<'_>, table: &str) -> Result<NameRows, Error> {
    let mut names = NameRows::default();
    for_each_row(transaction, table, &schema::NAME_COLUMNS, |row| {
        names.push(value(row, 0)?, value(row, 1)?);
        Ok(())
    })?;
    Ok(names)
}

/// Fetches portion by portion, which keeps memory small and the server's last words: a
/// blocking client looks at its connection before it looks at what has come, so behind rows
/// that still wait to be read, why a connection ended would be lost to the bare fact.
fn for_each_row(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    mut take: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    let query = readable_query(transaction, table, columns)?;
    for_each_row_of(transaction, table, &query, &mut take)
}

/// The same for any query; `table` names the cursor.
fn for_each_row_of(
    transaction: &mut Transaction<'_>,
    table: &str,
    query: &str,
    mut take: impl FnMut(&Row) -> Result<(), Error>,
) -> Result<(), Error> {
    transaction.batch_execute(&format!("DECLARE {table} NO SCROLL CURSOR FOR {query}"))?;
    let fetch = transaction.prepare(&format!("FETCH {PORTION} FROM {table}"))?;
    loop {
        let rows = transaction.query(&fetch, &[])?;
        if rows.is_empty() {
            return Ok(());
        }
        rows.iter().try_for_each(&mut take)?;
    }
}

/// Columns of avalonms' types arrive as they are; of any other type, as text.
fn readable_query(transaction: &mut Transaction<'_>, table: &str, columns: &[&str]) -> Result<String, Error> {
    let probe = transaction.prepare(&format!("SELECT {} FROM {table}", columns.join(", ")))?;
    let known = HashSet::from([Type::UUID, Type::VARCHAR, Type::TEXT, Type::INT2, Type::INT4, Type::INT8]);
    let expressions: Vec<String> = probe
        .columns()
        .iter()
        .map(|column| match known.contains(column.type_()) {
            true => column.name().to_owned(),
            false => format!("{}::text", column.name()),
        })
        .collect();
    Ok(format!("SELECT {} FROM {table}", expressions.join(", ")))
}

fn value(row: &Row, index: usize) -> Result<Value<'_>, Error> {
    Ok(row.try_get::<_, Option<Value<'_>>>(index)?.unwrap_or(Value::Null))
}

impl<'a> FromSql<'a> for Value<'a> {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Value<'a>, Box<dyn std::error::Error + Sync + Send>> {
        Ok(match *kind {
            Type::UUID => Value::Id(Uuid::from_slice(raw)?),
            Type::INT2 => Value::Integer(i16::from_be_bytes(raw.try_into()?).into()),
            Type::INT4 => Value::Integer(i32::from_be_bytes(raw.try_into()?).into()),
            Type::INT8 => Value::Integer(i64::from_be_bytes(raw.try_into()?)),
            _ => Value::Text(raw),
        })
    }

    fn accepts(_: &Type) -> bool {
        true
    }
}

fn write(client: &mut Client, collection: &Collection) -> Result<(), Failure> {
    let mut transaction = client.transaction()?;
    // Readers pass, a second scan waits.
    transaction.batch_execute("LOCK TABLE albums, artists, genres, tracks IN EXCLUSIVE MODE")?;
    write::collection(&mut transaction, collection)?;
    Ok(transaction.commit()?)
}
