//! `status`: the state of the server, read from the scoreboard, so that any worker can report all.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use hyper::HeaderMap;
use hyper::header::FORWARDED;
use serde::Serialize;

use super::PROGRAM_VERSION;
use crate::control::{ScanEnd, ScanFound, ScanStatus, SourceStatus, WorkerLoad};
use crate::model::Owner;
use crate::scoreboard::{Number, Scans, Scoreboard, Source};
use crate::snapshot::{Kind, Snapshot};
use crate::worker::watch::caller::Peer;

/// Exit codes of scans that have stored a collection.
const STORED: [u64; 2] = [0, 5];

/// Reports whether a peer may see the status or the metrics: its address has the permission, and it asks for
/// itself. A proxy on this machine asks for others, and its header fields show it.
pub(in crate::worker) fn may_see(peer: Peer, headers: &HeaderMap, allowed: &[IpAddr]) -> bool {
    let proxied = headers.contains_key(FORWARDED) || headers.contains_key("x-forwarded-for");
    !proxied && peer.is_none_or(|peer| allowed.contains(&peer.to_canonical()))
}

/// The state of the server, as any worker can report it.
#[derive(Debug, Serialize)]
pub(in crate::worker) struct ServerStatus {
    /// Version of the program.
    version: &'static str,
    /// Hash of the collection from which this worker answers, in hexadecimal digits.
    hash: String,
    /// Revision of the rows of the serving generation, if known.
    revision: Option<u64>,
    songs: u32,
    albums: u32,
    artists: u32,
    genres: u32,
    /// Answers of all workers since the start of the server.
    requests: u64,
    source: SourceStatus,
    scan: Option<ScanStatus>,
    workers: Vec<WorkerLoad>,
}

/// Returns the status of the server with this scoreboard.
pub(in crate::worker) fn status(scoreboard: &Scoreboard, snapshot: &Snapshot<'_>) -> ServerStatus {
    let owners = |owner| snapshot.count(Kind::Of(owner));
    ServerStatus {
        version: PROGRAM_VERSION,
        hash: format!("{:032x}", snapshot.hash()),
        revision: Some(scoreboard.header().revision.get()).filter(|revision| *revision > 0),
        songs: snapshot.count(Kind::Song),
        albums: owners(Owner::Album),
        artists: owners(Owner::Artist),
        genres: owners(Owner::Genre),
        requests: scoreboard.answers(),
        source: source(&scoreboard.header().source),
        scan: scan(&scoreboard.header().scans),
        workers: scoreboard.living().map(|(number, _)| load(scoreboard, number)).collect(),
    }
}

/// Returns the entries of the worker on a slot of the scoreboard.
pub fn load(scoreboard: &Scoreboard, number: usize) -> WorkerLoad {
    let slot = scoreboard.slot(number);
    let latency = |share| slot.latency(share).map(|latency| latency.as_secs_f64());
    WorkerLoad {
        slot: number,
        pid: slot.pid(),
        generation: slot.generation(),
        silent: scoreboard.silence(number).as_secs_f64(),
        requests: slot.answers(),
        connections: slot.connections().into(),
        p50: latency(0.5),
        p99: latency(0.99),
    }
}

/// Returns the entries about the database; a long reason is cut.
pub fn source(source: &Source) -> SourceStatus {
    let checked = time(&source.checked_ms);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
    SourceStatus {
        stale: source.stale.get() > 0,
        reason: source.reason.get(),
        up: source.up.get().checked_sub(1).map(|up| up > 0),
        serves: served_from(source).map(str::to_owned),
        revision: Some(source.revision.get()).filter(|revision| *revision > 0),
        checked,
        age: checked.map(|checked| ((now - checked).max(0.0) * 1e3).round() / 1e3),
        next_try: time(&source.next_try_ms),
    }
}

/// Names the source of the rows that serve in one word.
pub(in crate::worker) fn served_from(source: &Source) -> Option<&'static str> {
    match source.serves.get() {
        1 => Some("database"),
        2 => Some("store"),
        3 => Some("kept"),
        _ => None,
    }
}

/// A point in time, in seconds since 1970; `None` for zero.
fn time(number: &Number) -> Option<f64> {
    Some(number.get()).filter(|ms| *ms > 0).map(|ms| ms as f64 / 1e3)
}

/// Returns the entries about scans, if there are any. Only the master knows why the last one
/// failed.
pub fn scan(scans: &Scans) -> Option<ScanStatus> {
    let (running_since, next) = (time(&scans.running_ms), time(&scans.next_ms));
    let last = time(&scans.ended_ms).map(|ended| {
        let exit_code = scans.exit_code.get();
        let found = ScanFound {
            songs: scans.songs.get(),
            added: scans.added.get(),
            changed: scans.changed.get(),
            removed: scans.removed.get(),
            moved: scans.moved.get(),
            kept: scans.kept.get(),
            unreachable: scans.unreachable.get(),
        };
        // After a failed scan the numbers belong to an earlier one.
        let found = STORED.contains(&exit_code).then_some(found);
        ScanEnd { started: time(&scans.started_ms), ended, exit_code, found, error: None }
    });
    let status = ScanStatus { running_since, next, last };
    (status != ScanStatus::default()).then_some(status)
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    #[test]
    fn only_the_allowed_see_it_and_only_for_themselves() {
        let allowed = ["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()];
        let mut headers = HeaderMap::new();
        let see = |peer: &str, headers: &HeaderMap| may_see(Some(peer.parse().unwrap()), headers, &allowed);
        assert!(see("127.0.0.1", &headers) && see("::1", &headers) && see("::ffff:127.0.0.1", &headers));
        assert!(may_see(None, &headers, &allowed));
        assert!(!see("192.0.2.1", &headers) && !see("127.0.0.2", &headers));
        headers.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert!(!see("127.0.0.1", &headers) && !may_see(None, &headers, &allowed));
    }
}
