//! How `avalonctl` talks to a master: one line of JSON to its Unix socket, one line back.
//!
//! A request is `{"command": NAME, ...}` with the names of [`Command`]; the answer is
//! `{"ok": VALUE}` or `{"error": TEXT}`.

use std::fmt;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::ops::RangeInclusive;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::kill;
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::unistd::Pid;
use serde_json::{Value, json};

/// Longest line that a master reads.
pub const REQUEST_MAX: usize = 4096;

/// How many workers there can be, as in the configuration.
const WORKERS: RangeInclusive<usize> = 1..=256;

/// Longest time that a master may take to end once it has closed its socket.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Longest time to wait for somebody to reap it.
const REAPING: Duration = Duration::from_millis(100);

/// What can be asked of a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// How it and its workers are.
    Status,
    /// Make a new generation, as SIGHUP does.
    Reload {
        /// Whether to answer only when it serves, or has failed.
        wait: bool,
    },
    /// Stop gracefully, as SIGTERM does; a master that was started beside this one as well.
    Stop {
        /// Whether to answer by the end of the connection only, which is that of the server.
        wait: bool,
    },
    /// Have so many workers.
    Workers(usize),
    /// Start the program anew, which takes over; answered when it serves, or has failed.
    Upgrade,
}

impl Command {
    /// As a line of the protocol.
    pub fn to_line(self) -> String {
        let request = match self {
            Command::Status => json!({"command": "status"}),
            Command::Reload { wait } => json!({"command": "reload", "wait": wait}),
            Command::Stop { wait } => json!({"command": "stop", "wait": wait}),
            Command::Workers(count) => json!({"command": "workers", "count": count}),
            Command::Upgrade => json!({"command": "upgrade"}),
        };
        format!("{request}\n")
    }

    /// From a line of the protocol.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn parse(line: &str) -> Result<Command, String> {
        let request: Value = serde_json::from_str(line).map_err(|error| format!("no JSON: {error}"))?;
        let wait = request["wait"].as_bool().unwrap_or(false);
        match request["command"].as_str() {
            Some("status") => Ok(Command::Status),
            Some("reload") => Ok(Command::Reload { wait }),
            Some("stop") => Ok(Command::Stop { wait }),
            Some("upgrade") => Ok(Command::Upgrade),
            Some("workers") => {
                let count = request["count"].as_u64().and_then(|count| usize::try_from(count).ok());
                let count = count.filter(|count| WORKERS.contains(count));
                count.map(Command::Workers).ok_or_else(|| "workers needs a count from 1 to 256".to_owned())
            }
            _ => Err("unknown command; known are status, reload, stop, workers and upgrade".to_owned()),
        }
    }
}

/// Why there is no good answer.
#[derive(Debug)]
pub enum ControlError {
    /// No master listens there, or it has gone.
    Connection {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The master refuses, or has failed.
    Refused(String),
}

impl ControlError {
    /// Whether no master listens: there is no socket, or one that a master left behind.
    pub fn is_absent(&self) -> bool {
        let absent = [io::ErrorKind::NotFound, io::ErrorKind::ConnectionRefused];
        matches!(self, ControlError::Connection { source, .. } if absent.contains(&source.kind()))
    }
}

impl fmt::Display for ControlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ControlError::Connection { path, .. } => {
                write!(f, "no master answers at {} (see CONTROL in the configuration)", path.display())
            }
            ControlError::Refused(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::Connection { source, .. } => Some(source),
            ControlError::Refused(_) => None,
        }
    }
}

/// Asks the master whose socket is at `path`, and waits for its answer, at most `timeout`.
///
/// # Errors
/// If there is none, or the master says no.
pub fn call(path: &Path, command: Command, timeout: Option<Duration>) -> Result<Value, ControlError> {
    let answer = exchange(path, command, timeout)
        .map_err(|source| ControlError::Connection { path: path.to_owned(), source })?;
    match answer.get("error").and_then(Value::as_str) {
        Some(reason) => Err(ControlError::Refused(reason.to_owned())),
        None => Ok(answer["ok"].clone()),
    }
}

fn exchange(path: &Path, command: Command, timeout: Option<Duration>) -> io::Result<Value> {
    let mut stream = UnixStream::connect(path)?;
    let master = getsockopt(&stream, PeerCredentials)?.pid();
    stream.set_read_timeout(timeout)?;
    stream.write_all(command.to_line().as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() && command == (Command::Stop { wait: true }) {
        wait_for_end(master);
        return Ok(json!({"ok": {}}));
    }
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the master has gone"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// A process that has closed all it had open needs another moment, and so does who reaps it; but
/// it may be that nobody does. (Below /proc it may be hidden from us.)
fn wait_for_end(pid: i32) {
    let begin = Instant::now();
    let mut dead = None;
    while pid > 0 && begin.elapsed() < LAST_MOMENT && kill(Pid::from_raw(pid), None).is_ok() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // After the name, which may hold anything, comes the state.
        if stat.rsplit(')').next().is_some_and(|rest| rest.starts_with(" Z"))
            && dead.get_or_insert_with(Instant::now).elapsed() > REAPING
        {
            return;
        }
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_read_as_they_are_written() {
        for command in [
            Command::Status,
            Command::Reload { wait: true },
            Command::Reload { wait: false },
            Command::Stop { wait: true },
            Command::Stop { wait: false },
            Command::Workers(7),
            Command::Upgrade,
        ] {
            assert_eq!(Command::parse(&command.to_line()), Ok(command));
        }
        for line in [
            "",
            "{}",
            "[]",
            "{\"command\":\"dance\"}",
            "{\"command\":\"workers\",\"count\":-1}",
            "{\"command\":\"workers\",\"count\":257}",
        ] {
            assert!(Command::parse(line).is_err(), "{line}");
        }
    }
}
