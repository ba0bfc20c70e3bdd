//! Metrics that only the master knows: it sends them to statsd, and writes them on the scoreboard for
//! Prometheus, which asks workers. The master sends to statsd itself, as it must report that workers die
//! repeatedly even while none lives.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use crate::config::Config;
use crate::master::arbiter::Arbiter;
use crate::master::clock::{milliseconds, now_ms};
use crate::master::generation::freshness::Freshness;
use crate::master::generation::generations::Generations;
use crate::master::generation::loader::Source as From;
use crate::scoreboard::{Header, RestartCause, Source};
use crate::telemetry::Statsd;
use crate::worker::Memory;

/// Time between two messages with unchanged gauges, which is also the interval at which statsd passes them
/// on.
const GAUGES_EVERY: Duration = Duration::from_secs(10);

/// Time between two measurements of the master's own memory; workers measure theirs at the same interval.
const MEMORY_EVERY: Duration = Duration::from_secs(1);

/// The destination of metrics, and the last values that were sent.
pub(crate) struct Metrics {
    statsd: Statsd,
    /// Host, port and prefix from which `statsd` was made.
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

    /// Sends to the destination of this configuration from now on.
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

    /// Notes the end of an attempt to make a generation. The first one is no reload.
    pub(crate) fn reload_ended(&mut self, serves: bool, header: &Header) {
        if let Some(begun) = self.reload_begun.take() {
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
        header.last_made_ms.set(now_ms());
        header.last_made_serves.set(serves.into());
    }

    /// Notes the end of a scan.
    pub(crate) fn scanned(&self, stored: bool, took: Duration) {
        match stored {
            true => self.statsd.time("scan.duration", took),
            false => self.statsd.count("scan.failed", 1),
        }
    }

    /// Writes the state of the source on the scoreboard, as loads and the watcher have found it.
    pub(crate) fn publish_source(freshness: &Freshness, now: Instant, source: &Source) {
        source.stale.set(freshness.is_stale().into());
        source.up.set(freshness.is_up().map_or(0, |up| 1 + u64::from(up)));
        source.revision.set(freshness.source_revision().unwrap_or_default());
        source.checked_ms.set(freshness.confirmed().map_or(0, milliseconds));
        let next_try = freshness.due().map(|due| due.saturating_duration_since(now).as_millis());
        source.next_try_ms.set(next_try.map_or(0, |wait| now_ms() + u64::try_from(wait).unwrap_or_default()));
        source.reason.set(freshness.reason().as_deref().unwrap_or_default());
    }

    /// Sends the published values that have changed.
    pub(crate) fn send(&mut self, arbiter: &Arbiter, header: &Header) {
        self.restarted(arbiter.restarts());
        self.gauges([header.workers.get(), header.songs.get(), header.generation.get()]);
        self.statsd.flush();
    }

    /// Writes the state of the server on the scoreboard.
    pub(crate) fn publish(&mut self, arbiter: &Arbiter, generations: &Generations, header: &Header) {
        header.workers.set(arbiter.workers_serving() as u64);
        header.workers_wanted.set(arbiter.workers_wanted() as u64);
        for (cause, count) in arbiter.restarts() {
            header.restarts[*cause as usize].set(*count);
        }
        let current = generations.current_number().zip(generations.current());
        if let Some((number, served)) = current.and_then(|(number, of)| Some((number, of.served.as_ref()?))) {
            header.generation.set(number);
            header.build_ms.set(u64::try_from(served.build.as_millis()).unwrap_or(u64::MAX));
            header.snapshot_bytes.set(served.contents.bytes);
            header.songs.set(served.contents.songs);
            header.albums.set(served.contents.albums);
            header.artists.set(served.contents.artists);
            header.genres.set(served.contents.genres);
            header.revision.set(served.contents.revision.unwrap_or_default());
            header.source.serves.set(match (served.source, generations.current()) {
                (From::Substitute, _) => 1,
                _ if served.is_unconfirmed => 3,
                (_, Some(of)) if of.config.snapshot_url.is_some() => 2,
                _ => 1,
            });
            if header.hash.get().as_deref() != Some(&served.contents.hash) {
                header.hash.set(&served.contents.hash);
            }
        }
        let now = Instant::now();
        if now >= self.memory_due
            && let Some(memory) = Memory::own()
        {
            self.memory_due = now + MEMORY_EVERY;
            header.memory_resident.set(memory.resident);
            header.memory_private.set(memory.private);
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

#[cfg(test)]
mod tests {
    use std::net::UdpSocket;

    use super::*;
    use crate::scoreboard::Scoreboard;

    fn received(socket: &UdpSocket) -> String {
        let mut text = String::new();
        let mut packet = [0; 1500];
        while let Ok(len) = socket.recv(&mut packet) {
            text += &String::from_utf8_lossy(&packet[..len]);
            text += "\n";
        }
        text
    }

    #[test]
    fn reloads_and_restarts_are_counted_once() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_nonblocking(true).unwrap();
        let mut config = crate::config::load(&Default::default()).unwrap();
        config.statsd_host = "127.0.0.1".to_owned();
        config.statsd_port = socket.local_addr().unwrap().port();
        config.statsd_prefix = "test".to_owned();
        let mut metrics = Metrics::new(&config);
        let board = Scoreboard::create().unwrap();
        let header = board.header();
        metrics.reload_ended(true, header);
        assert_eq!((header.reloads_made.get(), header.last_made_serves.get()), (0, 1), "the first is none");
        for serves in [false, true, true] {
            metrics.reload_begun();
            metrics.reload_ended(serves, header);
        }
        assert_eq!((header.reloads_made.get(), header.reloads_failed.get()), (2, 1));
        let restarts = BTreeMap::from([(RestartCause::Died, 3)]);
        (0..2).for_each(|_| metrics.restarted(&restarts));
        metrics.statsd.flush();
        let text = received(&socket);
        assert_eq!(text.matches("worker.restart.died:3|c").count(), 1, "{text}");
        assert_eq!(text.matches("reload.failed:1|c").count(), 1, "{text}");
        assert_eq!(text.matches("reload.duration:").count(), 2, "{text}");
    }
}
