//! Short-lived children that do for the master what would need a thread or could hold it up: telling
//! Sentry what the master has to say, and looking up the host of statsd.

use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{Pid, pipe2};
use slog::{Logger, warn};

use super::generations::first_steps;
use super::process::{self, FirstSteps};
use super::{ExitCode, Master};
use crate::config::Config;
use crate::telemetry::{sentry, statsd};
use crate::title;

/// How many reporters there are at most. What has to be told meanwhile waits for the next one.
const REPORTERS_MAX: usize = 2;
/// How long an errand may take before the kernel ends it, also if its master has gone: longer than
/// a reporter waits for Sentry.
const ERRAND_MAX: Duration = Duration::from_secs(5);
/// How long the address of a host is used before it is looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(300);

/// Errands under way.
#[derive(Default)]
pub(super) struct Errands {
    reporters: Vec<Pid>,
    look_up: Option<LookUp>,
    looked_up: Option<Instant>,
}

struct LookUp {
    pid: Pid,
    /// Where the child writes the address.
    answer: OwnedFd,
}

/// What became of a child that was on an errand.
pub(super) enum Errand {
    Told,
    Found(Option<SocketAddr>),
}

impl Errands {
    /// Sends what was laid aside, in a child, if there is anything and a child to be had.
    fn report(&mut self, config: &Config, log: &Logger, first: &FirstSteps<'_>) {
        if self.reporters.len() >= REPORTERS_MAX {
            return;
        }
        let laid = sentry::take_laid();
        if laid.dropped > 0 {
            warn!(log, "events for Sentry were lost"; "count" => laid.dropped);
        }
        if laid.count() == 0 {
            return;
        }
        let count = laid.count();
        let forked = process::fork(first, || {
            title::set("avalon: reporter");
            let Ok(_limit) = limit() else { return ExitCode::Failure };
            // Dropped at the end, which waits for Sentry, but not long.
            let _sentry = sentry::start(&config.sentry, "master", None, None);
            laid.send();
            ExitCode::Stopped
        });
        match forked {
            Ok(pid) => self.reporters.push(pid),
            Err(error) => {
                warn!(log, "events for Sentry were lost"; "count" => count, "error" => %error);
            }
        }
    }

    /// Waits for all reporters, which end by themselves.
    fn wait(&mut self) {
        for pid in self.reporters.drain(..) {
            while waitpid(pid, None) == Err(Errno::EINTR) {}
        }
    }

    /// The errand of a child that has ended, if it was on one.
    pub(super) fn ended(&mut self, pid: Pid) -> Option<Errand> {
        if let Some(at) = self.reporters.iter().position(|reporter| *reporter == pid) {
            self.reporters.swap_remove(at);
            return Some(Errand::Told);
        }
        let look_up = self.look_up.take_if(|look_up| look_up.pid == pid)?;
        let mut answer = String::new();
        // No answer is one too.
        let _ = File::from(look_up.answer).take(100).read_to_string(&mut answer);
        Some(Errand::Found(answer.parse().ok()))
    }

    /// Those that may be killed: what they would bring is of no use any more.
    pub(super) fn looking_up(&self) -> Option<Pid> {
        self.look_up.as_ref().map(|look_up| look_up.pid)
    }

    /// Looks a host up anew.
    pub(super) fn forget_host(&mut self) {
        self.looked_up = None;
    }

    fn look_up(&mut self, config: &Config, log: &Logger, mut first: FirstSteps<'_>) {
        let (host, port) = (&config.statsd_host, config.statsd_port);
        let fresh = self.looked_up.is_some_and(|looked_up| looked_up.elapsed() < LOOK_UP_EVERY);
        if fresh || self.look_up.is_some() || host.is_empty() || statsd::literal(host, port).is_some() {
            return;
        }
        self.looked_up = Some(Instant::now());
        let forked = pipe2(OFlag::O_CLOEXEC).map_err(Into::into).and_then(|(answer, answer_to)| {
            first.keep.push(answer_to.as_raw_fd());
            let pid = process::fork(&first, || {
                title::set("avalon: look-up");
                let Ok(_limit) = limit() else { return ExitCode::Failure };
                let Ok(address) = statsd::resolve(host, port) else { return ExitCode::Failure };
                let written = File::from(answer_to).write_all(address.to_string().as_bytes());
                written.map_or(ExitCode::Failure, |()| ExitCode::Stopped)
            })?;
            Ok::<_, std::io::Error>(LookUp { pid, answer })
        });
        match forked {
            Ok(look_up) => self.look_up = Some(look_up),
            Err(error) => warn!(log, "the host of statsd cannot be looked up"; "error" => %error),
        }
    }
}

/// The first steps of an errand, which may outlive its master by the seconds it takes.
fn errand_steps(config: &Config) -> FirstSteps<'_> {
    FirstSteps { on_master_death: None, ..first_steps(config, Signal::SIGKILL) }
}

/// Has the kernel end this process if its errand takes too long. By SIGKILL: whatever else a timer could
/// send may be sent by others too, and is ignored.
fn limit() -> nix::Result<Timer> {
    let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(kill))?;
    timer.set(Expiration::OneShot(ERRAND_MAX.into()), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// Tells Sentry, before the end of a process that is no master yet, or none any more.
pub(super) fn report_last(config: &Config, log: &Logger) {
    let mut errands = Errands::default();
    errands.report(config, log, &errand_steps(config));
    errands.wait();
}

impl Master {
    /// Sends children where there is something to do.
    pub(super) fn run_errands(&mut self) {
        let current = self.arbiter.current().or_else(|| self.generations.keys().next().copied());
        let Some(number) = current else { return };
        let Some(of) = self.generations.get(&number) else { return };
        self.errands.report(&of.config, of.log.logger(), &errand_steps(&of.config));
        self.errands.look_up(&of.config, of.log.logger(), errand_steps(&of.config));
    }

    /// Tells Sentry what is left to be told, and waits until that is done.
    pub(super) fn end_errands(&mut self) {
        for _ in 0..2 {
            // The first time there may be as many reporters as there may be.
            self.run_errands();
            self.errands.wait();
        }
    }
}
