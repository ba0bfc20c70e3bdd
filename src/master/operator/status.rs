//! The status of a master and its workers.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use slog::{Logger, info, warn};

use crate::control::{
    LastReload, ScanStatus, SnapshotStatus, SourceStatus, Status, WorkerLoad, WorkerStatus,
};
use crate::master::arbiter::{Arbiter, events};
use crate::master::clock::RunningClock;
use crate::master::error::Reason;
use crate::master::generation::freshness::Freshness;
use crate::master::generation::generations::{Generation, Generations};
use crate::master::processes::fork::own_pid;
use crate::scoreboard::Scoreboard;
use crate::worker::{Memory, Role, load, scan_status, source_status};

/// The time and the result of the last attempt to make a generation.
pub(crate) type Ended = (SystemTime, Result<(), Reason>);

/// The components that a status describes.
pub(crate) struct View<'a> {
    pub(crate) arbiter: &'a Arbiter,
    pub(crate) generations: &'a Generations,
    pub(crate) scoreboard: Scoreboard,
    pub(crate) last_reload: Option<&'a Ended>,
    pub(crate) freshness: &'a Freshness,
    /// The reason why the last scan failed.
    pub(crate) scan_failure: Option<&'a str>,
}

impl View<'_> {
    /// The answer to `avalonctl status` of a master that runs since `begin`.
    pub(crate) fn status(&self, clock: &RunningClock, begin: Instant) -> Status {
        let now = Instant::now();
        let current = self.generations.current();
        let restarts = self.arbiter.restarts().iter().map(|(cause, count)| (cause.name().to_owned(), *count));
        Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            pid: std::process::id(),
            state: self.arbiter.state().to_string(),
            uptime: seconds(now - begin),
            generation: self.generations.current_number(),
            workers_wanted: self.arbiter.workers_wanted(),
            requests: self.scoreboard.answers(),
            restarts: restarts.collect(),
            trouble: self.arbiter.trouble(),
            snapshot: current.and_then(|current| self.snapshot(current, now)),
            listeners: current.map(|current| current.shown(Role::Api)),
            metrics_listeners: current.map(|current| current.shown(Role::Metrics)),
            last_reload: self.last_reload.map(|(when, result)| LastReload {
                time: when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
                error: result.as_ref().err().map(Reason::to_string),
            }),
            source: Some(self.source()),
            scan: self.scan(),
            workers: self.arbiter.workers().map(|worker| self.worker(&worker, clock.at(now))).collect(),
        }
    }

    fn snapshot(&self, current: &Generation, now: Instant) -> Option<SnapshotStatus> {
        let served = current.served.as_ref()?;
        Some(SnapshotStatus {
            contents: served.contents.clone(),
            age: seconds(now - served.made),
            stale: self.freshness.is_stale(),
            empty: current.is_empty(),
        })
    }

    /// The source, as workers show it, but with the whole reason.
    fn source(&self) -> SourceStatus {
        let reason = self.freshness.reason();
        SourceStatus { reason, ..source_status(&self.scoreboard.header().source) }
    }

    fn scan(&self) -> Option<ScanStatus> {
        let mut scan = scan_status(&self.scoreboard.header().scans)?;
        if let Some(last) = &mut scan.last {
            last.error = Some(self.scan_failure.map(str::to_owned));
        }
        Some(scan)
    }

    fn worker(&self, worker: &events::WorkerStatus, now: Instant) -> WorkerStatus {
        let slot = self.scoreboard.slot(worker.slot);
        let age = now.saturating_duration_since(worker.born);
        let memory = Memory::of(worker.pid);
        // A worker that boots may not have claimed its slot yet.
        let load = WorkerLoad {
            pid: worker.pid.as_raw().unsigned_abs(),
            generation: worker.generation,
            ..load(&self.scoreboard, worker.slot)
        };
        WorkerStatus {
            state: worker.state.to_string(),
            age: seconds(age),
            requests_per_second: load.requests as f64 / age.as_secs_f64().max(0.001),
            request: slot.request(),
            load: WorkerLoad { silent: seconds(self.scoreboard.silence(worker.slot)), ..load },
            memory_private: memory.map(|of| of.private),
            memory_shared: memory.map(|of| of.resident - of.private),
        }
    }

    /// The status as a line.
    pub(crate) fn line(&self) -> String {
        let failure = self.last_reload.and_then(|(_, result)| result.as_ref().err());
        let Some((number, current)) = self.generations.current_number().zip(self.generations.current())
        else {
            return match failure {
                None => "loading the collection".to_owned(),
                Some(reason) => format!("the server cannot start: {reason}"),
            };
        };
        let songs = current.served.as_ref().map_or(0, |served| served.contents.songs);
        let stale = self.stale();
        let empty = if current.is_empty() { "; nothing has been scanned yet" } else { "" };
        let failure = failure.map(|reason| format!("; reload failed: {reason}")).unwrap_or_default();
        let scan = self.scan_failure.map(|reason| format!("; scan failed: {reason}")).unwrap_or_default();
        let trouble = self.arbiter.trouble().map(|trouble| format!("; {trouble}")).unwrap_or_default();
        format!(
            "generation {number}: {songs} songs, {} workers{stale}{empty}{failure}{scan}{trouble}",
            self.arbiter.workers_wanted()
        )
    }

    /// Says whether the data may be stale. The words stay the same as long as they are.
    fn stale(&self) -> String {
        let confirmed = self.freshness.confirmed().and_then(|when| Timestamp::try_from(when).ok());
        match (self.freshness.is_stale(), confirmed) {
            (false, _) => String::new(),
            (true, None) => ", stale data".to_owned(),
            (true, Some(when)) => {
                format!(", stale data (last read {})", when.strftime("%Y-%m-%d %H:%M:%S UTC"))
            }
        }
    }

    /// Logs that this generation serves now, and its addresses.
    pub(crate) fn introduce(&self, number: u64, log: &Logger) {
        let Some(generation) = self.generations.current() else { return };
        let (user, group) = &generation.account_names;
        info!(
            log,
            "Avalon Music Server {} running with request path {} as {}:{} using {:.1} MB memory",
            env!("CARGO_PKG_VERSION"),
            generation.config.request_path,
            user,
            group,
            self.memory() as f64 / 1_000_000.0
        );
        info!(log, "generation {} serves on {}", number, generation.shown(Role::Api).join(", ");
            "workers" => self.arbiter.workers_wanted());
        match (generation.is_empty(), generation.config.scan_every) {
            (true, None) => warn!(
                log,
                "the collection is empty: nothing has been scanned yet (avalon-scan FOLDER, then SIGHUP)"
            ),
            (true, Some(_)) => info!(log, "the collection is empty until it has been scanned"),
            (false, _) => {}
        }
        let metrics = generation.shown(Role::Metrics);
        if !metrics.is_empty() {
            info!(log, "generation {} gives metrics on {}", number, metrics.join(", "));
        }
    }

    /// Bytes of memory of all processes together, and those of the served snapshot, which they share; without the
    /// program's file, and as far as the kernel reports them.
    fn memory(&self) -> u64 {
        let snapshot = self.generations.current().and_then(|current| current.served.as_ref());
        let workers = self.arbiter.workers().map(|worker| worker.pid);
        let private = workers.chain([own_pid()]).filter_map(Memory::of).map(|of| of.private);
        private.sum::<u64>() + snapshot.map_or(0, |served| served.contents.bytes)
    }
}

fn seconds(duration: Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_have_three_digits() {
        assert_eq!(seconds(Duration::from_micros(1_234_567)), 1.235);
    }
}
