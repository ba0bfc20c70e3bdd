//! What only the master knows, for statsd. It has its own socket rather than a worker's: that workers
//! die again and again must be told also when there is none.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Master;
use crate::config::Config;
use crate::telemetry::Statsd;

/// How often gauges are sent that have not changed: as often as statsd passes them on.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// What was sent last.
pub(super) struct Metrics {
    statsd: Statsd,
    /// Host, port and prefix that `statsd` was made of.
    target: (String, u16, String),
    found: Option<SocketAddr>,
    restarts: BTreeMap<&'static str, u64>,
    gauges: [u64; 3],
    gauges_due: Instant,
    reload_begun: Option<Instant>,
}

impl Metrics {
    pub(super) fn new(config: &Config) -> Self {
        let target = target(config);
        Metrics {
            statsd: Statsd::start_single(&target.0, target.1, &target.2, None),
            target,
            found: None,
            restarts: BTreeMap::new(),
            gauges: [0; 3],
            gauges_due: Instant::now(),
            reload_begun: None,
        }
    }

    /// Sends where this configuration says, from now on. Says whether that is another host.
    pub(super) fn configure(&mut self, config: &Config) -> bool {
        let target = target(config);
        if target == self.target {
            return false;
        }
        let moved = (&target.0, target.1) != (&self.target.0, self.target.1);
        self.found = self.found.filter(|_| !moved);
        self.target = target;
        self.restart();
        moved
    }

    /// The host has this address.
    pub(super) fn found(&mut self, address: Option<SocketAddr>) {
        // The last one is better than none.
        if address.is_some() && address != self.found {
            self.found = address;
            self.restart();
        }
    }

    fn restart(&mut self) {
        let (host, port, prefix) = &self.target;
        self.statsd = Statsd::start_single(host, *port, prefix, self.found);
        self.gauges_due = Instant::now();
    }

    pub(super) fn reload_begun(&mut self) {
        self.reload_begun = Some(Instant::now());
    }

    /// A generation has been made, or has not. The first one is no reload.
    pub(super) fn made(&mut self, serves: bool) {
        let Some(begun) = self.reload_begun.take() else { return };
        match serves {
            true => self.statsd.time("reload.duration", begun.elapsed()),
            false => self.statsd.count("reload.failed", 1),
        }
    }

    fn restarted(&mut self, restarts: &BTreeMap<&'static str, u64>) {
        for (cause, count) in restarts {
            let sent = self.restarts.insert(cause, *count).unwrap_or_default();
            if *count > sent {
                self.statsd.count(&format!("worker.restart.{cause}"), count - sent);
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

impl Master {
    /// Sends what has changed.
    pub(super) fn measure(&mut self) {
        self.metrics.restarted(self.arbiter.restarts());
        let generation = self.arbiter.current().unwrap_or_default();
        let songs = self.generations.get(&generation).and_then(|of| of.summary.get("songs"));
        let songs = songs.and_then(Value::as_u64).unwrap_or_default();
        self.metrics.gauges([self.arbiter.workers_serving() as u64, songs, generation]);
        self.metrics.statsd.flush();
    }
}
