//! What the black-box tests share: servers, clients, databases and waiting with a deadline.

pub(crate) mod clients;
pub(crate) mod http;
pub(crate) mod load;
pub(crate) mod notify;
pub(crate) mod postgres;
pub(crate) mod server;
pub(crate) mod systemd_box;

use std::time::{Duration, Instant};

/// Longest time that anything expected may take on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// Asks again and again until there is an answer.
///
/// # Panics
/// With `what`, if there is none before the deadline.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let begin = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(begin.elapsed() < DEADLINE, "waited in vain: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}
