//! A terminal to start a server in: both sides of a pseudo-terminal (pty(7)).

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::fd::OwnedFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc::O_NOCTTY;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use rustix::termios::{Winsize, tcsetwinsize};

/// The side of the person in front of it. It is closed when dropped.
pub(crate) struct Terminal(File);

impl Terminal {
    pub(crate) fn open() -> Terminal {
        let ours =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).expect("a terminal");
        grantpt(&ours).and_then(|()| unlockpt(&ours)).expect("a terminal of ours");
        Terminal(ours.into())
    }

    /// The side of the programs in it.
    pub(crate) fn its_side(&self) -> OwnedFd {
        let name = ptsname(&self.0, Vec::new()).expect("a name");
        let mut options = OpenOptions::new();
        options.read(true).write(true).custom_flags(O_NOCTTY);
        options.open(name.to_str().expect("UTF-8")).expect("the other side").into()
    }

    pub(crate) fn resize(&self, columns: u16) {
        let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.0, size).expect("another size");
    }

    /// Presses a key together with Ctrl.
    pub(crate) fn control(&self, key: u8) {
        (&self.0).write_all(&[key & 0x1f]).expect("pressed");
    }
}
