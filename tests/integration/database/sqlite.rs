//! SQLite files.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::Barrier;
use std::thread;

use avalon::model::Collection;
use rusqlite::Connection;

use super::{awkward, collection, fixture, load, load_all, replace, unpacked};

struct File {
    folder: tempfile::TempDir,
    path: PathBuf,
}

impl File {
    fn absent() -> File {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("avalon.sqlite");
        File { folder, path }
    }

    fn with(sql: &str) -> File {
        let file = File::absent();
        file.execute(sql);
        file
    }

    fn execute(&self, sql: &str) {
        Connection::open(&self.path).unwrap().execute_batch(sql).unwrap();
    }

    fn url(&self) -> String {
        url_of(&self.path)
    }

    /// Returns the output of `sqlite3 FILE .schema`.
    fn schema(&self) -> String {
        let connection = Connection::open(&self.path).unwrap();
        let mut statement =
            connection.prepare("SELECT sql || ';' FROM sqlite_master WHERE sql NOTNULL").unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap().join("\n")
    }
}

impl Drop for File {
    /// A folder that is not writable could not be removed.
    fn drop(&mut self) {
        let _ = fs::set_permissions(self.folder.path(), fs::Permissions::from_mode(0o755));
    }
}

fn url_of(path: &Path) -> String {
    format!("sqlite:///{}", path.display())
}

fn recorded_schema() -> String {
    let text = fs::read_to_string(fixture("schema_sqlite.sql")).unwrap();
    text.lines().filter(|line| !line.starts_with("--")).collect::<Vec<_>>().join("\n")
}

/// A schema of the same shape without any promise.
const LOOSE: &str =
    "CREATE TABLE albums (id, name); CREATE TABLE artists (id, name); CREATE TABLE genres (id, name);
    CREATE TABLE tracks (id, name, length, track, year, album_id, artist_id, genre_id);";

#[test]
fn a_load_creates_the_schema_of_avalonms() {
    let file = File::absent();
    assert!(load_all(&file.url()).songs.is_empty());
    assert_eq!(file.schema(), recorded_schema());
}

#[test]
fn a_replace_creates_the_schema_of_avalonms() {
    let file = File::absent();
    replace(&file.url(), &collection(1)).unwrap();
    assert_eq!(file.schema(), recorded_schema());
}

#[test]
fn only_missing_tables_are_created() {
    let file =
        File::with("CREATE TABLE Artists (id, name, more); INSERT INTO artists VALUES ('x', 'y', 'z')");
    let loaded = load(&file.url()).unwrap();
    assert_eq!(loaded.left_out.to_string(), "1 artist whose id is no UUID");
    assert!(file.schema().starts_with("CREATE TABLE Artists (id, name, more);\nCREATE TABLE albums (\n"));
    assert!(load(&file.url()).is_ok());
}

#[test]
fn several_processes_may_create_the_schema_at_once() {
    let file = File::absent();
    let barrier = Barrier::new(4);
    thread::scope(|scope| {
        for number in 0..4 {
            let (file, barrier) = (&file, &barrier);
            scope.spawn(move || {
                barrier.wait();
                match number % 2 {
                    0 => drop(load(&file.url()).unwrap()),
                    _ => replace(&file.url(), &collection(10)).unwrap(),
                }
            });
        }
    });
    assert_eq!(file.schema(), recorded_schema());
    assert_eq!(load_all(&file.url()).songs.len(), 10);
}

#[test]
fn replacing_twice_leaves_the_second() {
    let file = File::absent();
    replace(&file.url(), &collection(100)).unwrap();
    replace(&file.url(), &awkward()).unwrap();
    assert_eq!(load_all(&file.url()), awkward());

    let ids: String = Connection::open(&file.path)
        .unwrap()
        .query_row("SELECT id || album_id FROM tracks ORDER BY id LIMIT 1 OFFSET 3", [], |row| row.get(0))
        .unwrap();
    assert_eq!(ids, "0000000000000000000000000000000300000000000000000000000000000001");
}

#[test]
fn sqlite_holds_any_integer() {
    let file = File::absent();
    let mut huge = collection(1);
    huge.songs[0].year = Some(i64::MAX);
    huge.songs[0].track = Some(i64::MIN);
    replace(&file.url(), &huge).unwrap();
    assert_eq!(load_all(&file.url()), huge);
}

#[test]
fn a_replace_that_fails_leaves_the_old_rows() {
    let file = File::absent();
    replace(&file.url(), &collection(3)).unwrap();
    file.execute(
        "CREATE TRIGGER t BEFORE INSERT ON tracks WHEN new.track = 7 BEGIN SELECT RAISE(ABORT, 'no sevens'); END",
    );
    let error = replace(&file.url(), &collection(20)).unwrap_err();
    assert!(error.to_string().ends_with("avalon.sqlite: no sevens"), "{error}");
    assert_eq!(load_all(&file.url()), collection(3));
}

/// The writer holds its transaction open, all rows changed, while the reader reads.
#[test]
fn a_reader_during_a_replace_sees_the_old_rows() {
    let file = File::absent();
    replace(&file.url(), &collection(3)).unwrap();
    let writer = Connection::open(&file.path).unwrap();
    writer.execute_batch("BEGIN IMMEDIATE; DELETE FROM tracks; DELETE FROM albums").unwrap();
    assert_eq!(load_all(&file.url()), collection(3));
    writer.execute_batch("COMMIT").unwrap();
    assert!(load_all(&file.url()).songs.is_empty());
}

#[test]
fn readers_see_all_old_or_all_new_rows() {
    let file = File::absent();
    replace(&file.url(), &collection(100)).unwrap();
    thread::scope(|scope| {
        let writer = scope.spawn(|| {
            for count in (100..2000).step_by(100) {
                replace(&file.url(), &collection(count)).unwrap();
            }
        });
        while !writer.is_finished() {
            let seen = load_all(&file.url());
            assert_eq!(seen, collection(seen.songs.len() as u128));
            assert_eq!(seen.songs.len() % 100, 0);
        }
    });
}

/// The journal of a scan that died in the middle is rolled back by the next process that opens the database.
#[test]
fn an_interrupted_scan_is_rolled_back() {
    let file = File::absent();
    replace(&file.url(), &collection(3000)).unwrap();
    let writer = Connection::open(&file.path).unwrap();
    // With so small a cache half of the changes are in the file before the commit.
    writer.execute_batch("PRAGMA cache_size=1; BEGIN; UPDATE tracks SET name='half', year=1").unwrap();
    let copy = File::absent();
    for suffix in ["", "-journal"] {
        fs::copy(format!("{}{suffix}", file.path.display()), format!("{}{suffix}", copy.path.display()))
            .unwrap();
    }
    let read_only = File::absent();
    for suffix in ["", "-journal"] {
        fs::copy(format!("{}{suffix}", copy.path.display()), format!("{}{suffix}", read_only.path.display()))
            .unwrap();
    }
    forbid_writing(&read_only);
    let error = without_privileges(|| load(&read_only.url()).unwrap_err());
    assert!(error.to_string().contains("an interrupted scan must be rolled back"), "{error}");

    assert_eq!(load_all(&copy.url()), collection(3000));
}

#[test]
fn wal_mode_needs_write_permission_and_says_so() {
    let file = File::absent();
    replace(&file.url(), &collection(3)).unwrap();
    file.execute("PRAGMA journal_mode=WAL");
    assert_eq!(load_all(&file.url()), collection(3));
    forbid_writing(&file);
    let error = without_privileges(|| load(&file.url()).unwrap_err());
    assert!(error.to_string().contains("in WAL mode that is needed also to read"), "{error}");
}

/// Runs `work` as an ordinary user, which root is not: as far as files are concerned, for
/// this thread alone.
pub(super) fn without_privileges<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    thread::scope(|scope| {
        let as_nobody = scope.spawn(|| {
            if nix::unistd::geteuid().is_root() {
                nix::unistd::setfsuid(nix::unistd::Uid::from_raw(65534));
            }
            work()
        });
        as_nobody.join().unwrap()
    })
}

fn forbid_writing(file: &File) {
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o444)).unwrap();
    fs::set_permissions(file.folder.path(), fs::Permissions::from_mode(0o555)).unwrap();
}

#[test]
fn read_access_is_enough_to_load() {
    let file = File::absent();
    replace(&file.url(), &collection(3)).unwrap();
    forbid_writing(&file);
    without_privileges(|| {
        assert!(fs::write(file.folder.path().join("x"), "").is_err(), "the folder must not be writable");
        assert_eq!(load_all(&file.url()), collection(3));
        let error = replace(&file.url(), &collection(1)).unwrap_err();
        assert!(error.to_string().ends_with("avalon.sqlite: there is no write permission"), "{error}");
    });
    assert_eq!(load_all(&file.url()), collection(3));
}

#[test]
fn read_only_file_that_no_scan_has_reached_is_an_empty_collection() {
    let file = File::with("CREATE TABLE others (id)");
    forbid_writing(&file);
    without_privileges(|| {
        assert_eq!(load_all(&file.url()), Collection::default());
        let error = replace(&file.url(), &collection(1)).unwrap_err();
        assert!(error.to_string().ends_with("avalon.sqlite: there is no write permission"), "{error}");
    });
}

#[test]
fn missing_tables_in_a_read_only_file_are_named() {
    let file = File::with("CREATE TABLE albums (id, name); CREATE TABLE artists (id, name)");
    forbid_writing(&file);
    let error = without_privileges(|| load(&file.url()).unwrap_err());
    let expected = "cannot create the missing tables (genres, tracks): there is no write permission";
    assert!(error.to_string().ends_with(expected), "{error}");
}

#[test]
fn a_file_that_may_not_be_read_is_an_error() {
    let file = File::with("CREATE TABLE albums (id, name)");
    fs::set_permissions(&file.path, fs::Permissions::from_mode(0o000)).unwrap();
    let error = without_privileges(|| load(&file.url()).unwrap_err());
    assert!(error.to_string().contains("Permission denied"), "{error}");
}

#[test]
fn a_file_that_is_no_database_is_reported() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("text"), "This is no database. ".repeat(100)).unwrap();
    fs::create_dir(path("folder")).unwrap();
    let mut damaged = unpacked("collection.sqlite.gz");
    damaged[8192..400_000].fill(0xa5);
    fs::write(path("damaged"), damaged).unwrap();
    let mut short = unpacked("collection.sqlite.gz");
    short.truncate(100_000);
    fs::write(path("short"), short).unwrap();

    for (name, expected) in [
        ("text", "the file is no SQLite database".to_owned()),
        ("folder", "it is a folder, not a file".to_owned()),
        ("damaged", "the file is damaged; scan into a new one".to_owned()),
        ("short", "the file is damaged; scan into a new one".to_owned()),
        ("no/file", format!("its folder {} does not exist", path("no").display())),
    ] {
        let url = url_of(&path(name));
        let error = load(&url).unwrap_err();
        let whole = format!("cannot use SQLite database {}: {expected}", path(name).display());
        assert_eq!(error.to_string(), whole);
        assert!(!error.is_unreachable());
        if name != "short" && name != "damaged" {
            assert_eq!(replace(&url, &collection(1)).unwrap_err().to_string(), whole);
        }
    }
}

#[test]
fn an_empty_file_is_an_empty_database() {
    let file = File::absent();
    fs::write(&file.path, "").unwrap();
    assert!(load_all(&file.url()).songs.is_empty());
}

#[test]
fn nothing_in_the_rows_fails_a_load() {
    let file = File::with(LOOSE);
    file.execute(
        "INSERT INTO albums VALUES
            ('00000000000000000000000000000001', 1984), ('00000000-0000-0000-0000-00000000000A', 'hyphens'),
            ('0000000000000000000000000000000a', 'a duplicate'), (NULL, 'x'), (7, 'x'), (X'ff', 'x'),
            ('00000000000000000000000000000003', NULL);
        INSERT INTO artists VALUES ('00000000000000000000000000000001', CAST(X'61ff62' AS TEXT));
        INSERT INTO genres VALUES ('00000000000000000000000000000001', X'c3a9');
        INSERT INTO tracks VALUES
            ('0000000000000000000000000000000A', 'good', '180', 3.0, 'MCMXCIV',
                '0000000000000000000000000000000a', '00000000000000000000000000000001', '00000000000000000000000000000001'),
            ('00000000000000000000000000000002', NULL, NULL, NULL, NULL,
                '00000000000000000000000000000001', '00000000000000000000000000000001', '00000000000000000000000000000001'),
            ('no uuid', 'x', 0, 0, 0,
                '00000000000000000000000000000001', '00000000000000000000000000000001', '00000000000000000000000000000001'),
            ('00000000000000000000000000000004', 'nameless album', 0, 0, 0,
                '00000000000000000000000000000003', '00000000000000000000000000000001', '00000000000000000000000000000001'),
            ('00000000000000000000000000000005', 'dangling artist', 0, 0, 0,
                '00000000000000000000000000000001', '00000000000000000000000000000009', '00000000000000000000000000000001'),
            ('00000000000000000000000000000006', 'no genre', 0, 0, 0,
                '00000000000000000000000000000001', '00000000000000000000000000000001', NULL);",
    );
    let loaded = load(&file.url()).unwrap();
    let names = |names: &[avalon::model::Named]| names.iter().map(|n| n.name.clone()).collect::<Vec<_>>();
    let collection = loaded.rows.collection();
    assert_eq!(names(&collection.albums), ["1984", "a duplicate"]);
    assert_eq!(names(&collection.artists), ["a\u{fffd}b"]);
    assert_eq!(names(&collection.genres), ["\u{e9}"]);
    let [nulls, good] = collection.songs.as_slice() else { panic!("{:?}", collection.songs) };
    assert_eq!(
        (good.name.as_deref(), good.length, good.track, good.year),
        (Some("good"), Some(180), Some(3), None)
    );
    assert_eq!((good.album, good.artist, good.genre), (1, 0, 0));
    assert_eq!((&nulls.name, nulls.length, nulls.track, nulls.year), (&None, None, None, None));
    assert_eq!(
        loaded.left_out.to_string(),
        "1 song without album, 1 song without artist, 1 song without genre, 1 song whose id is no UUID, \
         1 album without name, 3 albums whose id is no UUID, 1 album with the id of another, \
         1 length, track or year that is no whole number (null instead)"
    );
}

#[test]
fn a_table_of_something_else_is_an_error() {
    let file = File::with("CREATE TABLE tracks (id, title)");
    let error = load(&file.url()).unwrap_err();
    assert!(error.to_string().contains("no such column: name"), "{error}");
}
