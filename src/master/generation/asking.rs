//! The child that asks the questions of a reload that may take long: the configuration file, accounts, addresses of
//! hosts. The master goes on meanwhile, and gives up on it after a while.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use serde_json::{Value, json};

use crate::config::{self, Answers, BindAddress, Config, Overrides, World};
use crate::master::error::{MasterError, Outlook};
use crate::master::exit::ExitCode;
use crate::master::handover::listeners::addresses_wanted;
use crate::master::processes::fork::{FirstSteps, fork};
use crate::title;

/// How long a reload waits for the answers: a resolver takes up to 20 seconds until it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// The most abandoned children that may still hang: not even SIGKILL ends one that waits for a dead file
/// system.
const HANGING_MAX: usize = 8;

/// The child that asks for the next generation, and its abandoned predecessors.
#[derive(Default)]
pub(crate) struct Asking {
    child: Option<Child>,
    /// Killed children that have not ended yet.
    hanging: Vec<Pid>,
}

/// A child, and the lines that it has sent so far.
struct Child {
    pid: Pid,
    generation: u64,
    answers: File,
    said: Vec<u8>,
    deadline: Instant,
}

/// The state of a child.
enum Outcome {
    Asks,
    Answered(Answers),
    Failed(MasterError),
}

impl Asking {
    /// Begins to ask the questions of a configuration; `open` are the addresses that need not be
    /// looked up, and `now` is the time on the master's clock.
    ///
    /// # Errors
    /// There is no process to be had, or too many hang already.
    pub(crate) fn begin(
        &mut self,
        generation: u64,
        overrides: &Overrides,
        open: &[BindAddress],
        first: FirstSteps<'_>,
        now: Instant,
    ) -> Result<(), MasterError> {
        if self.hanging.len() >= HANGING_MAX {
            let reason = format!("{HANGING_MAX} attempts to read the configuration still hang");
            return Err(MasterError::Passing(Outlook::Unreachable, reason));
        }
        self.child = Some(Child::start(generation, overrides, open, first, now)?);
        Ok(())
    }

    /// The answers for a generation once all are known, or why they will not be.
    pub(crate) fn outcome(&mut self, now: Instant) -> Option<(u64, Result<Answers, MasterError>)> {
        let child = self.child.as_mut()?;
        let generation = child.generation;
        let outcome = match child.outcome(now) {
            Outcome::Asks => return None,
            Outcome::Answered(answers) => Ok(answers),
            Outcome::Failed(error) => Err(error),
        };
        self.give_up();
        Some((generation, outcome))
    }

    /// Listens to the child no more, as it has said everything or the server stops.
    pub(crate) fn give_up(&mut self) {
        if let Some(child) = self.child.take() {
            // If it has ended already, it will be reaped.
            let _ = kill(child.pid, Signal::SIGKILL);
            self.hanging.push(child.pid);
        }
    }

    /// The process `pid` has ended; says whether it was one of these children.
    pub(crate) fn ended(&mut self, pid: Pid) -> bool {
        let at = self.hanging.iter().position(|hanging| *hanging == pid);
        at.map(|at| self.hanging.swap_remove(at)).is_some()
    }

    /// The descriptors to wait for.
    pub(crate) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.child.as_ref().map(|child| child.answers.as_fd())
    }

    /// The process at work.
    pub(crate) fn pid(&self) -> Option<Pid> {
        self.child.as_ref().map(|child| child.pid)
    }
}

impl Child {
    fn start(
        generation: u64,
        overrides: &Overrides,
        open: &[BindAddress],
        first: FirstSteps<'_>,
        now: Instant,
    ) -> io::Result<Child> {
        let (answers, answers_to) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&answers, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        let pid = fork(&first.keeping([answers_to.as_fd()]), || {
            title::set(&format!("avalon: configuration [gen {generation}]"));
            ask(overrides, |address| open.contains(address), File::from(answers_to))
        })?;
        let (answers, deadline) = (answers.into(), now + PATIENCE);
        Ok(Child { pid, generation, answers, said: Vec::new(), deadline })
    }

    fn outcome(&mut self, now: Instant) -> Outcome {
        let failed = |reason| Outcome::Failed(MasterError::Passing(Outlook::Unreachable, reason));
        match self.answers.read_to_end(&mut self.said) {
            Ok(_) => match answers(&self.said) {
                (answers, true) => Outcome::Answered(answers),
                (_, false) => failed("the child that reads the configuration has failed".to_owned()),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock && now < self.deadline => Outcome::Asks,
            Err(error) if error.kind() == ErrorKind::WouldBlock => failed(format!(
                "{} does not answer within {} s",
                last_question(&self.said).unwrap_or_else(|| "the machine".to_owned()),
                PATIENCE.as_secs()
            )),
            Err(error) => failed(format!("the answers about the configuration cannot be read: {error}")),
        }
    }
}

/// The life of the child: it reads the configuration as its master will, and looks at all that the master will
/// open.
fn ask(overrides: &Overrides, is_open: impl Fn(&BindAddress) -> bool, mut to: File) -> ExitCode {
    let mut write = |line: Value| to.write_all(format!("{line}\n").as_bytes());
    let mut failed = false;
    let world = World::recording(|question, answer| {
        let line = answer.map_or_else(|| json!([question]), |answer| json!([question, answer]));
        failed |= write(line).is_err();
    });
    // If it is wrong, the master will find that as well.
    if let Ok(config) = config::load_in(overrides, &world) {
        config.account_names(&world);
        for address in addresses_wanted(&config).filter(|address| !is_open(address)) {
            if let BindAddress::Tcp { host, port } = address {
                let _ = world.addresses(host, *port);
            }
        }
        paths(&config).for_each(|path| world.touch(path));
    }
    drop(world);
    match failed || write(Value::Null).is_err() {
        true => ExitCode::Failure,
        false => ExitCode::Stopped,
    }
}

/// Paths that the master opens or looks at for a new generation.
fn paths(config: &Config) -> impl Iterator<Item = &Path> {
    let folders = addresses_wanted(config).filter_map(|address| match address {
        BindAddress::Unix(path) => path.parent(),
        BindAddress::Tcp { .. } => None,
    });
    let access_log = config.access_log.as_ref().and_then(|settings| settings.path.as_deref());
    let logs = config.log.path.as_deref().into_iter().chain(access_log);
    let own = config.pidfile.as_deref().into_iter().chain(config.control.as_deref());
    logs.chain(config.snapshot_dir.as_deref()).chain(folders).chain(own)
}

/// The answers, and whether they are complete.
fn answers(said: &[u8]) -> (Answers, bool) {
    let mut answers = Answers::new();
    for line in lines(said) {
        match line {
            Value::Null => return (answers, true),
            Value::Array(mut line) if line.len() == 2 => {
                let answer = line.pop().unwrap_or_default();
                line[0].as_str().into_iter().for_each(|question| {
                    answers.insert(question.to_owned(), answer.clone());
                });
            }
            _ => {}
        }
    }
    (answers, false)
}

fn last_question(said: &[u8]) -> Option<String> {
    lines(said).last().and_then(|line| Some(line.get(0)?.as_str()?.to_owned()))
}

fn lines(said: &[u8]) -> impl Iterator<Item = Value> {
    said.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok())
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use super::*;

    #[test]
    fn words_of_a_child_have_the_answers_and_the_open_question() {
        let said = b"[\"file /a\"]\n[\"file /a\",{\"text\":\"x\"}]\n[\"user \\\"b\\\"\"]\n";
        let (known, complete) = answers(said);
        assert_eq!((known["file /a"]["text"].as_str(), complete), (Some("x"), false));
        assert_eq!(last_question(said).as_deref(), Some("user \"b\""));
        let said = [&said[..], b"[\"user \\\"b\\\"\",{\"user\":null}]\nnull\n"].concat();
        assert!(answers(&said).1);
        assert!(!answers(b"").1 && last_question(b"").is_none());
    }

    fn asking(said: &[u8], closed: bool, patience: Duration) -> (Asking, Option<OwnedFd>) {
        let (answers, to) = pipe2(OFlag::O_CLOEXEC).unwrap();
        fcntl(&answers, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)).unwrap();
        File::from(to.try_clone().unwrap()).write_all(said).unwrap();
        // No process has this number, so the signal reaches none.
        let pid = Pid::from_raw(i32::MAX);
        let deadline = Instant::now() + patience;
        let child = Child { pid, generation: 7, answers: answers.into(), said: Vec::new(), deadline };
        (Asking { child: Some(child), hanging: Vec::new() }, (!closed).then_some(to))
    }

    #[test]
    fn child_is_listened_to_until_its_time_is_over() {
        let (mut asking, _open) = asking(b"[\"file /a\"]\n", false, Duration::from_secs(60));
        assert!(asking.outcome(Instant::now()).is_none());
        let (generation, outcome) = asking.outcome(Instant::now() + Duration::from_secs(60)).unwrap();
        let reason = outcome.unwrap_err().to_string();
        assert_eq!((generation, reason.as_str()), (7, "file /a does not answer within 30 s"));
        let pid = Pid::from_raw(i32::MAX);
        assert_eq!((asking.pid(), asking.ended(pid), asking.ended(pid)), (None, true, false));
    }

    #[test]
    fn too_many_children_that_hang_fail_the_reload() {
        let mut asking = Asking { child: None, hanging: vec![Pid::from_raw(i32::MAX); HANGING_MAX] };
        let config = config::load(&Overrides::default()).unwrap();
        let begun = asking.begin(1, &Overrides::default(), &[], FirstSteps::of(&config), Instant::now());
        assert_eq!(begun.unwrap_err().to_string(), "8 attempts to read the configuration still hang");
    }

    #[test]
    fn child_asks_what_the_master_will_want_to_know() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("settings.toml");
        std::fs::write(&file, "BIND = [\"localhost:0\", \"127.0.0.1:0\"]\nUSER = \"root\"\n").unwrap();
        let mut overrides = Overrides::default();
        overrides.set_file(file.clone());
        let (from, to) = pipe2(OFlag::O_CLOEXEC).unwrap();
        assert_eq!(ask(&overrides, |_| false, File::from(to)), ExitCode::Stopped);
        let mut said = Vec::new();
        File::from(from).read_to_end(&mut said).unwrap();
        let (known, complete) = answers(&said);
        assert!(complete);
        std::fs::remove_file(&file).unwrap();
        let world = World::replaying(known);
        let config = config::load_in(&overrides, &world).unwrap();
        assert_eq!(world.addresses("localhost", 7).unwrap()[0].port(), 7);
        assert_eq!(config.account_names(&world).0, config.account_names(&World::live()).0);
    }
}
