//! The child that asks for a reload what may take long: its configuration file, accounts, addresses of hosts. The
//! master goes on meanwhile, and gives up on it after a while.

use std::fs::File;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::path::Path;
use std::time::{Duration, Instant};

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use serde_json::{Value, json};

use super::events::Event;
use super::generations::{addresses_wanted, first_steps};
use super::process::{self, FirstSteps};
use super::{ExitCode, Master};
use crate::config::{self, Answers, BindAddress, Config, Overrides, World};
use crate::title;

/// How long a reload waits for the answers: a resolver takes up to 20 seconds until it gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// Children of reloads that were given up which may still hang: not even SIGKILL ends one that waits for a file
/// system that is gone.
const HANGING_MAX: usize = 8;

/// The child, and what it has said so far.
pub(super) struct Asking {
    pid: Pid,
    generation: u64,
    answers: File,
    said: Vec<u8>,
    deadline: Instant,
}

/// What has become of it.
enum Outcome {
    Asks,
    Answered(Answers),
    Failed(String),
}

impl Asking {
    fn start(
        generation: u64,
        overrides: &Overrides,
        is_open: impl Fn(&BindAddress) -> bool,
        mut first: FirstSteps<'_>,
    ) -> io::Result<Asking> {
        let (answers, answers_to) = pipe2(OFlag::O_CLOEXEC)?;
        fcntl(&answers, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
        first.keep.push(answers_to.as_raw_fd());
        let pid = process::fork(&first, || {
            title::set(&format!("avalon: configuration [gen {generation}]"));
            ask(overrides, is_open, File::from(answers_to))
        })?;
        let (answers, deadline) = (answers.into(), Instant::now() + PATIENCE);
        Ok(Asking { pid, generation, answers, said: Vec::new(), deadline })
    }

    /// What to wait for.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.answers.as_fd()
    }

    pub(super) fn pid(&self) -> Pid {
        self.pid
    }

    fn outcome(&mut self, now: Instant) -> Outcome {
        match self.answers.read_to_end(&mut self.said) {
            Ok(_) => match answers(&self.said) {
                (answers, true) => Outcome::Answered(answers),
                (_, false) => Outcome::Failed("the child that reads the configuration has failed".to_owned()),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock && now < self.deadline => Outcome::Asks,
            Err(error) if error.kind() == ErrorKind::WouldBlock => Outcome::Failed(format!(
                "{} does not answer within {} s",
                last_question(&self.said).unwrap_or_else(|| "the machine".to_owned()),
                PATIENCE.as_secs()
            )),
            Err(error) => {
                Outcome::Failed(format!("the answers about the configuration cannot be read: {error}"))
            }
        }
    }
}

/// The life of the child: it reads the configuration as its master will, and looks at what that will open.
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

/// What the master opens or looks at itself for a new generation.
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

/// What was answered, and whether that is all.
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

impl Master {
    /// Begins to configure a generation. The end of it is an event, which is given here if it has failed already.
    pub(super) fn begin_configuration(&mut self, generation: u64) -> Option<Event> {
        let current = self.arbiter.current().or_else(|| self.generations.keys().next().copied());
        let Some(of) = current.and_then(|current| self.generations.get(&current)) else {
            return Some(Event::Configured(Err("there is no generation yet".to_owned())));
        };
        if self.hanging.len() >= HANGING_MAX {
            let reason = format!("{HANGING_MAX} attempts to read the configuration still hang");
            return Some(Event::Configured(Err(reason)));
        }
        let open = self.open_addresses();
        // As the master itself: the file may be for its eyes only.
        let first = FirstSteps { account: None, ..first_steps(&of.config, Signal::SIGKILL) };
        let started = Asking::start(generation, &self.overrides, |address| open.contains(address), first);
        match started {
            Ok(asking) => {
                self.asking = Some(asking);
                None
            }
            Err(error) => Some(Event::Configured(Err(error.to_string()))),
        }
    }

    /// Goes on with a configuration when all is known that it needs.
    pub(super) fn proceed_with_configuration(&mut self) {
        let Some(asking) = &mut self.asking else { return };
        let generation = asking.generation;
        let configured = match asking.outcome(Instant::now()) {
            Outcome::Asks => return,
            Outcome::Answered(answers) => self.configure(generation, &World::replaying(answers)),
            Outcome::Failed(reason) => Err(reason),
        };
        self.end_asking();
        self.dispatch(Event::Configured(configured));
    }

    /// It has nothing to say any more, or is not listened to.
    pub(super) fn end_asking(&mut self) {
        if let Some(asking) = self.asking.take() {
            let _ = kill(asking.pid(), Signal::SIGKILL);
            self.hanging.push(asking.pid());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_said_tells_the_answers_and_what_is_waited_for() {
        let said = b"[\"file /a\"]\n[\"file /a\",{\"text\":\"x\"}]\n[\"user \\\"b\\\"\"]\n";
        let (known, complete) = answers(said);
        assert_eq!((known["file /a"]["text"].as_str(), complete), (Some("x"), false));
        assert_eq!(last_question(said).as_deref(), Some("user \"b\""));
        let said = [&said[..], b"[\"user \\\"b\\\"\",{\"user\":null}]\nnull\n"].concat();
        assert!(answers(&said).1);
        assert!(!answers(b"").1 && last_question(b"").is_none());
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
