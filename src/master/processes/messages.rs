//! What children tell their master through a pipe.

use std::fs::File;
use std::io::{self, Write};

use nix::unistd::Pid;

use crate::master::processes::process;

/// What a child tells its master, as one atomic write of eight bytes: the kind, and its pid.
#[derive(Clone, Copy)]
pub(crate) enum Message {
    /// It accepts connections.
    Ready = 1,
    /// It has served MAX_REQUESTS.
    RetiresForRequests = 2,
    /// It has more memory than MAX_RSS.
    RetiresForMemory = 5,
    /// It accepts no connections any more.
    Deaf = 4,
    /// A new master, started in place of this one, serves.
    TakenOver = 3,
}

impl Message {
    pub(crate) fn send(self, to: &File) -> io::Result<()> {
        let pid = process::own_pid().as_raw();
        let mut bytes = [0; 8];
        bytes[..4].copy_from_slice(&(self as i32).to_le_bytes());
        bytes[4..].copy_from_slice(&pid.to_le_bytes());
        let mut to = to;
        to.write_all(&bytes)
    }

    pub(crate) fn parse(bytes: [u8; 8]) -> Option<(Message, Pid)> {
        let number = |from: usize| {
            i32::from_le_bytes([bytes[from], bytes[from + 1], bytes[from + 2], bytes[from + 3]])
        };
        let pid = Pid::from_raw(number(4));
        match number(0) {
            1 => Some((Message::Ready, pid)),
            2 => Some((Message::RetiresForRequests, pid)),
            3 => Some((Message::TakenOver, pid)),
            4 => Some((Message::Deaf, pid)),
            5 => Some((Message::RetiresForMemory, pid)),
            _ => None,
        }
    }
}
