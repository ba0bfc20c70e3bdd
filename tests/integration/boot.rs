//! Starting and stopping.

use nix::sys::signal::Signal;

use crate::harness::server::{Setup, collection};

#[test]
fn it_serves_and_stops_as_told() {
    let server = Setup::with(&collection(3)).start();
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
    assert_eq!(server.get("/avalon/songs").success().len(), 30);
    assert_eq!(server.wait_workers(2).len(), 2);
    server.assert_clean_shutdown();
}

#[test]
fn interrupt_and_quit_stop_at_once() {
    for signal in [Signal::SIGINT, Signal::SIGQUIT] {
        let mut server = Setup::with(&collection(1)).start();
        server.signal(signal);
        assert_eq!(server.wait_exit(), 0);
    }
}
