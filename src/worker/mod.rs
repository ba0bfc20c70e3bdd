//! One process that answers HTTP requests from a snapshot, from its fork to its end.
//!
//! A request passes through the rooms in this order: `connection` takes it from the accept queue to
//! hyper, `request` reads it and asks the snapshot, `answer` makes and sends the answer. `shown`
//! holds the endpoints about the server itself, `page` the one for people, `watch` the state of
//! connections, and `life` the parts of the process itself.

mod answer;
mod connection;
mod life;
mod page;
mod request;
mod shown;
mod watch;

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use hyper::header::HeaderValue;
use nix::unistd::{Pid, getppid};
use slog::{Logger, error, info, warn};
use socket2::Socket;
use tokio::time::MissedTickBehavior;

pub use life::drain::Ending;
pub use life::handout::{Giver, Taker, way as handout_way};
pub use life::memory::Memory;
pub use life::retirement::Cause;
pub use life::signals::ending_signals;
pub use request::accepts;
pub use shown::status::{load, scan as scan_status, source as source_status};
pub use watch::caller::Role;

use answer::cors::Cors;
use answer::date::Date;
use answer::openapi::Description;
use life::drain::Drain;
use life::entrance::Entrance;
use life::handout::{Handout, Handouts};
use life::proof;
use life::retirement::Retirement;
use life::signals::{Signals, Wish};
use request::listing::Lists;
use request::request_id::RequestIds;
use request::service::Service;
use request::snapshots::Snapshots;
use shown::PROGRAM_VERSION;
use watch::clock::{CLOCK_TICK, Ticks};
use watch::connections::Connections;

use crate::config::{Config, Limits, Proxies};
use crate::scheduling;
use crate::scoreboard::{Dismissal, Scoreboard, Slot};
use crate::snapshot::{Mapping, Snapshot};
use crate::telemetry::{AccessLog, Log, Statsd};

/// The resources that the master gives to a worker.
pub struct Worker {
    /// The configuration of its generation.
    pub config: Config,
    /// The mapping of the snapshot of its generation.
    pub mapping: Mapping,
    /// That snapshot, verified.
    pub snapshot: &'static Snapshot<'static>,
    /// The worker's copies of the listeners, blocking, and the role of each.
    pub listeners: Vec<(Socket, Role)>,
    /// The shared table in which all workers report.
    pub scoreboard: Scoreboard,
    /// The worker's slot in that table.
    pub slot: &'static Slot,
    /// The log.
    pub log: Log,
    /// The access log, if there is one.
    pub access_log: Option<Arc<AccessLog>>,
    /// The process that must be its parent.
    pub master: Pid,
    /// The channel on which the master hands over data that the worker cannot get itself.
    pub handouts: Taker,
    /// Whether another generation serves. Then the worker proves itself, and accepts no connection
    /// before the master orders it.
    pub waits: bool,
    /// Sends a message to the master.
    pub notify: Notify,
}

/// A function that sends a message to the master.
pub type Notify = Box<dyn Fn(Notice) -> io::Result<()>>;

/// A message from a worker to its master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// The worker accepts connections, or will as soon as its generation serves.
    Ready,
    /// The worker asks for its replacement, and serves until then.
    Retires(Cause),
    /// The worker does not accept connections any more.
    Deaf,
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
        let ended = runtime.block_on(self.serve());
        // At the exit the kernel takes milliseconds or more to free a snapshot that no other process has.
        let _ = scheduling::give_way();
        let ending = ended.map(|(ending, mappings)| {
            Mapping::depopulate(&mappings);
            ending
        });
        // Threads that still block in accept end with the process. The remaining connections end
        // here, and their requests with them.
        runtime.shutdown_background();
        access_log.iter().for_each(|access_log| access_log.end(log.logger()));
        log.end();
        ending
    }

    /// Serves, and returns the snapshots whose pages are to be unmapped without haste.
    async fn serve(self) -> io::Result<(Ending, Vec<Mapping>)> {
        let mut signals = Signals::install()?;
        if self.waits {
            proof::prove(Arc::new(self.uncounted_service()?)).await?;
        }
        let service = Arc::new(self.service());
        let mut handouts = Some(Handouts::of(self.handouts)?);
        let mut life = Life {
            limits: self.config.limits.clone(),
            slot: self.slot,
            log: self.log,
            access_log: self.access_log,
            master: self.master,
            notify: self.notify,
            service,
            connections: Arc::default(),
            entrance: Entrance::closed(self.listeners),
            ticks: Ticks::new(),
            retirement: Retirement::new(&self.config),
            drain: Drain::new(self.config.graceful_timeout),
            mappings: vec![self.mapping],
            ahead: None,
        };
        if !self.waits {
            life.open()?;
        }
        (life.notify)(Notice::Ready)?;
        let mut tick = tokio::time::interval(CLOCK_TICK);
        // A worker that was stopped skips the ticks that it has missed.
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => life.tick()?,
                // Each ends when its listener is closed and all its connections are served.
                Some(()) = life.entrance.next_end() => if life.entrance.is_deaf() {
                    life.tell(Notice::Deaf);
                },
                wish = signals.next() => match wish {
                    Wish::Stop => return Ok((Ending::Stopped, Vec::new())),
                    Wish::Drain => life.begin_drain(handouts.as_ref())?,
                },
                handout = next_of(&handouts) => match handout {
                    Ok(handout) => life.take(handout)?,
                    Err(error) => {
                        error!(life.logger(), "the channel from the master has failed"; "error" => %error);
                        handouts = None;
                    }
                },
            }
            if let Some(ending) = life.proceed() {
                // Nothing waits for the end of a worker that others have replaced.
                let is_replaced = life.slot.dismissal() == Some(Dismissal::Replaced);
                return Ok((ending, if is_replaced { life.mappings } else { Vec::new() }));
            }
        }
    }

    /// Returns the service for the worker's own questions. They do not come from clients, so they
    /// appear in no log and no metrics, and no proxy header applies.
    fn uncounted_service(&self) -> io::Result<Service> {
        let proxies = Proxies { proxy_protocol: None, ..self.config.proxies.clone() };
        let (slot, statsd) = (Scoreboard::create()?.assign(0), Statsd::start("", 0, ""));
        Ok(Service { slot, statsd, proxies, access_log: None, ..self.service() })
    }

    /// Returns the state that all connections share.
    fn service(&self) -> Service {
        let config = &self.config;
        Service {
            snapshots: Snapshots::of(self.snapshot),
            request_path: config.request_path.clone(),
            limits: config.limits.clone(),
            date: Date::new(),
            cache_control: header_value(config.cache_control.as_deref()),
            cors: Cors::of(&config.cors, config.request_id_header.as_deref()),
            keep_alive: keep_alive(config.limits.keepalive),
            lists: Lists {
                compress_from: config.compress_from,
                debug_headers: config.debug_headers,
                list_max: config.list_max,
                strict: config.strict_parameters,
            },
            description: Description::of(&config.request_path, PROGRAM_VERSION),
            request_ids: config.request_id_header.as_deref().and_then(RequestIds::new),
            proxies: config.proxies.clone(),
            access_log: self.access_log.clone(),
            draining: AtomicBool::new(false),
            scoreboard: self.scoreboard,
            status_allow: config.status_allow.clone(),
            has_page: config.page,
            metrics: config.metrics.then_some(match config.metrics_bind.is_empty() {
                true => Role::Api,
                false => Role::Metrics,
            }),
            slot: self.slot,
            statsd: Statsd::start(&config.statsd_host, config.statsd_port, &config.statsd_prefix),
            log: self.log.logger().clone(),
        }
    }
}

/// The state of a serving worker.
struct Life {
    limits: Limits,
    slot: &'static Slot,
    log: Log,
    access_log: Option<Arc<AccessLog>>,
    master: Pid,
    notify: Notify,
    service: Arc<Service>,
    connections: Arc<Connections>,
    entrance: Entrance,
    ticks: Ticks,
    retirement: Retirement,
    drain: Drain,
    /// The snapshots that it has opened, that of its generation first.
    mappings: Vec<Mapping>,
    /// The snapshot of the next generation, which does not serve yet.
    ahead: Option<Mapping>,
}

impl Life {
    fn logger(&self) -> &Logger {
        self.log.logger()
    }

    /// Begins to accept connections.
    fn open(&mut self) -> io::Result<()> {
        // Without the call it goes on letting others first, and serves all the same.
        let _ = scheduling::take_turns();
        self.entrance.open(self.limits.connections, &self.service, &self.connections, self.log.logger())
    }

    /// Does the periodic work of a worker, with every tick of its clock.
    fn tick(&mut self) -> io::Result<()> {
        self.slot.beat();
        let (open, in_flight) = self.connections.counts();
        self.slot.set_connections(open, in_flight);
        self.service.statsd.flush();
        self.access_log.iter().for_each(|access_log| access_log.flush(self.logger()));
        self.log.flush();
        if self.connections.clock().tick(self.ticks.next()) {
            self.connections.sweep(&self.limits);
        }
        let memory = self.retirement.look();
        memory.iter().for_each(|of| self.slot.set_memory(of.resident, of.private));
        if let Some(cause) = self.retirement.is_due(self.slot.answers(), memory) {
            self.tell(Notice::Retires(cause));
        }
        if self.drain.begun.is_none() && getppid() != self.master {
            warn!(self.logger(), "the master is gone, draining");
            self.leave()?;
        }
        Ok(())
    }

    /// Sends a message to the master. Without a master the worker still answers its current
    /// requests.
    fn tell(&self, notice: Notice) {
        match (self.notify)(notice) {
            Err(error) if getppid() == self.master => {
                error!(self.logger(), "a message to the master was lost"; "error" => %error);
            }
            _ => {}
        }
    }

    /// Begins to drain, after it has handled all pending messages of the master.
    fn begin_drain(&mut self, handouts: Option<&Handouts>) -> io::Result<()> {
        while let Some(handout) = handouts.and_then(Handouts::next_here) {
            self.take(handout)?;
        }
        self.leave()
    }

    /// Begins to drain. If no other worker remains, a worker whose turn has not come also takes its
    /// share of the waiting connections: it may be the last to close a listener, and a connection
    /// in that queue would be lost.
    fn leave(&mut self) -> io::Result<()> {
        if self.slot.dismissal() != Some(Dismissal::Replaced) {
            self.open()?;
        }
        self.drain.begin(&self.service, self.connections.clock());
        Ok(())
    }

    /// Continues to drain, and returns the outcome when the life is over.
    fn proceed(&mut self) -> Option<Ending> {
        self.drain.proceed(&mut self.entrance, self.slot, self.master, self.connections.clock());
        let ending = self.drain.ending(self.entrance.is_deaf(), &self.connections, self.logger())?;
        self.service.statsd.flush();
        if self.service.statsd.lost() > 0 {
            info!(self.logger(), "metrics were lost"; "datagrams" => self.service.statsd.lost());
        }
        Some(ending)
    }

    /// The snapshot that now serves, mapped ahead if there was time for it.
    fn newer(&mut self, sealed: &OwnedFd) -> io::Result<&'static Snapshot<'static>> {
        let ahead = self.ahead.take().filter(|ahead| ahead.is_of(sealed));
        let mapping = ahead.map_or_else(|| Mapping::of(sealed), Ok)?;
        let snapshot = mapping.open()?;
        self.mappings.push(mapping);
        Ok(snapshot)
    }

    /// Gets ready for the snapshot of the next generation, which may be that of this worker. An error shows again when
    /// the snapshot comes to serve.
    fn prepare(&mut self, sealed: &OwnedFd) {
        if let Some(opened) = self.mappings.iter().find(|mapping| mapping.is_of(sealed)) {
            return opened.populate();
        }
        self.ahead = Mapping::of(sealed).ok();
        self.ahead.iter().for_each(Mapping::populate);
    }

    fn take(&mut self, handout: Handout) -> io::Result<()> {
        match handout {
            Handout::Turn => self.open()?,
            Handout::Names(names) => names.into_iter().for_each(|(name, addresses)| {
                name.learn(addresses);
            }),
            Handout::Ahead(sealed) => self.prepare(&sealed),
            Handout::Forget => self.ahead = None,
            Handout::Snapshot(sealed) => match self.newer(&sealed) {
                Ok(newer) => self.service.snapshots.succeed(newer),
                Err(error) => {
                    warn!(self.logger(), "the worker shows old rows until it ends"; "error" => %error);
                }
            },
        }
        Ok(())
    }
}

/// Waits for the next message; never returns if the channel has ended.
async fn next_of(handouts: &Option<Handouts>) -> io::Result<Handout> {
    match handouts {
        Some(handouts) => handouts.next().await,
        None => std::future::pending().await,
    }
}

/// Returns a field value, which the configuration has checked.
fn header_value(text: Option<&str>) -> Option<HeaderValue> {
    text.and_then(|text| HeaderValue::from_str(text).ok())
}

/// Returns the field that tells clients how long an idle connection is kept, so that they do not
/// use one that is about to end.
fn keep_alive(keepalive: Duration) -> Option<HeaderValue> {
    header_value((!keepalive.is_zero()).then(|| format!("timeout={}", keepalive.as_secs())).as_deref())
}
