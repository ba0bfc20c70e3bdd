//! Rows as a server sends them.

use std::collections::HashSet;
use std::sync::mpsc;
use std::time::{Duration, Instant};
use std::{iter, panic, thread};

use ::postgres::types::{FromSql, Type};
use ::postgres::{Error, Row, Statement, Transaction};
use uuid::Uuid;

use super::portions::{LARGEST, Portions};
use crate::database::rows::{SongRow, Value};
use crate::scheduling::{gives_way, pause};

/// Rows in one portion, unless this process gives way.
const PORTION: usize = LARGEST;
/// Rows that the server counts in the time in which it sends one row.
const COUNTED: usize = 20;
/// The time of a pause in a process that gets a processor at once.
const PAUSE_MAX: Duration = Duration::from_micros(200);
/// Types whose values arrive unchanged; values of any other type arrive as text.
const READABLE: [Type; 6] = [Type::UUID, Type::VARCHAR, Type::TEXT, Type::INT2, Type::INT4, Type::INT8];

/// Visits all rows of a table, portion by portion. This keeps memory small, and it keeps the server's last
/// words: a blocking client checks its connection before it reads the rows that have arrived, so unread rows
/// would hide why a connection ended.
pub(super) fn for_each_row<E: From<Error>>(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
    mut take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<(), E> {
    let query = readable_query(transaction, table, columns)?;
    for_each_row_of(transaction, table, &query, &mut take)
}

/// Visits all rows of any query; `table` names the cursor.
pub(super) fn for_each_row_of<E: From<Error>>(
    transaction: &mut Transaction<'_>,
    table: &str,
    query: &str,
    mut take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<(), E> {
    transaction.batch_execute(&format!("DECLARE {table} NO SCROLL CURSOR FOR {query}"))?;
    if gives_way() {
        return visit_in_turn(transaction, table, &mut take);
    }
    let fetch = transaction.prepare(&format!("FETCH {PORTION} FROM {table}"))?;
    let rows = transaction.query(&fetch, &[])?;
    if rows.len() < PORTION {
        return rows.iter().try_for_each(take);
    }
    // The program processes a portion while the server makes the next one, so two are in memory. A million
    // songs arrive in 1.2 s this way, and in 2.1 s one portion after the other.
    let (hand_over, fetched) = mpsc::sync_channel(0);
    let outcome = thread::scope(|scope| {
        let (transaction, fetch) = (&mut *transaction, &fetch);
        // The closure owns its end of the channel, so the channel closes when the closure ends.
        let fetch_rest = move || fetch_portions(transaction, fetch, |rows| hand_over.send(rows).is_ok());
        match thread::Builder::new().name("fetch".to_owned()).spawn_scoped(scope, fetch_rest) {
            Err(_) => Err(rows),
            Ok(fetcher) => {
                let mut portions = iter::once(rows).chain(fetched);
                let taken = portions.try_for_each(|rows| rows.iter().try_for_each(&mut take));
                // A thread that holds rows back then sees that the receiver is gone.
                drop(portions);
                let fetched = fetcher.join().unwrap_or_else(|panic| panic::resume_unwind(panic));
                Ok(taken.and(fetched.map_err(E::from)))
            }
        }
    });
    outcome.unwrap_or_else(|rows| {
        // This user may start no more threads: take one portion after the other.
        rows.iter().try_for_each(&mut take)?;
        let mut taken = Ok(());
        fetch_portions(transaction, &fetch, |rows| {
            taken = rows.iter().try_for_each(&mut take);
            taken.is_ok()
        })?;
        taken
    })
}

/// Visits the rows of a cursor in small portions.
fn visit_in_turn<E: From<Error>>(
    transaction: &mut Transaction<'_>,
    table: &str,
    mut take: impl FnMut(&Row) -> Result<(), E>,
) -> Result<(), E> {
    let fetch = |rows| format!("FETCH {rows} FROM {table}");
    in_turn(transaction, 1, fetch, |transaction, fetch| {
        let begin = Instant::now();
        let rows = transaction.query(fetch, &[])?;
        let time = begin.elapsed();
        rows.iter().try_for_each(&mut take)?;
        Ok((rows.len(), time))
    })
}

/// Counts the rows of a table. The server uses all processors to count a large one at once, so a process that gives way
/// moves a cursor over the rows.
pub(super) fn count(transaction: &mut Transaction<'_>, table: &str) -> Result<u64, Error> {
    if !gives_way() {
        let row = transaction.query_one(&format!("SELECT count(*) FROM {table}"), &[])?;
        return Ok(row.try_get::<_, i64>(0)?.cast_unsigned());
    }
    let cursor = format!("{table}_counted");
    transaction.batch_execute(&format!("DECLARE {cursor} NO SCROLL CURSOR FOR SELECT FROM {table}"))?;
    let mut count = 0;
    let move_on = |rows| format!("MOVE {rows} FROM {cursor}");
    in_turn(transaction, COUNTED, move_on, |transaction, move_on| {
        let begin = Instant::now();
        let moved = transaction.execute(move_on, &[])?;
        count += moved;
        Ok::<_, Error>((usize::try_from(moved).unwrap_or(usize::MAX), begin.elapsed()))
    })?;
    Ok(count)
}

/// Has the server go through the rows of a cursor in portions, so that at most one processor of the machine is busy,
/// and for short times: this program and a server on the same machine work in turn, and pause between two portions.
/// `statement` names a number of rows, `step` executes it and gives the rows of the portion and the server's time.
/// Portions have `times` as many rows as those of [`Portions`].
fn in_turn<E: From<Error>>(
    transaction: &mut Transaction<'_>,
    times: usize,
    statement: impl Fn(usize) -> String,
    mut step: impl FnMut(&mut Transaction<'_>, &Statement) -> Result<(usize, Duration), E>,
) -> Result<(), E> {
    let mut portions = Portions::new();
    loop {
        let size = portions.rows();
        let prepared = transaction.prepare(&statement(size * times))?;
        while portions.rows() == size {
            let (rows, time) = step(transaction, &prepared)?;
            if rows < size * times {
                return Ok(());
            }
            portions.took(time, late_after_pause());
        }
    }
}

/// Pauses, and gives the time for which this process had to wait for a processor then.
fn late_after_pause() -> Duration {
    let begin = Instant::now();
    pause();
    begin.elapsed().saturating_sub(PAUSE_MAX)
}

/// Fetches all remaining portions, until `hand_over` says that the receiver is gone.
fn fetch_portions(
    transaction: &mut Transaction<'_>,
    fetch: &Statement,
    mut hand_over: impl FnMut(Vec<Row>) -> bool,
) -> Result<(), Error> {
    loop {
        let rows = transaction.query(fetch, &[])?;
        let is_last = rows.len() < PORTION;
        if !hand_over(rows) || is_last {
            return Ok(());
        }
    }
}

/// Selects the columns, those of other types than [`READABLE`] as text. The types come from the catalog: for
/// a statement with such a column the driver would look up the type itself, with statements that outlive the
/// transaction, and the next session of a pooler may have statements of these names already.
pub(super) fn readable_query(
    transaction: &mut Transaction<'_>,
    table: &str,
    columns: &[&str],
) -> Result<String, Error> {
    let rows = transaction.query(
        "SELECT attname::text, atttypid FROM pg_attribute
          WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
        &[&table],
    )?;
    let mut readable = HashSet::new();
    for row in &rows {
        let kind = Type::from_oid(row.try_get(1)?);
        if kind.is_some_and(|kind| READABLE.contains(&kind)) {
            readable.insert(row.try_get::<_, &str>(0)?);
        }
    }
    let expressions: Vec<String> = columns
        .iter()
        .map(|column| match readable.contains(column) {
            true => (*column).to_owned(),
            false => format!("{column}::text"),
        })
        .collect();
    Ok(format!("SELECT {} FROM {table}", expressions.join(", ")))
}

pub(super) fn value(row: &Row, index: usize) -> Result<Value<'_>, Error> {
    Ok(row.try_get::<_, Option<Value<'_>>>(index)?.unwrap_or(Value::Null))
}

/// A row of [`TRACK_COLUMNS`](crate::database::schema::TRACK_COLUMNS).
pub(super) fn song(row: &Row) -> Result<SongRow<'_>, Error> {
    SongRow::read(|column| value(row, column))
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
