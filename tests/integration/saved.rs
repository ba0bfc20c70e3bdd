//! `SNAPSHOT_PATH`: the snapshot that one master saves and the next one serves.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use avalon::config::DatabaseUrl;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::skip;
use crate::harness::small_disk::SmallDisk;

/// A folder that outlives its servers, with database and saved snapshot.
struct Home(TempDir);

impl Home {
    fn with(artists: u32) -> Self {
        let home = Home(tempfile::tempdir().expect("a folder"));
        home.fill(artists);
        home
    }

    /// A home with the snapshot of a former server in it.
    fn with_saved(artists: u32) -> Self {
        let home = Home::with(artists);
        let server = home.start();
        server.wait_log("snapshot saved");
        server.assert_clean_shutdown();
        home
    }

    fn database(&self) -> PathBuf {
        self.0.path().join("avalon.sqlite")
    }

    fn file(&self) -> PathBuf {
        self.0.path().join("snapshot")
    }

    fn fill(&self, artists: u32) {
        let url = DatabaseUrl::parse(&format!("sqlite:///{}", self.database().display())).expect("a URL");
        avalon::database::replace(&url, &collection(artists)).expect("a database");
    }

    fn execute(&self, sql: &str) {
        rusqlite::Connection::open(self.database()).expect("a database").execute_batch(sql).expect("SQL");
    }

    fn start(&self) -> Server {
        Setup::new(&format!("sqlite:///{}", self.database().display()))
            .flag(&format!("--snapshot-path={}", self.file().display()))
            .start()
    }
}

fn artists(server: &Server) -> usize {
    server.get("/avalon/artists").success().len()
}

#[test]
fn saved_snapshot_is_served_and_stays_if_the_database_holds_the_same() {
    let home = Home::with_saved(3);
    let before = fs::metadata(home.file()).expect("a file").modified().expect("a time");
    let server = home.start();
    server.wait_log("nothing has changed, generation 1 goes on");
    assert_eq!(artists(&server), 3);
    let status = server.status();
    assert_eq!((&status["generation"], &status["snapshot"]["stale"]), (&1.into(), &false.into()));
    assert_eq!(server.count_log("collection loaded"), 1, "it has looked");
    server.wait_workers(2);
    // An operator's reload makes a generation all the same, as the configuration may have changed.
    server.reload();
    assert_eq!(server.status()["generation"], 3);
    assert_eq!(server.count_log("snapshot saved"), 0);
    assert_eq!(fs::metadata(home.file()).expect("a file").modified().expect("a time"), before);
    server.assert_clean_shutdown();
}

/// The inodes that the workers of a server map and that no process has made in memory.
fn mapped_inodes(server: &Server) -> Vec<u64> {
    let maps = server.wait_workers(2).into_iter().map(|pid| fs::read_to_string(format!("/proc/{pid}/maps")));
    let mut inodes = Vec::new();
    for maps in maps.map(|maps| maps.expect("the maps of a worker")) {
        // Address, permissions, offset, device, inode, path.
        let columns = maps.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
        let of_files = columns.filter(|line| line.len() > 5 && !line[5].starts_with("/memfd"));
        inodes.extend(of_files.map(|line| line[4].parse::<u64>().expect("an inode")));
    }
    inodes
}

#[test]
fn file_that_is_kept_is_the_one_that_is_served() {
    let home = Home::with(3);
    let server = home.start();
    server.wait_log("snapshot saved");
    let inode = |home: &Home| fs::metadata(home.file()).expect("a file").ino();
    let first = inode(&home);
    assert!(mapped_inodes(&server).contains(&first), "the kernel can evict its pages");
    home.fill(4);
    server.reload();
    server.wait_log_times("snapshot saved", 2);
    let second = inode(&home);
    let mapped = mapped_inodes(&server);
    assert!(second != first && mapped.contains(&second) && !mapped.contains(&first));
    assert_eq!(artists(&server), 4);
    let maps = fs::read_to_string(format!("/proc/{}/maps", server.wait_workers(2)[0])).expect("maps");
    assert!(!maps.contains("memfd:avalon-snapshot"), "{maps}");
    server.assert_clean_shutdown();
}

#[test]
fn full_disk_keeps_the_snapshot_in_memory() {
    let home = Home::with(100);
    let Some(disk) = SmallDisk::mount(home.0.path().join("disk"), "64k") else {
        return skip("no file system can be mounted here");
    };
    let path = disk.path().join("snapshot");
    let server = Setup::new(&format!("sqlite:///{}", home.database().display()))
        .flag(&format!("--snapshot-path={}", path.display()))
        .start();
    let line = server.wait_log("the snapshot is made again, in memory");
    assert!(line.contains("WARN") && line.contains("No space left"), "{line}");
    server.wait_log("the snapshot is not saved");
    assert_eq!(artists(&server), 100);
    assert_eq!(fs::read_dir(disk.path()).expect("a folder").count(), 0);
    server.assert_clean_shutdown();
}

#[test]
fn saved_snapshot_is_followed_by_the_rows_of_the_database() {
    let home = Home::with_saved(3);
    home.fill(5);
    let server = home.start();
    server.wait_log("snapshot saved");
    assert_eq!(artists(&server), 5);
    assert_eq!(server.status()["generation"], 2);
    server.assert_clean_shutdown();
    fs::write(home.database(), "no database").expect("a file");
    assert_eq!(artists(&home.start()), 5, "the new one was saved");
}

/// Rows that are older than those that a former master has served: the saved snapshot has its revision beside it.
#[test]
fn older_rows_are_not_served_after_a_start_either() {
    let home = Home::with(4);
    home.execute("CREATE TABLE IF NOT EXISTS avalon_revision (one BOOLEAN NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
            counter BIGINT NOT NULL, scan UUID, changed TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP);
        DELETE FROM avalon_revision; INSERT INTO avalon_revision (counter) VALUES (8);");
    let server = home.start();
    server.wait_log("snapshot saved");
    let revision = server.status()["snapshot"]["revision"].clone();
    server.assert_clean_shutdown();
    home.fill(3);
    home.execute("UPDATE avalon_revision SET counter = 7");
    let server = home.start();
    server.wait_log("the source is behind: it has revision 7, and revision 8 is served");
    let status = server.status();
    assert_eq!((artists(&server), &status["snapshot"]["revision"]), (4, &revision), "{status}");
    assert_eq!((&status["generation"], &status["snapshot"]["stale"]), (&1.into(), &true.into()));
    drop(server);
    // Without the revision nothing is known, and the database is right.
    fs::remove_file(home.file().with_extension("revision")).expect("a note");
    let server = home.start();
    eventually("the rows of the database", || (artists(&server) == 3).then_some(()));
}

#[test]
fn database_that_comes_back_is_noticed() {
    let home = Home::with_saved(3);
    let good = fs::read(home.database()).expect("a database");
    fs::write(home.database(), "this is no database, but long enough to be one").expect("a file");
    let server = home.start();
    server.wait_log("reload failed");
    assert_eq!((artists(&server), &server.status()["snapshot"]["stale"]), (3, &true.into()));
    // The page tells its reader.
    assert_eq!(server.get("/avalon/").header("x-avalon-stale"), Some("1"));
    fs::write(home.database(), good).expect("a database");
    home.fill(4);
    // Some reloads may still find the file as it was, so the number of the generation is not known.
    eventually("the rows of the database", || (artists(&server) == 4).then_some(()));
    eventually("fresh data", || (server.status()["snapshot"]["stale"] == false).then_some(()));
    assert_eq!(server.get("/avalon/").header("x-avalon-stale"), None);
}

#[test]
fn file_of_no_use_is_ignored_with_a_warning() {
    let home = Home::with_saved(3);
    let good = fs::read(home.file()).expect("a snapshot");
    let (middle, end) = (good.len() / 2, good.len() - 1);
    let mut torn = good.clone();
    torn[middle] ^= 1;
    let mut older = good.clone();
    older[8] = 0;
    for (bytes, mode, reason) in [
        (&torn[..], 0o400, "checksum"),
        (&older[..], 0o400, "format version 0"),
        (&good[..end], 0o400, "should have"),
        (&b""[..], 0o400, "0 bytes"),
        (&good[..], 0o666, "not sealed"),
    ] {
        fs::remove_file(home.file()).expect("the former file");
        fs::write(home.file(), bytes).expect("a file");
        fs::set_permissions(home.file(), Permissions::from_mode(mode)).expect("a mode");
        let server = home.start();
        let line = server.wait_log("the snapshot that was kept is of no use");
        assert!(line.contains("[WARNING]") && line.contains(reason), "{line}");
        assert_eq!(artists(&server), 3);
        // It is put right.
        server.wait_log("snapshot saved");
        server.assert_clean_shutdown();
        assert_eq!(fs::read(home.file()).expect("a snapshot"), good);
    }
    fs::remove_file(home.file()).expect("the former file");
    fs::create_dir(home.file()).expect("a folder");
    let server = home.start();
    server.wait_log("the saved snapshot is of no use: it is no file");
    server.wait_log("the snapshot is not saved");
    assert_eq!(artists(&server), 3);
}

#[test]
fn file_that_is_cut_while_it_is_served_is_replaced_by_the_database() {
    let home = Home::with_saved(300);
    let server = home.start();
    server.wait_log("nothing has changed");
    // The programs themselves never do this.
    fs::set_permissions(home.file(), Permissions::from_mode(0o600)).expect("a mode");
    fs::OpenOptions::new().write(true).open(home.file()).expect("a file").set_len(0).expect("a cut file");
    // Dies of it.
    if let Ok(mut connection) = Connection::open(&server.address) {
        let _ = connection.get("/avalon/songs");
    }
    server.wait_log("the snapshot's file was cut while it was in use");
    server.wait_log("generation 3 serves");
    // Workers of the first generation may still die of requests.
    let rows = |mut connection: Connection| connection.get("/avalon/artists").map(|answer| answer.success());
    let asked = || Connection::open(&server.address).and_then(rows).ok();
    assert_eq!(eventually("rows", asked).len(), 300);
}

#[test]
fn folder_that_cannot_be_written_costs_a_warning_only() {
    let setup = Setup::with(&collection(2)).flag("--snapshot-path=/nowhere/at/all/snapshot");
    let server = setup.start();
    let line = server.wait_log("the snapshot is not saved");
    assert!(line.contains("/nowhere/at/all/snapshot"), "{line}");
    assert_eq!(artists(&server), 2);
    server.wait_workers(2);
    server.assert_clean_shutdown();
}
