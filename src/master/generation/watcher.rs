//! The child that asks the source again and again which rows it holds, so that the master learns of a change, and of a
//! source that does not answer. It may hang or die: the next one asks the same.

use std::error::Error;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::thread;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};
use slog::{Logger, debug, warn};

use crate::cli::chain;
use crate::config::database_url::Backend;
use crate::config::{Config, SnapshotUrl, SourceUrl};
use crate::database::{Changed, Poll, Since, Version};
use crate::master::exit::ExitCode;
use crate::master::generation::watcher_session::{Answers, Questions, pair};
use crate::master::processes::end::{self, Ended};
use crate::master::processes::fork::{FirstSteps, fork};
use crate::master::processes::report::short;
use crate::master::wait::Wait;
use crate::publication::{self, PublicationError};
use crate::snapshot::VERSION;
use crate::title;

/// Bytes of a line; a reason is short.
const LINE_MAX: usize = 64 * 1024;
/// The first wait before a new watcher replaces a dead one, and the longest.
const WAIT_FIRST: Duration = Duration::from_millis(250);
const WAIT_MAX: Duration = Duration::from_secs(2);
/// A watcher that has lived as long is not one of those that die again and again.
const HEALTHY_LIFE: Duration = Duration::from_secs(10);

/// The shortest time between two requests to ask at once.
const HURRY_EVERY: Duration = Duration::from_millis(250);

/// The most songs beside which the watcher reads changed rows. It also counts all rows, and polls nothing meanwhile; a
/// server counts as many in half a second.
const SONGS_MAX: u64 = 2_000_000;

/// A line of a watcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Said {
    /// The source holds this version.
    Holds(Version),
    /// It has given no answer, for this reason.
    Fails(String),
}

/// The watched source, and the time between two questions.
#[derive(Debug, Clone, PartialEq)]
struct Task {
    source: SourceUrl,
    every: Duration,
}

/// The watcher, if the configuration or a client wants one.
pub(crate) struct Watcher {
    child: Option<Child>,
    wait: Wait,
}

struct Child {
    pid: Pid,
    born: Instant,
    task: Task,
    lines: UnixDatagram,
    questions: Questions,
    /// The time of the last request to ask at once.
    hurried: Option<Instant>,
}

impl Watcher {
    /// None.
    pub(crate) fn new() -> Self {
        Watcher { child: None, wait: Wait::new(WAIT_FIRST, WAIT_MAX) }
    }

    /// The descriptor to wait for.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.lines.as_fd())
    }

    /// Starts a watcher for this configuration unless one runs, or ends the one that is not wanted any more.
    pub(crate) fn look_after(&mut self, wanted: Option<&Config>, log: &Logger, now: Instant) {
        let task = wanted.map(|config| Task { source: config.source_url(), every: config.watch_every });
        if let Some(child) = self.child.take_if(|child| Some(&child.task) != task.as_ref()) {
            end::end(child.pid);
            self.wait.reset();
        }
        let Some((config, task)) =
            wanted.zip(task).filter(|_| self.child.is_none() && self.wait.is_over(now))
        else {
            return;
        };
        match Child::start(config, task, now) {
            Ok(child) => {
                debug!(log, "the watcher begins"; "pid" => child.pid.as_raw());
                self.child = Some(child);
            }
            Err(error) => {
                self.wait.failed(now, 0);
                warn!(log, "the watcher of the {} cannot be started: {}", config.source_url().noun(), error);
            }
        }
    }

    /// Has it ask now, and not only when the time has come; a few times each second at most.
    pub(crate) fn hurry(&mut self, now: Instant) {
        if let Some(child) = &mut self.child
            && child.hurried.is_none_or(|hurried| now.saturating_duration_since(hurried) >= HURRY_EVERY)
        {
            child.hurried = Some(now);
            // It asks at its time where this is lost.
            let _ = child.lines.send(b"now");
        }
    }

    /// The loaders' end, if the watcher can read rows for a loader of this configuration; `songs` songs serve.
    pub(crate) fn questions(&self, config: &Config, songs: u64) -> Option<Questions> {
        let child = self.child.as_ref().filter(|child| child.task.source == config.source_url())?;
        let is_server = matches!(&child.task.source,
            SourceUrl::Database(url) if matches!(url.backend(), Backend::Postgres(_)));
        (is_server && songs <= SONGS_MAX).then(|| child.questions.try_clone().ok())?
    }

    /// The lines that have come.
    pub(crate) fn said(&mut self) -> Vec<Said> {
        self.child.as_ref().map(|child| lines(&child.lines)).unwrap_or_default()
    }

    /// Takes the end of a process. If that was the watcher, returns its last lines; another one starts later.
    pub(crate) fn ended(&mut self, pid: Pid, ended: Ended, log: &Logger, now: Instant) -> Option<Vec<Said>> {
        let child = self.child.take_if(|child| child.pid == pid)?;
        if ended == Ended::Code(ExitCode::Stopped as i32) {
            // A thread of it hangs in a call that a new process need not wait for.
            return Some(lines(&child.lines));
        }
        if now.saturating_duration_since(child.born) >= HEALTHY_LIFE {
            self.wait.reset();
        }
        // The first watcher that dies has a successor at once.
        self.wait.failed(now, 1);
        warn!(
            log,
            "the watcher of the {} has ended ({}), and is started again",
            child.task.source.noun(),
            ended
        );
        Some(lines(&child.lines))
    }

    /// Ends the watcher with its master.
    pub(crate) fn end(&mut self) {
        self.child.take().into_iter().for_each(|child| end::end(child.pid));
    }
}

fn lines(from: &UnixDatagram) -> Vec<Said> {
    let mut line = vec![0; LINE_MAX];
    let mut said = Vec::new();
    while let Ok(len @ 1..) = from.recv(&mut line) {
        said.extend(serde_json::from_slice::<Said>(&line[..len]));
    }
    said
}

impl Child {
    fn start(config: &Config, task: Task, now: Instant) -> io::Result<Child> {
        let (lines, to) = UnixDatagram::pair()?;
        lines.set_nonblocking(true)?;
        let (questions, answers) = pair()?;
        let first = FirstSteps::of(config).keeping([to.as_fd(), answers.as_fd()]);
        let pid = fork(&first, || watch(&task, &to, &answers))?;
        Ok(Child { pid, born: now, task, lines, questions, hurried: None })
    }
}

/// The life of the child, which ends with its master.
fn watch(task: &Task, to: &UnixDatagram, answers: &Answers) -> ExitCode {
    title::set("avalon: watcher");
    let mut asked = Asked::new(&task.source);
    loop {
        let next = Instant::now() + task.every;
        let said = asked.ask();
        let has_answer = matches!(said, Said::Holds(_));
        let sent = serde_json::to_vec(&said).map_err(io::Error::from).and_then(|line| to.send(&line));
        if sent.is_err() {
            return ExitCode::Failure;
        }
        let may_go_on = has_answer || threads() == Some(1);
        let has_rows = pause(to, answers, next, &mut asked);
        if !may_go_on || !(has_rows || threads() == Some(1)) {
            return ExitCode::Stopped;
        }
    }
}

/// The watched source.
enum Asked<'a> {
    Database(Poll),
    Store(&'a SnapshotUrl),
}

impl<'a> Asked<'a> {
    fn new(source: &'a SourceUrl) -> Self {
        match source {
            SourceUrl::Database(url) => Asked::Database(Poll::new(url)),
            SourceUrl::Store(url) => Asked::Store(url),
        }
    }

    /// The rows that have changed, if the session with a server tells them.
    fn changes(&mut self, since: &Since) -> Option<Changed> {
        match self {
            Asked::Database(poll) => poll.changes(since),
            Asked::Store(_) => None,
        }
    }

    fn ask(&mut self) -> Said {
        let failed = |error: &dyn Error| Said::Fails(short(&chain(error)));
        let of_store = |url: &SnapshotUrl, error: &PublicationError| {
            Said::Fails(short(&format!("{url}: {}", chain(error))))
        };
        match self {
            Asked::Database(poll) => poll.ask().map_or_else(|error| failed(&error), Said::Holds),
            Asked::Store(url) => match publication::seen(url) {
                // The counter of its pointer is the revision of the rows in a store.
                Ok(Some(pointer)) => {
                    Said::Holds(Version { revision: Some(pointer.counter), mark: String::new() })
                }
                Ok(None) => of_store(url, &PublicationError::Nothing(VERSION)),
                Err(error) => of_store(url, &error),
            },
        }
    }
}

/// Waits until this moment, or until the master tells it to ask, and reads rows for loaders meanwhile. Answers whether
/// it has given all rows that they asked for.
fn pause(to: &UnixDatagram, answers: &Answers, until: Instant, asked: &mut Asked<'_>) -> bool {
    let mut has_rows = true;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let mut fds = [to.as_fd(), answers.as_fd()].map(|fd| PollFd::new(fd, PollFlags::POLLIN));
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(&mut fds, timeout) {
            Err(Errno::EINTR) => {}
            Ok(1..) if fds[0].any() != Some(true) => {
                let read = |since: &Since| {
                    let changed = asked.changes(since);
                    has_rows &= changed.is_some();
                    changed
                };
                if answers.answer(read).is_err() {
                    // The master has ended, or no loader takes the answers.
                    return has_rows;
                }
            }
            Ok(1..) => {
                let _ = to.recv(&mut [0; 8]);
                return has_rows;
            }
            // The time is over.
            Ok(_) => return has_rows,
            Err(_) => {
                thread::sleep(left);
                return has_rows;
            }
        }
    }
}

/// How many threads this process has: one that waits for a server is left behind.
fn threads() -> Option<usize> {
    Some(std::fs::read_dir("/proc/self/task").ok()?.count())
}

#[cfg(test)]
mod tests {
    use nix::sys::signal::Signal;

    use super::*;
    use crate::config::DatabaseUrl;

    const SECOND: Duration = Duration::from_secs(1);

    fn log() -> Logger {
        Logger::root(slog::Discard, slog::o!())
    }

    /// A watcher whose child is a process that has ended already, and the child's end of its lines.
    fn watcher(born: Instant, wait: Wait) -> (Watcher, UnixDatagram) {
        let (lines, to) = UnixDatagram::pair().unwrap();
        lines.set_nonblocking(true).unwrap();
        let source = SourceUrl::Database(DatabaseUrl::parse("sqlite:////nowhere").unwrap());
        let child = Child {
            pid: Pid::from_raw(i32::MAX),
            born,
            task: Task { source, every: SECOND },
            lines,
            questions: pair().unwrap().0,
            hurried: None,
        };
        (Watcher { child: Some(child), wait }, to)
    }

    #[test]
    fn last_lines_of_a_watcher_that_was_killed_are_heard() {
        let now = Instant::now();
        let (mut watcher, to) = watcher(now, Wait::new(WAIT_FIRST, WAIT_MAX));
        let version = Version { revision: Some(7), mark: "\"a\"\n".to_owned() };
        let said = [Said::Holds(version), Said::Fails("no\nanswer".to_owned())];
        for line in &said {
            to.send(&serde_json::to_vec(line).unwrap()).unwrap();
        }
        to.send(b"{\"torn").unwrap();
        let killed = Ended::Signal(Signal::SIGKILL);
        assert_eq!(watcher.ended(Pid::from_raw(1), killed, &log(), now), None);
        assert_eq!(watcher.ended(Pid::from_raw(i32::MAX), killed, &log(), now), Some(said.to_vec()));
        assert!(watcher.child.is_none() && watcher.wait.is_over(now), "the first is replaced at once");
    }

    #[test]
    fn watcher_that_dies_again_and_again_is_waited_for() {
        let (now, killed) = (Instant::now(), Ended::Signal(Signal::SIGKILL));
        let mut wait = Wait::new(WAIT_FIRST, WAIT_MAX);
        for milliseconds in [0, 250, 500, 1000, 2000, 2000] {
            let (mut watcher, _to) = watcher(now, wait);
            watcher.ended(Pid::from_raw(i32::MAX), killed, &log(), now);
            wait = watcher.wait;
            assert!(wait.is_over(now + Duration::from_millis(milliseconds)));
            assert!(milliseconds == 0 || !wait.is_over(now + Duration::from_millis(milliseconds - 1)));
        }
        let (mut watcher, _to) = watcher(now, wait);
        watcher.ended(Pid::from_raw(i32::MAX), killed, &log(), now + HEALTHY_LIFE);
        assert!(watcher.wait.is_over(now + HEALTHY_LIFE));
    }
}
