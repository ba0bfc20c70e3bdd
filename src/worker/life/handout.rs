//! The data that the master hands to its running workers: addresses of hosts; the snapshot of the
//! next generation, to all while it proves itself, and to those of a former one when it serves; and the
//! order to begin, to workers of the next one.
//! A worker cannot get these itself: its sandbox holds the folders and files that existed when it
//! started, while `/etc/hosts` may be replaced.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixDatagram;

use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use tokio::io::Interest;

use crate::telemetry::datagram;
use crate::telemetry::names::{self, HostName};

/// Most bytes of a message; they suffice for some hundred hosts.
const MESSAGE_LEN_MAX: usize = 16 * 1024;
const SNAPSHOT: &[u8] = b"snapshot";
const AHEAD: &[u8] = b"ahead";
const FORGET: &[u8] = b"forget";
const TURN: &[u8] = b"turn";

/// A message from the master.
#[derive(Debug)]
pub(in crate::worker) enum Handout {
    /// The snapshot from which a worker of a former generation answers from now on.
    Snapshot(OwnedFd),
    /// The snapshot of the next generation, which proves itself.
    Ahead(OwnedFd),
    /// The next generation has failed, and its snapshot will not serve.
    Forget,
    /// The order to accept connections.
    Turn,
    /// Hosts and their addresses.
    Names(Vec<(HostName, Vec<SocketAddr>)>),
}

/// The master's end of the channel to one worker.
#[derive(Debug)]
pub struct Giver(UnixDatagram);

/// The worker's end.
#[derive(Debug)]
pub struct Taker(UnixDatagram);

/// Creates both ends.
///
/// # Errors
/// If the system has no descriptors left.
pub fn way() -> io::Result<(Giver, Taker)> {
    let (giver, taker) = UnixDatagram::pair()?;
    taker.set_nonblocking(true)?;
    Ok((Giver(giver), Taker(taker)))
}

impl Giver {
    /// Hands over a snapshot, which a loader has verified. Never blocks.
    ///
    /// # Errors
    /// `WouldBlock` if the worker has not taken the last messages yet; any other error if it has
    /// gone.
    pub fn snapshot(&self, sealed: BorrowedFd<'_>) -> io::Result<()> {
        datagram::send(&self.0, SNAPSHOT, Some(sealed))
    }

    /// Hands over a snapshot that may come to serve, so that the worker can map its pages ahead.
    ///
    /// # Errors
    /// As with [`Giver::snapshot`].
    pub fn ahead(&self, sealed: BorrowedFd<'_>) -> io::Result<()> {
        datagram::send(&self.0, AHEAD, Some(sealed))
    }

    /// Tells the worker that this snapshot will not serve.
    ///
    /// # Errors
    /// As with [`Giver::snapshot`].
    pub fn forget(&self) -> io::Result<()> {
        datagram::send(&self.0, FORGET, None)
    }

    /// Orders the worker to accept connections.
    ///
    /// # Errors
    /// As with [`Giver::snapshot`].
    pub fn turn(&self) -> io::Result<()> {
        datagram::send(&self.0, TURN, None)
    }

    /// Hands over all addresses of hosts that this process knows.
    ///
    /// # Errors
    /// As with [`Giver::snapshot`].
    pub fn names(&self) -> io::Result<()> {
        let lines: Vec<String> =
            names::all().iter().map(|(name, addresses)| names::line(name, addresses)).collect();
        datagram::send(&self.0, lines.join("\n").as_bytes(), None)
    }
}

impl AsFd for Giver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl AsFd for Taker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// The worker's end in its runtime.
pub(in crate::worker) struct Handouts(tokio::net::UnixDatagram);

impl Handouts {
    /// Begins to receive.
    ///
    /// # Errors
    /// If the runtime cannot watch the socket.
    pub(in crate::worker) fn of(taker: Taker) -> io::Result<Self> {
        Ok(Handouts(tokio::net::UnixDatagram::from_std(taker.0)?))
    }

    /// Returns the next message that has arrived already.
    pub(in crate::worker) fn next_here(&self) -> Option<Handout> {
        receive(self.0.as_fd()).ok()
    }

    /// Waits for the next message. A caller that stops waiting loses no message.
    pub(in crate::worker) async fn next(&self) -> io::Result<Handout> {
        loop {
            self.0.readable().await?;
            match self.0.try_io(Interest::READABLE, || receive(self.0.as_fd())) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                result => return result,
            }
        }
    }
}

fn receive(socket: BorrowedFd<'_>) -> io::Result<Handout> {
    let mut bytes = vec![0; MESSAGE_LEN_MAX];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut into = [IoSliceMut::new(&mut bytes)];
    let len = recvmsg(socket, &mut into, &mut control, RecvFlags::CMSG_CLOEXEC)?.bytes;
    let file = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut files) => files.next(),
        _ => None,
    });
    match (&bytes[..len], file) {
        (SNAPSHOT, Some(file)) => Ok(Handout::Snapshot(file)),
        (AHEAD, Some(file)) => Ok(Handout::Ahead(file)),
        (FORGET, None) => Ok(Handout::Forget),
        (TURN, None) => Ok(Handout::Turn),
        (lines, _) => {
            Ok(Handout::Names(String::from_utf8_lossy(lines).lines().filter_map(names::parse).collect()))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::File;
    use std::io::{Read, Seek, Write};

    use super::*;

    #[test]
    fn files_and_names_arrive() {
        let (giver, taker) = way().unwrap();
        let mut file = tempfile::tempfile().unwrap();
        giver.snapshot(file.as_fd()).unwrap();
        match receive(taker.0.as_fd()).unwrap() {
            Handout::Snapshot(fd) => File::from(fd).write_all(b"snapshot").unwrap(),
            other => panic!("{other:?}"),
        }
        let mut text = String::new();
        file.rewind().unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "snapshot");

        giver.ahead(file.as_fd()).unwrap();
        assert!(matches!(receive(taker.0.as_fd()), Ok(Handout::Ahead(_))));
        giver.forget().unwrap();
        assert!(matches!(receive(taker.0.as_fd()), Ok(Handout::Forget)));
        giver.turn().unwrap();
        assert!(matches!(receive(taker.0.as_fd()), Ok(Handout::Turn)));

        let (name, address) = (HostName::new("handed.example", 7), "192.0.2.7:7".parse().unwrap());
        name.clone().learn(vec![address]);
        giver.names().unwrap();
        match receive(taker.0.as_fd()).unwrap() {
            Handout::Names(names) => assert!(names.contains(&(name, vec![address])), "{names:?}"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_giver_never_waits() {
        let (giver, taker) = way().unwrap();
        let full = (0..100_000).find_map(|_| giver.names().err()).expect("an end of the queue");
        assert_eq!(full.kind(), io::ErrorKind::WouldBlock);
        receive(taker.0.as_fd()).unwrap();
        giver.names().unwrap();
        drop(taker);
        assert_ne!(giver.names().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
