//! A file system with one file in its root, which answers until it is told to hang, and again when it is told to:
//! FUSE (fuse(4)), spoken by hand, as no library is to know how a file system behaves that is gone. Who waits for it
//! cannot even be killed.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::{AsFd, AsRawFd};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use nix::libc;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::poll::{PollFd, PollFlags, poll};

/// Requests of the kernel (fuse_kernel.h) that get an answer other than "not implemented".
const LOOKUP: u32 = 1;
const FORGET: u32 = 2;
const GETATTR: u32 = 3;
const OPEN: u32 = 14;
const READ: u32 = 15;
const WRITE: u32 = 16;
const RELEASE: u32 = 18;
const FLUSH: u32 = 25;
const INIT: u32 = 26;
const BATCH_FORGET: u32 = 42;
/// Bytes of the head of a request.
const HEAD: usize = 40;
/// Bytes before the data of a write.
const WRITE_HEAD: usize = 40;
/// Time in milliseconds between two looks whether it still hangs.
const LOOK_MS: u16 = 10;
/// Number of the file; the root has 1.
const NODE: u64 = 2;

/// Mounted until it is dropped, which ends all that wait for it.
pub(crate) struct HungMount {
    folder: PathBuf,
    hangs: Arc<AtomicBool>,
    text: Arc<Mutex<Vec<u8>>>,
}

impl HungMount {
    /// At this folder, which is made, with a file of any name in it that holds `text`; `None` where FUSE may not be
    /// used.
    pub(crate) fn at(folder: &Path, text: &str) -> Option<HungMount> {
        fs::create_dir(folder).expect("a folder");
        HungMount::over(folder, text, false)
    }

    /// Over a folder that is there, which hangs from the beginning.
    pub(crate) fn hanging_over(folder: &Path) -> Option<HungMount> {
        HungMount::over(folder, "", true)
    }

    fn over(folder: &Path, text: &str, hangs: bool) -> Option<HungMount> {
        let device = OpenOptions::new().read(true).write(true).open("/dev/fuse").ok()?;
        let options = format!("fd={},rootmode=40000,user_id=0,group_id=0", device.as_raw_fd());
        let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV;
        mount(Some("hung"), folder, Some("fuse"), flags, Some(options.as_str())).ok()?;
        let hangs = Arc::new(AtomicBool::new(hangs));
        let text = Arc::new(Mutex::new(text.as_bytes().to_vec()));
        let (held, hung) = (Arc::clone(&text), Arc::clone(&hangs));
        thread::spawn(move || serve(device, &held, &hung));
        Some(HungMount { folder: folder.to_owned(), hangs, text })
    }

    /// Takes requests from now on, and answers none.
    pub(crate) fn hang(&self) {
        self.hangs.store(true, Ordering::SeqCst);
    }

    /// Answers again, including the pending requests.
    pub(crate) fn go_on(&self) {
        self.hangs.store(false, Ordering::SeqCst);
    }

    /// Returns the present text of the file.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.text.lock().expect("a text")).into_owned()
    }
}

impl Drop for HungMount {
    fn drop(&mut self) {
        // Ends the connection, and so the thread that serves it.
        let _ = umount2(&self.folder, MntFlags::MNT_FORCE);
        let _ = umount2(&self.folder, MntFlags::MNT_DETACH);
    }
}

fn serve(mut device: File, text: &Mutex<Vec<u8>>, hangs: &AtomicBool) {
    let mut request = vec![0; 256 * 1024];
    let mut waiting: Vec<Vec<u8>> = Vec::new();
    loop {
        if !hangs.load(Ordering::SeqCst) {
            for request in waiting.drain(..) {
                answer(&mut device, &request, &mut text.lock().expect("a text"));
            }
        }
        let asked = poll(&mut [PollFd::new(device.as_fd(), PollFlags::POLLIN)], LOOK_MS);
        if asked != Ok(0) {
            // An error is the end of the mount.
            let Ok(len) = device.read(&mut request) else { return };
            waiting.push(request[..len].to_vec());
        }
    }
}

fn answer(device: &mut File, request: &[u8], text: &mut Vec<u8>) {
    if request.len() < HEAD {
        return;
    }
    let word =
        |at: usize| u32::from_le_bytes([request[at], request[at + 1], request[at + 2], request[at + 3]]);
    let node = u64::from(word(16)) | u64::from(word(20)) << 32;
    let body = match word(4) {
        FORGET | BATCH_FORGET => return,
        INIT => Ok(words(&[7, 31, 0, 0, 0, 4096, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0])),
        LOOKUP => Ok([words(&[NODE as u32, 0, 0, 0, 0, 0, 0, 0, 0, 0]), attributes(NODE, text)].concat()),
        GETATTR => Ok([words(&[0, 0, 0, 0]), attributes(node, text)].concat()),
        OPEN => Ok(words(&[0, 0, 1, 0])),
        READ => {
            let from = (word(HEAD + 8) as usize).min(text.len());
            Ok(text[from..(from + word(HEAD + 16) as usize).min(text.len())].to_vec())
        }
        WRITE => {
            let (from, data) = (word(HEAD + 8) as usize, &request[HEAD + WRITE_HEAD..]);
            text.resize(text.len().max(from + data.len()), 0);
            text[from..from + data.len()].copy_from_slice(data);
            Ok(words(&[data.len() as u32, 0]))
        }
        RELEASE | FLUSH => Ok(Vec::new()),
        _ => Err(libc::ENOSYS),
    };
    let (error, body) = match body {
        Ok(body) => (0, body),
        Err(errno) => (-errno, Vec::new()),
    };
    let len = (16 + body.len()) as u32;
    let answer = [&len.to_le_bytes(), &error.to_le_bytes(), &request[8..16], &body].concat();
    let _ = device.write_all(&answer);
}

/// struct fuse_attr.
fn attributes(node: u64, text: &[u8]) -> Vec<u8> {
    let is_root = node == 1;
    let mode = if is_root { libc::S_IFDIR | 0o755 } else { libc::S_IFREG | 0o644 };
    let size = if is_root { 0 } else { text.len() as u32 };
    words(&[node as u32, 0, size, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, mode, 1, 0, 0, 0, 4096, 0])
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}
