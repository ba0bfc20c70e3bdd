//! The session of a scan with its database: the facts that hold for both kinds.

mod change_log;
mod differences;
mod killed;
mod pooler;
mod postgres;
mod revision;
mod sqlite;
mod unclean;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use avalon::config::DatabaseUrl;
use avalon::database::difference::{RowChanges, StoredSong};
use avalon::database::{
    Changes, DatabaseError, Holder, Moved, Notice, Patience, Previous, ScanRecord, Session, State,
    StateChanges, Visit,
};
use avalon::model::library::{File, FileRow, Folder, Outcome, Stamps};
use avalon::model::{Collection, Named, Owner, Song};
use uuid::Uuid;

use super::{awkward, collection, load_all, unpacked};
use differences::Known;

use crate::harness::postgres::{Database, Postgres};

/// A database of one test.
struct Place {
    url: String,
    _folder: Option<tempfile::TempDir>,
    database: Option<Database<'static>>,
}

impl Place {
    fn sqlite() -> Place {
        let folder = tempfile::tempdir().unwrap();
        let url = format!("sqlite:///{}/avalon.sqlite", folder.path().display());
        Place { url, _folder: Some(folder), database: None }
    }

    fn postgres() -> Place {
        let database = Postgres::shared().create_database();
        Place { url: database.url(), _folder: None, database: Some(database) }
    }

    fn both() -> [Place; 2] {
        [Place::sqlite(), Place::postgres()]
    }

    /// Runs statements in a session that has nothing to do with the code under test.
    fn execute(&self, sql: &str) {
        match &self.database {
            Some(database) => database.execute(sql),
            None => self.connection().execute_batch(sql).unwrap(),
        }
    }

    /// To the SQLite file.
    fn connection(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.url.strip_prefix("sqlite:///").unwrap()).unwrap()
    }

    /// The only number that a query gives.
    fn number(&self, query: &str) -> i64 {
        match &self.database {
            Some(database) => database.client().query_one(query, &[]).unwrap().get(0),
            None => self.connection().query_row(query, [], |row| row.get(0)).unwrap(),
        }
    }
}

fn me() -> Holder {
    Holder { host: "nas.example.org".to_owned(), pid: 4711, started: 1_795_499_160 }
}

/// Short enough for a test; long enough for a busy machine to see the steps in order.
const SHORT: Patience =
    Patience { announce: Duration::from_millis(200), give_up: Duration::from_millis(1200) };

/// The notices of a session.
type Told = Arc<Mutex<Vec<Notice>>>;

fn open_telling(url: &str) -> (Result<Session, DatabaseError>, Told) {
    let told = Told::default();
    let copy = Arc::clone(&told);
    let url = DatabaseUrl::parse(url).unwrap();
    let tell = move |notice| copy.lock().unwrap().push(notice);
    (Session::open_patiently(&url, &me(), SHORT, tell), told)
}

fn open(url: &str) -> Session {
    open_telling(url).0.unwrap()
}

fn refusal(url: &str) -> DatabaseError {
    open_telling(url).0.unwrap_err()
}

/// All that a session reads.
#[derive(Debug, Default)]
struct Seen {
    folders: Vec<Folder>,
    files: Vec<File>,
    known: Known,
}

impl Visit for Seen {
    fn folder(&mut self, folder: Folder) {
        self.folders.push(folder);
    }

    fn file(&mut self, file: FileRow<'_>) {
        self.files.push(file.into_owned());
    }

    fn name(&mut self, owner: Owner, id: Uuid, name: &str) {
        self.known.name(owner, id, name);
    }

    fn song(&mut self, song: &StoredSong<'_>) {
        self.known.song(song);
    }
}

fn previous(session: &mut Session) -> (Previous, Seen) {
    let mut seen = Seen::default();
    let previous = session.previous(&mut seen).unwrap();
    seen.folders.sort_by_key(|folder| folder.id);
    (previous, seen)
}

fn changes<'a>(seen_scan: i64, rows: RowChanges<'a>, state: StateChanges<'a>) -> Changes<'a> {
    let scan = ScanRecord { started: 1, ended: 2, counts: r#"{"songs":3}"# };
    Changes { seen_scan, scan, rows, state, moved: &[] }
}

/// Stores the differences to the present rows, as a scan does.
fn store(url: &str, rows: &Collection, files: &[File]) -> Result<Option<i64>, DatabaseError> {
    let mut session = open(url);
    let (previous, seen) = previous(&mut session);
    let (changed, removed) = differences::files(&seen.files, files);
    // Each file is in a folder that is there.
    let known = |id: &i64| seen.folders.iter().any(|folder| folder.id == *id);
    let mut missing: Vec<i64> = files.iter().map(|file| file.folder).filter(|id| !known(id)).collect();
    missing.dedup();
    let missing = missing.into_iter().map(|id| Ok(folder(id, format!("/music/{id}").as_bytes())));
    let state = StateChanges {
        folders: Some(Box::new(missing)),
        files: Some(Box::new(changed.into_iter().map(Ok))),
        removed_files: &removed,
        ..StateChanges::default()
    };
    session.store(changes(previous.last_scan, seen.known.compare(rows), state))
}

fn folder(id: i64, path: &[u8]) -> Folder {
    let path = Path::new(OsStr::from_bytes(path)).into();
    Folder { id, path, root: 1, is_mount: id % 2 == 0, fs_type: -0x6edc_97c2 }
}

fn file(folder: i64, name: &[u8]) -> File {
    File {
        folder,
        name: OsString::from_vec(name.to_vec()),
        stamps: Stamps { size: 1, mtime_ns: i64::MAX, ctime_ns: -1, ino: i64::MIN },
        settled: name.len().is_multiple_of(2),
        reader: 7,
        outcome: Outcome::Broken,
        note: "it is\tcut\\ off\n".to_owned(),
        added: 1_700_000_000,
        title: Some("\\N".to_owned()),
        album: None,
        artist: Some(String::new()),
        genre: Some("\u{1f3b8}'\"".to_owned()),
        track: Some("3/12".to_owned()),
        date: Some("1994-02-01".to_owned()),
        length_ms: name.first().map(|byte| i64::from(*byte)),
        facts: r#"{"disc":"1/2"}"#.to_owned(),
    }
}

/// In the order of their keys.
fn files() -> Vec<File> {
    let mut song = File { outcome: Outcome::Song, ..file(1, b"a\\b\t\xff.mp3") };
    song.length_ms = None;
    vec![file(1, b""), song, file(2, b"\x00\xfe"), file(2, b"a")]
}

#[test]
fn a_second_scan_is_told_who_runs() {
    for place in Place::both() {
        let first = open(&place.url);
        // The best of three: the machine may be busy.
        let refusals = [(); 3].map(|()| {
            let began = Instant::now();
            (refusal(&place.url), began.elapsed())
        });
        let took = refusals.iter().map(|(_, took)| *took).min().unwrap();
        assert!(took <= Duration::from_millis(200), "{took:?}");
        let [(error, _), ..] = refusals;
        let Holder { host: expected, .. } = me();
        let DatabaseError::ScanRunning { host, pid, started, .. } = &error else { panic!("{error}") };
        assert_eq!((host, *pid, *started), (&expected, 4711, 1_795_499_160));
        let message = error.to_string();
        assert!(message.contains("process 4711 on nas.example.org, which began 2026-11-2"), "{message}");
        // Others are not kept out.
        load_all(&place.url);
        drop(first);
        open(&place.url);
    }
}

#[test]
fn stored_rows_are_read_again() {
    for place in Place::both() {
        let mut session = open(&place.url);
        let (first, seen) = previous(&mut session);
        assert_eq!(first, Previous { state: State::Absent, is_clean: true, last_scan: 0 });
        assert!(seen.folders.is_empty() && seen.files.is_empty());
        let folders = [folder(1, b"/music/\xff\xfe"), folder(2, b"/music/\xff\xfe/a b\\")];
        let rows = awkward();
        let state = StateChanges {
            folders: Some(Box::new(folders.iter().cloned().map(Ok))),
            files: Some(Box::new(files().into_iter().map(Ok))),
            ..StateChanges::default()
        };
        let ids = [5, 6].map(Uuid::from_u128);
        let moved = [Moved { old_id: ids[0], new_id: ids[1], at: 7 }];
        let id = session.store(Changes { moved: &moved, ..changes(0, differences::replace(&rows), state) });
        assert_eq!(id, Ok(Some(1)));
        assert_eq!(load_all(&place.url), rows);

        let mut session = open(&place.url);
        let (second, seen) = previous(&mut session);
        assert_eq!(second, Previous { state: State::Whole, is_clean: true, last_scan: 1 });
        assert_eq!(seen.folders, folders);
        assert_eq!(seen.files, files());
        assert!(seen.known.clone().compare(&rows).is_empty());
        let scan = "FROM avalon_scans WHERE id = 1 AND started = 1 AND ended = 2 AND pid = 4711
                    AND host = 'nas.example.org' AND counts = '{\"songs\":3}'";
        assert_eq!(place.number(&format!("SELECT count(*) {scan}")), 1);
        assert_eq!(place.number("SELECT count(*) FROM avalon_moved WHERE at = 7"), 1);

        // One folder goes with its files, another changes, a file comes.
        let mut changed = folder(1, b"/other");
        changed.is_mount = true;
        let removed: Vec<_> = files()[2..].iter().map(|file| (file.folder, file.name.clone())).collect();
        let state = StateChanges {
            folders: Some(Box::new([Ok(changed.clone())].into_iter())),
            removed_folders: &[2],
            files: Some(Box::new([Ok(file(1, b"new"))].into_iter())),
            removed_files: &removed,
            replace: false,
        };
        let rows = seen.known.compare(&rows);
        assert_eq!(session.store(changes(1, rows, state)), Ok(Some(2)));
        let (_, seen) = previous(&mut open(&place.url));
        assert_eq!(seen.folders, [changed]);
        assert_eq!(seen.files, [&files()[..2], &[file(1, b"new")]].concat());

        // And all at once.
        let state = StateChanges { replace: true, ..StateChanges::default() };
        let rows = collection(1);
        assert_eq!(open(&place.url).store(changes(2, differences::replace(&rows), state)), Ok(Some(3)));
        let (third, seen) = previous(&mut open(&place.url));
        assert_eq!((third.state, third.last_scan), (State::Whole, 3));
        assert!(seen.folders.is_empty() && seen.files.is_empty());
    }
}

/// Names change and go, songs come, change, go and move to other names.
fn later_collections() -> Vec<Collection> {
    let named = |number: u128, name: &str| Named { id: Uuid::from_u128(number), name: name.to_owned() };
    let mut second = collection(100);
    second.albums = vec![named(2, "Insomniac"), named(1, "Dookie (deluxe)")];
    second.songs.remove(50);
    second.songs.iter_mut().take(40).for_each(|song| song.album = 1);
    second.songs[60].name = None;
    let mut third = collection(7000);
    third.genres = vec![named(9, "Ska")];
    third.songs[3].name = Some("a\0b".to_owned());
    let none = Collection::default();
    vec![collection(100), second, third, collection(3), none, awkward()]
}

#[test]
fn differences_make_each_collection_of_the_one_before() {
    for place in Place::both() {
        for (mut rows, number) in later_collections().into_iter().zip(1..) {
            assert_eq!(store(&place.url, &rows, &[]), Ok(Some(number)), "{}", place.url);
            // Once more: nothing differs.
            assert_eq!(store(&place.url, &rows, &[]), Ok(None));
            if place.database.is_some() {
                let songs = rows.songs.iter_mut().filter_map(|song| song.name.as_mut());
                songs.for_each(|name| *name = name.replace('\0', "\u{fffd}"));
            }
            let mut loaded = load_all(&place.url);
            // By id, where a load gives its own order.
            let album_of = |rows: &Collection, song: &Song| rows.albums[song.album as usize].id;
            assert_eq!(loaded.songs.len(), rows.songs.len());
            for (ours, theirs) in rows.songs.iter().zip(&loaded.songs) {
                assert_eq!(album_of(&rows, ours), album_of(&loaded, theirs));
                let same = Song { album: ours.album, ..theirs.clone() };
                assert_eq!(&same, ours);
            }
            loaded.albums.sort_by_key(|named| named.id);
            rows.albums.sort_by_key(|named| named.id);
            assert_eq!((loaded.albums, loaded.genres), (rows.albums, rows.genres));
        }
    }
}

#[test]
fn a_database_of_avalonms_is_taken_over() {
    let [sqlite, postgres] = Place::both();
    let path = sqlite.url.strip_prefix("sqlite:///").unwrap();
    std::fs::write(path, unpacked("collection.sqlite.gz")).unwrap();
    postgres.database.as_ref().unwrap().restore(&unpacked("collection_postgres.sql.gz"));
    for place in [sqlite, postgres] {
        let mut rows = load_all(&place.url);
        let (before, seen) = previous(&mut open(&place.url));
        assert_eq!(before, Previous { state: State::Absent, is_clean: true, last_scan: 0 });
        assert!(seen.known.compare(&rows).is_empty());
        rows.songs.truncate(3000);
        assert_eq!(store(&place.url, &rows, &files()), Ok(Some(1)));
        assert_eq!(load_all(&place.url).songs, rows.songs);
        assert_eq!(previous(&mut open(&place.url)).1.files, files());
        // This is the work of an avalonms scan: it knows no other tables.
        place.execute("DELETE FROM tracks; DELETE FROM albums; DELETE FROM artists; DELETE FROM genres");
        let (after, seen) = previous(&mut open(&place.url));
        assert_eq!((after.state, after.is_clean), (State::Whole, true));
        assert_eq!(seen.known.songs(), 0);
        assert_eq!(store(&place.url, &rows, &files()), Ok(Some(2)));
        assert_eq!(load_all(&place.url).songs, rows.songs);
    }
}

#[test]
fn a_scan_that_was_overtaken_stores_nothing() {
    for place in Place::both() {
        store(&place.url, &collection(3), &[]).unwrap();
        let mut session = open(&place.url);
        let (before, seen) = previous(&mut session);
        place.execute("INSERT INTO avalon_scans VALUES (2, 1, 1, 'h', 1, '{}')");
        let rows = collection(5);
        let rows = seen.known.compare(&rows);
        let error = session.store(changes(before.last_scan, rows, StateChanges::default())).unwrap_err();
        assert!(matches!(error, DatabaseError::Overtaken { .. }), "{error}");
        assert_eq!(load_all(&place.url), collection(3));
        // Also where there was no scan before.
        let mut session = open(&Place::sqlite().url);
        assert_eq!(previous(&mut session).0.last_scan, 0);
    }
}

#[test]
fn a_hundred_scans_are_kept() {
    for place in Place::both() {
        store(&place.url, &collection(1), &[]).unwrap();
        place.execute("UPDATE avalon_scans SET id = 200");
        for count in 2..4 {
            store(&place.url, &collection(count), &[]).unwrap();
        }
        place.execute("UPDATE avalon_scans SET id = 103 WHERE id = 200");
        store(&place.url, &collection(9), &[]).unwrap();
        assert_eq!(place.number("SELECT count(*) FROM avalon_scans"), 3);
        assert_eq!(place.number("SELECT min(id) FROM avalon_scans"), 201);
    }
}
