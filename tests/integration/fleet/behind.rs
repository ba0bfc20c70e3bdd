//! A file that is watched: scans, other files in its place, and rows of an older revision.

use std::fs;
use std::path::PathBuf;

use nix::sys::signal::Signal;
use rusqlite::Connection;

use super::nodes::{Music, find_watcher, node, revision, wait_revision};
use crate::control::{ctl, ctl_ok};
use crate::harness::eventually;
use crate::harness::server::{Server, Setup, collection};

/// A node that watches a file of its own with this many scans.
fn start(music: &mut Music, scans: usize, variables: &[(&str, &str)]) -> Server {
    let setup = node("");
    let url = format!("sqlite:///{}", setup.path("avalon.sqlite").display());
    (0..scans).for_each(|_| _ = music.scan(&url));
    let setup = setup.variable("AVALON_DATABASE_URL", &url);
    variables.iter().fold(setup, |setup, (name, value)| setup.variable(name, value)).start()
}

fn file(server: &Server) -> PathBuf {
    server.path("avalon.sqlite")
}

fn url(server: &Server) -> String {
    format!("sqlite:///{}", file(server).display())
}

fn execute(server: &Server, sql: &str) {
    let connection = Connection::open(file(server)).expect("a database");
    connection.busy_timeout(std::time::Duration::from_secs(60)).expect("patience");
    connection.execute_batch(sql).expect("SQL");
}

fn wait_songs(server: &Server, count: usize) {
    eventually(&format!("{count} songs"), || {
        (server.get("/avalon/songs?limit=100").success().len() == count).then_some(())
    });
}

fn wait_source(server: &Server, what: &str, is: impl Fn(&serde_json::Value) -> bool) {
    eventually(what, || is(&server.status()["source"]).then_some(()));
}

#[test]
fn scans_of_a_file_are_noticed_and_not_hindered() {
    let mut music = Music::new();
    let server = start(&mut music, 1, &[]);
    for scan in 2..6 {
        assert_eq!(music.scan(&url(&server)), scan);
    }
    wait_revision(&server, 5);
    wait_songs(&server, 5);
    // The same in WAL mode, where the file itself may not change.
    execute(&server, "PRAGMA journal_mode = WAL");
    assert_eq!(music.scan(&url(&server)), 6);
    wait_revision(&server, 6);
    wait_source(&server, "a source that confirms", |source| {
        source["revision"] == 6 && source["stale"] == false
    });
    server.assert_clean_shutdown();
}

#[test]
fn file_that_is_replaced_is_noticed_with_any_revision() {
    let mut music = Music::new();
    let server = start(&mut music, 3, &[]);
    wait_songs(&server, 3);
    let mut other = Music::new();
    let other_file = file(&server).with_extension("new");
    let url = format!("sqlite:///{}", other_file.display());
    // Of a lower revision, of the same, and without any: numbers of two files have nothing in common.
    for (songs, sql) in
        [(1, ""), (2, "UPDATE avalon_revision SET counter = 1"), (3, "DROP TABLE avalon_revision")]
    {
        other.scan(&url);
        Connection::open(&other_file).expect("a database").execute_batch(sql).expect("SQL");
        let copy = file(&server).with_extension("copy");
        fs::copy(&other_file, &copy).expect("a copy");
        fs::rename(&copy, file(&server)).expect("a file");
        wait_songs(&server, songs);
    }
    server.wait_log("the database does not report the revision of its rows");
    // Without a revision any change of the file is noticed, and that it says nothing is told once.
    execute(&server, "DELETE FROM tracks WHERE id = (SELECT min(id) FROM tracks)");
    wait_songs(&server, 2);
    assert_eq!(server.count_log("the database does not report the revision"), 1);
    server.assert_clean_shutdown();
}

#[test]
fn file_that_is_away_is_a_source_that_is_down() {
    let mut music = Music::new();
    let server = start(&mut music, 1, &[]);
    let away = file(&server).with_extension("away");
    fs::rename(file(&server), &away).expect("a file");
    wait_source(&server, "a source that is down", |source| source["up"] == false && source["stale"] == true);
    let reason = server.status()["source"]["reason"].clone();
    assert!(reason.as_str().is_some_and(|reason| reason.contains("there is no such file")), "{reason}");
    fs::rename(&away, file(&server)).expect("a file");
    wait_source(&server, "a source that is up", |source| source["up"] == true && source["stale"] == false);
    assert_eq!(server.count_log("making generation"), 1);
    server.assert_clean_shutdown();
}

/// Rows of revision 1 in the place of those of revision 3, as in a replica that has not received
/// the later changes.
const OLDER: &str = "DELETE FROM tracks WHERE id = (SELECT min(id) FROM tracks);
     UPDATE avalon_revision SET counter = 1";

#[test]
fn older_revision_is_served_when_an_operator_says_so() {
    let mut music = Music::new();
    for watches in ["true", "false"] {
        let server = start(&mut music, 3, &[("AVALON_RELOAD_ON_CHANGE", watches)]);
        let songs = server.get("/avalon/songs?limit=100").success().len();
        execute(&server, OLDER);
        const BEHIND: &str = "the source is behind: it has revision 1, and revision 3 is served";
        if watches == "true" {
            server.wait_log(BEHIND);
        }
        let (code, _, err) = ctl(&server, &["reload", "--wait"]);
        assert!(code == 1 && err.contains(BEHIND), "{err}");
        let status = ctl_ok(&server, &["status"]);
        assert!(status.contains(BEHIND), "{status}");
        assert_eq!(
            (revision(&server.address), server.get("/avalon/songs?limit=100").success().len()),
            (Some(3), songs)
        );
        assert_eq!(server.count_log("[ERROR]"), 1, "{}", server.log());
        ctl_ok(&server, &["reload", "--wait", "--accept-older"]);
        assert_eq!(revision(&server.address), Some(1));
        wait_songs(&server, songs - 1);
        wait_source(&server, "a fresh source", |source| source["stale"] == false);
        // Once: the next one is refused again.
        execute(&server, "UPDATE avalon_revision SET counter = 7");
        ctl_ok(&server, &["reload", "--wait", "--revision", "7"]);
        execute(&server, OLDER);
        assert_eq!(ctl(&server, &["reload", "--wait"]).0, 1);
    }
}

#[test]
fn revision_that_the_database_does_not_tell_is_not_waited_for_in_vain() {
    let server = Setup::with(&collection(1)).start();
    let (code, _, err) = ctl(&server, &["reload", "--wait", "--revision", "1", "--timeout", "2"]);
    assert!(
        code == 4 && err.contains("revision 1 does not serve: the database does not report its revision"),
        "{err}"
    );
    // The watcher was there for this client alone.
    assert_eq!(server.count_log("making generation"), 1);
    eventually("no watcher", || find_watcher(&server).is_none().then_some(()));
    server.assert_clean_shutdown();
}

#[test]
fn older_revision_is_served_after_its_time_and_of_another_database_at_once() {
    let mut music = Music::new();
    let server = start(&mut music, 3, &[("AVALON_ACCEPT_OLDER_AFTER", "3s")]);
    execute(&server, OLDER);
    let line = server.wait_log("the source is behind: it has revision 1, and revision 3 is served");
    assert!(line.contains("after 3 s (ACCEPT_OLDER_AFTER)"), "{line}");
    eventually("the older revision", || (revision(&server.address) == Some(1)).then_some(()));
    wait_source(&server, "a fresh source", |source| source["stale"] == false);

    let setup = Setup::new("").without_flags().without_variable("AVALON_DATABASE_URL");
    let settings = setup.path("settings.toml");
    let url = |name: &str| format!("sqlite:///{}", settings.with_file_name(name).display());
    (0..3).for_each(|_| _ = music.scan(&url("first")));
    music.scan(&url("second"));
    let write = |name: &str| {
        let text =
            format!("BIND = [\"127.0.0.1:0\"]\nDATABASE_URL = \"{}\"\nRELOAD_ON_CHANGE = true\n", url(name));
        fs::write(&settings, text).expect("settings");
    };
    write("first");
    let server = setup.flag(&format!("--config={}", settings.display())).start();
    eventually("the first rows", || (revision(&server.address) == Some(3)).then_some(()));
    write("second");
    server.signal(Signal::SIGHUP);
    eventually("the other rows", || (revision(&server.address) == Some(1)).then_some(()));
    wait_source(&server, "the other source", |source| source["revision"] == 1 && source["stale"] == false);
    server.assert_clean_shutdown();
}
