//! What a master says of itself and its workers when it is asked.

use std::collections::BTreeMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use nix::unistd::Pid;
use serde_json::{Value, json};

use crate::master::Master;
use crate::master::arbiter::events::WorkerStatus;
use crate::master::processes::process;
use crate::title;
use crate::worker::{Role, scan_status};

/// A worker that has been silent for longer does not count as a sign of life to systemd.
const HEALTHY_SILENCE: Duration = Duration::from_millis(1500);

impl Master {
    /// The answer to `avalonctl status`. Times are in seconds, memory in bytes.
    pub(crate) fn status(&self) -> Value {
        let now = Instant::now();
        let workers: Vec<Value> =
            self.arbiter.workers().map(|worker| self.worker_status(&worker, now)).collect();
        let restarts = self.arbiter.restarts().iter().map(|(cause, count)| (cause.name(), json!(count)));
        let current = self.arbiter.current().and_then(|number| self.generations.get(&number));
        json!({
            "version": env!("CARGO_PKG_VERSION"),
            "pid": std::process::id(),
            "state": self.arbiter.state(),
            "uptime": seconds(now - self.begin),
            "generation": self.arbiter.current(),
            "workers_wanted": self.arbiter.workers_wanted(),
            "requests": self.scoreboard.answers(),
            "restarts": restarts.collect::<BTreeMap<_, Value>>(),
            "trouble": self.arbiter.trouble(),
            "snapshot": current.map(|current| {
                let mut summary = current.summary.clone();
                summary.insert("age".to_owned(), json!(seconds(now - current.made)));
                summary.insert("stale".to_owned(), json!(current.is_stale()));
                summary.insert("empty".to_owned(), json!(current.is_empty()));
                summary
            }),
            "listeners": current.map(|current| current.shown(Role::Api)),
            "metrics_listeners": current.map(|current| current.shown(Role::Metrics)),
            "last_reload": self.last_made.as_ref().map(|(when, result)| json!({
                "time": unix_time(*when),
                "error": result.as_ref().err(),
            })),
            "scan": self.scan_status(),
            "workers": workers,
        })
    }

    fn scan_status(&self) -> Value {
        let mut scan = scan_status(&self.scoreboard.header().scans);
        if scan["last"].is_object() {
            scan["last"]["error"] = self.scans.failure().into();
        }
        scan
    }

    /// How things are, in a line.
    pub(crate) fn status_line(&self) -> String {
        let current =
            self.arbiter.current().and_then(|number| Some((number, self.generations.get(&number)?)));
        let failure = self.last_made.as_ref().and_then(|(_, result)| result.as_ref().err());
        let Some((number, current)) = current else {
            return match failure {
                None => "loading the collection".to_owned(),
                Some(reason) => format!("the server cannot start: {reason}"),
            };
        };
        let songs = current.summary.get("songs").unwrap_or(&Value::Null);
        let stale = if current.is_stale() { ", stale data" } else { "" };
        let empty = if current.is_empty() { "; nothing has been scanned yet" } else { "" };
        let failure = failure.map(|reason| format!("; reload failed: {reason}")).unwrap_or_default();
        let scan = self.scans.failure().map(|reason| format!("; scan failed: {reason}")).unwrap_or_default();
        let trouble = self.arbiter.trouble().map(|trouble| format!("; {trouble}")).unwrap_or_default();
        format!(
            "generation {number}: {songs} songs, {} workers{stale}{empty}{failure}{scan}{trouble}",
            self.arbiter.workers_wanted()
        )
    }

    /// Signs of life to systemd, as long as some worker shows one too, if there are to be any.
    pub(crate) fn show_life(&mut self) {
        let state = self.arbiter.state();
        let healthy = |slot: usize| self.scoreboard.silence(slot) < HEALTHY_SILENCE;
        let without = ["starting", "stopping", "drained"].contains(&state);
        if without || self.arbiter.slots().into_iter().any(healthy) {
            let busy = ["starting", "reloading", "stopping"].contains(&state);
            self.systemd.alive(Instant::now(), busy);
        }
        let workers = self.arbiter.workers_serving();
        if self.titled != Some(workers) {
            self.titled = Some(workers);
            title::set(&format!("avalon: master [{workers} workers]"));
        }
        if ["starting", "serving", "drained"].contains(&state) {
            let status = self.status_line();
            self.systemd.status(&status);
        }
    }

    /// Bytes of memory of all processes together, each page counted once; as far as the kernel tells.
    pub(crate) fn memory(&self) -> u64 {
        let workers = self.arbiter.workers().map(|worker| worker.pid);
        workers.chain([process::own_pid()]).filter_map(|pid| rollup(pid, &["Pss"])).sum()
    }

    fn worker_status(&self, worker: &WorkerStatus, now: Instant) -> Value {
        let slot = self.scoreboard.slot(worker.slot);
        let age = self.clock.at(now).saturating_duration_since(worker.born);
        let requests = slot.answers();
        let latency = |share| slot.latency(share).map(|latency| latency.as_secs_f64());
        let (private, shared) = memory(worker.pid).unzip();
        json!({
            "slot": worker.slot,
            "pid": worker.pid.as_raw(),
            "generation": worker.generation,
            "state": worker.state,
            "age": seconds(age),
            "silent": seconds(self.scoreboard.silence(worker.slot)),
            "requests": requests,
            "requests_per_second": requests as f64 / age.as_secs_f64().max(0.001),
            "connections": slot.connections(),
            "request": slot.request(),
            "p50": latency(0.5),
            "p99": latency(0.99),
            "memory_private": private,
            "memory_shared": shared,
        })
    }
}

fn seconds(duration: std::time::Duration) -> f64 {
    (duration.as_secs_f64() * 1000.0).round() / 1000.0
}

fn unix_time(when: SystemTime) -> u64 {
    when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Bytes of a process that nobody else, and that others have too.
fn memory(pid: Pid) -> Option<(u64, u64)> {
    let private = rollup(pid, &["Private_Clean", "Private_Dirty"])?;
    Some((private, rollup(pid, &["Shared_Clean", "Shared_Dirty"])?))
}

/// The sum of some lines of smaps_rollup (proc(5)), in bytes.
fn rollup(pid: Pid, names: &[&str]) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let kilobytes = rollup.lines().filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        if !names.contains(&name) {
            return None;
        }
        value.trim().trim_end_matches(" kB").parse::<u64>().ok()
    });
    Some(kilobytes.sum::<u64>() * 1024)
}
