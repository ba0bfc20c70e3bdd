//! The title of a process, as `ps` shows it. A title overwrites the arguments and the environment with which
//! the process started; they disappear from `/proc`, including passwords.
//!
//! Linux has no other way to set a title of any length: the kernel shows the memory of the arguments, and
//! continues into the environment if the last byte of the arguments is in use (proc(5); setproctitle(3)
//! relies on the same).

use std::ffi::{CStr, CString, c_char};
use std::fs;
use std::sync::OnceLock;

use nix::sys::prctl;

/// The room for a title, from the first call of [`set`] on.
static ROOM: OnceLock<Option<Room>> = OnceLock::new();

/// Memory that the kernel shows, from `start` on.
struct Room {
    start: usize,
    /// Bytes of the arguments, and of the environment if that could be moved.
    len: usize,
}

/// Sets the title of this process, cut to the length of its arguments and environment. The first
/// call must come while the process has one thread. From then on `std::env::args` returns titles:
/// code that needs the arguments must have read them before.
#[allow(unsafe_code)]
pub fn set(title: &str) {
    // `ps -o comm` shows it, at most 15 bytes.
    let name: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(15).collect();
    if let Ok(name) = CString::new(name) {
        let _ = prctl::set_name(&name);
    }
    let Some(room) = ROOM.get_or_init(take_room) else { return };
    let text = room.filled_with(title.as_bytes());
    // SAFETY: the kernel says that these `len` bytes, which are writable, hold the arguments and, where
    // `take_room` has moved it away, the environment of this process. No code frees them, and no code reads
    // them any more, as this function's documentation asks.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), room.start as *mut u8, room.len) };
}

impl Room {
    /// Returns all bytes of the room, with `title` in it.
    fn filled_with(&self, title: &[u8]) -> Vec<u8> {
        let mut text = vec![0; self.len];
        // The last byte stays zero: otherwise the kernel would show the bytes behind it.
        let fits = title.len().min(self.len - 1);
        text[..fits].copy_from_slice(&title[..fits]);
        text
    }
}

/// Finds the arguments, and adds the environment if it follows them and `move_environment` can move it.
fn take_room() -> Option<Room> {
    let [start, end, environment_start, environment_end] = bounds()?;
    if start == 0 || end <= start + 1 {
        return None;
    }
    let follows = environment_start == end && environment_end > end;
    let end = if follows && move_environment() { environment_end } else { end };
    Some(Room { start, len: end - start })
}

/// Returns fields 48 to 51 of /proc/self/stat; the second field may hold spaces and parentheses.
fn bounds() -> Option<[usize; 4]> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(45).map(str::parse);
    let mut next = || fields.next()?.ok();
    Some([next()?, next()?, next()?, next()?])
}

/// Copies all variables to the heap, where they stay for good, and makes the C library (and so
/// `std::env`) look there. Returns whether that was possible.
#[allow(unsafe_code)]
fn move_environment() -> bool {
    unsafe extern "C" {
        static mut environ: *mut *mut c_char;
    }
    let alone = fs::read_dir("/proc/self/task").is_ok_and(|threads| threads.count() == 1);
    if !alone {
        return false;
    }
    // SAFETY: no other thread exists, so no other code reads or changes `environ` meanwhile.
    let mut place = unsafe { environ };
    if place.is_null() {
        return true;
    }
    loop {
        // SAFETY: `environ` is an array of pointers that ends with a null pointer (environ(7)),
        // and `place` has not passed that one.
        let variable = unsafe { *place };
        if variable.is_null() {
            return true;
        }
        // SAFETY: each variable is a string that ends with a zero byte.
        let copy = unsafe { CStr::from_ptr(variable) }.to_owned();
        // SAFETY: the array is writable, as setenv(3) has to be able to change it, and `place`
        // lies in it. The copy lives for ever.
        unsafe { *place = copy.into_raw() };
        // SAFETY: `place` has not reached the end, so a next one exists.
        place = unsafe { place.add(1) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn title_fills_the_room_and_ends_with_zero() {
        let room = Room { start: 0, len: 8 };
        for (title, text) in [("", "\0\0\0\0\0\0\0\0"), ("abc", "abc\0\0\0\0\0"), ("abcdefgh", "abcdefg\0")] {
            assert_eq!(room.filled_with(title.as_bytes()), text.as_bytes(), "{title:?}");
        }
    }

    #[test]
    fn kernel_says_where_the_arguments_are() {
        let [start, end, environment_start, environment_end] = bounds().unwrap();
        assert!(start < end && end <= environment_start && environment_start <= environment_end);
    }
}
