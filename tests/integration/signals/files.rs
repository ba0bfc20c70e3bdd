//! SIGXFSZ: files that may not grow beyond a limit are like those on a full disk.

use std::fs;

use crate::harness::eventually;
use crate::harness::server::{Setup, collection, run};

/// Bytes that a file may have.
const LIMIT: u64 = 64 * 1024;

#[test]
fn logs_at_their_limit_end_nothing() {
    for variable in ["AVALON_ACCESS_LOGFILE", "AVALON_LOG_PATH"] {
        let setup = Setup::with(&collection(2)).variable(variable, "log");
        let path = setup.path("log");
        fs::write(&path, vec![b'\n'; LIMIT as usize - 100]).expect("a log");
        let server = setup.wrapped(&["prlimit", &format!("--fsize={LIMIT}")]).spawn();
        let control = server.path("control");
        let arguments = ["--socket", control.to_str().expect("UTF-8"), "status", "--json"];
        let status = || {
            let (code, out, _) = run(env!("CARGO_BIN_EXE_avalonctl"), &arguments, &[]);
            serde_json::from_str::<serde_json::Value>(&out).ok().filter(|_| code == 0)
        };
        let status = eventually("a server that serves", || status().filter(|of| of["state"] == "serving"));
        let address = status["listeners"][0].as_str().expect("an address").to_owned();
        let workers = server.workers();
        for _ in 0..100 {
            assert_eq!(crate::harness::http::get(&address, "/avalon/songs").success().len(), 20);
        }
        // Each has written its gathered lines by its second tick from now.
        eventually("a log that is full", || {
            (fs::metadata(&path).is_ok_and(|found| found.len() == LIMIT)).then_some(())
        });
        assert_eq!(server.workers(), workers, "{variable}");
        server.signal(nix::sys::signal::Signal::SIGTERM);
        let mut server = server;
        assert_eq!(server.wait_exit(), 0, "{variable}");
    }
}

#[test]
fn limit_below_the_snapshot_is_named() {
    let mut server = Setup::with(&collection(100)).wrapped(&["prlimit", "--fsize=16384"]).spawn();
    assert_eq!(server.wait_exit(), 4, "{}", server.log());
    assert!(server.log().contains("RLIMIT_FSIZE"), "{}", server.log());
}
