//! A PostgreSQL server: rows are streamed in both directions inside one transaction.

mod change_log;
mod copy;
mod lock;
mod poll;
mod portions;
mod read;
mod revision;
mod rows;
mod session;
mod tables;
mod wait;
mod watched;
mod write;

use std::thread;
use std::time::Duration;

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, Transaction};

use super::change_log::Since;
use super::changed::Found;
use super::connect::{self, Place};
use super::revision::Version;
use super::rows::{Loaded, NameRows, SongRows};
use super::{DatabaseError, schema};
use crate::config::database_url::{Liveness, PostgresSettings};
use crate::model::{Collection, Owner, PerOwner};
use crate::rows::scratch::Folder;
use crate::scheduling::gives_way;

pub(super) use poll::Poll;
use rows::{for_each_row, song, value};
pub(super) use session::Session;
use tables::{Failure, begin_reading, create_schema, explain, missing_tables};
use watched::{Progress, Unwatched, watched};

/// The longest time without a row or an answer in a load that can be repeated: a proxy in between may keep a
/// connection alive although it has lost the server.
const SILENCE_MAX: Duration = Duration::from_secs(30);

/// A server on this machine needs up to 4 ms to end a session after the client has closed the connection.
const SESSION_END: Duration = Duration::from_millis(5);

pub(super) fn load(settings: &PostgresSettings, folder: &Folder) -> Result<Loaded, DatabaseError> {
    run(&brisk(settings), |client| load_rows(client, folder, &Progress::default(), read))
}

/// Loads the rows, but gives up when the server is silent, as the caller can repeat the load.
pub(super) fn load_again(settings: &PostgresSettings, folder: &Folder) -> Result<Loaded, DatabaseError> {
    load_watched(settings, folder, read)
}

pub(super) fn load_changes(
    settings: &PostgresSettings,
    folder: &Folder,
    since: &Since,
) -> Result<Found, DatabaseError> {
    let since = since.clone();
    load_watched(settings, folder, move |transaction, folder, progress| {
        let version = revision::read_version(transaction)?;
        Ok(match change_log::read(transaction, &since, version, progress)? {
            Ok(changed) => Found::Changes(changed),
            Err(unlogged) => Found::Rows(read(transaction, folder, progress)?, unlogged),
        })
    })
}

fn load_watched<T: From<Loaded> + Send + 'static>(
    settings: &PostgresSettings,
    folder: &Folder,
    read: impl Fn(&mut Transaction<'_>, &Folder, &Progress) -> Result<T, Failure> + Send + 'static,
) -> Result<T, DatabaseError> {
    let (mut client, place) = connect::connect(&Place::new(&brisk(settings)))?;
    let folder = folder.clone();
    let outcome = watched(SILENCE_MAX, move |progress| {
        let outcome = load_rows(&mut client, &folder, progress, read);
        end_session(client);
        outcome
    });
    let outcome = outcome.map_err(|unwatched| match unwatched {
        Unwatched::Silent => {
            place.unreachable(format!("no rows and no answer within {} s", SILENCE_MAX.as_secs()))
        }
        Unwatched::Panicked => place.failed("the thread that reads has panicked"),
        Unwatched::NotStarted(error) => place.unreachable(format!("no thread can be started: {error}")),
    })?;
    outcome.map_err(|failure| explain(&place, failure))
}

/// Ends the session. The server frees memory then; if it is on this machine, it needs a processor, and a process that
/// gives way leaves the others to requests.
fn end_session(client: Client) {
    drop(client);
    if gives_way() {
        thread::sleep(SESSION_END);
    }
}

/// Settings with which a load notices sooner than a scan that the server has gone, unless the URL sets them:
/// a load can be repeated, while a scan may have read files for hours.
fn brisk(settings: &PostgresSettings) -> PostgresSettings {
    let is_default = settings.liveness == Liveness::default();
    let liveness = if is_default { Liveness::BRISK } else { settings.liveness };
    PostgresSettings { liveness, ..settings.clone() }
}

/// Has `read` read the tables in one transaction, and creates those that are missing.
fn load_rows<T: From<Loaded>>(
    client: &mut Client,
    folder: &Folder,
    progress: &Progress,
    read: impl Fn(&mut Transaction<'_>, &Folder, &Progress) -> Result<T, Failure>,
) -> Result<T, Failure> {
    if let Some(loaded) = read_if_complete(client, |transaction| read(transaction, folder, progress))? {
        return Ok(loaded);
    }
    match create_schema(client) {
        // This is a replica that no scan has reached yet.
        Err(Failure::Schema { missing, error }) if is_read_only(&error) && missing == schema::TABLES => {
            Ok(Loaded::empty(folder)?.into())
        }
        outcome => {
            outcome?;
            read(&mut begin_reading(client)?, folder, progress)
        }
    }
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
    let outcome = work(&mut client);
    end_session(client);
    outcome.map_err(|failure| explain(&place, failure))
}

fn read_if_complete<T>(
    client: &mut Client,
    read: impl FnOnce(&mut Transaction<'_>) -> Result<T, Failure>,
) -> Result<Option<T>, Failure> {
    let mut transaction = begin_reading(client)?;
    if missing_tables(&mut transaction)?.is_empty() {
        return Ok(Some(read(&mut transaction)?));
    }
    transaction.rollback()?;
    Ok(None)
}

fn read(transaction: &mut Transaction<'_>, folder: &Folder, progress: &Progress) -> Result<Loaded, Failure> {
    let Version { revision, mark } = revision::read_version(transaction)?;
    let names = PerOwner::try_new(|owner| read_names(transaction, owner, folder, progress))?;
    let mut songs = SongRows::new(names, folder)?;
    for_each_row(transaction, "tracks", &schema::TRACK_COLUMNS, |row| {
        progress.made();
        songs.push(&song(row)?)?;
        Ok::<_, Failure>(())
    })?;
    Ok(Loaded { revision, mark, ..songs.finish()? })
}

fn read_names(
    transaction: &mut Transaction<'_>,
    owner: Owner,
    folder: &Folder,
    progress: &Progress,
) -> Result<NameRows, Failure> {
    let mut names = NameRows::new(folder);
    for_each_row(transaction, owner.plural(), &schema::NAME_COLUMNS, |row| {
        progress.made();
        names.push(value(row, 0)?, value(row, 1)?)?;
        Ok::<_, Failure>(())
    })?;
    Ok(names)
}

fn write(client: &mut Client, collection: &Collection) -> Result<(), Failure> {
    let mut transaction = client.transaction()?;
    // Readers pass this lock, a second scan waits.
    transaction.batch_execute("LOCK TABLE albums, artists, genres, tracks IN EXCLUSIVE MODE")?;
    write::collection(&mut transaction, collection)?;
    Ok(transaction.commit()?)
}
