//! The cost of a scan that finds everything, or nearly everything, as the last one left it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::traced::traced;
use super::{Home, Scan, good_song};
use crate::harness::postgres::{Database, Postgres};

/// Most that ten changed songs may have written, in bytes. In SQLite the log of changes has 8 KB of them.
const TEN_CHANGES_MAX: u64 = 200_000;
/// Most that a scan without changes may have a server write into its log, in bytes.
const IDLE_WAL_MAX: u64 = 16 * 1024;

/// The library that gives programs another clock.
fn another_clock() -> PathBuf {
    let libraries = fs::read_dir("/usr/lib").expect("/usr/lib").map(|entry| entry.expect("an entry").path());
    let mut found = libraries.map(|folder| folder.join("faketime/libfaketimeMT.so.1"));
    found.find(|path| path.exists()).expect("libfaketime; run scripts/install-test-deps")
}

/// Scans an hour from now, so that all stamps are old enough to be believed.
pub(super) fn scan_later(home: &Home, url: &str) -> Scan {
    let mut command = home.command();
    command.arg("-d").arg(url).arg(home.music());
    command.env("LD_PRELOAD", another_clock()).env("FAKETIME", "+1h");
    // Waiting is not older than it is.
    command.env("FAKETIME_DONT_FAKE_MONOTONIC", "1").env("DONT_FAKE_MONOTONIC", "1");
    Scan::of(&mut command)
}

/// Albums of songs, with covers beside them.
fn fill(home: &Home, albums: usize, songs: usize) {
    let song = good_song();
    for album in 0..albums {
        let folder = home.music().join(album.to_string());
        fs::create_dir_all(&folder).expect("folder");
        fs::write(folder.join("cover.jpg"), b"\xff\xd8\xff\xe0 no music").expect("file");
        for number in 0..songs {
            fs::write(folder.join(format!("{number}.mp3")), &song).expect("file");
        }
    }
    fs::write(home.music().join(".avalonignore"), "nothing\n").expect("file");
}

/// Gives a song another title.
fn retitle(path: &Path) {
    let mut bytes = fs::read(path).expect("file");
    let title = bytes.windows(4).position(|bytes| bytes == b"TIT2").expect("a title");
    // Behind the head of the frame and the mark of its encoding.
    bytes[title + 11..title + 14].copy_from_slice(b"new");
    fs::write(path, bytes).expect("file");
}

/// All that changes when a file is written.
fn face(path: &Path) -> Option<(Vec<u8>, i64, i64, i64, i64)> {
    let found = fs::metadata(path).ok()?;
    let bytes = fs::read(path).expect("file");
    Some((bytes, found.mtime(), found.mtime_nsec(), found.ctime(), found.ctime_nsec()))
}

#[test]
fn an_unchanged_collection_opens_no_music_and_writes_nothing_into_sqlite() {
    for journal in ["delete", "wal"] {
        let home = Home::new();
        fill(&home, 10, 12);
        let database = Connection::open(home.path("avalon.sqlite")).expect("database");
        database.pragma_update(None, "journal_mode", journal).expect("journal mode");
        scan_later(&home, &home.url()).assert_exited(0).assert_says("120 songs");
        let files =
            ["avalon.sqlite", "avalon.sqlite-wal", "avalon.sqlite-journal"].map(|name| home.path(name));
        let before = files.each_ref().map(|path| face(path));
        let (scan, calls) = traced(&home, &home.url(), &[]);
        scan.assert_exited(0).assert_says("nothing has changed");
        assert_eq!(files.each_ref().map(|path| face(path)), before, "{journal}");
        for call in &calls {
            let is_music = call.is_below(&home.music()) && Path::new(&call.path).is_file();
            assert!(!is_music || call.path.ends_with(".avalonignore"), "{call:?}");
            // That a database may be written shows by a journal, which is begun and given up.
            let is_database = call.path.ends_with("avalon.sqlite") || call.path.ends_with("-wal");
            assert!(!(is_database && call.writes()), "{journal}: {call:?}");
            assert!(!["fsync", "fdatasync"].contains(&call.name.as_str()), "{journal}: {call:?}");
        }
        assert!(calls.iter().any(|call| call.is_below(&home.music().join("9"))), "no folder was listed");
        drop(database);
    }
}

/// A disk whose files were all touched is no file system that makes up its stamps: an edit
/// hidden among them by its old size and time is found.
#[test]
fn an_edit_among_touched_files_is_found() {
    let home = Home::new();
    fill(&home, 1, 400);
    scan_later(&home, &home.url()).assert_exited(0).assert_says("400 songs");
    let edited = home.music().join("0/99.mp3");
    let time = fs::metadata(&edited).and_then(|found| found.modified()).expect("a time");
    retitle(&edited);
    let file = fs::File::options().write(true).open(&edited).expect("file");
    file.set_times(fs::FileTimes::new().set_modified(time)).expect("times");
    for number in 0..400 {
        let path = home.music().join(format!("0/{number}.mp3"));
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).expect("mode");
    }
    home.scan([home.music()]).assert_exited(0).assert_says("Read 400 files");
    assert_eq!(home.rows("SELECT name, id FROM tracks WHERE name LIKE 'new%'").len(), 1);
}

/// Without other clients, and without work that the server does on its own.
fn quiet_server() -> Postgres {
    let server = Postgres::start();
    let database = server.create_database();
    database.execute("ALTER SYSTEM SET autovacuum = off");
    database.execute("SELECT pg_reload_conf()");
    server
}

/// Where the log of the server ends, in bytes, and the next transaction that writes.
fn position(database: &Database<'_>) -> (u64, String) {
    let query =
        "SELECT (pg_current_wal_insert_lsn() - '0/0')::text, pg_snapshot_xmax(pg_current_snapshot())::text";
    let row = database.client().query_one(query, &[]).expect("a position");
    (row.get::<_, String>(0).parse().expect("a number"), row.get(1))
}

fn table_sizes(database: &Database<'_>) -> Vec<(String, i64)> {
    let query = "SELECT relname::text, pg_total_relation_size(oid) FROM pg_class \
                 WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace ORDER BY 1";
    let rows = database.client().query(query, &[]).expect("sizes");
    rows.iter().map(|row| (row.get(0), row.get(1))).collect()
}

#[test]
fn an_unchanged_collection_writes_nothing_into_postgresql() {
    let server = quiet_server();
    let database = server.create_database();
    let home = Home::new();
    fill(&home, 10, 12);
    let store_url = database.url();
    scan_later(&home, &store_url).assert_exited(0).assert_says("120 songs");
    let scan = || Scan::of(home.command().arg("-d").arg(&store_url).arg(home.music()));
    database.execute("CHECKPOINT");
    let sizes = table_sizes(&database);
    assert_eq!(sizes.len(), 10, "{sizes:?}");
    let before = position(&database);
    let (traced, calls) = traced(&home, &store_url, &[]);
    traced.assert_exited(0).assert_says("nothing has changed");
    let after = position(&database);
    assert_eq!(after.1, before.1, "a transaction has written");
    assert!(after.0 - before.0 <= IDLE_WAL_MAX, "{} bytes of log", after.0 - before.0);
    assert!(!calls.iter().any(|call| call.path.ends_with(".mp3") || call.path.ends_with(".jpg")));
    for _ in 0..100 {
        scan().assert_exited(0).assert_says("nothing has changed");
    }
    assert_eq!(table_sizes(&database), sizes);
}

#[test]
fn ten_changed_songs_write_little() {
    let home = Home::new();
    fill(&home, 100, 30);
    let server = quiet_server();
    let database = server.create_database();
    for url in [home.url(), database.url()] {
        scan_later(&home, &url).assert_exited(0).assert_says("3000 songs");
    }
    for album in 0..10 {
        retitle(&home.music().join(format!("{album}/7.mp3")));
    }
    let (scan, calls) = traced(&home, &home.url(), &[]);
    scan.assert_exited(0).assert_says("Read 10 files");
    let is_written = |call: &&super::traced::Call| call.writes() && call.path.contains("avalon.sqlite");
    let written: i64 = calls.iter().filter(is_written).map(|call| call.result.max(0)).sum();
    assert!((1..=TEN_CHANGES_MAX as i64).contains(&written), "{written} bytes");
    let renamed = home.rows("SELECT name, id FROM tracks WHERE name LIKE 'new%'");
    assert_eq!(renamed.len(), 10);

    let before = position(&database);
    let scan = Scan::of(home.command().arg("-d").arg(database.url()).arg(home.music()));
    scan.assert_exited(0).assert_says("Read 10 files");
    let written = position(&database).0 - before.0;
    assert!((1..=TEN_CHANGES_MAX).contains(&written), "{written} bytes of log");
}
