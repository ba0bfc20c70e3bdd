//! The Unix socket for `avalonctl`, which the master serves in its own loop. Nothing here ever blocks, and a
//! client that is slow or silent costs only a descriptor.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;

use crate::control::{Answer, Command, Done, REQUEST_MAX, Unreadable};
use crate::master::error::{MasterError, Outlook, Reason};
use crate::master::handover::paths::{Holder, Identity, Name, bind_unix, remove_stale};

/// Most clients at a time; further ones wait until one has gone.
const CLIENTS_MAX: usize = 16;
/// Most clients that wait in the kernel's queue.
const BACKLOG: i32 = 128;
/// Longest time in which a client sends its command.
const PATIENCE: Duration = Duration::from_secs(3);

/// The socket and its clients.
pub(crate) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// The file at the path when the master bound it.
    identity: Identity,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    born: Instant,
    received: Vec<u8>,
    /// Whether the client has closed its sending side.
    ended: bool,
    /// The event for which its answer waits.
    waits_for: Option<Awaited>,
    done: bool,
}

/// The events for which an answer can wait.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The end of the reload that makes this generation, or of a later one.
    Reload(u64),
    /// Rows of this revision or a later one. At the given moment the database may no longer lack them.
    Revision(u64, Instant),
    /// The end of an upgrade.
    Upgrade,
    /// The end of the connection.
    End,
}

/// The master's reply to a command.
pub(crate) enum Reply {
    Now(Answer),
    /// The answer follows when the reload that makes this generation has ended.
    OnceReloaded(u64),
    /// The answer follows when rows of this revision serve, or at the given moment.
    OnceServed(u64, Instant),
    /// The answer follows when the upgrade has succeeded or failed.
    OnceUpgraded,
    /// The end of this process is the answer.
    ByItsEnd,
}

impl From<Result<(), Reason>> for Reply {
    fn from(result: Result<(), Reason>) -> Self {
        Reply::Now(match result {
            Ok(()) => Answer::ok(&Done::default()),
            Err(reason) => Answer::error(&reason),
        })
    }
}

impl Control {
    /// Opens the socket, for this user only.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub(crate) fn open(path: &Path) -> Result<Self, MasterError> {
        let (listener, identity) = bind(path)?;
        Ok(Control { listener, path: path.to_owned(), identity, clients: Vec::new() })
    }

    /// Binds the path again after a program has removed it, or taken it for a socket that no process serves.
    /// Connected clients stay.
    ///
    /// # Errors
    /// The path cannot be bound.
    pub(crate) fn restore(&mut self) -> Result<(), MasterError> {
        (self.listener, self.identity) = bind(&self.path)?;
        Ok(())
    }

    /// Its path, and the file that the master has put there.
    pub(crate) fn name(&self) -> Name {
        (self.path.clone(), self.identity)
    }

    /// The owner of the path.
    pub(crate) fn holder(&self) -> Holder {
        self.identity.holder(&self.path)
    }

    /// Replaces the socket of a master that has gone, unless the path holds something else by now.
    pub(crate) fn rename(&mut self, path: &Path) {
        if remove_stale(path).is_ok() && fs::rename(&self.path, path).is_ok() {
            self.path = path.to_owned();
        }
    }

    /// The descriptors to wait for: the socket, if there is room for a new client, and all clients.
    pub(crate) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = (self.clients.len() < CLIENTS_MAX).then(|| self.listener.as_fd());
        let clients = self.clients.iter().filter(|client| !client.ended);
        listener.into_iter().chain(clients.map(|client| client.stream.as_fd()))
    }

    /// Accepts new clients, and returns the commands that have arrived, each with the number of its client.
    pub(crate) fn commands(&mut self) -> Vec<(usize, Result<Command, Unreadable>)> {
        while self.clients.len() < CLIENTS_MAX {
            let Ok((stream, _)) = self.listener.accept() else { break };
            if stream.set_nonblocking(true).is_ok() {
                self.clients.push(Client::new(stream));
            }
        }
        let commands = self.clients.iter_mut().enumerate();
        commands.filter_map(|(number, client)| Some((number, client.command()?))).collect()
    }

    /// Answers a client, now or later.
    pub(crate) fn reply(&mut self, number: usize, reply: Reply) {
        let Some(client) = self.clients.get_mut(number) else { return };
        match reply {
            Reply::Now(answer) => client.answer(&answer),
            Reply::OnceReloaded(generation) => client.waits_for = Some(Awaited::Reload(generation)),
            Reply::OnceServed(revision, until) => client.waits_for = Some(Awaited::Revision(revision, until)),
            Reply::OnceUpgraded => client.waits_for = Some(Awaited::Upgrade),
            Reply::ByItsEnd => client.waits_for = Some(Awaited::End),
        }
    }

    /// Answers the clients that wait for this reload or an earlier one, and those that wait for rows, if a
    /// failure does not pass by itself.
    pub(crate) fn reload_ended(&mut self, generation: u64, result: &Result<(), Reason>) {
        let lasts = result.as_ref().is_err_and(|reason| reason.outlook() == Outlook::Lasting);
        let enough = |awaited| match awaited {
            Awaited::Reload(of) => of <= generation,
            Awaited::Revision(..) => lasts,
            Awaited::Upgrade | Awaited::End => false,
        };
        self.answer_those(enough, result, Done { generation: Some(generation) });
    }

    /// The lowest revision for which a client waits.
    pub(crate) fn awaited_revision(&self) -> Option<u64> {
        let awaited = |client: &Client| match client.waits_for {
            Some(Awaited::Revision(revision, _)) if !client.done => Some(revision),
            _ => None,
        };
        self.clients.iter().filter_map(awaited).min()
    }

    /// Answers the clients that wait for this revision or an earlier one.
    pub(crate) fn revision_serves(&mut self, revision: u64, generation: u64) {
        let enough = |awaited| matches!(awaited, Awaited::Revision(of, _) if of <= revision);
        self.answer_those(enough, &Ok(()), Done { generation: Some(generation) });
    }

    /// Tells the clients whose time is over why their revision does not serve.
    pub(crate) fn give_up_revisions(&mut self, now: Instant, why: impl Fn(u64) -> String) {
        for client in &mut self.clients {
            if let Some(Awaited::Revision(revision, until)) = client.waits_for
                && now >= until
            {
                client.answer(&Answer::late(&why(revision)));
            }
        }
    }

    /// Answers the clients that wait for an upgrade.
    pub(crate) fn upgrade_ended(&mut self, result: &Result<(), Reason>) {
        self.answer_those(|awaited| awaited == Awaited::Upgrade, result, Done::default());
    }

    fn answer_those(&mut self, which: impl Fn(Awaited) -> bool, result: &Result<(), Reason>, done: Done) {
        let answer = match result {
            Ok(()) => Answer::ok(&done),
            Err(reason) => Answer::error(reason),
        };
        let waits = |client: &&mut Client| !client.done && client.waits_for.is_some_and(&which);
        for client in self.clients.iter_mut().filter(waits) {
            client.answer(&answer);
        }
    }

    /// The path of the socket.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the clients that have their answer, have gone, or have sent no command in time. The numbers of
    /// clients are invalid after this.
    pub(crate) fn sweep(&mut self) {
        self.clients.retain(|client| !client.done && !client.has_gone());
    }
}

impl Drop for Control {
    fn drop(&mut self) {
        if self.holder() == Holder::Ours {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn bind(path: &Path) -> Result<(UnixListener, Identity), MasterError> {
    let bind = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let socket = bind_unix(path, Mode::from_bits_truncate(0o177))?;
        socket.listen(BACKLOG)?;
        socket.set_nonblocking(true)?;
        Ok((UnixListener::from(OwnedFd::from(socket)), Identity::at(path)?))
    };
    bind().map_err(|source: io::Error| MasterError::Control { path: path.to_owned(), source })
}

impl Client {
    fn new(stream: UnixStream) -> Self {
        let born = Instant::now();
        Client { stream, born, received: Vec::new(), ended: false, waits_for: None, done: false }
    }

    fn has_gone(&self) -> bool {
        if self.waits_for.is_none() {
            return self.ended || self.born.elapsed() > PATIENCE;
        }
        // A client that has closed only its sending side still reads.
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }

    fn command(&mut self) -> Option<Result<Command, Unreadable>> {
        let mut buffer = [0; 1024];
        loop {
            match self.stream.read(&mut buffer) {
                Ok(0) => {
                    self.ended = true;
                    break;
                }
                Ok(len) => self.received.extend_from_slice(&buffer[..len]),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => {
                    self.done = true;
                    return None;
                }
            }
            if self.received.len() > REQUEST_MAX {
                return Some(Err(Unreadable::TooLong));
            }
        }
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(Command::parse(&String::from_utf8_lossy(&line)))
    }

    /// Sends an answer as one line, which fits into any socket buffer; a client that has gone does not get
    /// it.
    fn answer(&mut self, answer: &Answer) {
        let _ = self.stream.set_nonblocking(true);
        let _ = answer.to_line().and_then(|line| self.stream.write_all(line.as_bytes()));
        self.done = true;
    }
}

#[cfg(test)]
mod tests {
    use std::io::{BufRead, BufReader};

    use super::*;
    use crate::control::Reload;

    fn opened(folder: &Path) -> Control {
        Control::open(&folder.join("run/control")).unwrap()
    }

    /// A client that has sent this.
    fn client(control: &Control, line: &str) -> UnixStream {
        let mut stream = UnixStream::connect(control.path()).unwrap();
        stream.write_all(line.as_bytes()).unwrap();
        stream
    }

    fn answer(client: UnixStream) -> String {
        let mut line = String::new();
        BufReader::new(client).read_line(&mut line).unwrap();
        line
    }

    #[test]
    fn reload_answers_those_who_wait_for_it_or_for_an_earlier_one() {
        let folder = tempfile::tempdir().unwrap();
        let mut control = opened(folder.path());
        let clients = [2, 3, 4].map(|_| client(&control, "{\"command\":\"reload\",\"wait\":true}\n"));
        let commands = control.commands();
        assert!(
            commands.iter().all(|(_, command)| matches!(command, Ok(Command::Reload(reload)) if reload.wait))
        );
        for (number, generation) in [(0, 2), (1, 3), (2, 4)] {
            control.reply(number, Reply::OnceReloaded(generation));
        }
        control.reload_ended(3, &Ok(()));
        control.sweep();
        control.reload_ended(4, &Err(Reason::new("no database")));
        control.sweep();
        assert_eq!(control.clients.len(), 0);
        let done = "{\"ok\":{\"generation\":3}}\n";
        assert_eq!(clients.map(answer), [done, done, "{\"error\":\"no database\"}\n"]);
    }

    #[test]
    fn those_who_wait_for_rows_are_answered_by_these_or_when_there_is_no_hope() {
        let folder = tempfile::tempdir().unwrap();
        let mut control = opened(folder.path());
        let wish =
            |revision: u64| format!("{{\"command\":\"reload\",\"wait\":true,\"revision\":{revision}}}\n");
        let clients = [7, 8, 9].map(|revision| client(&control, &wish(revision)));
        let now = Instant::now();
        let later = now + Duration::from_secs(60);
        for (number, command) in control.commands() {
            let Ok(Command::Reload(Reload { wait: true, revision: Some(revision), .. })) = command else {
                panic!("{command:?}")
            };
            control.reply(number, Reply::OnceServed(revision, if revision == 9 { now } else { later }));
        }
        assert_eq!(control.awaited_revision(), Some(7));
        // The cause of this one may pass.
        control.reload_ended(2, &Err(Reason::new("gone").with(Outlook::Unreachable)));
        control.reload_ended(3, &Ok(()));
        control.give_up_revisions(now, |revision| format!("no {revision}"));
        control.revision_serves(7, 3);
        assert_eq!(control.awaited_revision(), Some(8));
        control.reload_ended(4, &Err(Reason::new("no password")));
        control.sweep();
        assert_eq!((control.clients.len(), control.awaited_revision()), (0, None));
        let answers = clients.map(answer);
        let expected = [
            "{\"ok\":{\"generation\":3}}\n",
            "{\"error\":\"no password\"}\n",
            "{\"error\":\"no 9\",\"late\":true}\n",
        ];
        assert_eq!(answers, expected);
    }

    #[test]
    fn upgrade_and_wrong_lines_have_answers_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let mut control = opened(folder.path());
        let clients = [client(&control, "{\"command\":\"upgrade\"}\n"), client(&control, "dance\n")];
        let mut commands = control.commands().into_iter();
        assert!(matches!(commands.next(), Some((0, Ok(Command::Upgrade)))));
        let Some((1, Err(wrong))) = commands.next() else { panic!("a wrong line") };
        control.reply(0, Reply::OnceUpgraded);
        control.reply(1, Reply::Now(Answer::error(&wrong)));
        control.reload_ended(9, &Ok(()));
        control.upgrade_ended(&Ok(()));
        let [upgraded, refused] = clients.map(answer);
        assert_eq!(upgraded, "{\"ok\":{}}\n");
        assert!(refused.starts_with("{\"error\":\"no JSON: "), "{refused}");
    }

    #[test]
    fn path_is_for_its_user_and_goes_with_the_socket() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let mut control = opened(folder.path());
        let path = control.path().to_owned();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        fs::remove_file(&path).unwrap();
        assert_eq!(control.holder(), Holder::Unheld);
        control.restore().unwrap();
        assert_eq!(control.holder(), Holder::Ours);
        let first = path.with_file_name("first");
        control.rename(&first);
        assert!(!path.exists() && first.exists());
        drop(control);
        assert!(!first.exists());
    }
}
