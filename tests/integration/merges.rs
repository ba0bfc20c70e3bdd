//! Reloads that merge: the loader makes the next snapshot from the served one and the changes.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};

/// The answers of a server, and the hash of its snapshot.
pub(crate) fn answers(server: &Server) -> (serde_json::Value, Vec<Vec<u8>>) {
    let targets = [
        "songs",
        "albums",
        "artists",
        "genres",
        "songs?query=so&order=name",
        "songs?query=other&order=year&direction=desc",
        "songs?artist=Renamed",
        "artists?query=ren",
    ];
    let bodies = targets.map(|target| server.get(&format!("/avalon/{target}")).body);
    (server.status()["snapshot"]["hash"].clone(), bodies.to_vec())
}

/// Reloads after each of these edits, and compares with a server that starts with the rows.
fn check(server: &Server, edits: &[(&str, &str)], execute: impl Fn(&str)) {
    for (sql, way) in edits {
        execute(sql);
        let before = server.count_log(way);
        server.reload();
        assert_eq!(server.count_log(way), before + 1, "{sql}: {way}\n{}", server.log());
        let fresh = Setup::new(server.database_url()).start();
        assert!(answers(server) == answers(&fresh), "{sql}");
        fresh.assert_clean_shutdown();
    }
}

/// Of 1,202 entities 120 may change.
const EDITS: [(&str, &str); 9] = [
    ("UPDATE tracks SET name = 'Another Song' WHERE track = 1 AND year = 1990", "merged, 34 out and 34 in"),
    ("UPDATE artists SET name = 'Renamed' WHERE name = 'Artist 0007'", "merged, 11 out and 11 in"),
    ("DELETE FROM tracks WHERE name = 'Song 00001'", "merged, 1 out and 0 in"),
    ("UPDATE tracks SET length = 7 WHERE name = 'Song 00999'", "merged, 1 out and 1 in"),
    (
        "INSERT INTO genres (id, name) SELECT id, 'Polka' FROM albums WHERE name = 'Album 0003'",
        "merged, 0 out and 1 in",
    ),
    (
        "UPDATE tracks SET genre_id = (SELECT id FROM genres WHERE name = 'Polka') WHERE track = 3 AND year < 1995",
        "merged, 34 out and 34 in",
    ),
    ("UPDATE tracks SET year = NULL WHERE track IN (5, 6)", "built, as too much has changed"),
    ("UPDATE genres SET name = 'Rock and Roll' WHERE name = 'Rock'", "built, as too much has changed"),
    ("DELETE FROM tracks", "built, as too much has changed"),
];

#[test]
fn reloads_merge_small_changes_of_a_file() {
    let server = Setup::with(&collection(100)).start();
    assert_eq!(server.count_log("built, as no snapshot of a database serves"), 1);
    let path = PathBuf::from(server.database_url().trim_start_matches("sqlite://"));
    let execute = |sql: &str| {
        rusqlite::Connection::open(&path).expect("a database").execute_batch(sql).expect("SQL");
    };
    check(&server, &[("", "unchanged, as no row differs")], execute);
    check(&server, &EDITS, execute);
    server.assert_clean_shutdown();
}

#[test]
fn reloads_merge_small_changes_of_postgresql() {
    let database = Postgres::shared().create_database();
    let server = Setup::new(&database.url()).start();
    server.store(100);
    check(&server, &[("", "built, as too much has changed")], |_| {});
    check(&server, &EDITS, |sql| database.execute(sql));
    server.assert_clean_shutdown();
}

/// Settings may have changed, so the workers are others; the rows are the same.
#[test]
fn reload_of_the_same_rows_serves_the_same_snapshot() {
    let setup = Setup::with(&collection(100));
    let file = setup.path("snapshot");
    let server = setup.flag(&format!("--snapshot-path={}", file.display())).start();
    server.wait_log("snapshot saved");
    let descriptors = || {
        let of_master = format!("/proc/{}/fd", server.pid());
        std::fs::read_dir(of_master).expect("descriptors").count()
    };
    // Whether the workers map the file, which no saver replaces.
    let inode = std::fs::metadata(&file).expect("a file").ino();
    let is_mapped = || {
        // Those of the generation before may still end.
        let workers = server.wait_workers(2);
        let maps = std::fs::read_to_string(format!("/proc/{}/maps", workers[0])).expect("maps");
        maps.lines().any(|line| line.split_whitespace().nth(4) == Some(&inode.to_string()))
    };
    server.reload();
    let tag = || server.get("/avalon/albums").header("etag").map(str::to_owned);
    let before = (answers(&server), tag(), server.wait_workers(2));
    assert!(before.1.is_some() && is_mapped());
    let open = descriptors();
    for count in 2..5 {
        server.reload();
        assert_eq!(server.count_log("unchanged, as no row differs"), count);
        assert_eq!((answers(&server), tag()), (before.0.clone(), before.1.clone()));
        assert!(is_mapped() && server.workers() != before.2);
    }
    crate::harness::eventually("no descriptor is left", || (descriptors() <= open).then_some(()));
    assert_eq!((server.status()["generation"].as_u64(), server.count_log("snapshot saved")), (Some(5), 1));
    assert_eq!(std::fs::metadata(&file).expect("a file").ino(), inode);
    server.assert_clean_shutdown();
}

#[test]
fn snapshot_of_a_former_master_is_merged_once_it_is_confirmed() {
    let setup = Setup::with(&collection(100));
    let (url, file) = (setup.database_url().to_owned(), setup.path("snapshot"));
    let start = || Setup::new(&url).flag(&format!("--snapshot-path={}", file.display())).start();
    let first = start();
    first.wait_log("snapshot saved");
    first.assert_clean_shutdown();
    let server = start();
    server.wait_log("nothing has changed, generation 1 goes on");
    // It could be of another program, with other search forms.
    assert_eq!(server.count_log("built, as no snapshot of a database serves"), 1);
    let path = PathBuf::from(url.trim_start_matches("sqlite://"));
    check(&server, &EDITS[..2], |sql| {
        rusqlite::Connection::open(&path).expect("a database").execute_batch(sql).expect("SQL");
    });
    server.assert_clean_shutdown();
}
