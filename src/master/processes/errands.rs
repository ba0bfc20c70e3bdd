//! Short-lived children that do for the master what would need a thread or could hold it up: telling
//! Sentry what the master has to say, and looking up the hosts of statsd and Sentry for all workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, OwnedFd};
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::signal::{SigEvent, SigevNotify, Signal};
use nix::sys::timer::{Expiration, Timer, TimerSetTimeFlags};
use nix::sys::wait::waitpid;
use nix::time::ClockId;
use nix::unistd::{Pid, pipe2};
use slog::{Logger, info, warn};

use crate::config::Config;
use crate::master::Master;
use crate::master::exit::ExitCode;
use crate::master::generation::generations::first_steps;
use crate::master::generation::workers::Owed;
use crate::master::processes::process::{self, FirstSteps};
use crate::telemetry::names::{self, HostName};
use crate::telemetry::sentry;
use crate::title;

/// How many reporters there are at most. What has to be told meanwhile waits for the next one.
const REPORTERS_MAX: usize = 2;
/// How long an errand may take before the kernel ends it, also if its master has gone: longer than
/// a reporter waits for Sentry.
const ERRAND_MAX: Duration = Duration::from_secs(5);
/// How long the address of a host is used before it is looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
/// The most bytes of answers, which a pipe must take.
const ANSWERS_MAX: u64 = 64 * 1024;

/// What a line of [`look_up_all`] begins with that tells why a host is not found.
const NOT_FOUND: &str = "not found: ";
const NO_ANSWER: &str = "no name server has answered in time";

/// Errands under way.
#[derive(Default)]
pub(crate) struct Errands {
    reporters: Vec<Pid>,
    look_up: Option<LookUp>,
    looked_up: Option<Instant>,
    /// Hosts that have been looked up at least once, and whether it was told that they are not found.
    known: BTreeMap<HostName, bool>,
}

struct LookUp {
    pid: Pid,
    names: Vec<HostName>,
    /// Where the child writes what it finds.
    answers: OwnedFd,
}

/// A host with its addresses, or why it has none.
pub(crate) type Answer = (HostName, Result<Vec<SocketAddr>, String>);

/// What became of a child that was on an errand.
pub(crate) enum Errand {
    Told,
    LookedUp(Vec<Answer>),
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
            let _sentry = sentry::start(&config.sentry, "master", None, None, sentry::Lookup::Own);
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
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<Errand> {
        if let Some(at) = self.reporters.iter().position(|reporter| *reporter == pid) {
            self.reporters.swap_remove(at);
            return Some(Errand::Told);
        }
        let look_up = self.look_up.take_if(|look_up| look_up.pid == pid)?;
        let mut text = String::new();
        // What is not there is no answer, which is one too.
        let _ = File::from(look_up.answers).take(ANSWERS_MAX).read_to_string(&mut text);
        Some(Errand::LookedUp(answers(look_up.names, &text)))
    }

    /// Those that may be killed: what they would bring is of no use any more.
    pub(crate) fn looking_up(&self) -> Option<Pid> {
        self.look_up.as_ref().map(|look_up| look_up.pid)
    }

    /// Looks all hosts up again, as soon as no other look-up runs.
    pub(crate) fn forget_hosts(&mut self) {
        self.looked_up = None;
    }

    /// Looks these hosts up in a child, if one of them is new or it is time to.
    fn look_up(&mut self, names: BTreeSet<HostName>, log: &Logger, mut first: FirstSteps<'_>) {
        let fresh = self.looked_up.is_some_and(|looked_up| looked_up.elapsed() < LOOK_UP_EVERY);
        let known = names.iter().all(|name| self.known.contains_key(name));
        if self.look_up.is_some() || names.is_empty() || (fresh && known) {
            return;
        }
        self.looked_up = Some(Instant::now());
        self.known.retain(|name, _| names.contains(name));
        for name in &names {
            self.known.entry(name.clone()).or_default();
        }
        let names: Vec<HostName> = names.into_iter().collect();
        let forked = pipe2(OFlag::O_CLOEXEC).map_err(Into::into).and_then(|(answers, answers_to)| {
            first.keep.push(answers_to.as_raw_fd());
            let pid = process::fork(&first, || {
                title::set("avalon: look-up");
                let Ok(_limit) = limit() else { return ExitCode::Failure };
                look_up_all(&names, &answers_to.into())
            })?;
            Ok::<_, std::io::Error>(LookUp { pid, names, answers })
        });
        match forked {
            Ok(look_up) => self.look_up = Some(look_up),
            Err(error) => warn!(log, "the hosts of statsd and Sentry cannot be looked up"; "error" => %error),
        }
    }
}

/// Looks hosts up, all at the same time: one whose name servers are silent holds up no other.
fn look_up_all(names: &[HostName], answers_to: &File) -> ExitCode {
    let find = |(at, name): (usize, &HostName)| {
        let line = match name.look_up() {
            Ok(addresses) => names::line(name, &addresses),
            Err(error) => format!("{NOT_FOUND}{at} {error}").replace('\n', " "),
        };
        // One write, which a pipe takes as a whole.
        let _ = (&*answers_to).write_all(format!("{line}\n").as_bytes());
    };
    thread::scope(|scope| {
        for one in names.iter().enumerate() {
            scope.spawn(move || find(one));
        }
    });
    ExitCode::Stopped
}

/// What was found of these hosts, by the lines of [`look_up_all`].
fn answers(names: Vec<HostName>, text: &str) -> Vec<Answer> {
    let mut found: BTreeMap<HostName, Vec<SocketAddr>> = text.lines().filter_map(names::parse).collect();
    let reason = |at: usize| {
        let begin = format!("{NOT_FOUND}{at} ");
        text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or(NO_ANSWER).to_owned()
    };
    let answer = |(at, name)| {
        let answer = found.remove(&name).ok_or_else(|| reason(at));
        (name, answer)
    };
    names.into_iter().enumerate().map(answer).collect()
}

/// The hosts that processes of a configuration send to and that must be looked up.
fn hosts(config: &Config) -> impl Iterator<Item = HostName> {
    let statsd = HostName::new(&config.statsd_host, config.statsd_port);
    let statsd = Some(statsd).filter(|name| !name.host.is_empty());
    statsd.into_iter().chain(sentry::hosts(&config.sentry)).filter(|name| name.literal().is_none())
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
pub(crate) fn report_last(config: &Config, log: &Logger) {
    let mut errands = Errands::default();
    errands.report(config, log, &errand_steps(config));
    errands.wait();
}

impl Master {
    /// Sends children where there is something to do.
    pub(crate) fn run_errands(&mut self) {
        let current = self.arbiter.current().or_else(|| self.generations.keys().next().copied());
        let Some(number) = current else { return };
        let Some(of) = self.generations.get(&number) else { return };
        self.errands.report(&of.config, of.log.logger(), &errand_steps(&of.config));
        let hosts = self.generations.values().flat_map(|of| hosts(&of.config)).collect();
        self.errands.look_up(hosts, of.log.logger(), errand_steps(&of.config));
    }

    /// Makes known what was found, here and in all workers.
    pub(crate) fn learn(&mut self, answers: Vec<Answer>) {
        for (name, answer) in answers {
            let Some(told) = self.errands.known.get_mut(&name) else { continue };
            match answer {
                Ok(addresses) => {
                    *told = false;
                    if name.learn(addresses) {
                        self.handouts.owe(|_| true, Owed { names: true, ..Owed::default() });
                    }
                }
                Err(reason) if !std::mem::replace(told, true) => {
                    info!(self.log.logger(), "nothing is sent to a host until it is found";
                        "host" => %name, "error" => reason);
                }
                Err(_) => {}
            }
        }
    }

    /// Tells Sentry what is left to be told, and waits until that is done.
    pub(crate) fn end_errands(&mut self) {
        for _ in 0..2 {
            // The first time there may be as many reporters as there may be.
            self.run_errands();
            self.errands.wait();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_found_or_have_a_reason() {
        let [found, wrong, silent] =
            ["one.example", "two.example", "three.example"].map(|host| HostName::new(host, 5));
        let addresses = vec!["192.0.2.1:5".parse().unwrap()];
        let text = format!("{NOT_FOUND}1 it is wrong\n{}\n", names::line(&found, &addresses));
        assert_eq!(
            answers(vec![found.clone(), wrong.clone(), silent.clone()], &text),
            [
                (found, Ok(addresses)),
                (wrong, Err("it is wrong".to_owned())),
                (silent, Err(NO_ANSWER.to_owned()))
            ]
        );
    }
}
