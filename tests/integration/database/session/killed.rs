//! A scan that is killed in the middle of its writing.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use super::*;

const URL: &str = "AVALON_TEST_STORE_INTO";

/// Not a test: the process that is killed. It stores many rows, says so and goes on for ever.
#[test]
fn child_that_never_ends() {
    let Ok(url) = std::env::var(URL) else { return };
    let mut session = open(&url);
    let (before, seen) = previous(&mut session);
    let rows = collection(7);
    let files = (0_i64..).map(|number| {
        if number == 20_000 {
            eprintln!("in the middle");
            loop {
                std::thread::park();
            }
        }
        Ok(file(9, number.to_string().as_bytes()))
    });
    let state = StateChanges { files: Some(Box::new(files)), ..StateChanges::default() };
    let rows = seen.known.compare(&rows);
    session.store(changes(before.last_scan, rows, state)).unwrap();
}

#[test]
fn a_scan_that_is_killed_leaves_the_old_rows() {
    for place in Place::both() {
        store(&place.url, &collection(3), &files()).unwrap();
        let entries = place.number("SELECT count(*) FROM avalon_changes");
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "--nocapture", "database::session::killed::child_that_never_ends"])
            .env(URL, &place.url)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        assert!(lines.any(|line| line.unwrap() == "in the middle"));
        // It holds everything: the lock, and rows that are not yet committed.
        assert!(matches!(refusal(&place.url), DatabaseError::ScanRunning { .. }));
        child.kill().unwrap();
        child.wait().unwrap();

        assert_eq!(load_all(&place.url), collection(3));
        assert_eq!(place.number("SELECT count(*) FROM avalon_changes"), entries);
        // The kernel has released the lock of a file; a server needs a moment to notice.
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut session = loop {
            match open_telling(&place.url).0 {
                Ok(session) => break session,
                Err(error) => assert!(Instant::now() < deadline && place.database.is_some(), "{error}"),
            }
        };
        let (before, seen) = previous(&mut session);
        assert_eq!((before.last_scan, seen.files), (1, files()));
        drop(session);
        assert_eq!(store(&place.url, &collection(4), &files()), Ok(Some(2)));
    }
}
