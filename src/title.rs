//! What `ps` shows of a process: written over the arguments it was started with, which so
//! disappear, passwords in them included.

use std::fs;
use std::sync::OnceLock;

use nix::sys::prctl;

/// Where the arguments are in memory, and how many bytes.
static ARGUMENTS: OnceLock<Option<(usize, usize)>> = OnceLock::new();

/// Sets the title of this process, cut to the length of its arguments. From the first call on
/// `std::env::args` gives titles: whoever needs the arguments must have them by then.
#[allow(unsafe_code)]
pub fn set(title: &str) {
    // Shown by `ps -o comm`, at most 15 bytes.
    let name: Vec<u8> = title.bytes().filter(|byte| *byte != 0).take(15).collect();
    if let Ok(name) = std::ffi::CString::new(name) {
        let _ = prctl::set_name(&name);
    }
    let Some((start, len)) = *ARGUMENTS.get_or_init(find_arguments) else { return };
    let mut text = vec![0; len];
    // The last byte stays zero: else the kernel would show the environment as well.
    let fits = title.len().min(len - 1);
    text[..fits].copy_from_slice(&title.as_bytes()[..fits]);
    // SAFETY: the kernel says (proc(5), arg_start and arg_end) that these bytes, which are
    // writable, hold the arguments of this process; they are `len` bytes, never freed, and
    // nobody reads them any more, as this function's documentation asks.
    unsafe { std::ptr::copy_nonoverlapping(text.as_ptr(), start as *mut u8, len) };
}

/// Fields 48 and 49 of /proc/self/stat; the second field may hold spaces and parentheses.
fn find_arguments() -> Option<(usize, usize)> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(45);
    let start: usize = fields.next()?.parse().ok()?;
    let end: usize = fields.next()?.parse().ok()?;
    (start != 0 && end > start + 1).then_some((start, end - start))
}
