//! The watcher's session with a server, in which it reads a few changed rows for the loader of a reload. The start of a
//! session of the loader's own takes the server a millisecond of a processor, for which requests may wait.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixDatagram;
use std::process;
use std::time::{Duration, Instant};

use nix::sys::socket::{AddressFamily, SockFlag, SockType, socketpair};
use serde::{Deserialize, Serialize};

use crate::database::{Changed, POLL_TIMEOUT, Since};

/// The most changed rows that the watcher reads: they fit into one message.
const ROWS_MAX: usize = 500;
/// Bytes of the longest message. The kernel takes twice as many by default.
const MESSAGE_MAX: usize = 100 * 1024;
/// The longest time for which a loader waits for an answer, before it reads the rows in a session of its own.
const PATIENCE: Duration = POLL_TIMEOUT;
/// How long the watcher waits for room for an answer.
const SEND_TIMEOUT: Duration = Duration::from_millis(200);

/// The loaders' end.
#[derive(Debug)]
pub(crate) struct Questions(UnixDatagram);

/// The watcher's end.
#[derive(Debug)]
pub(super) struct Answers(UnixDatagram);

#[derive(Debug, Serialize, Deserialize)]
struct Question {
    /// The process id of the loader: an answer to one that has been killed may still be there.
    from: u32,
    since: Since,
}

#[derive(Debug, Serialize, Deserialize)]
struct Answer {
    to: u32,
    /// `None` if the watcher has not read them.
    changed: Option<Changed>,
}

/// Makes both ends, which keep messages apart and notice the end of the other side.
///
/// # Errors
/// The kernel's error.
pub(super) fn pair() -> io::Result<(Questions, Answers)> {
    let (questions, answers) =
        socketpair(AddressFamily::Unix, SockType::SeqPacket, None, SockFlag::SOCK_CLOEXEC)?;
    let answers = UnixDatagram::from(answers);
    // Loaders that were killed have left their answers.
    answers.set_write_timeout(Some(SEND_TIMEOUT))?;
    Ok((Questions(questions.into()), Answers(answers)))
}

impl AsFd for Questions {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Answers {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Questions {
    /// The same end.
    ///
    /// # Errors
    /// The kernel's error.
    pub(super) fn try_clone(&self) -> io::Result<Questions> {
        self.0.try_clone().map(Questions)
    }

    /// The rows that have changed, read by the watcher; `None` if it does not read them in time.
    pub(super) fn changes(&self, since: &Since) -> Option<Changed> {
        let since = Since { most: since.most.min(ROWS_MAX), ..since.clone() };
        self.ask(&Question { from: process::id(), since }, Instant::now() + PATIENCE).ok()?
    }

    fn ask(&self, question: &Question, deadline: Instant) -> io::Result<Option<Changed>> {
        self.0.set_write_timeout(Some(PATIENCE))?;
        self.0.send(&serde_json::to_vec(question)?)?;
        let mut message = vec![0; MESSAGE_MAX];
        loop {
            // A time-out of zero is none at all.
            let left = deadline.saturating_duration_since(Instant::now()).max(Duration::from_millis(1));
            self.0.set_read_timeout(Some(left))?;
            let len = self.0.recv(&mut message)?;
            let answer: Answer = serde_json::from_slice(&message[..len])?;
            if answer.to == question.from {
                return Ok(answer.changed);
            }
        }
    }
}

impl Answers {
    /// Takes a question that waits, and answers it with the rows that `read` gives.
    ///
    /// # Errors
    /// The other side has closed its end, or has no room for the answer; or the message is no question.
    pub(super) fn answer(&self, read: impl FnOnce(&Since) -> Option<Changed>) -> io::Result<()> {
        let mut message = vec![0; MESSAGE_MAX];
        let len = self.0.recv(&mut message)?;
        let Question { from, since } = serde_json::from_slice(&message[..len])?;
        let answer = serde_json::to_vec(&Answer { to: from, changed: read(&since) })?;
        let answer = match answer.len() {
            ..=MESSAGE_MAX => answer,
            _ => serde_json::to_vec(&Answer { to: from, changed: None })?,
        };
        self.0.send(&answer).map(drop)
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;
    use crate::database::Version;
    use crate::model::{Named, PerOwner};
    use crate::rows::delta::{Delta, Edits, SongRow};

    fn since(most: usize) -> Since {
        Since { version: Version { revision: Some(7), mark: "a".to_owned() }, most }
    }

    /// Rows with a name of `len` bytes.
    fn changed(len: usize) -> Changed {
        let [one, two] = [1, 2].map(uuid::Uuid::from_u128);
        let artist = Named { id: one, name: "\"\u{e9}\n".to_owned() };
        let names = PerOwner::from([
            Edits::default(),
            Edits { gone: Vec::new(), present: vec![artist] },
            Edits { gone: vec![two], present: Vec::new() },
        ]);
        let song = SongRow {
            id: two,
            name: Some("x".repeat(len)),
            length: None,
            track: Some(-1),
            year: Some(1999),
            owners: [one, one, two].into(),
        };
        let delta = Delta { names, songs: Edits { gone: vec![one], present: vec![song] } };
        Changed { delta, names: [1, 2, 3].into(), songs: 4, version: since(0).version }
    }

    #[test]
    fn loader_gets_rows_as_the_watcher_has_read_them() {
        let (questions, answers) = pair().unwrap();
        let watcher = thread::spawn(move || {
            for len in [0, 3000, MESSAGE_MAX] {
                let read = |asked: &Since| {
                    assert_eq!((asked.most, asked.version.revision), (ROWS_MAX.min(len), Some(7)));
                    Some(changed(len))
                };
                answers.answer(read).unwrap();
            }
            answers.answer(|_| None).unwrap();
        });
        for len in [0, 3000] {
            assert_eq!(questions.changes(&since(len)), Some(changed(len)));
        }
        assert_eq!(questions.changes(&since(MESSAGE_MAX)), None, "too long for a message");
        assert_eq!(questions.changes(&since(1)), None, "not read");
        watcher.join().unwrap();
        assert_eq!(questions.changes(&since(1)), None, "the watcher has ended");
    }

    #[test]
    fn loader_waits_for_no_watcher_that_dies_or_hangs() {
        let (questions, answers) = pair().unwrap();
        let begin = Instant::now();
        let watcher = thread::spawn(move || drop(answers.0.recv(&mut [0; 8]).map(|_| answers)));
        assert_eq!(questions.changes(&since(1)), None);
        assert!(begin.elapsed() < PATIENCE, "its end was noticed");
        watcher.join().unwrap();
        let (questions, _answers) = pair().unwrap();
        let question = Question { from: 1, since: since(1) };
        let deadline = Instant::now() + Duration::from_millis(50);
        assert!(questions.ask(&question, deadline).is_err());
    }

    #[test]
    fn watcher_is_held_up_by_no_answers_that_dead_loaders_have_left() {
        let (questions, answers) = pair().unwrap();
        let question = serde_json::to_vec(&Question { from: 1, since: since(1) }).unwrap();
        let has_room = |_: &usize| {
            questions.0.send(&question).unwrap();
            answers.answer(|_| Some(changed(MESSAGE_MAX / 2))).is_ok()
        };
        let left = (0..100).take_while(has_room).count();
        assert!((1..100).contains(&left), "{left} answers");
        let watcher = thread::spawn(move || {
            let answered = answers.answer(|_| Some(changed(2)));
            (answered, answers)
        });
        assert_eq!(questions.changes(&since(1)), Some(changed(2)), "the next loader takes them away");
        watcher.join().unwrap().0.unwrap();
    }

    #[test]
    fn answer_to_another_loader_is_passed_over() {
        let (questions, answers) = pair().unwrap();
        let stale = Question { from: process::id().wrapping_add(1), since: since(1) };
        questions.0.send(&serde_json::to_vec(&stale).unwrap()).unwrap();
        answers.answer(|_| Some(changed(1))).unwrap();
        let watcher = thread::spawn(move || answers.answer(|_| Some(changed(2))));
        assert_eq!(questions.changes(&since(1)), Some(changed(2)));
        watcher.join().unwrap().unwrap();
    }
}
