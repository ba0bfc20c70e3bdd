//! One scan at a time: an advisory lock, which a separate connection holds in an open transaction. So the
//! lock lasts as long as the connection, even through a pooler that gives each transaction another session;
//! and as that transaction has no snapshot, it does not delay vacuum. The name of the connection, which every
//! role may see, tells who holds the lock.

use std::time::{Duration, Instant};

use ::postgres::{Client, Error};
use xxhash_rust::xxh3::xxh3_64;

use crate::database::DatabaseError;
use crate::database::connect::{self, Opened, Place};
use crate::database::holder::Holder;

/// Pause before the last try: a holder that has just gone may still be visible, or no longer.
const LAST_LOOK: Duration = Duration::from_millis(100);

/// Most bytes of a name; the server cuts longer ones.
const LONGEST_NAME: usize = 63;

/// Takes the lock of the schema that holds the tables, or would hold them, on the answering server.
pub(super) fn take(place: &Place, name: &str, me: &Holder) -> Result<Opened, DatabaseError> {
    let (mut client, place) = connect::connect_as(place, &name_of(name, me))?;
    let began = Instant::now();
    let key = begin(&mut client).map_err(|error| place.explain(&error))?;
    loop {
        let row = client.query_one("SELECT pg_try_advisory_xact_lock($1)", &[&key]);
        if row.and_then(|row| row.try_get(0)).map_err(|error| place.explain(&error))? {
            return Ok((client, place));
        }
        match holder(&mut client, key).map_err(|error| place.explain(&error))? {
            Some((_, Some(Holder { host, pid, started }))) => {
                return Err(DatabaseError::ScanRunning { database: place.label(), host, pid, started });
            }
            Some((process, None)) => {
                return Err(place.failed(format!(
                    "server process {process} holds the lock with which scans keep each other out"
                )));
            }
            None if began.elapsed() > LAST_LOOK => {
                return Err(
                    place.failed("another client holds the lock with which scans keep each other out")
                );
            }
            None => {}
        }
    }
}

/// Begins the transaction and returns the key of the lock.
fn begin(client: &mut Client) -> Result<i64, Error> {
    client.batch_execute(
        "BEGIN ISOLATION LEVEL READ COMMITTED;
         SELECT set_config(name, '0', true) FROM pg_settings
          WHERE name IN ('idle_in_transaction_session_timeout', 'transaction_timeout')",
    )?;
    let row = client.query_one(
        "SELECT coalesce((SELECT nspname FROM pg_class c JOIN pg_namespace n ON n.oid = relnamespace
                           WHERE c.oid = to_regclass('tracks')), current_schema(), '')::text",
        &[],
    )?;
    let schema: &str = row.try_get(0)?;
    Ok(xxh3_64(format!("avalon-scan {schema}").as_bytes()) as i64)
}

/// The server process that holds the lock, and the scan that its name describes.
fn holder(client: &mut Client, key: i64) -> Result<Option<(i32, Option<Holder>)>, Error> {
    let row = client.query_opt(
        "SELECT a.pid, coalesce(a.application_name, '') FROM pg_locks l JOIN pg_stat_activity a USING (pid)
          WHERE locktype = 'advisory' AND granted AND objsubid = 1
            AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND (classid::bigint << 32) | objid::bigint = $1",
        &[&key],
    )?;
    row.map(|row| Ok((row.try_get(0)?, parse(row.try_get(1)?)))).transpose()
}

/// The name `NAME HOST:PID STARTED`; if it is too long, the host loses its end.
fn name_of(name: &str, me: &Holder) -> String {
    let printable = |text: &str| -> String { text.chars().filter(char::is_ascii_graphic).collect() };
    let (mut name, mut host) = (printable(name), printable(&me.host));
    name.truncate(16);
    let end = format!(":{} {}", me.pid, me.started);
    host.truncate(LONGEST_NAME.saturating_sub(name.len() + 1 + end.len()));
    format!("{name} {host}{end}")
}

fn parse(name: &str) -> Option<Holder> {
    let (name, started) = name.rsplit_once(' ')?;
    let (_, process) = name.rsplit_once(' ')?;
    let (host, pid) = process.rsplit_once(':')?;
    Some(Holder { host: host.to_owned(), pid: pid.parse().ok()?, started: started.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_the_connection_tells_who_scans() {
        let me = Holder { host: "nas.example.org".to_owned(), pid: 4_194_304, started: 1_795_499_160 };
        assert_eq!(name_of("avalon", &me), "avalon nas.example.org:4194304 1795499160");
        for name in ["", "a b", "a name that is much longer than is good for it", "\u{e9}"] {
            assert_eq!(parse(&name_of(name, &me)), Some(me.clone()), "{name}");
        }
        let long = Holder { host: "h".repeat(64), ..me };
        let name = name_of("avalon", &long);
        assert_eq!(name.len(), LONGEST_NAME);
        assert_eq!(parse(&name).map(|holder| holder.pid), Some(long.pid));
        for other in ["", "psql", "a b", "a b:c d"] {
            assert_eq!(parse(other), None);
        }
    }
}
