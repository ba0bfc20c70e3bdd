//! A scan's hold on a PostgreSQL database: one connection holds the lock, and another one reads and writes.

use ::postgres::error::SqlState;
use ::postgres::{Client, Error, Transaction};
use uuid::Uuid;

use super::tables::{
    Failure, ID_TYPE, begin_reading, create_tables, explain, lost_a_race, missing_of, missing_tables,
};
use super::wait::{Stopped, Waiter};
use super::{change_log, lock, read, revision, write};
use crate::config::database_url::PostgresSettings;
use crate::database::change_log::Touched;
use crate::database::connect::{self, Place};
use crate::database::holder::{Holder, Patience};
use crate::database::notice::{Notice, Tell};
use crate::database::previous::{Previous, Visit};
use crate::database::revision::scan_id;
use crate::database::state::{self, Dialect};
use crate::database::texts::Texts;
use crate::database::{Changes, DatabaseError, schema};

const DIALECT: Dialect = Dialect { integer: "BIGINT", bytes: "BYTEA", id: ID_TYPE, by_key: "" };

/// Modes of locks that prevent reading.
const AGAINST_READING: [&str; 1] = ["AccessExclusiveLock"];

/// Modes of locks that prevent the change of a single row.
const AGAINST_CHANGES: [&str; 4] =
    ["ShareLock", "ShareRowExclusiveLock", "ExclusiveLock", "AccessExclusiveLock"];

/// Modes of locks that prevent writing: all except those of readers.
const AGAINST_WRITING: [&str; 7] = [
    "RowShareLock",
    "RowExclusiveLock",
    "ShareUpdateExclusiveLock",
    "ShareLock",
    "ShareRowExclusiveLock",
    "ExclusiveLock",
    "AccessExclusiveLock",
];

pub(in crate::database) struct Session {
    place: Place,
    lock: Client,
    work: Client,
    texts: Texts,
    me: Holder,
    patience: Patience,
    tell: Tell,
    /// The number under which this session has stored its result.
    own: Option<i64>,
    /// The revision of the rows that this session read or wrote last.
    revision: Option<u64>,
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session").field("database", &self.place.label()).finish_non_exhaustive()
    }
}

impl Session {
    pub(in crate::database) fn open(
        settings: &PostgresSettings,
        me: &Holder,
        patience: Patience,
        tell: Tell,
    ) -> Result<Session, DatabaseError> {
        for parameter in &settings.passed_over {
            tell(Notice::PassedOver { parameter: parameter.clone() });
        }
        let place = Place::new(settings);
        // From here on, the place is the one server that has granted the lock.
        let (lock, place) = lock::take(&place, &settings.application_name, me)?;
        let (mut work, _) = connect::connect(&place)?;
        let texts = texts(&place, &mut work, &tell)?;
        let mut session =
            Session { place, lock, work, texts, me: me.clone(), patience, tell, own: None, revision: None };
        session.try_writing()?;
        Ok(session)
    }

    pub(in crate::database) fn texts(&self) -> Texts {
        self.texts.clone()
    }

    /// Checks that the session still holds the lock.
    pub(in crate::database) fn check(&mut self) -> Result<(), DatabaseError> {
        check_lock(&mut self.lock, &self.place)
    }

    pub(in crate::database) fn revision(&self) -> Option<u64> {
        self.revision
    }

    /// The working connection, and the waiter that reports its waits.
    fn parts(&mut self) -> (&mut Client, Waiter<'_>) {
        let waiter =
            Waiter { place: &self.place, patience: self.patience, tell: &self.tell, watch: &mut self.lock };
        (&mut self.work, waiter)
    }

    /// Creates the missing tables and rolls that back, and checks the rights on the others.
    fn try_writing(&mut self) -> Result<(), DatabaseError> {
        let place = self.place.clone();
        let (work, mut waiter) = self.parts();
        let tried = (|| {
            let mut transaction = work.transaction()?;
            if show(&mut transaction, "transaction_read_only")? == "on" {
                return Err(Stopped::Ended(place.failed(
                    "the server refuses to write (a standby, or default_transaction_read_only is on); name \
                     the primary, or several servers with target_session_attrs=read-write",
                )));
            }
            let tables = read::tables(&mut transaction)?;
            // If the revision existed but stayed the same while rows change, it would be wrong.
            let with_revision = [&tables[..], &[revision::TABLE]].concat();
            if let Some(reason) = lacking_rights(&mut transaction, &with_revision)? {
                return Err(Stopped::Ended(place.failed(reason)));
            }
            let rows = schema::TABLES.into_iter().filter(|table| tables.contains(table));
            for statement in rows.map(trial) {
                waiter.run(&mut transaction, &tables, &AGAINST_CHANGES, |transaction| {
                    Ok(transaction.batch_execute(&statement)?)
                })?;
            }
            create_missing(&mut transaction, &mut waiter, schema::statements).map(drop)
        })();
        tried.map_err(|stopped| stop(&place, stopped))
    }

    pub(in crate::database) fn previous(&mut self, visit: &mut dyn Visit) -> Result<Previous, DatabaseError> {
        let place = self.place.clone();
        let (work, mut waiter) = self.parts();
        let outcome = (|| {
            let mut transaction = begin_reading(work)?;
            let tables = read::tables(&mut transaction)?;
            if !tables.is_empty() {
                let lock = format!("LOCK TABLE {} IN ACCESS SHARE MODE", tables.join(", "));
                waiter.run(&mut transaction, &tables, &AGAINST_READING, |transaction| {
                    Ok(transaction.batch_execute(&lock)?)
                })?;
            }
            let revision = revision::read(&mut transaction)?;
            Ok((read::all(&mut transaction, &tables, visit)?, revision))
        })();
        let (previous, revision) = outcome.map_err(|stopped| stop(&place, stopped))?;
        self.revision = revision;
        Ok(previous)
    }

    pub(in crate::database) fn store(&mut self, mut changes: Changes<'_>) -> Result<i64, DatabaseError> {
        self.check()?;
        self.reconnect()?;
        let (place, me, own) = (self.place.clone(), self.me.clone(), self.own);
        let mut revision = self.revision;
        let (work, mut waiter) = self.parts();
        let outcome = begin_writing(work, &mut waiter).and_then(|(mut transaction, created)| {
            let last = read::last_scan(&mut transaction)?;
            if last != changes.seen_scan {
                return Err(Stopped::Ended(DatabaseError::Overtaken { database: place.label() }));
            }
            let scan = scan_id(&me, last + 1);
            let counts = !changes.rows.is_empty() && count(&mut transaction, scan, &waiter)?;
            let first = if counts { revision::read(&mut transaction)? } else { None };
            let touched = write::all(&mut transaction, &created, changes, last + 1, own, &me)?;
            for statement in created.iter().flat_map(|table| schema::completing_statements(table)) {
                transaction.batch_execute(&statement)?;
            }
            if counts {
                revision = revision::sign(&mut transaction, scan)?;
                if let Some(counted) = first.zip(revision) {
                    log(&mut transaction, counted, scan, touched, &waiter)?;
                }
            }
            // Another scan that found nothing to write would not have left a number.
            check_lock(waiter.watch, &place).map_err(Stopped::Ended)?;
            transaction.commit()?;
            Ok(last + 1)
        });
        if let Ok(number) = &outcome {
            (self.own, self.revision) = (Some(*number), revision);
        }
        outcome.map_err(|stopped| stop(&place, stopped))
    }

    /// Connects again: servers and poolers close connections that were idle while the scan read files. The
    /// other connection still holds the lock.
    fn reconnect(&mut self) -> Result<(), DatabaseError> {
        if self.work.batch_execute("").is_err() {
            (self.work, _) = connect::connect(&self.place)?;
        }
        Ok(())
    }
}

impl Drop for Session {
    /// Ends the session at once: the server notices a closed connection only later, and the next scan may
    /// begin before that.
    fn drop(&mut self) {
        let _ = self.lock.batch_execute("ROLLBACK");
    }
}

fn stop(place: &Place, stopped: Stopped) -> DatabaseError {
    match stopped {
        Stopped::Failed(failure) => explain(place, failure),
        Stopped::Ended(error) => error,
    }
}

fn check_lock(lock: &mut Client, place: &Place) -> Result<(), DatabaseError> {
    lock.batch_execute("SELECT").map_err(|error| match place.explain(&error) {
        DatabaseError::Unreachable { database, reason } | DatabaseError::Interrupted { database, reason } => {
            DatabaseError::Unreachable {
                database,
                reason: format!("the connection that keeps other scans out is lost: {reason}"),
            }
        }
        other => other,
    })
}

/// The check whether the database can store texts, over a separate connection if its encoding leaves a doubt.
fn texts(place: &Place, work: &mut Client, tell: &Tell) -> Result<Texts, DatabaseError> {
    let asked = connect::ask(work, "current_setting('server_encoding')");
    let encoding = asked.map_err(|error| place.explain(&error))?.unwrap_or_default();
    if ["UTF8", "SQL_ASCII"].contains(&encoding.as_str()) {
        return Ok(Texts::any());
    }
    tell(Notice::NarrowEncoding { database: place.label(), encoding: encoding.clone() });
    let (client, _) = connect::connect(place)?;
    Ok(Texts::of_server(encoding, place.clone(), client))
}

/// Counts a change of the rows, before they change. Returns whether the revision can be written.
fn count(transaction: &mut Transaction<'_>, scan: Uuid, waiter: &Waiter<'_>) -> Result<bool, Error> {
    let counted = revision::count(transaction, scan)?;
    if let Err(error) = &counted {
        let reason = waiter.place.explain(error).to_string();
        (waiter.tell)(Notice::NoRevision { reason });
    }
    Ok(counted.is_ok())
}

/// Logs the rows that have changed.
fn log(
    transaction: &mut Transaction<'_>,
    counted: (u64, u64),
    scan: Uuid,
    touched: Touched,
    waiter: &Waiter<'_>,
) -> Result<(), Error> {
    if let Err(error) = change_log::write(transaction, counted, scan, touched)? {
        let reason = waiter.place.explain(&error).to_string();
        (waiter.tell)(Notice::NoLog { reason });
    }
    Ok(())
}

fn show(transaction: &mut Transaction<'_>, setting: &str) -> Result<String, Error> {
    transaction.query_one(&format!("SHOW {setting}"), &[])?.try_get(0)
}

/// A statement that fails if a table has other columns, or is a view that cannot be written.
fn trial(table: &str) -> String {
    let columns = schema::columns(table).join(", ");
    format!("EXPLAIN INSERT INTO {table} ({columns}) SELECT {columns} FROM {table}")
}

/// The existing tables that the role may not use, as a text.
fn lacking_rights(transaction: &mut Transaction<'_>, tables: &[&str]) -> Result<Option<String>, Error> {
    let row = transaction.query_one(
        "SELECT string_agg(name, ', ' ORDER BY number), quote_ident(current_user)
           FROM unnest($1::text[]) WITH ORDINALITY AS tables (name, number)
          WHERE NOT (has_table_privilege(to_regclass(name), 'SELECT')
                AND has_table_privilege(to_regclass(name), 'INSERT')
                AND has_table_privilege(to_regclass(name), 'UPDATE')
                AND has_table_privilege(to_regclass(name), 'DELETE'))",
        &[&tables],
    )?;
    let (tables, role): (Option<&str>, &str) = (row.try_get(0)?, row.try_get(1)?);
    Ok(tables.map(|tables| {
        format!(
            "permission denied for table {tables}: a scan needs all of SELECT, INSERT, UPDATE and DELETE; as \
             the owner run GRANT SELECT, INSERT, UPDATE, DELETE ON {tables} TO {role}"
        )
    }))
}

/// Creates the missing tables, those of avalonms with these statements, and returns their names. Another
/// process may do the same at this moment: then this checks again.
fn create_missing(
    transaction: &mut Transaction<'_>,
    waiter: &mut Waiter<'_>,
    statements: fn(&str, &str) -> Vec<String>,
) -> Result<Vec<&'static str>, Stopped> {
    let mut tries_left = 5;
    loop {
        let missing = missing_tables(transaction)?;
        let missing_state = missing_of(transaction, state::TABLES)?;
        if missing.is_empty() && missing_state.is_empty() {
            return Ok(Vec::new());
        }
        transaction.batch_execute("SAVEPOINT creating")?;
        let outcome = waiter.run(transaction, &schema::TABLES, &AGAINST_WRITING, |transaction| {
            create(transaction, &missing, &missing_state, statements)
        });
        tries_left -= 1;
        match outcome {
            Err(Stopped::Failed(Failure::Schema { error, .. })) if tries_left > 0 && lost_a_race(&error) => {
                transaction.batch_execute("ROLLBACK TO SAVEPOINT creating")?;
            }
            outcome => return outcome.map(|()| [missing, missing_state].concat()),
        }
    }
}

fn create(
    transaction: &mut Transaction<'_>,
    missing: &[&'static str],
    missing_state: &[&'static str],
    statements: fn(&str, &str) -> Vec<String>,
) -> Result<(), Failure> {
    let created = create_tables(transaction, missing, statements).and_then(|()| {
        let mut statements = missing_state.iter().map(|table| state::statement(table, DIALECT));
        statements.try_for_each(|statement| transaction.batch_execute(&statement))
    });
    created.map_err(|error| match error.code() {
        Some(&SqlState::LOCK_NOT_AVAILABLE) => Failure::Sql(error),
        _ => Failure::Schema { missing: [missing, missing_state].concat(), error },
    })
}

/// A transaction in which all tables exist and no other client can write, while readers pass. Also returns
/// the tables that it has created, which still lack their keys and indexes.
fn begin_writing<'a>(
    work: &'a mut Client,
    waiter: &mut Waiter<'_>,
) -> Result<(Transaction<'a>, Vec<&'static str>), Stopped> {
    let mut transaction = work.transaction()?;
    let bare = |table: &str, id_type: &str| vec![schema::bare_statement(table, id_type)];
    let created = create_missing(&mut transaction, waiter, bare)?;
    let tables = [schema::TABLES, state::TABLES].concat();
    let lock = format!("LOCK TABLE {} IN EXCLUSIVE MODE", tables.join(", "));
    waiter.run(&mut transaction, &tables, &AGAINST_WRITING, |transaction| {
        Ok(transaction.batch_execute(&lock)?)
    })?;
    Ok((transaction, created))
}
