//! An unreachable song is not gone: every way in which a disk, a network share or a file can be out
//! of reach, on both databases. No row is lost, and the exit code tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::Uid;
use rusqlite::Connection;

use super::{Home, Scan, id};
use crate::harness::postgres::{Database, Postgres};
use crate::harness::shim;

const EIO: i32 = 5;
const EACCES: i32 = 13;
const ENOTCONN: i32 = 107;
const ETIMEDOUT: i32 = 110;
const EHOSTDOWN: i32 = 112;
const ESTALE: i32 = 116;

/// A database of one test, of either kind.
pub(super) enum Store {
    Sqlite(PathBuf),
    Postgres(Database<'static>),
}

impl Store {
    pub(super) fn both(home: &Home) -> [Store; 2] {
        [Store::Sqlite(home.path("avalon.sqlite")), Store::Postgres(Postgres::shared().create_database())]
    }

    pub(super) fn url(&self) -> String {
        match self {
            Store::Sqlite(path) => format!("sqlite:///{}", path.display()),
            Store::Postgres(database) => database.url(),
        }
    }

    /// The ids of all songs, and the titles: a song that was read badly loses its own.
    pub(super) fn songs(&self) -> Vec<(String, String)> {
        let query = "SELECT CAST(id AS text), name FROM tracks ORDER BY 1";
        match self {
            Store::Sqlite(path) => {
                let database = Connection::open(path).expect("database");
                let mut statement = database.prepare(query).expect("statement");
                let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
                rows.collect::<Result<_, _>>().expect("rows")
            }
            Store::Postgres(database) => {
                let rows = database.client().query(query, &[]).expect("rows");
                rows.iter()
                    .map(|row| (row.get::<_, String>(0).replace('-', ""), row.get::<_, String>(1)))
                    .collect()
            }
        }
    }

    /// Runs a statement that both kinds understand, as another program would.
    pub(super) fn execute(&self, statement: &str) {
        match self {
            Store::Sqlite(path) => Connection::open(path)
                .expect("database")
                .execute_batch(statement)
                .unwrap_or_else(|error| panic!("{statement}: {error}")),
            Store::Postgres(database) => database.execute(statement),
        }
    }

    /// How many rows a table has; 0 while it is not there.
    pub(super) fn count(&self, table: &str) -> i64 {
        let query = format!("SELECT count(*) FROM {table}");
        match self {
            Store::Sqlite(path) => Connection::open(path)
                .and_then(|database| database.query_row(&query, [], |row| row.get(0)))
                .unwrap_or(0),
            Store::Postgres(database) => database.client().query_one(&query, &[]).map_or(0, |row| row.get(0)),
        }
    }

    /// Takes everything away.
    pub(super) fn clear(&self) {
        match self {
            Store::Sqlite(path) => drop(fs::remove_file(path)),
            Store::Postgres(database) => {
                database.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
            }
        }
    }

    /// Removes the rows that only this program writes, as if avalonms had filled the tables.
    pub(super) fn forget_state(&self) {
        for table in ["avalon_files", "avalon_folders", "avalon_scans", "avalon_moved"] {
            self.execute(&format!("DROP TABLE {table}"));
        }
    }
}

/// Two roots, `music` with three albums of four songs, and `more` with one; and a database
/// that holds them.
struct Case<'a> {
    home: &'a Home,
    store: Store,
}

impl<'a> Case<'a> {
    fn new(home: &'a Home, store: Store) -> Case<'a> {
        for album in ["a", "b", "c"] {
            for song in 0..4 {
                home.add(format!("{album}/{song}.mp3"));
            }
        }
        for song in 0..4 {
            home.add(format!("../more/d/{song}.mp3"));
        }
        let case = Case { home, store };
        case.scan(&[]).assert_exited(0);
        assert_eq!(case.store.songs().len(), 16);
        case
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = self.home.command();
        command.arg("-d").arg(self.store.url()).args(arguments);
        command.arg(self.home.music()).arg(self.home.path("more"));
        command
    }

    fn scan(&self, arguments: &[&str]) -> Scan {
        Scan::of(&mut self.command(arguments))
    }

    /// Scans while `call` on `place` fails.
    fn scan_with(&self, call: &str, place: &Path, errno: i32, after: u32, times: &str) -> Scan {
        // A file that is as it was is opened only by a full scan.
        let mut command = self.command(&["--full"]);
        command
            .env("LD_PRELOAD", shim::errors())
            .env("SHIM_PATH", place)
            .env("SHIM_CALL", call)
            .env("SHIM_ERRNO", errno.to_string())
            .env("SHIM_AFTER", after.to_string());
        if !times.is_empty() {
            command.env("SHIM_TIMES", times);
        }
        Scan::of(&mut command)
    }
}

#[test]
fn an_error_of_the_system_costs_no_row_wherever_it_comes_up() {
    for store in 0..2 {
        let home = Home::new();
        let store = Store::both(&home).into_iter().nth(store).expect("a store");
        let case = Case::new(&home, store);
        let before = case.store.songs();
        let album = home.music().join("b");
        for (call, place, after, errno) in [
            ("opendir", album.clone(), 0, ESTALE),
            ("opendir", album.clone(), 0, EACCES),
            ("opendir", album.clone(), 0, ENOTCONN),
            ("readdir", album.clone(), 3, EIO),
            ("readdir", album.clone(), 0, EHOSTDOWN),
            ("open", album.join("2.mp3"), 0, ETIMEDOUT),
            ("open", album.clone(), 0, ESTALE),
            ("read", album.clone(), 0, EIO),
            ("read", album.join("3.mp3"), 0, ESTALE),
        ] {
            let what = format!("{call} of {} fails with {errno}", place.display());
            let scan = case.scan_with(call, &place, errno, after, "");
            assert_eq!(scan.output.status.code(), Some(5), "{what}: {}", scan.stderr());
            scan.assert_says(&place.display().to_string());
            assert!(scan.stderr().contains("cannot be reached and stay as they were"), "{what}");
            assert_eq!(case.store.songs(), before, "{what}");
        }
        case.scan(&[]).assert_exited(0);
        assert_eq!(case.store.songs(), before);
    }
}

/// One failure, then success: the file is read again, and nothing is told.
#[test]
fn an_error_that_passes_costs_nothing() {
    let home = Home::new();
    let case = Case::new(&home, Store::Sqlite(home.path("avalon.sqlite")));
    let before = case.store.songs();
    let file = home.music().join("a/1.mp3");
    for (call, place) in [("open", &file), ("read", &file), ("opendir", &home.music().join("c"))] {
        case.scan_with(call, place, EIO, 0, "1").assert_exited(0);
        assert_eq!(case.store.songs(), before, "{call}");
    }
}

#[test]
fn a_root_that_is_missing_or_empty_keeps_its_songs() {
    for store in 0..2 {
        let home = Home::new();
        let store = Store::both(&home).into_iter().nth(store).expect("a store");
        let case = Case::new(&home, store);
        let before = case.store.songs();
        let more = home.path("more");
        let name = more.display().to_string();
        fs::rename(&more, home.path("away")).expect("rename");
        for is_there in [false, true] {
            if is_there {
                fs::create_dir(&more).expect("folder");
            }
            let scan = case.scan(&[]);
            scan.assert_exited(5).assert_says(&name).assert_says("4 songs");
            assert_eq!(case.store.songs(), before);
            // The only root.
            let alone = Scan::of(home.command().arg("-d").arg(case.store.url()).arg(&more));
            alone.assert_exited(4).assert_says(&name).assert_says("4 songs").assert_says("--force");
            assert_eq!(case.store.songs(), before);
        }
        // New songs of the other root come in all the same.
        let new = home.add("new.mp3");
        case.scan(&[]).assert_exited(5);
        assert_eq!(case.store.songs().len(), before.len() + 1);
        assert!(case.store.songs().iter().any(|(song, _)| *song == id(&new)));
        case.scan(&["--expect-loss", &name]).assert_exited(5);
        assert_eq!(case.store.songs().len(), 13);
    }
}

#[test]
fn losing_most_of_a_root_is_refused_unless_it_is_meant() {
    for store in 0..2 {
        let home = Home::new();
        let store = Store::both(&home).into_iter().nth(store).expect("a store");
        for song in 0..40 {
            home.add(format!("big/{song}.mp3"));
        }
        let case = Case { home: &home, store };
        home.add("../more/d/0.mp3");
        case.scan(&[]).assert_exited(0);
        let before = case.store.songs();
        assert_eq!(before.len(), 41);
        for song in 0..38 {
            fs::remove_file(home.music().join(format!("big/{song}.mp3"))).expect("remove");
        }
        let big = home.music().join("big").display().to_string();
        let refused = case.scan(&[]);
        refused.assert_exited(4).assert_says("38 of 40 songs").assert_says(&big).assert_says("--expect-loss");
        assert_eq!(case.store.songs(), before);
        case.scan(&["--expect-loss", "/elsewhere"]).assert_exited(4);
        assert_eq!(case.store.songs(), before);
        case.scan(&["--expect-loss", &big]).assert_exited(0);
        assert_eq!(case.store.songs().len(), 3);

        // All of one root, though it is still there.
        fs::remove_file(home.path("more/d/0.mp3")).expect("remove");
        case.scan(&[]).assert_exited(4).assert_says("1 of 1 songs").assert_says("more");
        assert_eq!(case.store.songs().len(), 3);
        case.scan(&["--force"]).assert_exited(0);
        assert_eq!(case.store.songs().len(), 2);
    }
}

/// Files that turn to garbage are as lost as files that are gone.
#[test]
fn a_root_full_of_zeros_is_refused() {
    let home = Home::new();
    for song in 0..30 {
        home.add(format!("{song}.mp3"));
    }
    home.scan([home.music()]).assert_exited(0);
    for song in 0..29 {
        fs::write(home.music().join(format!("{song}.mp3")), vec![0; 5000]).expect("write");
    }
    home.scan([home.music()]).assert_exited(4).assert_says("29 of 30 songs");
    assert_eq!(home.songs().len(), 30);
}

#[test]
fn a_folder_that_was_renamed_is_no_loss() {
    let home = Home::new();
    for song in 0..30 {
        home.add(format!("a/{song}.mp3"));
    }
    home.scan([home.music()]).assert_exited(0);
    fs::rename(home.music().join("a"), home.music().join("b")).expect("rename");
    home.scan([home.music()]).assert_exited(0).assert_says("30 songs moved");
    assert!(home.ids().contains(&id(&home.music().join("b/7.mp3"))));
    assert_eq!(home.songs().len(), 30);
}

#[test]
fn a_root_that_is_no_longer_named_is_given_up_with_a_line() {
    let home = Home::new();
    let case = Case::new(&home, Store::Sqlite(home.path("avalon.sqlite")));
    let scan = Scan::of(home.command().arg("-d").arg(case.store.url()).arg(home.music()));
    scan.assert_exited(0).assert_says("4 songs of folders that are no longer named leave the collection");
    assert_eq!(case.store.songs().len(), 12);
}

/// avalonms and version 1.0.0 recorded no folders.
#[test]
fn rows_of_another_program_stay_while_anything_is_out_of_reach() {
    for store in 0..2 {
        let home = Home::new();
        let store = Store::both(&home).into_iter().nth(store).expect("a store");
        let case = Case::new(&home, store);
        case.store.forget_state();
        let before = case.store.songs();
        fs::remove_file(home.music().join("a/0.mp3")).expect("remove");
        case.scan_with("opendir", &home.music().join("b"), EIO, 0, "").assert_exited(5);
        assert_eq!(case.store.songs(), before);
        case.store.forget_state();
        fs::rename(home.path("more"), home.path("away")).expect("rename");
        case.scan(&[]).assert_exited(5);
        assert_eq!(case.store.songs(), before);
        fs::rename(home.path("away"), home.path("more")).expect("rename");
        case.store.forget_state();
        case.scan(&[]).assert_exited(0);
        assert_eq!(case.store.songs().len(), before.len() - 1);
        // All of its ids would go: the folder is another one.
        case.store.forget_state();
        fs::create_dir(home.path("other")).expect("folder");
        fs::rename(home.music(), home.path("other/music")).expect("rename");
        let elsewhere = |arguments: &[&str]| {
            let mut command = home.command();
            command.arg("-d").arg(case.store.url()).args(arguments).arg(home.path("other"));
            Scan::of(&mut command)
        };
        elsewhere(&[]).assert_exited(4).assert_says("--force").assert_says("15 of 15 songs");
        elsewhere(&["--force"]).assert_exited(0);
        assert_eq!(case.store.songs().len(), 11);
    }
}

/// Runs `script` in a mount namespace of its own, with the scan as `$SCAN` and the music as
/// `$MUSIC`.
fn in_a_namespace(home: &Home, store: &Store, script: &str) -> Scan {
    let mut command = home.command();
    let scan = command.get_program().to_owned();
    command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "sh", "-e", "-c", script]);
    command
        .env("SCAN", scan)
        .env("MUSIC", home.music())
        .env("URL", store.url())
        .current_dir(home.folder.path());
    Scan::of(&mut command)
}

/// The mount exists in a namespace alone, so outside it is as if the disk were not mounted.
#[test]
fn a_mount_that_is_gone_keeps_its_songs() {
    assert!(Uid::effective().is_root(), "this test mounts file systems and must run as root");
    for store in 0..2 {
        let home = Home::new();
        let store = Store::both(&home).into_iter().nth(store).expect("a store");
        lose_a_mount(&home, &store);
    }
}

fn lose_a_mount(home: &Home, store: &Store) {
    let scan = |arguments: &[&str]| {
        Scan::of(home.command().arg("-d").arg(store.url()).args(arguments).arg(home.music()))
    };
    home.add("here/song.mp3");
    fs::create_dir(home.music().join("disk")).expect("folder");
    fs::write(home.path("copy.mp3"), super::good_song()).expect("file");
    let mount = "mount -t tmpfs tmpfs $MUSIC/disk; mkdir $MUSIC/disk/album; cp copy.mp3 $MUSIC/disk/album/1.mp3; \
                 cp copy.mp3 $MUSIC/disk/2.mp3; ";
    in_a_namespace(home, store, &format!("{mount} $SCAN -d $URL $MUSIC")).assert_exited(0);
    assert_eq!(store.songs().len(), 3);
    let disk = home.music().join("disk").display().to_string();
    // Empty; with a file of another disk; and without the folder.
    for (setting, songs_there) in ["2 songs", "2 songs", "3 songs"].into_iter().enumerate() {
        match setting {
            1 => drop(home.add("disk/other.mp3")),
            2 => fs::remove_dir_all(&disk).expect("remove"),
            _ => {}
        }
        scan(&[]).assert_exited(5).assert_says(&disk).assert_says(songs_there);
        let songs = store.songs();
        for song in ["disk/album/1.mp3", "disk/2.mp3"] {
            let id = id(&home.music().join(song));
            assert!(songs.iter().any(|(found, _)| *found == id), "{song} {setting}");
        }
    }
    // Mounted again, with a song less.
    fs::create_dir(&disk).expect("folder");
    let mounted = format!("{mount} rm $MUSIC/disk/2.mp3; $SCAN -d $URL $MUSIC");
    in_a_namespace(home, store, &mounted).assert_exited(0);
    assert_eq!(store.songs().len(), 2);
    // The disk is given up for good.
    scan(&["--expect-loss", &disk]).assert_exited(5);
    assert_eq!(store.songs().len(), 1);
    scan(&[]).assert_exited(0);
}

#[test]
fn a_file_that_hangs_is_named_and_the_scan_goes_on() {
    let home = Home::new();
    let good = home.add("a/good.mp3");
    let bad = home.add("a/hangs.mp3");
    home.scan([home.music()]).assert_exited(0);
    let mut command = home.command();
    command.arg("-d").arg(home.url()).args(["--file-timeout", "2"]).arg(home.music());
    command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &bad).env("SHIM_CALL", "hang");
    let scan = Scan::of(&mut command);
    scan.assert_exited(5).assert_says("Still waiting for").assert_says(&bad.display().to_string());
    scan.assert_says("no answer within 2 s");
    let mut expected = vec![id(&good), id(&bad)];
    expected.sort();
    assert_eq!(home.ids(), expected);
}

/// A link to a file on a disk that is not there.
#[test]
fn a_link_that_leads_nowhere_keeps_its_song() {
    let home = Home::new();
    home.add("a.mp3");
    let target = home.path("target.mp3");
    fs::write(&target, super::good_song()).expect("file");
    let link = home.music().join("link.mp3");
    std::os::unix::fs::symlink(&target, &link).expect("link");
    home.scan([home.music()]).assert_exited(0);
    fs::remove_file(&target).expect("remove");
    home.scan([home.music()]).assert_exited(5).assert_says("link.mp3");
    assert_eq!(home.songs().len(), 2);
    fs::remove_file(&link).expect("remove");
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.songs().len(), 1);
}

#[test]
fn a_part_of_the_collection_does_not_replace_it_by_accident() {
    let home = Home::new();
    home.add("a/1.mp3");
    home.add("b/2.mp3");
    let config = home.path("avalon.toml");
    fs::write(&config, format!("COLLECTION = [{:?}]\n", home.music())).expect("file");
    let scan = |arguments: &[&str]| {
        let mut command = home.command();
        command.arg("-c").arg(&config).arg("-d").arg(home.url()).args(arguments);
        Scan::of(&mut command)
    };
    scan(&[]).assert_exited(0);
    for path in ["music/a", "./music/../music/a/"] {
        scan(&[path]).assert_exited(2).assert_says("lies inside").assert_says("--replace");
    }
    assert_eq!(home.songs().len(), 2);
    scan(&["music"]).assert_exited(0);
    assert_eq!(home.songs().len(), 2);
    scan(&["--replace", "music/a"]).assert_exited(0);
    assert_eq!(home.songs().len(), 1);
}

#[test]
fn excluded_songs_leave_without_being_a_loss() {
    let home = Home::new();
    for song in 0..30 {
        home.add(format!("podcasts/{song}.mp3"));
    }
    home.add("a/@eaDir/copy.mp3");
    home.add("a/.hidden/song.mp3");
    home.add("a/song.mp3");
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.songs().len(), 32);
    let podcasts = home.music().join("podcasts").display().to_string();
    let config = home.path("avalon.toml");
    fs::write(&config, format!("EXCLUDE = [\"{podcasts}/\"]\n")).expect("file");
    let config = config.display().to_string();
    let scan = home.scan([&["-c".into(), config.into()][..], &[home.music()]].concat());
    scan.assert_exited(0).assert_says("30 songs that are excluded now leave the collection");
    assert_eq!(home.songs().len(), 2);
    fs::write(home.music().join("a/.avalonignore"), ".hidden/\n").expect("file");
    home.scan([&["--exclude".into(), "podcasts/".into()][..], &[home.music()]].concat()).assert_exited(0);
    assert_eq!(home.songs().len(), 1);
    home.scan([&["--exclude".into(), "[z-a]".into()][..], &[home.music()]].concat()).assert_exited(2);
}
