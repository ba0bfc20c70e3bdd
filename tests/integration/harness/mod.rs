//! The tools that the black-box tests share: servers, clients, databases and waiting with a
//! deadline.

pub(crate) mod cgroup;
pub(crate) mod chance;
pub(crate) mod front;
pub(crate) mod host;
pub(crate) mod http;
pub(crate) mod hung_mount;
pub(crate) mod invariants;
pub(crate) mod load;
pub(crate) mod notify;
pub(crate) mod postgres;
pub(crate) mod python_tools;
pub(crate) mod scheduling;
pub(crate) mod seaweed;
pub(crate) mod server;
pub(crate) mod shim;
pub(crate) mod small_disk;
pub(crate) mod systemd_box;
pub(crate) mod terminal;

use std::fmt::Display;
use std::io::Write as _;
use std::net::TcpListener;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Longest time that anything expected may take on a busy machine, where the loader of a reload gives
/// way to all other processes.
pub(crate) const DEADLINE: Duration = Duration::from_secs(120);

/// For a test that measures, or that leaves little of the machine for others: no two of these run
/// at the same time. A test that only counts needs it not, and would keep a thread waiting.
pub(crate) fn alone() -> MutexGuard<'static, ()> {
    static MACHINE: Mutex<()> = Mutex::new(());
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Asks again and again until there is an answer.
///
/// # Panics
/// With `what`, if there is none before the deadline.
pub(crate) fn eventually<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    before_deadline(ask).unwrap_or_else(|| panic!("waited in vain: {what}"))
}

/// Asks again and again until there is an answer, or the deadline has passed.
pub(crate) fn before_deadline<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        if begin.elapsed() > DEADLINE {
            return None;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A port of 127.0.0.1 that no process uses, or used a moment ago.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind a free port");
    listener.local_addr().expect("local address").port()
}

/// Says that the test under way is skipped, and why. With `AVALON_NO_SKIPS` (`.ci/run` sets it) that is a
/// failure.
///
/// # Panics
/// With `AVALON_NO_SKIPS`.
pub(crate) fn skip(why: impl Display) {
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    // The capture of output would hide this from a run that passes.
    let _ = writeln!(std::io::stderr(), "{test} is skipped: {why}");
    assert!(std::env::var_os("AVALON_NO_SKIPS").is_none(), "{test} is skipped: {why}");
}
