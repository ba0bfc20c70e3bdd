//! What the arbiter's decisions do to the world.

use std::time::SystemTime;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use slog::{Level, error, info, warn};

use super::events::{Action, Event};
use super::generations::Generation;
use super::messages::Message;
use super::{Master, Owed};
use crate::telemetry::sentry;
use crate::worker::Role;

impl Master {
    /// Does what the arbiter says; some of it has an answer.
    pub(super) fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Configure { generation } => {
                self.metrics.reload_begun();
                let status = format!("reloading; {}", self.status_line());
                self.systemd.reloading(&status);
                return self.begin_configuration(generation);
            }
            Action::StartLoader { generation } => {
                let started = self.start_loader(generation);
                return Some(Event::LoaderStarted(started.map_err(|error| error.to_string())));
            }
            Action::Fork { generation, slot } => {
                let result = self.fork_worker(generation, slot).map_err(|error| error.to_string());
                return Some(Event::Forked { generation, slot, result });
            }
            Action::Kill { pid, signal } => {
                if signal == Signal::SIGTERM {
                    self.dismiss(pid);
                }
                self.kill(pid, signal);
            }
            Action::WorkerEnded { level, generation, slot, pid, how, age } => {
                let log = self.log.logger().new(slog::o!("worker" => slot, "gen" => generation,
                    "pid" => pid.as_raw(), "age" => format!("{:.1}s", age.as_secs_f32())));
                match level {
                    Level::Error => error!(log, "worker ended: {}", how),
                    _ => info!(log, "worker ended: {}", how),
                }
            }
            Action::Promote { generation } => self.promote(generation),
            Action::Made { generation, result } => self.made(generation, result),
            Action::Stuck { pid, slot } => {
                let request = self.scoreboard.slot(slot).request();
                error!(self.log.logger(), "worker is silent for longer than TIMEOUT and is killed pid={}", pid;
                    "worker" => slot, "request" => request.as_deref().unwrap_or("none"));
            }
            Action::Discard { generation } => drop(self.generations.remove(&generation)),
            Action::CloseListeners => {
                self.scans.interrupt();
                self.end_asking();
                self.leave_systemd();
                self.leave_addresses();
            }
            Action::Upgrade => {
                // Nobody waits for it; the log says why not.
                let _ = self.upgrade(false);
            }
            Action::ReopenLog => self.reopen_logs(),
            Action::Log(level, message) => self.say(level, &message),
            Action::Exit(code) => self.exit = Some(code),
        }
        None
    }

    /// Has a worker know that the signal is ours.
    fn dismiss(&self, pid: Pid) {
        let worker = self.arbiter.workers().find(|worker| worker.pid == pid);
        worker.iter().for_each(|worker| self.scoreboard.slot(worker.slot).dismiss(self.dismissal));
    }

    pub(super) fn kill(&self, pid: Pid, signal: Signal) {
        match kill(pid, signal) {
            // It has ended, and will be reaped.
            Ok(()) | Err(Errno::ESRCH) => {}
            Err(errno) => {
                warn!(self.log.logger(), "signal not sent"; "pid" => pid.as_raw(), "error" => %errno);
            }
        }
    }

    pub(super) fn promote(&mut self, number: u64) {
        // Before they are told to leave: a connection that a proxy has kept must not show it old rows.
        self.handouts.owe(|other| other != number, Owed { snapshot: true, ..Owed::default() });
        self.hand_out();
        for (other, generation) in &mut self.generations {
            if *other != number {
                // Addresses that the new generation does not want close here.
                generation.listeners.clear();
            }
        }
        let Some(generation) = self.generations.get(&number) else { return };
        self.log = generation.log.clone();
        sentry::start_aside(&generation.config.sentry);
        self.metrics.configure(&generation.config);
        self.errands.forget_hosts();
        let (user, group) = &generation.account_names;
        info!(
            self.log.logger(),
            "Avalon Music Server {} running with request path {} as {}:{} using {:.1} MB memory",
            env!("CARGO_PKG_VERSION"),
            generation.config.request_path,
            user,
            group,
            self.memory() as f64 / 1_000_000.0
        );
        info!(self.log.logger(), "generation {} serves on {}", number, generation.shown(Role::Api).join(", ");
            "workers" => self.arbiter.workers_wanted());
        let scan_every = generation.config.scan_every;
        match (generation.is_empty(), scan_every) {
            (true, None) => warn!(
                self.log.logger(),
                "the collection is empty: nothing has been scanned yet (avalon-scan FOLDER, then SIGHUP)"
            ),
            (true, Some(_)) => info!(self.log.logger(), "the collection is empty until it has been scanned"),
            (false, _) => {}
        }
        let metrics = generation.shown(Role::Metrics);
        if !metrics.is_empty() {
            info!(self.log.logger(), "generation {} gives metrics on {}", number, metrics.join(", "));
        }
        self.schedule_scans(number);
    }

    /// Tells all who wait for it; a generation from a kept snapshot is followed by one from
    /// the database.
    pub(super) fn made(&mut self, number: u64, result: Result<(), String>) {
        let serves = result.is_ok();
        self.record_made(serves);
        if let Some(control) = &mut self.control {
            control.made(number, &result);
        }
        if let (true, Some(predecessor)) = (serves, &mut self.predecessor)
            && let Some(tell) = predecessor.tell.take()
            && let Err(error) = Message::TakenOver.send(&tell)
        {
            warn!(self.log.logger(), "the former master cannot be told"; "error" => %error);
        }
        self.last_made = Some((SystemTime::now(), result));
        let status = self.status_line();
        if self.arbiter.current().is_some() {
            self.systemd.ready(&status);
        } else {
            self.systemd.status(&status);
        }
        let current = self.arbiter.current().and_then(|current| self.generations.get(&current));
        self.refresh.made(current.is_some_and(Generation::is_stale), self.clock.now());
        if serves {
            self.keep();
        }
    }

    /// What keeps a server from starting is said on stderr too.
    pub(super) fn say(&self, level: Level, message: &str) {
        let log = self.log.logger();
        match level {
            Level::Critical => {
                slog::crit!(log, "{}", message);
                if self.generations.values().any(|generation| generation.config.log.path.is_some()) {
                    eprintln!("avalon-master: {message}");
                }
            }
            Level::Error => error!(log, "{}", message),
            Level::Warning => warn!(log, "{}", message),
            _ => info!(log, "{}", message),
        }
    }
}
