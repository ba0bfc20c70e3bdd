//! The Unix socket that `avalonctl` talks to, served in the master's own loop: nothing here
//! ever blocks, and a client that is slow or silent costs a descriptor.

use std::fs;
use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, umask};
use serde_json::{Value, json};

use super::Master;
use super::events::{Event, Wish};
use super::listeners::remove_stale;
use super::lookout::Name;
use super::names::{Holder, Identity};
use crate::control::{Command, REQUEST_MAX};

/// Clients at the same time; more wait until one has gone.
const CLIENTS_MAX: usize = 16;
/// How long a client may take to send a command.
const PATIENCE: Duration = Duration::from_secs(3);

/// The socket and its clients.
pub(super) struct Control {
    listener: UnixListener,
    path: PathBuf,
    /// What has the path since it was bound.
    identity: Identity,
    clients: Vec<Client>,
}

struct Client {
    stream: UnixStream,
    born: Instant,
    received: Vec<u8>,
    /// Whether it has said that it will send no more.
    ended: bool,
    /// What it waits for.
    waits_for: Option<Awaited>,
    done: bool,
}

/// What a client can wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Awaited {
    /// The outcome of this generation, or of a later one.
    Made(u64),
    /// The outcome of an upgrade.
    TakenOver,
    /// The end of the connection.
    End,
}

/// What the master says to a command.
pub(super) enum Reply {
    Now(Value),
    /// When it is known what has become of this generation.
    OnceMade(u64),
    /// When it is known whether a new master serves.
    OnceTakenOver,
    /// By the end of this process.
    ByItsEnd,
}

impl Control {
    /// Opens the socket, for this user only.
    ///
    /// # Errors
    /// A sentence that names the path.
    pub(super) fn open(path: &Path) -> Result<Self, String> {
        let (listener, identity) = bind(path)?;
        Ok(Control { listener, path: path.to_owned(), identity, clients: Vec::new() })
    }

    /// Binds the path again after it was removed, or taken by a socket that no process serves. Connected
    /// clients stay.
    ///
    /// # Errors
    /// A sentence that names the path.
    pub(super) fn restore(&mut self) -> Result<(), String> {
        (self.listener, self.identity) = bind(&self.path)?;
        Ok(())
    }

    /// Its path, and what that was given to.
    pub(super) fn name(&self) -> Name {
        (self.path.clone(), self.identity)
    }

    /// Who has the path.
    pub(super) fn holder(&self) -> Holder {
        self.identity.holder(&self.path)
    }

    /// Takes the place of the socket of a master that has gone, unless that is something else by now.
    pub(super) fn rename(&mut self, path: &Path) {
        if remove_stale(path).is_ok() && fs::rename(&self.path, path).is_ok() {
            self.path = path.to_owned();
        }
    }

    /// What to wait for: new clients, if there is room, and those that are there.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        let listener = (self.clients.len() < CLIENTS_MAX).then(|| self.listener.as_fd());
        let clients = self.clients.iter().filter(|client| !client.ended);
        listener.into_iter().chain(clients.map(|client| client.stream.as_fd()))
    }

    /// Takes in new clients and what they have sent: the commands that have come, each with
    /// the number of its client.
    pub(super) fn commands(&mut self) -> Vec<(usize, Result<Command, String>)> {
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
    pub(super) fn reply(&mut self, number: usize, reply: Reply) {
        let Some(client) = self.clients.get_mut(number) else { return };
        match reply {
            Reply::Now(value) => client.answer(&value),
            Reply::OnceMade(generation) => client.waits_for = Some(Awaited::Made(generation)),
            Reply::OnceTakenOver => client.waits_for = Some(Awaited::TakenOver),
            Reply::ByItsEnd => client.waits_for = Some(Awaited::End),
        }
    }

    /// Tells those who wait what has become of a generation.
    pub(super) fn made(&mut self, generation: u64, result: &Result<(), String>) {
        let enough = |awaited| matches!(awaited, Awaited::Made(of) if of <= generation);
        self.answer_those(enough, result, json!({"generation": generation}));
    }

    /// Tells those who wait whether a new master serves.
    pub(super) fn taken_over(&mut self, result: &Result<(), String>) {
        self.answer_those(|awaited| awaited == Awaited::TakenOver, result, json!({}));
    }

    fn answer_those(&mut self, which: impl Fn(Awaited) -> bool, result: &Result<(), String>, done: Value) {
        let answer = match result {
            Ok(()) => json!({"ok": done}),
            Err(reason) => json!({"error": reason}),
        };
        for client in self.clients.iter_mut().filter(|client| client.waits_for.is_some_and(&which)) {
            client.answer(&answer);
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Forgets the clients that have had their answer, have gone, or do not come to the point.
    /// Numbers are not valid any more after this.
    pub(super) fn sweep(&mut self) {
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

fn bind(path: &Path) -> Result<(UnixListener, Identity), String> {
    let bind = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        remove_stale(path)?;
        let before = umask(Mode::from_bits_truncate(0o177));
        let bound = UnixListener::bind(path);
        umask(before);
        let listener = bound?;
        listener.set_nonblocking(true)?;
        Ok((listener, Identity::at(path)?))
    };
    bind().map_err(|error: io::Error| format!("CONTROL {}: {error}", path.display()))
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
        // Who only sends no more still reads.
        let mut fds = [PollFd::new(self.stream.as_fd(), PollFlags::empty())];
        matches!(poll(&mut fds, PollTimeout::ZERO), Ok(ready) if ready > 0)
    }

    fn command(&mut self) -> Option<Result<Command, String>> {
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
                return Some(Err("the request is too long".to_owned()));
            }
        }
        let end = self.received.iter().position(|byte| *byte == b'\n')?;
        let line: Vec<u8> = self.received.drain(..=end).collect();
        Some(Command::parse(&String::from_utf8_lossy(&line)))
    }

    /// One line that fits into any socket buffer; a client that is gone does not get it.
    fn answer(&mut self, value: &Value) {
        let _ = self.stream.set_nonblocking(true);
        let _ = self.stream.write_all(format!("{value}\n").as_bytes());
        self.done = true;
    }
}

impl Master {
    /// Does what `avalonctl` asks for.
    pub(super) fn obey(&mut self) {
        let commands = self.control.as_mut().map(Control::commands).unwrap_or_default();
        for (client, command) in commands {
            let answer = match command {
                Err(reason) => json!({"error": reason}),
                Ok(Command::Status) => json!({"ok": self.status()}),
                Ok(Command::Stop { wait }) => {
                    self.stop_all();
                    if wait {
                        self.reply(client, Reply::ByItsEnd);
                        continue;
                    }
                    json!({"ok": {}})
                }
                Ok(_) if self.arbiter.state() == "stopping" => json!({"error": "the server is stopping"}),
                Ok(Command::Reload { wait: true }) => {
                    // Before the wish, as a configuration may fail at once.
                    self.reply(client, Reply::OnceMade(self.arbiter.reload_generation()));
                    self.dispatch(Event::Wished(Wish::Reload));
                    continue;
                }
                Ok(Command::Reload { wait: false }) => self.wish(Wish::Reload),
                Ok(Command::Upgrade) => match self.upgrade(true) {
                    Err(reason) => json!({"error": reason}),
                    Ok(()) => {
                        self.reply(client, Reply::OnceTakenOver);
                        continue;
                    }
                },
                Ok(Command::Workers(count)) => self.wish(Wish::Workers(count)),
            };
            self.reply(client, Reply::Now(answer));
        }
        if let Some(control) = &mut self.control {
            control.sweep();
        }
    }

    fn wish(&mut self, wish: Wish) -> Value {
        self.dispatch(Event::Wished(wish));
        json!({"ok": {}})
    }

    fn reply(&mut self, client: usize, reply: Reply) {
        if let Some(control) = &mut self.control {
            control.reply(client, reply);
        }
    }
}
