//! The reload after a scan by the server reads the rows alone that the scan has logged, and serves what a server serves
//! that starts with the same database.

use std::fs;

use nix::sys::signal::Signal;

use super::{add, setup, wait_next, wait_settled, wait_songs};
use crate::harness::eventually;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup};
use crate::merges::answers;

/// A server with 40 songs, of which four may change for a merge, that scans each second. With its configuration file.
fn start(url: Option<&str>) -> (Server, std::path::PathBuf) {
    let setup = setup();
    for at in 1..40 {
        add(&setup.path("music"), &format!("{at}.mp3"));
    }
    let file = setup.path("settings.toml");
    fs::write(&file, "SCAN_EVERY = 1\n").expect("a file");
    let setup = setup.flag(&format!("--config={}", file.display()));
    let setup = match url {
        Some(url) => setup.variable("AVALON_DATABASE_URL", url),
        None => setup,
    };
    (setup.start(), file)
}

/// How many loads have read the logged changes, and how many all rows.
fn loads(server: &Server) -> [usize; 2] {
    ["changed since revision", "rows=all"].map(|rows| server.count_log(rows))
}

/// Whether a server serves what one does that starts with its database.
#[track_caller]
fn check(server: &Server, url: &str) {
    let fresh = Setup::new(url).start();
    assert!(answers(server) == answers(&fresh), "{}", server.log());
    fresh.assert_clean_shutdown();
}

#[test]
fn rows_of_a_scan_are_read_by_its_log() {
    for on_postgresql in [false, true] {
        let database = on_postgresql.then(|| Postgres::shared().create_database());
        let (mut server, file) = start(database.as_ref().map(|database| database.url()).as_deref());
        let sqlite = server.path("avalon.sqlite");
        let url = database.as_ref().map_or(format!("sqlite:///{}", sqlite.display()), |found| found.url());
        let execute = |statement: &str| match &database {
            Some(database) => database.execute(statement),
            None => rusqlite::Connection::open(&sqlite)
                .and_then(|database| database.execute_batch(statement))
                .expect("a statement"),
        };
        wait_songs(&server, 40);
        wait_settled(&server);
        // Where no row serves the database may be missing: the first rows are no changes.
        let [changed, all] = loads(&server);
        assert_eq!(changed, 0, "{}", server.log());
        add(&server.path("music"), "b.mp3");
        wait_songs(&server, 41);
        let line = server.wait_log("changed since revision 1");
        assert!(line.contains("merged, 0 out and 1 in"), "{line}");
        wait_settled(&server);
        fs::remove_file(server.path("music/b.mp3")).expect("a song");
        wait_songs(&server, 40);
        server.wait_log("changed since revision 2");
        assert_eq!(loads(&server), [2, all], "{}", server.log());
        check(&server, &url);
        // Reloads that are wished read all rows.
        server.signal(Signal::SIGHUP);
        eventually("a load", || (loads(&server) == [2, all + 1]).then_some(()));
        server.reload();
        assert_eq!(loads(&server), [2, all + 2], "{}", server.log());
        // So does the next try for rows whose load has failed: the log may be the fault.
        fs::write(&file, "SCAN_EVERY = \"1w\"\n").expect("a file");
        add(&server.path("music"), "c.mp3");
        server.wait_log("reload failed, generation");
        fs::write(&file, "SCAN_EVERY = 1\n").expect("a file");
        wait_songs(&server, 41);
        assert_eq!(loads(&server), [2, all + 3], "{}", server.log());
        check(&server, &url);
        // A scan puts a row right that has served all the while: the generation stays, and no reload is owed.
        let generation = wait_settled(&server);
        execute(
            "UPDATE tracks SET name = 'Other' WHERE CAST(id AS text) = (SELECT min(CAST(id AS text)) FROM tracks)",
        );
        server.wait_log("nothing has changed, generation");
        assert_eq!(loads(&server), [3, all + 3], "{}", server.log());
        wait_next(&server);
        wait_next(&server);
        assert_eq!(server.status()["generation"], generation);
        assert_eq!(loads(&server), [3, all + 3], "{}", server.log());
        check(&server, &url);
        server.signal(Signal::SIGTERM);
        assert_eq!(server.wait_exit(), 0);
    }
}
