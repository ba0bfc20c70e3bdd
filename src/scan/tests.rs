//! The recorded fixtures through the library: every row that avalonms made of them, every file it
//! left out, every folder in which it died, and the differences of this program with their reasons.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Mutex;

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use slog::{Drain, Never, OwnedKVList, Record, o};
use tempfile::TempDir;

use super::read::tags::Unread;
use super::*;
use crate::config::DatabaseUrl;
use crate::ids;
use crate::model::{Collection, Named, Song};
use crate::rows::scratch::Folder;

/// The folder of the music when avalonms scanned it.
const RECORDED_ROOT: &str = "/srv/music";
const FIELDS: [&str; 7] = ["name", "album", "artist", "genre", "track", "year", "length"];

macro_rules! fixture {
    ($name:literal) => {
        include_bytes!(concat!("../../tests/fixtures/scan/", $name))
    };
}

/// A log that remembers its lines.
#[derive(Clone, Default)]
struct Memory(Arc<Mutex<Vec<String>>>);

impl Memory {
    fn logger(&self) -> Logger {
        Logger::root(self.clone(), o!())
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().expect("no panic while logging").clone()
    }

    fn warnings(&self, about: &Path) -> Vec<String> {
        let about = about.display().to_string();
        self.lines().into_iter().filter(|line| line.starts_with("WARN") && line.contains(&about)).collect()
    }
}

impl Drain for Memory {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
        let line = format!("{} {}", record.level().as_short_str(), record.msg());
        self.0.lock().expect("no panic while logging").push(line);
        Ok(())
    }
}

fn records(text: &str) -> Vec<Value> {
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

fn compressed(bytes: &[u8]) -> Vec<Value> {
    let mut text = String::new();
    GzDecoder::new(bytes).read_to_string(&mut text).expect("gzip");
    records(&text)
}

fn differences() -> BTreeMap<String, Value> {
    let text = include_str!("../../tests/fixtures/scan/differences.jsonl");
    records(text).into_iter().map(|record| (string(&record["path"]), record)).collect()
}

fn string(value: &Value) -> String {
    value.as_str().expect("a string").to_owned()
}

fn unpacked(archive: &[u8]) -> TempDir {
    let folder = tempfile::tempdir().expect("folder");
    tar::Archive::new(GzDecoder::new(archive)).unpack(folder.path()).expect("tar");
    folder
}

/// The log of a scan into a new database, and the rows of the database.
#[derive(Debug)]
struct Scanned {
    report: Report,
    collection: Collection,
}

fn scan(folders: &[&Path]) -> Result<Scanned, ScanError> {
    scan_with(folders, Empty::Refused, &Memory::default())
}

fn scan_with(folders: &[&Path], empty: Empty, log: &Memory) -> Result<Scanned, ScanError> {
    let home = tempfile::tempdir().expect("folder");
    let database = DatabaseUrl::sqlite(home.path().join("avalon.sqlite"));
    let job = Job {
        database: database.clone(),
        folders: folders.iter().map(|folder| folder.to_path_buf()).collect(),
        collection: Vec::new(),
        empty,
        expected: Expected::default(),
        exclude: Vec::new(),
        only: None,
        jobs: None,
        dry_run: false,
        full: false,
        verbose: false,
        keep_state: false,
        file_timeout: Duration::from_secs(120),
    };
    let report = run(&job, &Progress::silent(), &Interrupt::default(), &log.logger())?;
    let collection = crate::database::load(&database, &Folder::default()).expect("rows").rows.collection();
    Ok(Scanned { report, collection })
}

fn song<'a>(collection: &'a Collection, path: &Path) -> Option<&'a Song> {
    let id = ids::song(path);
    collection.songs.iter().find(|song| song.id == id)
}

fn row(collection: &Collection, song: &Song) -> Value {
    let name = |names: &[Named], index: u32| names[index as usize].name.clone();
    json!({
        "name": song.name,
        "album": name(&collection.albums, song.album),
        "artist": name(&collection.artists, song.artist),
        "genre": name(&collection.genres, song.genre),
        "track": song.track,
        "year": song.year,
        "length": song.length,
    })
}

/// Returns the expected row: the recorded one, or the one of `differences.jsonl`.
fn due(recorded: &Value, difference: Option<&Value>) -> Option<Value> {
    let mut row = json!({});
    for field in FIELDS {
        row[field] = recorded[field].clone();
    }
    match difference {
        None => Some(row),
        Some(difference) if difference["ours"].is_null() => None,
        Some(difference) => {
            for (field, value) in difference["ours"].as_object().expect("fields") {
                assert_ne!(row[field], *value, "{difference} is no difference");
                row[field] = value.clone();
            }
            Some(row)
        }
    }
}

#[test]
fn rows_are_those_of_avalonms() {
    let folder = unpacked(fixture!("music.tar.gz"));
    let music = folder.path().join("music");
    let collection = scan(&[&music]).expect("scan").collection;
    let differences = differences();
    let mut expected = BTreeSet::new();
    for record in compressed(fixture!("expected.jsonl.gz")) {
        let path = string(&record["path"]);
        let id = ids::song(&Path::new(RECORDED_ROOT).join(&path));
        assert_eq!(id.to_string(), string(&record["id_under_/srv/music"]), "{path}");
        let Some(row_due) = due(&record, differences.get(&path)) else {
            assert_eq!(song(&collection, &music.join(&path)), None, "{path}");
            continue;
        };
        let song = song(&collection, &music.join(&path)).unwrap_or_else(|| panic!("{path} is missing"));
        assert_eq!(row(&collection, song), row_due, "{path}");
        expected.insert(song.id);
        if !differences.contains_key(&path) {
            for (ids, index, key) in [
                (&collection.albums, song.album, "album_id"),
                (&collection.artists, song.artist, "artist_id"),
                (&collection.genres, song.genre, "genre_id"),
            ] {
                assert_eq!(ids[index as usize].id.to_string(), string(&record[key]), "{path} {key}");
            }
        }
    }
    for record in compressed(fixture!("skipped.jsonl.gz")) {
        let path = string(&record["path"]);
        expected.extend(differences.contains_key(&path).then(|| ids::song(&music.join(&path))));
    }
    let ours: BTreeSet<_> = collection.songs.iter().map(|song| song.id).collect();
    assert_eq!(ours, expected, "unexpected songs");
}

/// Files that avalonms left out for a date or a track number become songs, with one warning if the
/// number is unknown. The other files are left out too, and every line names its file.
#[test]
fn files_left_out_by_avalonms_are_left_out_or_kept_for_a_reason() {
    let folder = unpacked(fixture!("music.tar.gz"));
    let music = folder.path().join("music");
    let log = Memory::default();
    let collection = scan_with(&[&music], Empty::Refused, &log).expect("scan").collection;
    let differences = differences();
    for record in compressed(fixture!("skipped.jsonl.gz")) {
        let path = music.join(string(&record["path"]));
        let difference = differences.get(&string(&record["path"]));
        match (song(&collection, &path), difference) {
            (None, None) => {
                let named = path.display().to_string();
                assert!(log.lines().iter().any(|line| line.contains(&named)), "no line names {named}");
            }
            (Some(song), Some(difference)) => {
                for (field, value) in difference["ours"].as_object().expect("fields") {
                    assert_eq!(row(&collection, song)[field], *value, "{path:?} {field}");
                }
                let unknown = difference["warning"].as_str();
                let warnings = log.warnings(&path);
                assert_eq!(warnings.len(), usize::from(unknown.is_some()), "{warnings:?}");
                let field = unknown.unwrap_or_default();
                assert!(warnings.iter().all(|line| line.contains(field)), "{warnings:?}");
            }
            (found, _) => panic!("{path:?}: {found:?}"),
        }
    }
}

/// avalonms died of each of these folders. Each holds one good file.
#[test]
fn no_file_ends_a_scan() {
    let folder = unpacked(fixture!("music_abort.tar.gz"));
    let indexed: BTreeMap<&str, usize> = BTreeMap::from([
        ("directory-name-not-utf8", 2),
        ("genre-nul-only_mp3", 2),
        ("genre-two-empties_mp3", 2),
        // The scan finds the sound behind the frame with the wrong size.
        ("mp3-unsync-size-lies_mp3", 2),
        ("other-lowercase-keys_wma", 2),
        ("track-20-digits", 2),
        ("track-2147483648", 2),
        // Root reads files that are closed to others; see the black-box tests.
        ("unreadable-directory", 2),
    ]);
    for record in compressed(fixture!("abort.jsonl.gz")) {
        let case = string(&record["case"]);
        let path = folder.path().join("music_abort").join(&case);
        let log = Memory::default();
        let scanned = scan_with(&[&path], Empty::Refused, &log);
        let collection = scanned.unwrap_or_else(|error| panic!("{case}: {error}")).collection;
        assert!(song(&collection, &path.join("good.mp3")).is_some(), "{case}");
        let due = indexed.get(case.as_str()).copied().unwrap_or(1);
        assert_eq!(collection.songs.len(), due, "{case}: {:?}", log.lines());
        let sound = ["directory-name-not-utf8", "other-lowercase-keys_wma"].contains(&case.as_str());
        let odd = !sound && !case.starts_with("genre-") && !case.starts_with("unread");
        let warnings = log.warnings(&path).len();
        // That song loses two parts: the frame, and the bytes that the tag claims beyond the file.
        let is_told =
            if case.starts_with("mp3-unsync") { warnings == 2 } else { warnings == usize::from(odd) };
        assert!(is_told, "{case}: {:?}", log.lines());
    }
}

#[test]
fn numbers_beyond_32_bits_are_0() {
    let folder = unpacked(fixture!("music_abort.tar.gz"));
    let case = folder.path().join("music_abort/track-2147483648");
    let collection = scan(&[&case]).expect("scan").collection;
    let song = song(&collection, &case.join("2147483648.mp3")).expect("song");
    assert_eq!(song.track, Some(0));
}

#[test]
fn the_id_of_a_name_that_is_not_utf8_is_made_of_its_bytes() {
    let folder = unpacked(fixture!("music_abort.tar.gz"));
    let case = folder.path().join("music_abort/directory-name-not-utf8");
    let collection = scan(&[&case]).expect("scan").collection;
    assert!(song(&collection, &case.join(OsStr::from_bytes(b"dir\xff")).join("ok.mp3")).is_some());
}

/// A folder with one good song, `good.mp3`.
fn good() -> TempDir {
    let folder = unpacked(fixture!("music_abort.tar.gz"));
    let good = tempfile::tempdir().expect("folder");
    fs::copy(folder.path().join("music_abort/random_mp3/good.mp3"), good.path().join("good.mp3"))
        .expect("copy");
    good
}

#[test]
fn overlapping_folders_give_every_song_once() {
    let folder = good();
    fs::create_dir(folder.path().join("inner")).expect("folder");
    fs::copy(folder.path().join("good.mp3"), folder.path().join("inner/good.mp3")).expect("copy");
    let inner = folder.path().join("inner");
    let roundabout = folder.path().join("inner/../inner//./");
    let scanned = scan(&[&inner, folder.path(), &roundabout, folder.path()]).expect("scan");
    assert_eq!((scanned.report.read, scanned.collection.songs.len()), (2, 2));
    assert_eq!(scanned.collection, scan(&[folder.path()]).expect("scan").collection);
}

#[test]
fn files_without_music_are_counted_by_reason() {
    let folder = good();
    let path = |name: &str| folder.path().join(name);
    fs::write(path("cover.jpg"), "no music").expect("file");
    fs::write(path("torn.flac"), "no music").expect("file");
    fs::write(path("song.dts"), "no music").expect("file");
    fs::copy(path("good.mp3"), path("._good.mp3")).expect("copy");
    fs::create_dir(path("folder")).expect("folder");
    symlink(path("good.mp3"), path("linked.mp3")).expect("link");
    symlink(path("folder"), path("linked folder")).expect("link");
    symlink(folder.path(), path("folder/parent")).expect("link");
    symlink(path("nothing"), path("broken.txt")).expect("link");
    symlink(path("loop.mp3"), path("loop.mp3")).expect("link");
    nix::unistd::mkfifo(&path("pipe.mp3"), nix::sys::stat::Mode::S_IRUSR).expect("pipe");
    symlink(path("pipe.mp3"), path("linked pipe.mp3")).expect("link");
    let _socket = UnixListener::bind(path("socket.mp3")).expect("socket");
    let log = Memory::default();
    let scanned = scan_with(&[folder.path()], Empty::Refused, &log).expect("scan");
    let skipped = Skipped {
        not_audio: 1,
        unsupported: 1,
        unreadable: 1,
        broken_links: 2,
        linked_folders: 2,
        special: 3,
        apple_double: 1,
        excluded: 0,
    };
    assert_eq!(scanned.report.skipped, skipped);
    assert_eq!((scanned.report.read, scanned.collection.songs.len()), (5, 2));
    assert_eq!(
        skipped.to_string(),
        "11 (1 no audio, 1 unsupported format, 1 unreadable, 2 broken link, 2 link to a folder, \
         3 pipe, socket or device, 1 Apple double)"
    );
    assert!(log.warnings(&path("broken.txt")).len() == 1 && log.warnings(&path("loop.mp3")).len() == 1);
    assert!(
        !log.lines().iter().any(|line| line.contains("._good") && !line.starts_with("DEBG")),
        "{:?}",
        log.lines()
    );
}

/// A pipe that takes the place of a file between listing and reading.
#[test]
fn a_pipe_is_not_waited_for() {
    let folder = tempfile::tempdir().expect("folder");
    let pipe = folder.path().join("pipe.mp3");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRUSR).expect("pipe");
    assert!(matches!(read::look(&pipe).result, Err(Unread::Special)));
}

#[test]
fn folders_that_cannot_be_scanned_are_errors() {
    let folder = good();
    let path = |name: &str| folder.path().join(name);
    assert!(matches!(scan(&[&path("missing")]), Err(ScanError::Missing { .. })));
    assert!(matches!(scan(&[folder.path(), &path("missing")]), Err(ScanError::Missing { .. })));
    assert!(matches!(scan(&[&path("good.mp3")]), Err(ScanError::NotFolder { .. })));
    assert!(matches!(scan(&[&path("good.mp3/x")]), Err(ScanError::Unreadable { .. })));
    assert!(matches!(scan(&[Path::new("")]), Err(ScanError::Unreadable { .. })));
}

#[test]
fn nothing_readable_is_an_error_unless_allowed() {
    let folder = tempfile::tempdir().expect("folder");
    fs::write(folder.path().join("torn.mp3"), "no music").expect("file");
    let error = scan(&[folder.path()]).expect_err("no song");
    assert!(error.to_string().contains("1 (1 unreadable)"), "{error}");
    let allowed = scan_with(&[folder.path()], Empty::Allowed, &Memory::default());
    assert_eq!(allowed.expect("scan").collection, Collection::default());
    let good = good();
    assert_eq!(scan(&[folder.path(), good.path()]).expect("scan").collection.songs.len(), 1);
}

/// Random bytes behind every magic number, and every fixture cut short or with bytes overwritten:
/// the scan ends and reports.
#[test]
fn torn_and_random_files_end_no_scan() {
    let folder = unpacked(fixture!("music.tar.gz"));
    let music = folder.path().join("music");
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = move || {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random
    };
    for name in ["ogg/lower.ogg", "flac/lower.flac", "m4a/aac.m4a", "mp3/id3v1.mp3", "mp3/apev2.mp3"] {
        let whole = fs::read(music.join(name)).expect("file");
        let target = music.join(name);
        for _ in 0..60 {
            let mut bytes = whole.clone();
            bytes.truncate((next() % whole.len() as u64) as usize);
            fs::write(&target, &bytes).expect("file");
            let _ = read::look(&target);
            let mut bytes = whole.clone();
            for _ in 0..8 {
                let at = (next() % whole.len().min(1024) as u64) as usize;
                bytes[at] = next() as u8;
            }
            fs::write(&target, &bytes).expect("file");
            let _ = read::look(&target);
        }
    }
}

/// The first impression of a new user of the program.
#[test]
fn the_sample_collection_is_read_without_a_warning() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sample-music");
    let log = Memory::default();
    let scanned = scan_with(&[&folder], Empty::Refused, &log).expect("scan");
    assert_eq!(log.lines().iter().filter(|line| line.starts_with("WARN")).count(), 0, "{:?}", log.lines());
    let summary = scanned.report.to_string();
    assert_eq!(summary, "Read 25 files: 24 songs, 6 albums, 4 artists, 6 genres; skipped 1 (1 no audio)");
    for song in scanned.collection.songs {
        assert!(song.name.is_some_and(|name| !name.is_empty()));
        assert!(song.year > Some(0) && song.track > Some(0) && song.length > Some(0));
    }
}
