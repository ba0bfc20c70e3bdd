//! The requests to the server to read the database again: after a change and not too often.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use slog::{Logger, debug, warn};

use crate::control::{self, Command};

/// Time between two reloads.
const PAUSE: Duration = Duration::from_secs(10);
/// Time until a server that refused the request is asked again.
const RETRY: Duration = Duration::from_secs(60);
/// Longest wait for the answer. A master answers at once.
const REPLY_TIMEOUT: Duration = Duration::from_secs(5);

/// The pending request to the server.
#[derive(Debug)]
pub(super) struct Reload {
    control: Option<PathBuf>,
    is_wished: bool,
    /// The last revision of the rows; `None` if unknown.
    revision: Option<u64>,
    not_before: Instant,
}

impl Reload {
    /// Creates the state. `control` is the socket of the server.
    pub(super) fn new(control: Option<PathBuf>, now: Instant) -> Reload {
        Reload { control, is_wished: false, revision: None, not_before: now }
    }

    /// Records that the rows of the database have changed and have this revision.
    pub(super) fn wish(&mut self, revision: Option<u64>) {
        (self.is_wished, self.revision) = (self.control.is_some(), revision);
    }

    /// Returns the time of the next request.
    pub(super) fn due(&self) -> Option<Instant> {
        self.is_wished.then_some(self.not_before)
    }

    /// Sends the request, if it is time to. Without a server there is nothing to do: a server reads
    /// the database when it starts.
    pub(super) fn ask(&mut self, log: &Logger) {
        let (Some(control), true) = (&self.control, self.due().is_some_and(|due| due <= Instant::now()))
        else {
            return;
        };
        let reload = control::Reload { revision: self.revision, ..control::Reload::default() };
        let answer = control::call(control, Command::Reload(reload), Some(REPLY_TIMEOUT));
        let pause = match &answer {
            Ok(_) => {
                debug!(log, "The server reads the collection again");
                PAUSE
            }
            Err(error) if error.is_absent() => {
                debug!(log, "No server runs at {}", control.display());
                PAUSE
            }
            Err(error) => {
                let source = std::error::Error::source(error).map(|source| format!(": {source}"));
                warn!(
                    log,
                    "Could not ask the server to read the collection again: {error}{}; the watch asks every {} s",
                    source.unwrap_or_default(),
                    RETRY.as_secs()
                );
                RETRY
            }
        };
        self.is_wished = pause == RETRY;
        self.not_before = Instant::now() + pause;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{Discard, o};
    use std::io::{BufRead, BufReader, Write};
    use std::os::unix::net::UnixListener;

    #[test]
    fn a_server_is_asked_once_for_many_wishes_and_not_again_at_once() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("control");
        let log = Logger::root(Discard, o!());
        let mut reload = Reload::new(Some(path.clone()), Instant::now());
        assert_eq!(reload.due(), None);
        let mut answer_with = |answer: &'static str| {
            let _ = std::fs::remove_file(&path);
            let listener = UnixListener::bind(&path).expect("a socket");
            let server = std::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).expect("a line");
                stream.write_all(answer.as_bytes()).expect("an answer");
                line
            });
            reload.not_before = Instant::now();
            reload.wish(Some(6));
            reload.wish(Some(7));
            reload.ask(&log);
            assert_eq!(
                Command::parse(&server.join().expect("a server")),
                Ok(Command::Reload(control::Reload { revision: Some(7), ..control::Reload::default() }))
            );
            let due = reload.due();
            reload.wish(None);
            assert!(reload.due() > Some(Instant::now() + PAUSE - Duration::from_secs(5)));
            due
        };
        assert_eq!(answer_with("{\"ok\": {}}\n"), None);
        assert!(answer_with("{\"error\": \"it stops\"}\n") > Some(Instant::now() + PAUSE));
    }

    #[test]
    fn without_a_server_nothing_is_left_to_do() {
        let log = Logger::root(Discard, o!());
        for control in [None, Some("/no/such/socket".into())] {
            let mut reload = Reload::new(control, Instant::now());
            reload.wish(None);
            reload.ask(&log);
            assert_eq!(reload.due(), None);
        }
    }
}
