//! A PostgreSQL server: rows are streamed both ways inside one transaction.

mod copy;
mod lock;
mod read;
mod revision;
mod rows;
mod session;
mod tables;
mod wait;
mod write;

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, Transaction};

use super::connect::{self, Place};
use super::rows::{Loaded, NameRows, SongRow, SongRows};
use super::{DatabaseError, schema};
use crate::config::database_url::PostgresSettings;
use crate::model::Collection;

use rows::{for_each_row, value};
pub(super) use session::Session;
use tables::{Failure, begin_reading, create_schema, explain, missing_tables};

pub(super) fn load(settings: &PostgresSettings) -> Result<Loaded, DatabaseError> {
    run(settings, |client| {
        if let Some(loaded) = read_if_complete(client)? {
            return Ok(loaded);
        }
        match create_schema(client) {
            // A replica that no scan has reached yet.
            Err(Failure::Schema { missing, error }) if is_read_only(&error) && missing == schema::TABLES => {
                Ok(Loaded::empty())
            }
            outcome => {
                outcome?;
                Ok(read(&mut begin_reading(client)?)?)
            }
        }
    })
}

fn is_read_only(error: &Error) -> bool {
    error.code() == Some(&SqlState::READ_ONLY_SQL_TRANSACTION)
}

pub(super) fn replace(settings: &PostgresSettings, collection: &Collection) -> Result<(), DatabaseError> {
    run(settings, |client| {
        create_schema(client)?;
        write(client, collection)
    })
}

/// Connects, does `work` and disconnects.
fn run<T>(
    settings: &PostgresSettings,
    work: impl FnOnce(&mut Client) -> Result<T, Failure>,
) -> Result<T, DatabaseError> {
    let place = Place::new(settings);
    let (mut client, place) = connect::connect(&place)?;
    work(&mut client).map_err(|failure| explain(&place, &failure))
}

fn read_if_complete(client: &mut Client) -> Result<Option<Loaded>, Error> {
    let mut transaction = begin_reading(client)?;
    if missing_tables(&mut transaction)?.is_empty() {
        return Ok(Some(read(&mut transaction)?));
    }
    transaction.rollback()?;
    Ok(None)
}

fn read(transaction: &mut Transaction<'_>) -> Result<Loaded, Error> {
    let revision = revision::read(transaction)?;
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
    Ok(Loaded { revision, ..songs.finish() })
}

fn read_names(transaction: &mut Transaction<'_>, table: &str) -> Result<NameRows, Error> {
    let mut names = NameRows::default();
    for_each_row(transaction, table, &schema::NAME_COLUMNS, |row| {
        names.push(value(row, 0)?, value(row, 1)?);
        Ok(())
    })?;
    Ok(names)
}

fn write(client: &mut Client, collection: &Collection) -> Result<(), Failure> {
    let mut transaction = client.transaction()?;
    // Readers pass, a second scan waits.
    transaction.batch_execute("LOCK TABLE albums, artists, genres, tracks IN EXCLUSIVE MODE")?;
    write::collection(&mut transaction, collection)?;
    Ok(transaction.commit()?)
}
