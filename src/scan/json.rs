//! The report of a scan for programs: one JSON object, which `docs/scan-report.schema.json`
//! describes. U+FFFD replaces the invalid bytes of paths that are not UTF-8.

use std::path::Path;

use jiff::Timestamp;
use serde_json::{Map, Value, json};

use super::account::{Account, Phase, Root, Seen};
use super::loss::Loss;
use super::mounts::Mounts;
use super::report::Report;
use super::skipped::{Examples, Reason};
use super::{Job, ScanError};
use crate::config::database_url::Backend;
use crate::database::Holder;

/// The result of the reload that the command line asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reload {
    /// The command line does not ask for it.
    NotAsked,
    /// The rows have not changed.
    NotNeeded,
    /// The server serves the new collection.
    Done,
    /// No server runs.
    NoServer,
    /// The server could not be asked, or could not load the collection.
    Failed,
}

impl Reload {
    fn key(self) -> &'static str {
        match self {
            Reload::NotAsked => "not_asked",
            Reload::NotNeeded => "not_needed",
            Reload::Done => "done",
            Reload::NoServer => "no_server",
            Reload::Failed => "failed",
        }
    }
}

/// The end of a scan.
#[derive(Debug)]
pub struct End<'a> {
    /// The findings and stored rows; `None` if an error prevented storing.
    pub report: Option<&'a Report>,
    /// The losses for which the scan was refused.
    pub losses: &'a [Loss],
    /// The reason of the failure, in one line.
    pub error: Option<&'a str>,
    /// The result of the reload.
    pub reload: Reload,
    /// The exit code of the process.
    pub exit_code: u8,
}

/// Returns the losses for which a scan was refused.
pub fn losses(error: &ScanError) -> &[Loss] {
    match error {
        ScanError::TooMuchLost { losses } => losses,
        _ => &[],
    }
}

/// Builds the report. `job` is `None` if the configuration is wrong, and `account` if the scan was
/// interrupted.
pub fn object(me: &Holder, job: Option<&Job>, account: Option<&Account>, end: &End<'_>) -> Value {
    json!({
        "program": "avalon-scan",
        "version": env!("CARGO_PKG_VERSION"),
        "host": me.host,
        "pid": me.pid,
        "started": time(Timestamp::from_second(me.started).ok()),
        "ended": time(Some(Timestamp::now())),
        "exit_code": end.exit_code,
        "error": end.error,
        "dry_run": job.is_some_and(|job| job.dry_run),
        "full": job.is_some_and(|job| job.full),
        "partial": job.is_some_and(|job| job.only.is_some()),
        "roots": account.map_or_else(Vec::new, |account| roots(&account.roots)),
        "counts": counts(account, end.report),
        "collection": end.report.map(collection),
        "skipped": skipped(account.and_then(|account| account.seen.as_ref())),
        "moved": account.map_or_else(Vec::new, moved),
        "bytes": account.and_then(|account| account.seen.as_ref()).map(|seen| seen.bytes),
        "seconds": seconds(account),
        "database": job.map(|job| database(job, end.report)),
        "losses": end.losses.iter().map(loss).collect::<Vec<_>>(),
        "reload": end.reload.key(),
    })
}

fn time(time: Option<Timestamp>) -> Value {
    time.map_or(Value::Null, |time| json!(time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()))
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn roots(roots: &[Root]) -> Vec<Value> {
    // Empty if the kernel does not list its mounts.
    let mounts = Mounts::read().unwrap_or_default();
    let root = |root: &Root| {
        // A root that did not answer is not touched again.
        let mount = (root.reachable == Some(true)).then(|| mounts.of(&root.path)).flatten();
        json!({
            "path": text(&root.path),
            "reachable": root.reachable,
            "mount": mount.map(|mount| text(&mount.point)),
            "file_system": mount.map(|mount| &mount.kind),
        })
    };
    roots.iter().map(root).collect()
}

/// Builds the counts. A number that is not known yet is null.
fn counts(account: Option<&Account>, report: Option<&Report>) -> Value {
    let seen = account.and_then(|account| account.seen.as_ref());
    let fates = account.and_then(|account| account.fates);
    json!({
        "found": seen.map(|seen| seen.found),
        "read": seen.map(|seen| seen.read),
        "unchanged": seen.map(|seen| seen.unchanged),
        "skipped": seen.map(|seen| seen.skips.counts.total()),
        "added": report.map(|report| report.added),
        "changed": fates.map(|fates| fates.changed),
        "moved": fates.map(|fates| fates.moved),
        "removed": fates.map(|fates| fates.removed),
        "excluded": fates.map(|fates| fates.excluded),
        "given_up": fates.map(|fates| fates.given_up),
        "kept": fates.map(|fates| fates.kept),
        "unreachable": report.map(|report| report.unreachable),
    })
}

fn collection(report: &Report) -> Value {
    json!({
        "songs": report.songs,
        "albums": report.albums,
        "artists": report.artists,
        "genres": report.genres,
    })
}

fn skipped(seen: Option<&Seen>) -> Value {
    let Some(Seen { skips, .. }) = seen else { return Value::Null };
    let reason = |reason: Reason| {
        let value = json!({"count": skips.counts.of(reason), "examples": examples(skips.examples(reason))});
        (reason.key().to_owned(), value)
    };
    Value::Object(Reason::ALL.into_iter().map(reason).collect())
}

fn examples(examples: &Examples) -> Vec<Value> {
    examples.iter().map(|(path, why)| json!({"path": text(path), "why": why})).collect()
}

fn moved(account: &Account) -> Vec<Value> {
    let song =
        |(id, path): &(uuid::Uuid, std::path::PathBuf)| json!({"id": id.to_string(), "path": text(path)});
    account.moved.iter().map(|moved| json!({"old": song(&moved.old), "new": song(&moved.new)})).collect()
}

/// Builds the seconds of each finished part and of the whole.
fn seconds(account: Option<&Account>) -> Value {
    let Some(account) = account else { return Value::Null };
    let mut seconds = Map::new();
    for phase in [Phase::Open, Phase::Previous, Phase::Survey, Phase::Settle, Phase::Store] {
        let took = account.phases.iter().find(|(ended, _)| *ended == phase);
        seconds.insert(phase.key().to_owned(), json!(took.map(|(_, took)| took.as_secs_f64())));
    }
    seconds.insert("total".to_owned(), json!(account.elapsed().as_secs_f64()));
    Value::Object(seconds)
}

/// Describes the database. The URL hides its password.
fn database(job: &Job, report: Option<&Report>) -> Value {
    let kind = match job.database.backend() {
        Backend::Sqlite(_) => "sqlite",
        Backend::Postgres(_) => "postgresql",
    };
    let differs = report.map(|report| report.is_written);
    json!({
        "kind": kind,
        "url": job.database.to_string(),
        "differs": differs,
        "rows_differ": report.map(|report| report.is_new),
        "revision": report.and_then(|report| report.revision),
        "written": differs == Some(true) && !job.dry_run,
    })
}

fn loss(loss: &Loss) -> Value {
    let folder = |(path, lost): &(std::path::PathBuf, usize)| json!({"path": text(path), "lost": lost});
    json!({
        "place": loss.place.as_deref().map(text),
        "lost": loss.lost,
        "of": loss.of,
        "folders": loss.folders.iter().map(folder).collect::<Vec<_>>(),
    })
}
