//! Short-lived children for work that would need a thread in the master or could delay it: they send the
//! master's events to Sentry, and look up the hosts of statsd and Sentry for all workers.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
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
use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::telemetry::names::{self, HostName};
use crate::telemetry::sentry;
use crate::title;

/// Most reporters at a time. Further events wait for the next reporter.
const REPORTERS_MAX: usize = 2;
/// Longest time of an errand, after which the kernel ends it, even if its master has gone. It is longer than
/// the time for which a reporter waits for Sentry.
const ERRAND_MAX: Duration = Duration::from_secs(5);
/// How long processes use the address of a host before the master has it looked up again.
const LOOK_UP_EVERY: Duration = Duration::from_secs(60);
/// Most bytes of the answers, which must fit into a pipe.
const ANSWERS_MAX: u64 = 64 * 1024;

/// The beginning of a line of [`look_up_all`] that gives the reason why a host has no address.
const NOT_FOUND: &str = "not found: ";
const NO_ANSWER: &str = "no name server has answered in time";

/// Errands under way.
#[derive(Default)]
pub(crate) struct Errands {
    reporters: Vec<Pid>,
    look_up: Option<LookUp>,
    looked_up: Option<Instant>,
    /// Hosts with at least one finished look-up, and whether the log already says that they have no address.
    known: BTreeMap<HostName, bool>,
}

struct LookUp {
    pid: Pid,
    names: Vec<HostName>,
    /// The pipe into which the child writes addresses.
    answers: OwnedFd,
}

/// A host with its addresses, or the reason why it has none.
pub(crate) type Answer = (HostName, Result<Vec<SocketAddr>, Reason>);

/// The result of an errand.
pub(crate) enum Errand {
    /// A child has reported to Sentry.
    Reported,
    /// A child has looked hosts up.
    LookedUp(Vec<Answer>),
}

impl Errands {
    /// Forks a reporter that sends the stored events, if there are any.
    fn report(&mut self, config: &Config, log: &Logger) {
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
        let forked = fork(&first_steps(config), || {
            title::set("avalon: reporter");
            let Ok(_limit) = limit() else { return ExitCode::Failure };
            // Its drop at the end waits for Sentry, for a short time.
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

    /// Sends children on the errands that are due: to Sentry in the name of `config`, and to look up the
    /// hosts of all configurations `of` running processes.
    pub(crate) fn run<'c>(&mut self, config: &Config, of: impl Iterator<Item = &'c Config>, log: &Logger) {
        self.report(config, log);
        self.look_up(config, of.flat_map(hosts).collect(), log);
    }

    /// Sends the last events to Sentry, and waits for the reporters.
    pub(crate) fn finish(&mut self, config: &Config, log: &Logger) {
        for _ in 0..2 {
            // At the first attempt the greatest number of reporters may be under way already.
            self.report(config, log);
            self.wait();
        }
    }

    /// Stores the addresses for this process; says whether some are new.
    pub(crate) fn learn(&mut self, answers: Vec<Answer>, log: &Logger) -> bool {
        let mut is_new = false;
        for (name, answer) in answers {
            let Some(told) = self.known.get_mut(&name) else { continue };
            match answer {
                Ok(addresses) => {
                    *told = false;
                    is_new |= name.learn(addresses);
                }
                Err(reason) if !std::mem::replace(told, true) => {
                    info!(log, "nothing is sent to a host until it is found"; "host" => %name, "error" => %reason);
                }
                Err(_) => {}
            }
        }
        is_new
    }

    /// Waits for all reporters, which end by themselves.
    fn wait(&mut self) {
        for pid in self.reporters.drain(..) {
            while waitpid(pid, None) == Err(Errno::EINTR) {}
        }
    }

    /// The errand of a child that has ended, if the child was on one.
    pub(crate) fn ended(&mut self, pid: Pid) -> Option<Errand> {
        if let Some(at) = self.reporters.iter().position(|reporter| *reporter == pid) {
            self.reporters.swap_remove(at);
            return Some(Errand::Reported);
        }
        let look_up = self.look_up.take_if(|look_up| look_up.pid == pid)?;
        let mut text = String::new();
        // A host without an answer counts as not found.
        let _ = File::from(look_up.answers).take(ANSWERS_MAX).read_to_string(&mut text);
        Some(Errand::LookedUp(answers(look_up.names, &text)))
    }

    /// The child that looks hosts up. The master may kill it at its end, as its answers have no use any more.
    pub(crate) fn looking_up(&self) -> Option<Pid> {
        self.look_up.as_ref().map(|look_up| look_up.pid)
    }

    /// Has all hosts looked up again, as soon as no other look-up runs.
    pub(crate) fn forget_hosts(&mut self) {
        self.looked_up = None;
    }

    /// Has a child look these hosts up, if one of them is new or a look-up is due.
    fn look_up(&mut self, config: &Config, names: BTreeSet<HostName>, log: &Logger) {
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
            let pid = fork(&first_steps(config).keeping([answers_to.as_fd()]), || {
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

/// Looks all hosts up at the same time, so that one whose name servers are silent delays no other.
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

/// The answers for these hosts, from the lines of [`look_up_all`].
fn answers(names: Vec<HostName>, text: &str) -> Vec<Answer> {
    let mut found: BTreeMap<HostName, Vec<SocketAddr>> = text.lines().filter_map(names::parse).collect();
    let reason = |at: usize| {
        let begin = format!("{NOT_FOUND}{at} ");
        Reason::new(text.lines().find_map(|line| line.strip_prefix(&begin)).unwrap_or(NO_ANSWER))
    };
    let answer = |(at, name)| {
        let answer = found.remove(&name).ok_or_else(|| reason(at));
        (name, answer)
    };
    names.into_iter().enumerate().map(answer).collect()
}

/// The hosts to which processes of a configuration send and whose names need a look-up.
fn hosts(config: &Config) -> impl Iterator<Item = HostName> {
    let statsd = HostName::new(&config.statsd_host, config.statsd_port);
    let statsd = Some(statsd).filter(|name| !name.host.is_empty());
    statsd.into_iter().chain(sentry::hosts(&config.sentry)).filter(|name| name.literal().is_none())
}

/// The first steps of an errand, which may outlive its master by a few seconds.
fn first_steps(config: &Config) -> FirstSteps<'_> {
    FirstSteps::of(config).on_master_death(None)
}

/// Has the kernel end this process if its errand takes too long. The timer sends SIGKILL, as this process
/// ignores all signals that other processes may send to it.
fn limit() -> nix::Result<Timer> {
    let kill = SigevNotify::SigevSignal { signal: Signal::SIGKILL, si_value: 0 };
    let mut timer = Timer::new(ClockId::CLOCK_MONOTONIC, SigEvent::new(kill))?;
    timer.set(Expiration::OneShot(ERRAND_MAX.into()), TimerSetTimeFlags::empty())?;
    Ok(timer)
}

/// Reports to Sentry before the end of a process that is not a master yet, or not any more.
pub(crate) fn report_last(config: &Config, log: &Logger) {
    let mut errands = Errands::default();
    errands.report(config, log);
    errands.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_host_is_news_once_and_its_address_once() {
        let name = HostName::new("errands.example", 5);
        let mut errands = Errands::default();
        errands.known.insert(name.clone(), false);
        let log = Logger::root(slog::Discard, slog::o!());
        let mut learn = |answer: &Result<Vec<SocketAddr>, Reason>| {
            let is_new = errands.learn(vec![(name.clone(), answer.clone())], &log);
            (is_new, errands.known[&name])
        };
        let missing = Err(Reason::new("no such host"));
        let found = Ok(vec!["192.0.2.1:5".parse().unwrap()]);
        assert_eq!([learn(&missing), learn(&missing)], [(false, true); 2]);
        assert_eq!([learn(&found), learn(&found)], [(true, false), (false, false)]);
        assert_eq!(learn(&missing), (false, true));
    }

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
                (wrong, Err(Reason::new("it is wrong"))),
                (silent, Err(Reason::new(NO_ANSWER)))
            ]
        );
    }
}
