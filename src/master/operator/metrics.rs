//! What only the master knows: for statsd, and on the scoreboard for Prometheus, which asks workers.
//! Statsd has a socket of the master's own rather than a worker's: that workers die again and again
//! must be told also when there is none.

use std::collections::BTreeMap;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::Value;

use crate::config::Config;
use crate::master::Master;
use crate::scoreboard::{Header, RestartCause};
use crate::telemetry::Statsd;
use crate::worker::Memory;

/// How often gauges are sent that have not changed: as often as statsd passes them on.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// Time between two looks at the master's own memory, as workers look at theirs.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// What was sent last.
pub(crate) struct Metrics {
    statsd: Statsd,
    /// Host, port and prefix that `statsd` was made of.
    target: (String, u16, String),
    restarts: BTreeMap<RestartCause, u64>,
    gauges: [u64; 3],
    gauges_due: Instant,
    reload_begun: Option<Instant>,
    memory_due: Instant,
}

impl Metrics {
    pub(crate) fn new(config: &Config) -> Self {
        let target = target(config);
        Metrics {
            statsd: Statsd::start(&target.0, target.1, &target.2),
            target,
            restarts: BTreeMap::new(),
            gauges: [0; 3],
            gauges_due: Instant::now(),
            reload_begun: None,
            memory_due: Instant::now(),
        }
    }

    /// Sends where this configuration says, from now on.
    pub(crate) fn configure(&mut self, config: &Config) {
        let target = target(config);
        if target != self.target {
            self.target = target;
            self.restart();
        }
    }

    fn restart(&mut self) {
        let (host, port, prefix) = &self.target;
        self.statsd = Statsd::start(host, *port, prefix);
        self.gauges_due = Instant::now();
    }

    pub(crate) fn reload_begun(&mut self) {
        self.reload_begun = Some(Instant::now());
    }

    /// A generation has been made, or has not. The first one is no reload.
    fn made(&mut self, serves: bool, header: &Header) {
        let Some(begun) = self.reload_begun.take() else { return };
        match serves {
            true => {
                header.reloads_made.add(1);
                self.statsd.time("reload.duration", begun.elapsed());
            }
            false => {
                header.reloads_failed.add(1);
                self.statsd.count("reload.failed", 1);
            }
        }
    }

    /// A scan has ended.
    pub(crate) fn scanned(&self, stored: bool, took: Duration) {
        match stored {
            true => self.statsd.time("scan.duration", took),
            false => self.statsd.count("scan.failed", 1),
        }
    }

    fn restarted(&mut self, restarts: &BTreeMap<RestartCause, u64>) {
        for (cause, count) in restarts {
            let sent = self.restarts.insert(*cause, *count).unwrap_or_default();
            if *count > sent {
                self.statsd.count(&format!("worker.restart.{}", cause.name()), count - sent);
            }
        }
    }

    fn gauges(&mut self, [workers, songs, generation]: [u64; 3]) {
        let now = Instant::now();
        if self.gauges == [workers, songs, generation] && now < self.gauges_due {
            return;
        }
        (self.gauges, self.gauges_due) = ([workers, songs, generation], now + GAUGES_EVERY);
        for (name, value) in [("workers", workers), ("songs", songs), ("generation", generation)] {
            self.statsd.gauge(name, value);
        }
    }
}

fn target(config: &Config) -> (String, u16, String) {
    (config.statsd_host.clone(), config.statsd_port, config.statsd_prefix.clone())
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> u64 {
    milliseconds(SystemTime::now())
}

/// The same of another moment.
pub(crate) fn milliseconds(when: SystemTime) -> u64 {
    when.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

impl Master {
    /// Tells how the attempt to make a generation went.
    pub(crate) fn record_made(&mut self, serves: bool) {
        let header = self.scoreboard.header();
        self.metrics.made(serves, header);
        header.last_made_ms.set(now_ms());
        header.last_made_serves.set(serves.into());
        // Before whoever waits for a reload hears of it: he may ask at once.
        self.publish();
    }

    /// Sends what has changed.
    pub(crate) fn measure(&mut self) {
        self.publish();
        let header = self.scoreboard.header();
        self.metrics.restarted(self.arbiter.restarts());
        self.metrics.gauges([header.workers.get(), header.songs.get(), header.generation.get()]);
        self.metrics.statsd.flush();
    }

    /// Writes on the scoreboard how things are.
    fn publish(&mut self) {
        let header = self.scoreboard.header();
        header.workers.set(self.arbiter.workers_serving() as u64);
        header.workers_wanted.set(self.arbiter.workers_wanted() as u64);
        for (cause, count) in self.arbiter.restarts() {
            header.restarts[*cause as usize].set(*count);
        }
        if let Some(number) = self.arbiter.current()
            && let Some(current) = self.generations.get(&number)
        {
            header.generation.set(number);
            header.stale.set(current.is_stale().into());
            header.build_ms.set(current.build.as_millis() as u64);
            for (key, number) in [
                ("bytes", &header.snapshot_bytes),
                ("songs", &header.songs),
                ("albums", &header.albums),
                ("artists", &header.artists),
                ("genres", &header.genres),
            ] {
                number.set(current.summary.get(key).and_then(Value::as_u64).unwrap_or_default());
            }
        }
        let now = Instant::now();
        if now >= self.metrics.memory_due
            && let Some(memory) = Memory::own()
        {
            self.metrics.memory_due = now + MEMORY_EVERY;
            header.memory_resident.set(memory.resident);
            header.memory_private.set(memory.private);
        }
    }
}
