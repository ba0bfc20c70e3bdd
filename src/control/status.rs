//! The status of a server, for masters, workers and `avalonctl`.
//!
//! A reader accepts a status of another release: missing fields have their default, and unknown
//! ones are ignored. Times are in seconds, points in time in seconds since 1970, memory in bytes.

use std::collections::BTreeMap;
use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize};

/// The state of a server that makes a generation beside the one that serves.
const RELOADING: &str = "reloading";

/// The state of a server: the answer to `avalonctl status`, which prints it as a table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The release of the master.
    pub version: String,
    /// The master's process id.
    pub pid: u32,
    /// The state of the server, in a word. Other releases may use other words.
    pub state: String,
    /// Time since the start of the master.
    pub uptime: f64,
    /// The generation that serves.
    pub generation: Option<u64>,
    /// The number of workers that there should be.
    pub workers_wanted: usize,
    /// Answers of all workers, past and present.
    pub requests: u64,
    /// Number of replaced workers, by cause.
    pub restarts: BTreeMap<String, u64>,
    /// The reason why workers die repeatedly, if they do.
    pub trouble: Option<String>,
    /// The served snapshot.
    pub snapshot: Option<SnapshotStatus>,
    /// Addresses of the API.
    pub listeners: Option<Vec<String>>,
    /// Addresses of the metrics.
    pub metrics_listeners: Option<Vec<String>>,
    /// The last attempt to make a generation.
    pub last_reload: Option<LastReload>,
    /// The state of the database, as loads have shown it.
    pub source: Option<SourceStatus>,
    /// Scans by the server, if there are any.
    pub scan: Option<ScanStatus>,
    /// The living workers.
    pub workers: Vec<WorkerStatus>,
}

/// The contents of a snapshot.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Contents {
    /// Number of albums.
    pub albums: u64,
    /// Number of artists.
    pub artists: u64,
    /// Its size.
    pub bytes: u64,
    /// Number of genres.
    pub genres: u64,
    /// The name of its content.
    pub hash: String,
    /// Number of songs.
    pub songs: u64,
    /// The revision of the rows in the database; `None` if the database has none, or a former
    /// master has read it.
    pub revision: Option<u64>,
    /// Further identification of the rows in the same database; empty if there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub mark: String,
}

/// The served snapshot.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SnapshotStatus {
    /// Its contents.
    #[serde(flatten)]
    pub contents: Contents,
    /// Time since it was made or restored.
    pub age: f64,
    /// Whether the database may hold other rows, as [`SourceStatus`] says.
    pub stale: bool,
    /// Whether there are no songs, as before the first scan.
    pub empty: bool,
}

/// The result of an attempt to make a generation.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LastReload {
    /// Its end.
    pub time: u64,
    /// The reason of a failure.
    pub error: Option<String>,
}

/// The database, as loads and the watcher have shown it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceStatus {
    /// Whether clients may get other rows than it holds: a reload has failed, a snapshot of a
    /// former master serves that no load has confirmed, or the watcher has seen other rows or has
    /// had no answer.
    pub stale: bool,
    /// The reason for that.
    pub reason: Option<String>,
    /// Whether the last load or poll that has asked the source could read it; `None` before the first.
    pub up: Option<bool>,
    /// Where the rows that serve are from: `database`, `store`, or `kept` for a snapshot of a former master that no load
    /// has confirmed; `None` before the first generation.
    pub serves: Option<String>,
    /// The revision that the watcher has seen last; `None` if there is no watcher, or the database does not tell it.
    pub revision: Option<u64>,
    /// Time at which the served rows were last read from it, or seen to be its present rows; `None`
    /// if this master never has.
    pub checked: Option<f64>,
    /// Seconds since then.
    pub age: Option<f64>,
    /// Time of the next automatic read.
    pub next_try: Option<f64>,
}

/// The scans by the server.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanStatus {
    /// The start of the current scan.
    pub running_since: Option<f64>,
    /// Time of the next scan.
    pub next: Option<f64>,
    /// The last one that has ended.
    pub last: Option<ScanEnd>,
}

/// A scan that has ended.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ScanEnd {
    /// Its start.
    pub started: Option<f64>,
    /// Its end.
    pub ended: f64,
    /// Its exit code, as that of `avalon-scan`.
    pub exit_code: u64,
    /// Its numbers, if it has stored a collection.
    #[serde(flatten)]
    pub found: Option<ScanFound>,
    /// The reason of a failure; missing if unknown, as in the status by a worker.
    #[serde(skip_serializing_if = "Option::is_none", deserialize_with = "present")]
    pub error: Option<Option<String>>,
}

/// Parses a field that is present, even if it is null.
fn present<'de, D: Deserializer<'de>>(field: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(field).map(Some)
}

/// The numbers of a scan. They count songs unless stated otherwise.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScanFound {
    /// All of the collection.
    pub songs: u64,
    /// New songs.
    pub added: u64,
    /// Songs with changed tags.
    pub changed: u64,
    /// Songs that have left.
    pub removed: u64,
    /// Songs in another place than before.
    pub moved: u64,
    /// Songs that could not be reached, and stay.
    pub kept: u64,
    /// Files, folders and roots that could not be reached.
    pub unreachable: u64,
}

/// The entries of a worker on the scoreboard, so that any worker can report them for all.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerLoad {
    /// Its slot on the scoreboard.
    pub slot: usize,
    /// Its process.
    pub pid: u32,
    /// Its generation.
    pub generation: u64,
    /// Time since its last sign of life.
    pub silent: f64,
    /// Number of its answers.
    pub requests: u64,
    /// Number of its open connections.
    pub connections: u64,
    /// Half of its last answers took at most this long.
    pub p50: Option<f64>,
    /// 99 of a hundred of its last answers took at most this long.
    pub p99: Option<f64>,
}

/// The state of a worker.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WorkerStatus {
    /// The part that any worker can report.
    #[serde(flatten)]
    pub load: WorkerLoad,
    /// Its state, in a word.
    pub state: String,
    /// Time since it was forked.
    pub age: f64,
    /// Its answers per second of its life.
    pub requests_per_second: f64,
    /// The request that it is working on, if known.
    pub request: Option<String>,
    /// Memory that is neither file nor shared memory, in bytes.
    pub memory_private: Option<u64>,
    /// Files and shared memory, the parts of the snapshot that were read included, in bytes.
    pub memory_shared: Option<u64>,
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents { albums, artists, bytes, genres, hash, songs, revision, mark: _ } = self;
        write!(
            f,
            "albums={albums} artists={artists} bytes={bytes} genres={genres} hash={hash} songs={songs}"
        )?;
        revision.map_or(Ok(()), |revision| write!(f, " revision={revision}"))
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let generation = self.generation.map_or_else(|| "null".to_owned(), |number| number.to_string());
        writeln!(
            f,
            "avalon-master {} pid {} {} for {:.0} s, generation {generation}, {} requests",
            self.version, self.pid, self.state, self.uptime, self.requests,
        )?;
        if let Some(snapshot) = &self.snapshot {
            writeln!(f, "snapshot {snapshot}")?;
        }
        if let Some(LastReload { error: Some(error), .. }) = &self.last_reload {
            writeln!(f, "last reload failed: {error}")?;
        }
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |since| since.as_secs_f64());
        if let Some(source) = &self.source {
            f.write_str(&source.in_words(now, self.state == RELOADING))?;
        }
        if self.snapshot.as_ref().is_some_and(|snapshot| snapshot.empty) {
            writeln!(f, "the collection is empty: nothing has been scanned yet")?;
        }
        if let Some(scan) = &self.scan {
            f.write_str(&scan.in_words(now))?;
        }
        if let Some(trouble) = &self.trouble {
            writeln!(f, "trouble: {trouble}")?;
        }
        for (cause, count) in &self.restarts {
            writeln!(f, "workers replaced: {count} ({cause})")?;
        }
        writeln!(
            f,
            "{:>4} {:>8} {:>4} {:<8} {:>8} {:>10} {:>8} {:>6} {:>8} {:>8} {:>10} {:>10}",
            "slot",
            "pid",
            "gen",
            "state",
            "age s",
            "requests",
            "req/s",
            "conns",
            "p50 ms",
            "p99 ms",
            "private MB",
            "shared MB",
        )?;
        self.workers.iter().try_for_each(|worker| writeln!(f, "{worker}"))
    }
}

impl fmt::Display for SnapshotStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Contents { albums, artists, bytes, genres, hash, songs, revision, mark: _ } = &self.contents;
        let (megabytes, age) = (*bytes as f64 / 1e6, self.age);
        write!(f, "{hash} of {megabytes:.1} MB, {age:.0} s old: ")?;
        write!(f, "{songs} songs, {albums} albums, {artists} artists, {genres} genres")?;
        revision.map_or(Ok(()), |revision| write!(f, ", revision {revision}"))
    }
}

impl fmt::Display for WorkerStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let milliseconds = |seconds: Option<f64>| seconds.unwrap_or_default() * 1e3;
        let megabytes = |bytes: Option<u64>| bytes.unwrap_or_default() as f64 / 1e6;
        write!(
            f,
            "{:>4} {:>8} {:>4} {:<8} {:>8.0} {:>10} {:>8.1} {:>6} {:>8.3} {:>8.3} {:>10.1} {:>10.1}",
            self.load.slot,
            self.load.pid,
            self.load.generation,
            self.state,
            self.age,
            self.load.requests,
            self.requests_per_second,
            self.load.connections,
            milliseconds(self.load.p50),
            milliseconds(self.load.p99),
            megabytes(self.memory_private),
            megabytes(self.memory_shared),
        )
    }
}

impl SourceStatus {
    /// Describes the server to a person who reads it at `now`, perhaps while a reload is under way.
    fn in_words(&self, now: f64, is_reloading: bool) -> String {
        let mut lines = String::new();
        if let (true, Some(reason)) = (self.stale, &self.reason) {
            lines += &format!("stale data: {reason}\n");
        }
        if let Some(age) = self.age {
            lines += &format!("database last read {age:.0} s ago\n");
        }
        match (self.stale && !is_reloading, self.next_try) {
            (true, Some(next)) => lines += &format!("next try in {:.1} s\n", (next - now).max(0.0)),
            (true, None) => lines += "no retry: put it right, then avalonctl reload\n",
            (false, _) => {}
        }
        lines
    }
}

impl ScanStatus {
    /// Describes the scans to a person who reads it at `now`.
    fn in_words(&self, now: f64) -> String {
        let mut lines = self.last.as_ref().map(|last| last.in_words(now)).unwrap_or_default();
        if let Some(since) = self.running_since {
            lines += &format!("a scan has been running for {:.0} s\n", (now - since).max(0.0));
        }
        if let Some(next) = self.next {
            lines += &format!("next scan in {:.0} s\n", (next - now).max(0.0));
        }
        lines
    }
}

impl ScanEnd {
    fn in_words(&self, now: f64) -> String {
        let found = self.found.unwrap_or_default();
        let mut lines = String::new();
        if let Some(started) = self.started {
            let ago = (now - self.ended).max(0.0);
            lines += &match self.error.as_ref().and_then(Option::as_ref) {
                Some(error) => {
                    format!("last scan failed {ago:.0} s ago with exit code {}: {error}\n", self.exit_code)
                }
                None => format!(
                    "last scan {ago:.0} s ago, in {:.1} s: {} songs, {} added, {} changed, {} removed, {} moved\n",
                    (self.ended - started).max(0.0),
                    found.songs,
                    found.added,
                    found.changed,
                    found.removed,
                    found.moved,
                ),
            };
        }
        if found.unreachable > 0 {
            lines += &format!(
                "{} places could not be reached, {} songs stay as they were\n",
                found.unreachable, found.kept
            );
        }
        lines
    }
}

#[cfg(test)]
mod tests;
