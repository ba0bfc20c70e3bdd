//! The clock of the machine, set back while the server runs.

use std::fs;
use std::path::PathBuf;

use jiff::fmt::rfc2822;
use jiff::{SignedDuration, Timestamp};

use crate::harness::eventually;
use crate::harness::server::{Setup, collection};

/// The library that shows a process another time.
fn faketime() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("a folder").flatten();
    let libraries = folders.map(|folder| folder.path().join("faketime/libfaketime.so.1"));
    libraries
        .into_iter()
        .find(|path| path.exists())
        .expect("libfaketime: scripts/install-test-deps installs it")
}

#[test]
fn the_date_follows_the_clock() {
    let setup = Setup::with(&collection(1));
    let file = setup.path("faketime");
    let set = |offset: &str| {
        let new = file.with_extension("new");
        fs::write(&new, offset).and_then(|()| fs::rename(&new, &file)).expect("a file");
    };
    set("+0");
    let server = setup
        .variable("LD_PRELOAD", faketime().to_str().expect("UTF-8"))
        .variable("FAKETIME_TIMESTAMP_FILE", file.to_str().expect("UTF-8"))
        .variable("FAKETIME_NO_CACHE", "1")
        .variable("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .variable("DONT_FAKE_MONOTONIC", "1")
        // The workers read that file as well.
        .variable("AVALON_SANDBOX", "false")
        .start();
    // How far the Date of an answer lies from the time of the test.
    let distance = |target: &str| {
        let date = server.get(target).header("date").expect("a Date").to_owned();
        rfc2822::parse(&date).expect("a date").timestamp().duration_since(Timestamp::now())
    };
    let refusal = || {
        let mut connection = crate::harness::http::Connection::open(&server.address).expect("a connection");
        connection.send(b"no request\r\n\r\n").expect("sent");
        let date = connection.answer("GET").expect("an answer").header("date").expect("a Date").to_owned();
        rfc2822::parse(&date).expect("a date").timestamp().duration_since(Timestamp::now())
    };
    let near = |distance: SignedDuration, expected: SignedDuration| {
        (distance - expected).abs() <= SignedDuration::from_secs(2)
    };
    let workers = server.wait_workers(2);
    for (offset, expected) in [
        ("+0", SignedDuration::ZERO),
        ("-1d", SignedDuration::from_hours(-24)),
        ("+1d", SignedDuration::from_hours(24)),
        ("-1h", SignedDuration::from_hours(-1)),
    ] {
        set(offset);
        // Several, so that every worker has answered one before and one after.
        for target in ["/avalon/genres", "/avalon/heartbeat", "/avalon/none"].repeat(4) {
            let found = distance(target);
            assert!(near(found, expected), "{offset}: {target} is {found:?} off");
        }
        assert!(near(refusal(), expected), "{offset}");
    }
    eventually("the same workers", || (server.workers() == workers).then_some(()));
    server.assert_clean_shutdown();
}
