//! One process that answers HTTP requests from a snapshot, from its fork to its end.
//!
//! A request passes through `accept`, `connection`, `service`, `routes`,
//! `params`, the snapshot's query, and `response`.

mod accept;
mod body;
mod buffers;
mod canned;
mod clock;
mod compression;
mod connection;
mod date;
mod drain;
mod entity_tag;
mod error;
mod exchange;
mod forwarded;
mod handout;
mod hex;
mod host;
mod interrupt;
mod linger;
mod list;
mod memory;
mod metrics;
mod params;
mod piece;
mod proxy_protocol;
mod refusal;
mod request_id;
mod request_line;
mod response;
mod retirement;
mod routes;
mod service;
mod serving;
mod snapshots;
mod status;
mod trace_context;
mod turn;

use std::io;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::header::HeaderValue;
use nix::unistd::{Pid, getppid};
use slog::{error, info, warn};
use socket2::Socket;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

pub use handout::{Giver, Taker, way as handout_way};
pub use memory::Memory;
pub use retirement::Cause;
pub use status::scan as scan_status;

use accept::Acceptors;
use clock::{TICK, Ticks};
use connection::Connections;
use date::Date;
use drain::Drain;
use handout::{Handout, Handouts};
use request_id::RequestIds;
use retirement::Retirement;
use service::Service;
use serving::serve_accepted;
use snapshots::Snapshots;

use crate::config::Config;
use crate::scoreboard::{Scoreboard, Slot};
use crate::snapshot::{Kind, Snapshot, open_sealed};
use crate::telemetry::{AccessLog, Log, Statsd};

/// What `version` answers.
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Whether a query string is answered with entities of `kind`, and not with an error.
pub fn accepts(kind: Kind, query_string: &str) -> bool {
    params::parse(kind, query_string).map(params::Question::query).is_ok()
}

/// What a worker is given by its master.
pub struct Worker {
    /// The configuration of its generation.
    pub config: Config,
    /// The snapshot of its generation, verified.
    pub snapshot: &'static Snapshot<'static>,
    /// Its own copies of the listeners, blocking, and what each is for.
    pub listeners: Vec<(Socket, Role)>,
    /// Where all workers say how they are, and its own place there.
    pub scoreboard: Scoreboard,
    /// Its place.
    pub slot: &'static Slot,
    /// Where it logs.
    pub log: Log,
    /// Where it logs requests, if it does.
    pub access_log: Option<Arc<AccessLog>>,
    /// The process that must be its parent.
    pub master: Pid,
    /// Where it is handed what it cannot get itself.
    pub handouts: Taker,
    /// Tells the master something.
    pub notify: Box<dyn Fn(Notice) -> io::Result<()>>,
}

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// For all endpoints.
    Api,
    /// For `METRICS_BIND`: for metrics, and nothing else.
    Metrics,
}

/// What a worker has to say to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// It accepts connections.
    Ready,
    /// It wishes to be replaced, and goes on until it is.
    Retires(Cause),
    /// It accepts no connections any more.
    Deaf,
}

/// How a worker's life ended.
#[derive(Debug, PartialEq, Eq)]
pub enum Ending {
    /// It drained, and nothing was lost.
    Drained,
    /// It was told to stop at once, or its drain took too long.
    Stopped,
}

impl Worker {
    /// Serves until a signal ends it: SIGTERM after everything under way is answered,
    /// SIGINT or SIGQUIT at once.
    ///
    /// # Errors
    /// If it cannot begin to serve.
    pub fn run(self) -> io::Result<Ending> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (access_log, log) = (self.access_log.clone(), self.log.clone());
        let ending = runtime.block_on(self.serve());
        // Threads that still block in accept end with the process. Connections that are left end here, and
        // their requests with them.
        runtime.shutdown_background();
        access_log.iter().for_each(|access_log| access_log.end(log.logger()));
        log.end();
        ending
    }

    async fn serve(self) -> io::Result<Ending> {
        let log = self.log.logger().clone();
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut quit = signal(SignalKind::quit())?;
        // No file of a log is open here. A whole group may be sent the signal all the same.
        let _reopen = signal(SignalKind::user_defined1())?;
        let mut handouts = Some(Handouts::of(self.handouts)?);
        let limits = self.config.limits.clone();
        let (acceptors, channels) = Acceptors::start(self.listeners, limits.connections, &log)?;
        let service = Arc::new(Service {
            snapshots: Snapshots::of(self.snapshot),
            request_path: self.config.request_path.clone(),
            limits: limits.clone(),
            compress_from: self.config.compress_from,
            date: Date::new(),
            cache_control: header_value(self.config.cache_control.as_deref()),
            keep_alive: keep_alive(limits.keepalive),
            debug_headers: self.config.debug_headers,
            request_ids: self.config.request_id_header.as_deref().and_then(RequestIds::new),
            proxies: self.config.proxies.clone(),
            access_log: self.access_log.clone(),
            draining: AtomicBool::new(false),
            scoreboard: self.scoreboard,
            status_allow: self.config.status_allow.clone(),
            metrics: self.config.metrics.then_some(match self.config.metrics_bind.is_empty() {
                true => Role::Api,
                false => Role::Metrics,
            }),
            slot: self.slot,
            statsd: Statsd::start(
                &self.config.statsd_host,
                self.config.statsd_port,
                &self.config.statsd_prefix,
            ),
            log: log.clone(),
        });
        let connections = Arc::new(Connections::default());
        let mut accepting = JoinSet::new();
        for accepted in channels {
            accepting.spawn(serve_accepted(accepted, Arc::clone(&service), Arc::clone(&connections)));
        }
        (self.notify)(Notice::Ready)?;
        let mut retirement = Retirement::new(&self.config);
        // A master that is gone hears nothing; what is under way is answered all the same.
        let tell = |notice| match (self.notify)(notice) {
            Err(error) if getppid() == self.master => {
                error!(log, "the master cannot be told"; "error" => %error);
            }
            _ => {}
        };

        let taker = Taking { log: &self.log, service: &service };
        let mut tick = tokio::time::interval(TICK);
        // Ticks that were missed while the worker was stopped are nobody's.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = Ticks::new();
        let mut drain = Drain::new(Some(acceptors), self.config.graceful_timeout);
        loop {
            tokio::select! {
                _ = tick.tick() => {
                    self.slot.beat();
                    let (open, in_flight) = connections.counts();
                    self.slot.set_connections(open, in_flight);
                    service.statsd.flush();
                    self.access_log.iter().for_each(|access_log| access_log.flush(&log));
                    self.log.flush();
                    if connections.clock().tick(ticks.next()) {
                        connections.sweep(&limits);
                    }
                    let memory = retirement.look();
                    memory.iter().for_each(|of| self.slot.set_memory(of.resident, of.private));
                    if let Some(cause) = retirement.is_due(self.slot.answers(), memory) {
                        tell(Notice::Retires(cause));
                    }
                    if drain.begun.is_none() && getppid() != self.master {
                        warn!(log, "the master is gone, draining");
                        drain.begin(&service, connections.clock());
                    }
                }
                // Each ends when its listener is closed and all that came from there is served.
                Some(_) = accepting.join_next() => if accepting.is_empty() {
                    tell(Notice::Deaf);
                },
                _ = terminate.recv() => {
                    // What the master has handed over before.
                    while let Some(handout) = handouts.as_ref().and_then(Handouts::next_here) {
                        taker.take(handout);
                    }
                    drain.begin(&service, connections.clock());
                }
                _ = interrupt.recv() => return Ok(Ending::Stopped),
                _ = quit.recv() => return Ok(Ending::Stopped),
                handout = next_of(&handouts) => match handout {
                    Ok(handout) => taker.take(handout),
                    Err(error) => {
                        error!(log, "the master can hand over nothing more"; "error" => %error);
                        handouts = None;
                    }
                },
            }
            drain.proceed(self.slot, self.master, connections.clock());
            if let Some(ending) = drain.ending(accepting.is_empty(), &connections, &log) {
                service.statsd.flush();
                if service.statsd.lost() > 0 {
                    info!(log, "metrics were lost"; "datagrams" => service.statsd.lost());
                }
                return Ok(ending);
            }
        }
    }
}

/// The next handout; none comes where they have ended.
async fn next_of(handouts: &Option<Handouts>) -> io::Result<Handout> {
    match handouts {
        Some(handouts) => handouts.next().await,
        None => std::future::pending().await,
    }
}

/// What is done with handouts.
struct Taking<'w> {
    log: &'w Log,
    service: &'w Service,
}

impl Taking<'_> {
    fn take(&self, handout: Handout) {
        match handout {
            Handout::Names(names) => names.into_iter().for_each(|(name, addresses)| {
                name.learn(addresses);
            }),
            Handout::Snapshot(sealed) => match open_sealed(&sealed) {
                Ok(newer) => self.service.snapshots.succeed(newer),
                Err(error) => {
                    warn!(self.log.logger(), "old rows are shown until the worker ends"; "error" => %error);
                }
            },
        }
    }
}

/// A value of a field, which the configuration has checked.
fn header_value(text: Option<&str>) -> Option<HeaderValue> {
    text.and_then(|text| HeaderValue::from_str(text).ok())
}

/// Tells clients how long an idle connection is kept, so that they do not use it when it is about to end.
fn keep_alive(keepalive: Duration) -> Option<HeaderValue> {
    header_value((!keepalive.is_zero()).then(|| format!("timeout={}", keepalive.as_secs())).as_deref())
}
