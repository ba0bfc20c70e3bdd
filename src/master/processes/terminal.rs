//! The signals that no person or program sent on purpose: those of the terminal in which the server runs.
//!
//! The kernel sends SIGWINCH to all processes in the foreground when the terminal changes its size, SIGTTIN
//! and SIGTTOU when a process in the background reads or writes, and SIGHUP when the terminal closes.

use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::time::{Duration, Instant};

use nix::libc::{O_NOCTTY, O_NONBLOCK};

use crate::master::arbiter::events::Wish;

/// How long after the end of a terminal a SIGHUP still counts as the news of that end: a shell signals its
/// jobs after it has got the signal itself. A later SIGHUP is a request to reload.
const NEWS: Duration = Duration::from_secs(2);

/// The meaning of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A request, without a change.
    Wished(Wish),
    /// The terminal has closed, and the server ends with it.
    HungUp,
    /// The signal has no effect. The first such signal comes with a sentence for the log.
    Nothing(Option<&'static str>),
}

/// The controlling terminal of this process.
pub(crate) struct Terminal {
    /// Whether there is one, or was until a moment ago.
    present: bool,
    /// The moment at which the master first found it gone.
    gone: Option<Instant>,
    /// Whether the server outlives it.
    nohup: bool,
    /// Whether the server is process 1. Its signals may come from another PID namespace: `docker run` passes
    /// the signals of its own terminal on.
    is_first: bool,
    told: Vec<Wish>,
}

impl Terminal {
    pub(crate) fn new(nohup: bool) -> Self {
        let is_first = std::process::id() == 1;
        Terminal { present: is_there(), gone: None, nohup, is_first, told: Vec::new() }
    }

    /// Checks whether the terminal is still there. Call it in every round of the loop.
    pub(crate) fn look(&mut self, now: Instant) {
        if self.present {
            self.seen(is_there(), now);
        }
    }

    fn seen(&mut self, there: bool, now: Instant) {
        if there {
            self.gone = None;
        } else if now.saturating_duration_since(*self.gone.get_or_insert(now)) > NEWS {
            self.present = false;
        }
    }

    /// The meaning of a request by a signal; `by_kernel` says that no process has sent it.
    pub(crate) fn meaning(&mut self, wish: Wish, by_kernel: bool) -> Meaning {
        let there = self.present && is_there();
        self.judge(wish, by_kernel, there)
    }

    fn judge(&mut self, wish: Wish, by_kernel: bool, there: bool) -> Meaning {
        match wish {
            Wish::Reload if self.present && (by_kernel || !there) => {
                // The next SIGHUP is a request.
                self.present = false;
                match self.nohup {
                    true => Meaning::Nothing(Some(
                        "the terminal was closed; the server goes on, as it was started by nohup",
                    )),
                    false => Meaning::HungUp,
                }
            }
            Wish::Drain if by_kernel || there || self.is_first => self.nothing(
                wish,
                "SIGWINCH is ignored: a terminal sends it when it is resized. It drains the workers of a \
                 server that has no terminal and is not process 1",
            ),
            Wish::MoreWorkers | Wish::FewerWorkers if by_kernel => {
                self.nothing(wish, "SIGTTIN and SIGTTOU of the terminal are ignored")
            }
            _ => Meaning::Wished(wish),
        }
    }

    fn nothing(&mut self, wish: Wish, message: &'static str) -> Meaning {
        let told = self.told.contains(&wish);
        if !told {
            self.told.push(wish);
        }
        Meaning::Nothing((!told).then_some(message))
    }
}

/// Whether this process has a controlling terminal (tty(4)).
fn is_there() -> bool {
    OpenOptions::new().read(true).custom_flags(O_NOCTTY | O_NONBLOCK).open("/dev/tty").is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn terminal(present: bool) -> Terminal {
        Terminal { present, gone: None, nohup: false, is_first: false, told: Vec::new() }
    }

    #[test]
    fn without_a_terminal_every_wish_counts() {
        for wish in [Wish::Reload, Wish::Drain, Wish::MoreWorkers, Wish::FewerWorkers, Wish::Upgrade] {
            assert_eq!(terminal(false).judge(wish, false, false), Meaning::Wished(wish));
        }
        assert_eq!(terminal(false).judge(Wish::Reload, true, false), Meaning::Wished(Wish::Reload));
    }

    #[test]
    fn resize_is_told_once_and_means_nothing() {
        let mut terminal = terminal(true);
        assert!(matches!(terminal.judge(Wish::Drain, true, true), Meaning::Nothing(Some(_))));
        assert_eq!(terminal.judge(Wish::Drain, false, true), Meaning::Nothing(None));
        let mut first = Terminal { is_first: true, ..self::terminal(false) };
        assert!(matches!(first.judge(Wish::Drain, false, false), Meaning::Nothing(Some(_))));
    }

    #[test]
    fn job_control_of_the_terminal_changes_no_number_and_a_sender_does() {
        let mut terminal = terminal(true);
        assert!(matches!(terminal.judge(Wish::MoreWorkers, true, true), Meaning::Nothing(Some(_))));
        assert_eq!(terminal.judge(Wish::MoreWorkers, false, true), Meaning::Wished(Wish::MoreWorkers));
    }

    #[test]
    fn closed_terminal_hangs_up_once() {
        for (by_kernel, there) in [(true, true), (true, false), (false, false)] {
            let mut terminal = terminal(true);
            assert_eq!(terminal.judge(Wish::Reload, by_kernel, there), Meaning::HungUp);
            assert_eq!(terminal.judge(Wish::Reload, false, false), Meaning::Wished(Wish::Reload));
        }
        let mut kept = Terminal { nohup: true, ..terminal(true) };
        assert!(matches!(kept.judge(Wish::Reload, false, false), Meaning::Nothing(Some(_))));
        assert_eq!(kept.judge(Wish::Reload, false, false), Meaning::Wished(Wish::Reload));
        assert_eq!(terminal(true).judge(Wish::Reload, false, true), Meaning::Wished(Wish::Reload));
    }

    #[test]
    fn reload_long_after_the_end_of_the_terminal_is_a_reload() {
        let mut terminal = terminal(true);
        let begin = Instant::now();
        terminal.seen(false, begin);
        terminal.seen(false, begin + NEWS);
        assert!(terminal.present);
        terminal.seen(false, begin + NEWS * 2);
        assert_eq!(terminal.judge(Wish::Reload, false, false), Meaning::Wished(Wish::Reload));
    }
}
