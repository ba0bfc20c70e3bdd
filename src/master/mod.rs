//! The process that starts, watches, replaces and stops the others.
//!
//! The master has one thread for its whole life, and never opens a database or starts a runtime or a Sentry
//! transport, so it can fork at any time. [`arbiter`] decides. The loop in this file turns signals, deaths
//! and reports into the arbiter's events, and `perform` turns the arbiter's actions into system calls.
//!
//! Each room uses only those before it: exit, error, wait and clock; [`arbiter`]; `processes`; `handover`;
//! `generation`; `operator`; `scans`; `perform`; `start`; and this file.

pub mod arbiter;
mod clock;
mod error;
mod exit;
mod generation;
mod handover;
mod operator;
mod perform;
mod processes;
mod scans;
mod start;
mod wait;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use slog::{crit, error, info, warn};

use crate::config::{Config, Overrides};
use crate::control::{Answer, Command, Reload};
use crate::scoreboard::RestartCause;
use crate::telemetry::sentry;
use arbiter::Arbiter;
use arbiter::events::{Event, Settings, State, Wish};
use clock::{RunningClock, TICK};
use error::Reason;
use generation::logs::open_log;
use operator::control::Reply;
use perform::Shell;
use processes::end;
use processes::errands::report_last;
use processes::messages::Message;
use processes::signals::Signals;
use processes::terminal::Meaning;
use start::Prepared;

pub use exit::ExitCode;
pub use processes::dispositions::Dispositions;

/// The longest time for which a client may wait for rows, in seconds.
const WAIT_MAX: u64 = 86_400;

/// A master: it gives events to the arbiter, and actions to the shell.
struct Master {
    arbiter: Arbiter,
    /// The clock that measures time for the arbiter.
    clock: RunningClock,
    signals: Signals,
    shell: Shell,
}

/// Runs a master until it receives the order to stop. The caller has set the `dispositions`.
pub fn run(overrides: Overrides, config: Config, dispositions: Dispositions) -> ExitCode {
    let prepared = match Prepared::of(&config, dispositions) {
        Ok(prepared) => prepared,
        Err((code, error)) => {
            eprintln!("avalon-master: {}", Reason::from(error));
            return code;
        }
    };
    let logger = prepared.logs.logger().clone();
    let writers = prepared.writers.clone();
    let first = config.clone();
    let code = match prepared.open(overrides, config) {
        Ok((signals, shell, settings)) => {
            // A logger that stays alive would keep the writer of the first log file for as long as the server
            // runs.
            drop(logger);
            let (arbiter, clock) = (Arbiter::new(settings.clone()), RunningClock::new(Instant::now()));
            let master = Master { arbiter, clock, signals, shell };
            catch_unwind(AssertUnwindSafe(|| master.run(settings))).unwrap_or_else(|_| panicked(&first))
        }
        Err(error) => {
            let reason = Reason::from(error);
            crit!(logger, "the server cannot start: {}", reason);
            report_last(&first, &logger);
            if first.log.path.is_some() {
                eprintln!("avalon-master: {reason}");
            }
            ExitCode::Failure
        }
    };
    writers.end();
    code
}

/// The end of a master that has panicked. Its workers notice that it is gone, and drain.
fn panicked(first: &Config) -> ExitCode {
    if let Ok(log) = open_log(first) {
        crit!(log.logger(), #sentry::REPORTED, "the master panicked");
        report_last(first, log.logger());
    }
    ExitCode::Panic
}

impl Master {
    fn run(mut self, settings: Settings) -> ExitCode {
        self.dispatch([Event::Started(settings)]);
        while !self.shell.has_ended() {
            self.wait();
            self.clock.note(Instant::now());
            while let Some(meaning) = self.signals.next() {
                self.heard(meaning);
            }
            for (message, pid) in self.shell.workers.mailbox().received() {
                self.told(message, pid);
            }
            self.shell.succeed(&self.arbiter);
            let now = self.now();
            let configured = self.shell.configure(now);
            self.dispatch(configured);
            while let Some((pid, ended)) = end::reap() {
                let now = self.now();
                let events = self.shell.reaped(pid, ended, &self.arbiter, now);
                self.dispatch(events);
            }
            self.obey();
            self.shell.show_life(&self.arbiter);
            let now = self.now();
            self.shell.watch(&self.arbiter, now);
            let refreshed = self.shell.refresh(&self.arbiter, now);
            self.dispatch(refreshed);
            let scanned = self.shell.scan(&self.arbiter);
            self.dispatch(scanned);
            let events = self.shell.look_after(&self.arbiter);
            self.dispatch(events);
            self.tick();
        }
        self.shell.end()
    }

    /// Waits for a signal, a message, a command, or the time of the next tick.
    fn wait(&self) {
        let shell = &self.shell;
        let scan = shell.scan_due(self.arbiter.state()).map(|due| self.clock.at(due));
        let until = self
            .arbiter
            .next_deadline()
            .into_iter()
            .chain(shell.refresh_due(&self.arbiter))
            .chain(scan)
            .min();
        let tick = shell.longest_pause().map_or(TICK, |pause| pause.min(TICK));
        let wait = until.map_or(tick, |until| until.saturating_duration_since(self.clock.now()).min(tick));
        // The wait is one millisecond longer, so that a deadline has passed when poll returns.
        let wait = PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::ZERO);
        let mut fds: Vec<PollFd<'_>> = [self.signals.as_fd(), shell.workers.mail().as_fd()]
            .into_iter()
            .chain(shell.desk.fds())
            .chain(shell.succession.fd())
            .chain(shell.asking.fd())
            .chain(shell.watcher.fd())
            .map(|fd| PollFd::new(fd, PollFlags::POLLIN))
            .collect();
        if let Err(errno) = poll(&mut fds, wait)
            && errno != Errno::EINTR
        {
            error!(shell.logger(), "poll failed"; "error" => %errno);
        }
    }

    /// Handles a signal. One that the terminal has sent has another meaning.
    fn heard(&mut self, meaning: Meaning) {
        match meaning {
            Meaning::Wished(wish) => self.dispatch([Event::Wished(wish)]),
            Meaning::HungUp => {
                warn!(
                    self.shell.logger(),
                    "the terminal was closed, and the server stops; nohup or a service \
                    manager lets it outlive one"
                );
                self.dispatch([Event::Wished(Wish::Stop)]);
            }
            Meaning::Nothing(Some(message)) => info!(self.shell.logger(), "{}", message),
            Meaning::Nothing(None) => {}
        }
    }

    /// Handles a message of a child.
    fn told(&mut self, message: Message, pid: Pid) {
        let event = match message {
            Message::Ready => Some(Event::Ready(pid)),
            Message::RetiresForRequests => Some(Event::Retires { pid, cause: RestartCause::MaxRequests }),
            Message::RetiresForMemory => Some(Event::Retires { pid, cause: RestartCause::MaxRss }),
            Message::Deaf => Some(Event::Deaf(pid)),
            Message::TakenOver => self.shell.taken_over(pid),
        };
        self.dispatch(event);
    }

    /// Follows the commands of `avalonctl`.
    fn obey(&mut self) {
        for (client, command) in self.shell.desk.commands() {
            match command {
                Err(wrong) => self.shell.desk.reply(client, Reply::Now(Answer::error(&wrong))),
                Ok(command) => self.follow(client, command),
            }
        }
        self.shell.desk.sweep();
    }

    fn follow(&mut self, client: usize, command: Command) {
        let is_stopping = self.arbiter.state() == State::Stopping;
        let reply = match command {
            Command::Status => {
                let status = self.shell.desk.status(&self.shell.view(&self.arbiter), &self.clock);
                Reply::Now(Answer::ok(&status))
            }
            Command::Stop { wait } => {
                let stop = self.shell.stop_all();
                self.dispatch([stop]);
                if wait { Reply::ByItsEnd } else { Reply::from(Ok(())) }
            }
            _ if is_stopping => Reply::from(Err(Reason::new("the server is stopping"))),
            Command::Reload(Reload { wait: true, revision: Some(revision), timeout, .. }) => {
                self.shell.freshness.forget_tries();
                let timeout = Duration::from_secs(timeout.unwrap_or(Reload::TIMEOUT).min(WAIT_MAX));
                Reply::OnceServed(revision, Instant::now() + timeout)
            }
            Command::Reload(Reload { wait: true, accept_older, .. }) => {
                self.accept_older(accept_older);
                // The master asks for the number before it starts the reload, as a configuration may fail at
                // once.
                let generation = self.arbiter.reload_generation();
                self.shell.desk.reply(client, Reply::OnceReloaded(generation));
                return self.dispatch([Event::Wished(Wish::Reload)]);
            }
            Command::Reload(Reload { revision: Some(_), accept_older: false, .. }) => {
                self.shell.rows_are_stored(&self.arbiter);
                self.wish(Wish::Reload)
            }
            Command::Reload(Reload { accept_older, .. }) => {
                self.accept_older(accept_older);
                self.wish(Wish::Reload)
            }
            Command::Upgrade => match self.shell.upgrade(true) {
                Ok(()) => Reply::OnceUpgraded,
                Err(reason) => Reply::from(Err(reason)),
            },
            Command::Workers { count } => self.wish(Wish::Workers(count)),
        };
        self.shell.desk.reply(client, reply);
    }

    /// Lets the next generation have older rows than this one, if an operator asks for that.
    fn accept_older(&mut self, is_said: bool) {
        if is_said {
            self.shell.freshness.accept_older(self.arbiter.reload_generation());
        }
    }

    fn wish(&mut self, wish: Wish) -> Reply {
        self.dispatch([Event::Wished(wish)]);
        Reply::from(Ok(()))
    }

    /// Gives the arbiter the workers' signs of life, and lets it check its deadlines.
    fn tick(&mut self) {
        let (now, scoreboard) = (Instant::now(), self.shell.workers.scoreboard());
        self.clock.note(now);
        let silence = |slot| (slot, self.clock.counted(scoreboard.silence(slot), now));
        let silent = self.arbiter.slots().into_iter().map(silence).collect();
        self.dispatch([Event::Tick { silent }]);
    }

    /// Gives events to the arbiter and performs its actions, until no event is left.
    fn dispatch(&mut self, events: impl IntoIterator<Item = Event>) {
        let mut events = VecDeque::from_iter(events);
        while let Some(event) = events.pop_front() {
            let now = self.now();
            let actions = self.arbiter.handle(event, now);
            if !actions.is_empty() {
                self.shell.publish(&self.arbiter);
            }
            for action in actions {
                let now = self.now();
                events.extend(self.shell.perform(action, &self.arbiter, now));
            }
        }
    }

    /// The time on the master's clock, without an absence that has just ended.
    fn now(&mut self) -> Instant {
        self.clock.note(Instant::now());
        self.clock.now()
    }
}
