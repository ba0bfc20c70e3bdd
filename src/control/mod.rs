//! The protocol between `avalonctl` and a master: one line of JSON to its Unix socket, one line
//! back.
//!
//! A request is `{"command": NAME, ...}` with the names of [`Command`]; the answer is
//! `{"ok": VALUE}` or `{"error": TEXT}`.

mod status;

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
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

pub use status::{
    Contents, LastReload, ScanEnd, ScanFound, ScanStatus, SnapshotStatus, SourceStatus, Status, WorkerLoad,
    WorkerStatus,
};

/// Longest line that a master reads.
pub const REQUEST_MAX: usize = 4096;

/// The allowed numbers of workers, as in the configuration.
pub const WORKERS: RangeInclusive<usize> = 1..=256;

/// Longest time that a master may take to end once it has closed its socket.
const LAST_MOMENT: Duration = Duration::from_secs(5);

/// Longest time to wait until its parent reaps it.
const REAPING: Duration = Duration::from_millis(100);

/// A command to a master.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "command", rename_all = "lowercase")]
pub enum Command {
    /// Show the state of the master and its workers.
    Status,
    /// Make a new generation, as SIGHUP does.
    Reload(Reload),
    /// Stop gracefully, as SIGTERM does; a master that was started beside this one as well.
    Stop {
        /// Whether to answer by the end of the connection only, which is that of the server.
        #[serde(default, deserialize_with = "is_true")]
        wait: bool,
    },
    /// Change the number of workers.
    Workers {
        /// The new number of workers, from 1 to 256.
        count: usize,
    },
    /// Start the program again. The new one takes over; the answer comes when it serves, or has
    /// failed.
    Upgrade,
}

/// The options of a reload.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Reload {
    /// Whether the answer comes only when the new generation serves, or has failed.
    #[serde(deserialize_with = "is_true")]
    pub wait: bool,
    /// With `wait`: answer when rows of this revision or a later one serve. The database is read when it has them.
    /// Without: a scan has stored this revision. The reload serves its rows and nothing else, so a server that serves
    /// the revision before may read only the rows that the scan has logged.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub revision: Option<u64>,
    /// Seconds for which the database may lack them; [`Reload::TIMEOUT`] if missing. The limit does
    /// not interrupt a running load.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Whether rows of an older revision than the served one may serve.
    #[serde(skip_serializing_if = "is_false", deserialize_with = "is_true")]
    pub accept_older: bool,
}

impl Reload {
    /// Seconds for which the database may lack the requested revision.
    pub const TIMEOUT: u64 = 60;

    /// Creates a reload that is answered when the new generation serves, or has failed.
    pub fn waiting() -> Self {
        Reload { wait: true, ..Reload::default() }
    }
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde calls it")]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Reports whether a field is true; any other value means not to wait.
fn is_true<'de, D: Deserializer<'de>>(field: D) -> Result<bool, D::Error> {
    Ok(Value::deserialize(field)?.as_bool().unwrap_or(false))
}

impl Command {
    /// Encodes the command as a line of the protocol.
    ///
    /// # Errors
    /// None is known: a command holds only numbers.
    pub fn to_line(self) -> io::Result<String> {
        Ok(serde_json::to_string(&self)? + "\n")
    }

    /// Parses a line of the protocol.
    ///
    /// # Errors
    /// The reason why the line is not a command.
    pub fn parse(line: &str) -> Result<Command, Unreadable> {
        let request: Value =
            serde_json::from_str(line).map_err(|error| Unreadable::NotJson(error.to_string()))?;
        let is_workers = request["command"] == "workers";
        match serde_json::from_value(request) {
            Ok(Command::Workers { count }) if !WORKERS.contains(&count) => Err(Unreadable::Count),
            Ok(command) => Ok(command),
            Err(_) if is_workers => Err(Unreadable::Count),
            Err(_) => Err(Unreadable::Unknown),
        }
    }
}

/// The reason why a line is not a command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unreadable {
    /// It is longer than [`REQUEST_MAX`].
    TooLong,
    /// It is not JSON; the text names the place.
    NotJson(String),
    /// The number of workers is missing or out of range.
    Count,
    /// There is no such command.
    Unknown,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unreadable::TooLong => f.write_str("the request is too long"),
            Unreadable::NotJson(error) => write!(f, "no JSON: {error}"),
            Unreadable::Count => {
                write!(f, "workers needs a count from {} to {}", WORKERS.start(), WORKERS.end())
            }
            Unreadable::Unknown => {
                f.write_str("unknown command; known are status, reload, stop, workers and upgrade")
            }
        }
    }
}

/// The answer of a master, in one line.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Answer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ok: Option<Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    /// Whether the time limit was reached.
    #[serde(default, skip_serializing_if = "is_false")]
    late: bool,
}

/// The result of an obeyed command.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// The generation that a reload has made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub generation: Option<u64>,
}

impl Answer {
    /// Creates the answer to an obeyed command.
    pub fn ok(result: &impl Serialize) -> Self {
        match serde_json::to_value(result) {
            Ok(value) => Answer { ok: Some(value), ..Answer::default() },
            Err(error) => Answer::error(&error),
        }
    }

    /// Creates the answer to a command that was refused, or has failed.
    pub fn error(reason: &impl fmt::Display) -> Self {
        Answer { error: Some(reason.to_string()), ..Answer::default() }
    }

    /// Creates the answer to a command that reached its time limit before it had an effect.
    pub fn late(reason: &impl fmt::Display) -> Self {
        Answer { late: true, ..Answer::error(reason) }
    }

    /// Encodes the answer as a line of the protocol.
    ///
    /// # Errors
    /// None is known: it holds a text or a value.
    pub fn to_line(&self) -> io::Result<String> {
        Ok(serde_json::to_string(self)? + "\n")
    }
}

/// The reason why a call has no result.
#[derive(Debug)]
pub enum ControlError {
    /// No master listens there, or it has gone.
    Connection {
        /// The socket.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The master refuses the command, or it has failed.
    Refused(String),
    /// The requested rows did not come in time.
    Late(String),
}

impl ControlError {
    /// Reports whether no master listens: there is no socket, or a master left one behind.
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
            ControlError::Refused(reason) | ControlError::Late(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for ControlError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            ControlError::Connection { source, .. } => Some(source),
            ControlError::Refused(_) | ControlError::Late(_) => None,
        }
    }
}

/// Asks the master whose socket is at `path`, and waits for its answer, at most `timeout`.
///
/// # Errors
/// If there is no answer, or the master refuses.
pub fn call(path: &Path, command: Command, timeout: Option<Duration>) -> Result<Value, ControlError> {
    let answer = exchange(path, command, timeout)
        .map_err(|source| ControlError::Connection { path: path.to_owned(), source })?;
    match answer.error {
        Some(reason) if answer.late => Err(ControlError::Late(reason)),
        Some(reason) => Err(ControlError::Refused(reason)),
        None => Ok(answer.ok.unwrap_or_default()),
    }
}

fn exchange(path: &Path, command: Command, timeout: Option<Duration>) -> io::Result<Answer> {
    let mut stream = UnixStream::connect(path)?;
    let master = getsockopt(&stream, PeerCredentials)?.pid();
    stream.set_read_timeout(timeout)?;
    stream.write_all(command.to_line()?.as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    if line.is_empty() && command == (Command::Stop { wait: true }) {
        wait_for_end(master);
        return Ok(Answer::ok(&Done::default()));
    }
    if line.is_empty() {
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, "the master has gone"));
    }
    Ok(serde_json::from_str(&line)?)
}

/// Waits for the end of a process. It has closed all its descriptors and needs another moment to
/// end, and so does the parent that reaps it; some parents never do. (/proc may hide the process.)
fn wait_for_end(pid: i32) {
    let begin = Instant::now();
    let mut dead = None;
    while pid > 0 && begin.elapsed() < LAST_MOMENT && kill(Pid::from_raw(pid), None).is_ok() {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The state comes after the name, which may hold any bytes.
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
    fn commands_are_lines_that_are_read_as_they_are_written() {
        for (command, line) in [
            (Command::Status, "{\"command\":\"status\"}\n"),
            (Command::Reload(Reload::waiting()), "{\"command\":\"reload\",\"wait\":true}\n"),
            (Command::Reload(Reload::default()), "{\"command\":\"reload\",\"wait\":false}\n"),
            (
                Command::Reload(Reload {
                    wait: true,
                    revision: Some(7),
                    timeout: Some(5),
                    accept_older: true,
                }),
                "{\"command\":\"reload\",\"wait\":true,\"revision\":7,\"timeout\":5,\"accept_older\":true}\n",
            ),
            (Command::Stop { wait: true }, "{\"command\":\"stop\",\"wait\":true}\n"),
            (Command::Stop { wait: false }, "{\"command\":\"stop\",\"wait\":false}\n"),
            (Command::Workers { count: 7 }, "{\"command\":\"workers\",\"count\":7}\n"),
            (Command::Upgrade, "{\"command\":\"upgrade\"}\n"),
        ] {
            assert_eq!(command.to_line().unwrap(), line);
            assert_eq!(Command::parse(line).unwrap(), command);
        }
    }

    #[test]
    fn fields_of_other_releases_are_passed_over() {
        for line in [
            "{\"command\":\"reload\"}",
            "{\"later\":[],\"command\":\"reload\",\"wait\":null}",
            "{\"command\":\"reload\",\"wait\":\"yes\"}",
        ] {
            assert_eq!(Command::parse(line).unwrap(), Command::Reload(Reload::default()), "{line}");
        }
        let answer: Answer = serde_json::from_str("{\"ok\":{\"generation\":2},\"later\":1}").unwrap();
        assert_eq!(answer, Answer::ok(&Done { generation: Some(2) }));
    }

    #[test]
    fn wrong_commands_are_refused_with_the_reason() {
        for (line, reason) in [
            ("", "no JSON: EOF while parsing a value at line 1 column 0"),
            ("{}", "unknown command; known are status, reload, stop, workers and upgrade"),
            ("[]", "unknown command; known are status, reload, stop, workers and upgrade"),
            (
                "{\"command\":\"dance\"}",
                "unknown command; known are status, reload, stop, workers and upgrade",
            ),
            ("{\"command\":\"workers\"}", "workers needs a count from 1 to 256"),
            ("{\"command\":\"workers\",\"count\":-1}", "workers needs a count from 1 to 256"),
            ("{\"command\":\"workers\",\"count\":257}", "workers needs a count from 1 to 256"),
        ] {
            assert_eq!(Command::parse(line).unwrap_err().to_string(), reason, "{line}");
        }
    }

    #[test]
    fn answers_are_lines() {
        assert_eq!(Answer::ok(&Done::default()).to_line().unwrap(), "{\"ok\":{}}\n");
        assert_eq!(
            Answer::ok(&Done { generation: Some(3) }).to_line().unwrap(),
            "{\"ok\":{\"generation\":3}}\n"
        );
        assert_eq!(Answer::error(&"no").to_line().unwrap(), "{\"error\":\"no\"}\n");
    }
}
