//! Messages between processes that carry a descriptor.

use std::io::{self, ErrorKind, IoSlice};
use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixDatagram;

use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

/// Sends a message and at most one descriptor to the connected peer. Never blocks.
///
/// # Errors
/// `WouldBlock` if the peer's queue is full; any other error if the peer has gone.
pub fn send(socket: &UnixDatagram, message: &[u8], fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if fd.is_some() && !control.push(SendAncillaryMessage::ScmRights(fd.as_slice())) {
        return Err(ErrorKind::OutOfMemory.into());
    }
    sendmsg(socket, &[IoSlice::new(message)], &mut control, SendFlags::DONTWAIT | SendFlags::NOSIGNAL)?;
    Ok(())
}
