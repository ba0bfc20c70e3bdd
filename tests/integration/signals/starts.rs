//! A signal in the middle of a worker's start.

use std::fs;

use nix::sys::signal::{Signal, kill};

use crate::harness::eventually;
use crate::harness::server::{Setup, collection};
use crate::harness::shim;

/// A worker's runtime has a handler for each of these. One that comes when a handler is in place but not yet
/// known to the runtime was lost: the worker went on until its master killed it, 32 seconds later.
const HANDLED: [Signal; 4] = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT, Signal::SIGUSR1];

#[test]
fn worker_that_is_told_to_end_while_it_installs_its_handlers_ends() {
    for after in HANDLED {
        for sent in &HANDLED[..3] {
            let setup = Setup::with(&collection(1)).flag("--workers=1");
            // The worker makes a file here.
            let setup = setup.variable("AVALON_SANDBOX", "false");
            let mark = setup.path("mark");
            fs::write(&mark, "").expect("a file");
            let mut server = setup
                .variable("LD_PRELOAD", &shim::signals().display().to_string())
                .variable("SHIM_AFTER", &(after as i32).to_string())
                .variable("SHIM_SIGNAL", &(*sent as i32).to_string())
                .variable("SHIM_MARK", &mark.display().to_string())
                .start();
            // The next worker gets it.
            fs::remove_file(&mark).expect("the file");
            kill(server.wait_workers(1)[0], Signal::SIGKILL).expect("a worker");
            eventually("the signal", || mark.exists().then_some(()));
            let ended = server.wait_log("worker ended: exit code 0 worker=0 gen=1");
            assert!(!ended.contains("did not end in time"), "{ended}");
            assert_eq!(server.get("/avalon/songs").success().len(), 10);
            server.signal(Signal::SIGTERM);
            assert_eq!(server.wait_exit(), 0, "{}", server.log());
        }
    }
}
