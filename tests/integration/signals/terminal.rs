//! The signals of a terminal to the programs in it.

use nix::sys::signal::Signal;

use crate::harness::eventually;
use crate::harness::server::{Setup, collection};
use crate::harness::terminal::Terminal;

#[test]
fn resize_of_the_terminal_changes_nothing() {
    let terminal = Terminal::open();
    let server = Setup::with(&collection(2)).on_terminal(&terminal, &[]).start();
    let workers = server.wait_workers(2);
    terminal.resize(100);
    server.wait_log("SIGWINCH is ignored");
    terminal.resize(101);
    server.signal(Signal::SIGWINCH);
    // Answered after the signals.
    assert_eq!(server.status()["state"], "serving");
    assert_eq!(server.workers(), workers);
    assert_eq!(server.count_log("SIGWINCH is ignored"), 1);
    server.assert_clean_shutdown();
}

#[test]
fn only_the_keys_that_end_a_program_end_a_server() {
    for (key, ends) in [(b'Z', false), (b'C', true), (b'\\', true)] {
        let terminal = Terminal::open();
        let mut server = Setup::with(&collection(2)).on_terminal(&terminal, &[]).start();
        terminal.control(key);
        if ends {
            assert_eq!(server.wait_exit(), 0, "{}", server.log());
        } else {
            assert_eq!(server.get("/avalon/songs").success().len(), 20);
            assert_eq!(server.status()["state"], "serving");
        }
    }
}

#[test]
fn server_ends_with_its_terminal() {
    let terminal = Terminal::open();
    let mut server = Setup::with(&collection(2)).on_terminal(&terminal, &[]).start();
    // There is a terminal: a wish is a wish.
    server.signal(Signal::SIGHUP);
    server.wait_log("generation 2 serves on ");
    drop(terminal);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    assert_eq!(server.count_log("the terminal was closed"), 1);
    assert!(!server.log().contains("generation 3"), "{}", server.log());
}

#[test]
fn server_under_nohup_outlives_its_terminal() {
    let terminal = Terminal::open();
    let server = Setup::with(&collection(2)).on_terminal(&terminal, &["nohup"]).start();
    drop(terminal);
    server.wait_log("the terminal was closed; the server goes on");
    server.signal(Signal::SIGHUP);
    server.wait_log("generation 2 serves on ");
    server.assert_clean_shutdown();
}

#[test]
fn reload_after_the_unannounced_end_of_a_terminal_is_a_reload() {
    let terminal = Terminal::open();
    // As a shell's `disown` does: the shell ends, and SIGHUP goes to the foreground, in which it is alone.
    let script = "set -m; \"$0\" \"$@\" & echo $! >pid; wait";
    let server = Setup::with(&collection(2)).on_terminal(&terminal, &["bash", "-c", script]).start();
    let pid = eventually("a pid", || std::fs::read_to_string(server.path("pid")).ok()?.trim().parse().ok());
    let master = nix::unistd::Pid::from_raw(pid);
    drop(terminal);
    // The master looks for its terminal in each round. For two seconds after it has missed it, it takes a SIGHUP for
    // news of the terminal.
    wait_rounds(master);
    std::thread::sleep(std::time::Duration::from_secs(2));
    wait_rounds(master);
    nix::sys::signal::kill(master, Signal::SIGHUP).expect("the master");
    server.wait_log("generation 2 serves on ");
    nix::sys::signal::kill(master, Signal::SIGTERM).expect("the master");
    server.wait_log("stopped exit_code=0");
}

/// Waits until the master's loop has come round: it sleeps once in a round, for half a second at most.
fn wait_rounds(master: nix::unistd::Pid) {
    let sleeps = || -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{master}/status")).expect("the master");
        let count = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
        count.and_then(|count| count.trim().parse().ok()).expect("a number")
    };
    // The first of them may have begun before.
    let enough = sleeps() + 3;
    eventually("rounds of the master", || (sleeps() >= enough).then_some(()));
}
