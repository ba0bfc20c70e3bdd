//! A PostgreSQL server: rows are streamed both ways inside one transaction.

use std::collections::HashSet;
use std::pin::pin;

use bytes::{Bytes, BytesMut};
use futures_util::{SinkExt, TryStreamExt};
use tokio_postgres::error::SqlState;
use tokio_postgres::types::{FromSql, Type};
use tokio_postgres::{Client, Error, IsolationLevel, Row, RowStream, Transaction};
use uuid::Uuid;

use super::connect::{self, Place};
use super::rows::{Loaded, NameRows, SongRow, SongRows, Value};
use super::{DatabaseError, schema};
use crate::config::database_url::PostgresSettings;
use crate::model::{Collection, Named, Song};

const ID_TYPE: &str = "UUID";

/// Bytes of rows collected for one message to the server.
const COPY_CHUNK: usize = 64 * 1024;

pub(super) fn load(settings: &PostgresSettings) -> Result<Loaded, DatabaseError> {
    run(settings, async |client| {
        if let Some(loaded) = read_if_complete(client).await? {
            return Ok(loaded);
        }
        create_schema(client).await?;
        let transaction = begin_reading(client).await?;
        Ok(read(&transaction).await?)
    })
}

pub(super) fn replace(settings: &PostgresSettings, collection: &Collection) -> Result<(), DatabaseError> {
    run(settings, async |client| {
        create_schema(client).await?;
        Ok(write(client, collection).await?)
    })
}

/// What went wrong once connected.
enum Failure {
    Sql(Error),
    Schema { missing: Vec<&'static str>, error: Error },
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Sql(error)
    }
}

/// Connects, does `work` and disconnects, on a runtime of its own.
fn run<T>(
    settings: &PostgresSettings,
    work: impl AsyncFnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, DatabaseError> {
    let place = Place::new(settings);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .enable_time()
        .build()
        .map_err(|error| place.failed(format!("no Tokio runtime can be started: {error}")))?;
    let outcome = runtime.block_on(async {
        let mut session = connect::connect(&place).await?;
        let outcome = work(&mut session.client).await.map_err(|failure| explain(&place, &failure));
        session.close().await;
        outcome
    });
    // Not dropped: that would wait for a look-up of the host name that was given up.
    runtime.shutdown_background();
    outcome
}

fn explain(place: &Place<'_>, failure: &Failure) -> DatabaseError {
    match failure {
        Failure::Sql(error) => place.explain(error),
        Failure::Schema { missing, error } => match place.explain(error) {
            DatabaseError::Failed { database, reason } => DatabaseError::Failed {
                database,
                reason: format!("cannot create the missing tables ({}): {reason}", missing.join(", ")),
            },
            other => other,
        },
    }
}

async fn begin_reading(client: &mut Client) -> Result<Transaction<'_>, Error> {
    let transaction = client
        .build_transaction()
        .isolation_level(IsolationLevel::RepeatableRead)
        .read_only(true)
        .start()
        .await?;
    // A database with encoding SQL_ASCII holds any bytes, and the server would refuse to
    // send those that are not UTF-8.
    let encoding = transaction.query_one("SHOW server_encoding", &[]).await?;
    if encoding.try_get::<_, &str>(0)? == "SQL_ASCII" {
        transaction.batch_execute("SET LOCAL client_encoding = 'SQL_ASCII'").await?;
    }
    Ok(transaction)
}

async fn read_if_complete(client: &mut Client) -> Result<Option<Loaded>, Error> {
    let transaction = begin_reading(client).await?;
    if missing_tables(&transaction).await?.is_empty() {
        return Ok(Some(read(&transaction).await?));
    }
    transaction.rollback().await?;
    Ok(None)
}

/// Tables are looked for where unqualified names are: along the search path.
async fn missing_tables(transaction: &Transaction<'_>) -> Result<Vec<&'static str>, Error> {
    let mut missing = Vec::new();
    for table in schema::TABLES {
        let row = transaction.query_one("SELECT to_regclass($1::text) IS NULL", &[&table]).await?;
        if row.try_get(0)? {
            missing.push(table);
        }
    }
    Ok(missing)
}

/// Creates what is missing. Another process may be doing the same: then one of the two is
/// told that a name is taken, once the other has committed, and looks again.
async fn create_schema(client: &mut Client) -> Result<(), Failure> {
    let mut tries_left = 5;
    loop {
        let transaction = client.transaction().await?;
        let missing = missing_tables(&transaction).await?;
        if missing.is_empty() {
            return Ok(());
        }
        tries_left -= 1;
        match create(transaction, &missing).await {
            Ok(()) => return Ok(()),
            Err(error) if tries_left > 0 && lost_a_race(&error) => {}
            Err(error) => return Err(Failure::Schema { missing, error }),
        }
    }
}

async fn create(transaction: Transaction<'_>, tables: &[&'static str]) -> Result<(), Error> {
    for statement in tables.iter().flat_map(|table| schema::statements(table, ID_TYPE)) {
        transaction.batch_execute(&statement).await?;
    }
    transaction.commit().await
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

async fn read(transaction: &Transaction<'_>) -> Result<Loaded, Error> {
    let names = [
        read_names(transaction, "albums").await?,
        read_names(transaction, "artists").await?,
        read_names(transaction, "genres").await?,
    ];
    let mut songs = SongRows::new(names);
    let mut rows = pin!(stream(transaction, "tracks", &schema::TRACK_COLUMNS).await?);
    while let Some(row) = rows.try_next().await? {
        songs.push(&SongRow {
            id: value(&row, 0)?,
            name: value(&row, 1)?,
            length: value(&row, 2)?,
            track: value(&row, 3)?,
            year: value(&row, 4)?,
            album: value(&row, 5)?,
            artist: value(&row, 6)?,
            genre: value(&row, 7)?,
        });
    }
    Ok(songs.finish())
}

async fn read_names(transaction: &Transaction<'_>, table: &str) -> Result<NameRows, Error> {
    let mut names = NameRows::default();
    let mut rows = pin!(stream(transaction, table, &schema::NAME_COLUMNS).await?);
    while let Some(row) = rows.try_next().await? {
        names.push(value(&row, 0)?, value(&row, 1)?);
    }
    Ok(names)
}

/// Columns of avalonms' types arrive as they are; of any other type, as text.
async fn stream(transaction: &Transaction<'_>, table: &str, columns: &[&str]) -> Result<RowStream, Error> {
    let probe = transaction.prepare(&format!("SELECT {} FROM {table}", columns.join(", "))).await?;
    let known = HashSet::from([Type::UUID, Type::VARCHAR, Type::TEXT, Type::INT2, Type::INT4, Type::INT8]);
    let expressions: Vec<String> = probe
        .columns()
        .iter()
        .map(|column| match known.contains(column.type_()) {
            true => column.name().to_owned(),
            false => format!("{}::text", column.name()),
        })
        .collect();
    let no_parameters: [&str; 0] = [];
    transaction.query_raw(&format!("SELECT {} FROM {table}", expressions.join(", ")), no_parameters).await
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

async fn write(client: &mut Client, collection: &Collection) -> Result<(), Error> {
    let transaction = client.transaction().await?;
    // Readers pass, a second scan waits. Emptied by DELETE, not by TRUNCATE, which readers
    // with an older snapshot would see; and tracks first, for their foreign keys.
    transaction.batch_execute("LOCK TABLE albums, artists, genres, tracks IN EXCLUSIVE MODE").await?;
    for table in schema::TABLES.iter().rev() {
        transaction.batch_execute(&format!("DELETE FROM {table}")).await?;
    }
    let names = |named: &Named, line: &mut BytesMut| {
        field(line, &named.id.to_string(), b'\t');
        field(line, &named.name, b'\n');
    };
    copy(&transaction, "albums", &schema::NAME_COLUMNS, &collection.albums, names).await?;
    copy(&transaction, "artists", &schema::NAME_COLUMNS, &collection.artists, names).await?;
    copy(&transaction, "genres", &schema::NAME_COLUMNS, &collection.genres, names).await?;
    copy(&transaction, "tracks", &schema::TRACK_COLUMNS, &collection.songs, |song, line| {
        write_song(collection, song, line);
    })
    .await?;
    transaction.commit().await
}

/// COPY in its text form: the server parses the values, whatever types the columns have.
async fn copy<T>(
    transaction: &Transaction<'_>,
    table: &str,
    columns: &[&str],
    rows: &[T],
    write_line: impl Fn(&T, &mut BytesMut),
) -> Result<(), Error> {
    let statement = format!("COPY {table} ({}) FROM STDIN", columns.join(", "));
    let mut sink = pin!(transaction.copy_in::<_, Bytes>(&statement).await?);
    let mut chunk = BytesMut::with_capacity(2 * COPY_CHUNK);
    for row in rows {
        write_line(row, &mut chunk);
        if chunk.len() >= COPY_CHUNK {
            sink.send(chunk.split().freeze()).await?;
            chunk.reserve(2 * COPY_CHUNK);
        }
    }
    sink.send(chunk.freeze()).await?;
    sink.finish().await?;
    Ok(())
}

fn write_song(collection: &Collection, song: &Song, line: &mut BytesMut) {
    let optional = |line: &mut BytesMut, text: Option<&str>| match text {
        Some(text) => field(line, text, b'\t'),
        None => line.extend_from_slice(b"\\N\t"),
    };
    field(line, &song.id.to_string(), b'\t');
    optional(line, song.name.as_deref());
    for number in [song.length, song.track, song.year] {
        optional(line, number.map(|number| number.to_string()).as_deref());
    }
    field(line, &collection.albums[song.album as usize].id.to_string(), b'\t');
    field(line, &collection.artists[song.artist as usize].id.to_string(), b'\t');
    field(line, &collection.genres[song.genre as usize].id.to_string(), b'\n');
}

/// One value and what ends it. PostgreSQL cannot store NUL: it becomes U+FFFD.
fn field(line: &mut BytesMut, text: &str, end: u8) {
    for byte in text.bytes() {
        match byte {
            b'\\' => line.extend_from_slice(b"\\\\"),
            b'\t' => line.extend_from_slice(b"\\t"),
            b'\n' => line.extend_from_slice(b"\\n"),
            b'\r' => line.extend_from_slice(b"\\r"),
            0 => line.extend_from_slice("\u{fffd}".as_bytes()),
            _ => line.extend_from_slice(&[byte]),
        }
    }
    line.extend_from_slice(&[end]);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_escaped_for_copy() {
        let mut line = BytesMut::new();
        field(&mut line, "\\N a\tb\r\n\0\u{e9}\\.", b'\n');
        assert_eq!(line, "\\\\N a\\tb\\r\\n\u{fffd}\u{e9}\\\\.\n".as_bytes());
    }
}
