//! The memory and disk space for the build of a snapshot, and the fate of a build without them.

use nix::sys::signal::Signal;
use rusqlite::Connection;

use crate::harness::server::{Setup, collection};
use crate::harness::skip;
use crate::harness::small_disk::SmallDisk;

/// 200,000 songs of 20,000 albums and 2,000 artists, with names of three words and ids in no order.
const SONGS: &str = "
    CREATE TEMP TABLE numbers AS
      WITH RECURSIVE numbers(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM numbers WHERE n < 199999)
      SELECT n, printf('%08x%024x', (n * 2654435761) & 4294967295, n) AS id FROM numbers;
    INSERT INTO albums (id, name) SELECT id, 'Album ' || n FROM numbers WHERE n < 20000;
    INSERT INTO artists (id, name) SELECT id, 'Artist ' || n FROM numbers WHERE n < 2000;
    INSERT INTO genres (id, name) SELECT id, 'Genre ' || n FROM numbers WHERE n < 20;
    INSERT INTO tracks (id, name, length, track, year, album_id, artist_id, genre_id)
      SELECT song.id, printf('Song %x of %d', song.n * 7919, song.n), song.n % 600, song.n % 20, 1950 + song.n % 70,
             album.id, artist.id, genre.id
        FROM numbers song
        JOIN numbers album ON album.n = song.n % 20000
        JOIN numbers artist ON artist.n = song.n % 2000
        JOIN numbers genre ON genre.n = song.n % 20;
    DROP TABLE numbers;";

/// A server of a database with them.
fn with_many_songs() -> Setup {
    let setup = Setup::with(&collection(0));
    let database = Connection::open(setup.path("avalon.sqlite")).expect("a file");
    database.execute_batch(SONGS).expect("rows");
    setup
}

/// 120 bytes for each song, and 40 MB for the program, its buffers and threads. The rows and their JSON are larger.
#[test]
fn build_needs_little_memory_for_each_song() {
    let limit = 200_000 * 120 + 40_000_000;
    let server = with_many_songs().wrapped(&["prlimit", &format!("--data={limit}")]).start();
    let last = server.get("/avalon/songs?order=track&limit=1&offset=199999");
    assert_eq!(last.success()[0]["track"], 19);
    server.reload();
    server.assert_clean_shutdown();
}

#[test]
fn folder_of_temporary_files_that_is_missing_is_named() {
    let mut server = with_many_songs().variable("TMPDIR", "/nowhere/at/all").spawn();
    assert_eq!(server.wait_exit(), 4);
    let log = server.log();
    for words in
        ["CRITICAL", "cannot keep the rows in /nowhere/at/all", "SNAPSHOT_DIR or TMPDIR", "No such file"]
    {
        assert!(log.contains(words), "{words}: {log}");
    }
}

#[test]
fn folder_of_temporary_files_that_is_full_leaves_the_old_generation() {
    let setup = Setup::with(&collection(1));
    let Some(disk) = SmallDisk::mount(setup.path("disk"), "5m") else {
        return skip("no file system can be mounted here");
    };
    let server = setup.variable("TMPDIR", disk.path().to_str().expect("UTF-8")).start();
    let database = Connection::open(server.path("avalon.sqlite")).expect("a file");
    database.execute_batch(SONGS).expect("rows");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log("cannot keep the rows in");
    assert!(line.contains("No space left") && line.contains("WARN"), "{line}");
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
    // The kernel has the whole file system back: the next try has room again.
    disk.grow("200m");
    server.wait_log_times(" serves on ", 2);
    assert_eq!(server.get("/avalon/artists?limit=5000").success().len(), 2001);
}
