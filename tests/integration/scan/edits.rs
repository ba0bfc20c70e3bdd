//! Any edits of the files and of the database between scans: after a scan of the differences the
//! rows are those of a full scan into a new database, on both kinds. A scan of some paths has this
//! effect on their rows, and leaves all others as they were.
//!
//! `AVALON_LONG=1` makes 2,000 sequences of 100, and `EDITS_SEED=n` repeats one.

mod tree;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use avalon::config::DatabaseUrl;
use avalon::database;
use avalon::ids;
use avalon::rows::scratch::Folder;
use avalon::scan::{self, Empty, Expected, Interrupt, Job, Progress, Report, ScanError};
use slog::{Discard, Logger, o};
use uuid::Uuid;

use super::safety::Store;
use super::{Home, Scan};
use crate::harness::DEADLINE;
use crate::harness::chance::{Chance, from_environment};
use crate::harness::shim;
use tree::{IGNORE_FILE, Tree};

const SEQUENCES: u64 = 100;
const LONG_SEQUENCES: u64 = 2000;
const THREADS: u64 = 4;
/// Scans of a sequence, each after some edits.
const SCANS: u64 = 5;

/// Edits by another program in the tables of avalonms: the state still holds the right rows.
const ROW_EDITS: [&str; 7] = [
    "DELETE FROM tracks WHERE name LIKE '%1'",
    "DELETE FROM tracks",
    "DELETE FROM tracks; DELETE FROM albums; DELETE FROM artists; DELETE FROM genres",
    "UPDATE tracks SET name = 'Another', year = 1 WHERE name LIKE '%2'",
    "UPDATE tracks SET length = 77, track = 78 WHERE name LIKE '%3'",
    "UPDATE artists SET name = upper(name)",
    "INSERT INTO genres (id, name) VALUES ('0123456789abcdef0123456789abcdef', 'Of nothing')",
];
/// Edits by another program in the state.
const STATE_EDITS: [&str; 5] = [
    "DELETE FROM avalon_files WHERE title LIKE '%4'",
    "UPDATE avalon_files SET ctime_ns = ctime_ns + 1 WHERE title LIKE '%5'",
    "UPDATE avalon_files SET reader = 0",
    "DELETE FROM avalon_folders WHERE id = (SELECT max(id) FROM avalon_folders)",
    "DELETE FROM avalon_files; DELETE FROM avalon_folders",
];
/// A song of a file that was never there, with an album, an artist and a genre of some song.
const STRANGER: &str = "INSERT INTO tracks (id, name, length, track, year, album_id, artist_id, genre_id) \
    SELECT '%ID%', 'Stranger', 1, 1, 1, album_id, artist_id, genre_id FROM tracks LIMIT 1";

/// Title, length, track, year, and the ids of album, artist and genre.
type Row = (Option<String>, Option<i64>, Option<i64>, Option<i64>, [Uuid; 3]);

/// The contents of the four tables, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Rows {
    songs: BTreeMap<Uuid, Row>,
    names: [BTreeMap<Uuid, String>; 3],
}

impl Rows {
    fn of(url: &DatabaseUrl) -> Rows {
        let loaded = database::load(url, &Folder::default()).expect("rows").rows.collection();
        let lists = [&loaded.albums, &loaded.artists, &loaded.genres];
        let id = |kind: usize, index: u32| lists[kind][index as usize].id;
        let songs = loaded.songs.iter().map(|song| {
            let names = [id(0, song.album), id(1, song.artist), id(2, song.genre)];
            (song.id, (song.name.clone(), song.length, song.track, song.year, names))
        });
        Rows {
            songs: songs.collect(),
            names: lists.map(|list| list.iter().map(|named| (named.id, named.name.clone())).collect()),
        }
    }
}

/// Which files a scan looks at.
#[derive(Debug, Clone)]
enum Kind {
    Plain,
    Full,
    Only(Vec<PathBuf>),
    /// A call on a file or folder fails.
    Failing(&'static str, PathBuf),
}

struct Database<'a> {
    store: &'a Store,
    url: DatabaseUrl,
    /// The rows after the last scan, if they follow from the state.
    before: Option<Rows>,
}

/// One sequence of edits and scans.
struct Sequence<'a> {
    home: &'a Home,
    tree: Tree,
    databases: [Database<'a>; 2],
    exclude: Vec<String>,
    /// Path of each song id that there ever was.
    paths: HashMap<Uuid, PathBuf>,
    /// The edits, for the message of a failure.
    trail: Vec<String>,
}

impl<'a> Sequence<'a> {
    fn new(seed: u64, home: &'a Home, stores: [&'a Store; 2]) -> Sequence<'a> {
        let mut chance = Chance::new(seed);
        let (music, more) = (home.music(), home.path("more"));
        let roots = match chance.below(3) {
            0 => vec![music],
            1 => vec![music, more],
            _ => vec![music.join("a"), music],
        };
        let databases = stores.map(|store| {
            let url = DatabaseUrl::parse(&store.url()).expect("a URL");
            Database { store, url, before: None }
        });
        Sequence {
            home,
            tree: Tree::new(roots, home.path("aside"), chance),
            databases,
            exclude: Vec::new(),
            paths: HashMap::new(),
            trail: vec![format!("EDITS_SEED={seed}")],
        }
    }

    fn play(&mut self) {
        self.scan(&Kind::Plain);
        for _ in 0..SCANS {
            if !self.tree.chance.one_in(4) {
                self.settle();
            }
            for _ in 0..=self.tree.chance.below(5) {
                let said = self.tree.edit();
                self.trail.extend(said);
            }
            self.tree.remove_links_to_nothing();
            if self.tree.chance.one_in(4) {
                self.edit_rows();
            }
            if self.tree.chance.one_in(6) {
                self.exclude = if self.exclude.is_empty() { vec!["b/".into(), "5.*".into()] } else { vec![] };
            }
            let kind = self.kind();
            self.scan(&kind);
        }
        self.scan(&Kind::Plain);
        self.assert_nothing_is_written();
    }

    fn kind(&mut self) -> Kind {
        match self.tree.chance.below(10) {
            0 => Kind::Full,
            1..4 => Kind::Only((0..=self.tree.chance.below(3)).map(|_| self.tree.place()).collect()),
            4 => match self.tree.chance.pick(&self.tree.folders()) {
                Some(folder) => Kind::Failing("opendir", folder.clone()),
                None => Kind::Plain,
            },
            5 => match self.tree.chance.pick(&self.tree.files()) {
                // Without its patterns a whole folder is out of reach.
                Some(file) if !file.ends_with(IGNORE_FILE) => Kind::Failing("open", file.clone()),
                _ => Kind::Plain,
            },
            _ => Kind::Plain,
        }
    }

    /// Has the databases believe that the last scan came long after the last change, and waits
    /// until another change is sure to give another time.
    fn settle(&mut self) {
        self.trail.push("time passes".to_owned());
        for database in &self.databases {
            database.store.execute("UPDATE avalon_files SET settled = TRUE");
        }
        let clock = self.home.path("clock");
        let time = || {
            fs::write(&clock, "").expect("file");
            let file = fs::metadata(&clock).expect("file");
            (file.ctime(), file.ctime_nsec())
        };
        let (begin, now) = (Instant::now(), time());
        while time() == now {
            assert!(begin.elapsed() < DEADLINE, "the time of files stands still");
        }
    }

    /// Another program writes to the databases.
    fn edit_rows(&mut self) {
        let statement = match self.tree.chance.below(9) {
            0..5 => (*self.tree.chance.pick(&ROW_EDITS).expect("a statement")).to_owned(),
            5 | 6 => (*self.tree.chance.pick(&STATE_EDITS).expect("a statement")).to_owned(),
            7 => STRANGER.replace("%ID%", &format!("{:032x}", self.tree.chance.below(u64::MAX))),
            _ => "forget".to_owned(),
        };
        for database in &mut self.databases {
            match statement.as_str() {
                "forget" => database.store.forget_state(),
                statement => database.store.execute(statement),
            }
            if statement == "forget" || statement.contains("avalon_") {
                database.before = None;
            }
        }
        self.trail.push(statement);
    }

    fn job(&self, url: &DatabaseUrl, kind: &Kind) -> Job {
        Job {
            jobs: None,
            verbose: false,
            keep_state: false,
            database: url.clone(),
            folders: self.tree.roots.clone(),
            collection: Vec::new(),
            empty: Empty::Refused,
            expected: Expected::default(),
            exclude: self.exclude.clone(),
            only: match kind {
                Kind::Only(places) => Some(places.clone()),
                _ => None,
            },
            dry_run: false,
            full: matches!(kind, Kind::Full),
            file_timeout: Duration::from_secs(120),
        }
    }

    /// The rows of a full scan into a new database.
    fn fresh(&self) -> Rows {
        let folder = tempfile::tempdir().expect("folder");
        let url = DatabaseUrl::sqlite(folder.path().join("fresh.sqlite"));
        run(&self.job(&url, &Kind::Full)).unwrap_or_else(|error| panic!("{error}\n{}", self.story()));
        Rows::of(&url)
    }

    fn scan(&mut self, kind: &Kind) {
        self.trail.push(format!("scan {kind:?} without {:?}", self.exclude));
        for path in self.tree.files() {
            self.paths.insert(ids::song(&path), path);
        }
        let fresh = self.fresh();
        for index in 0..self.databases.len() {
            let job = self.job(&self.databases[index].url, kind);
            let mut is_complete = false;
            match kind {
                Kind::Failing(call, place) => is_complete = self.scan_failing(index, call, place, &fresh),
                Kind::Only(places) => {
                    self.run_parts(&job, index);
                    let below = |path: &Path| places.iter().any(|place| path.starts_with(place));
                    self.assert_parts(index, &fresh, |path| !below(path), below);
                }
                Kind::Plain | Kind::Full => {
                    self.run(&job, index);
                    is_complete = true;
                }
            }
            let rows = Rows::of(&self.databases[index].url);
            if is_complete {
                assert!(rows == fresh, "{}\nexpected {fresh:#?}\nfound {rows:#?}", self.story());
            }
            let database = &mut self.databases[index];
            if is_complete || database.before.is_some() {
                database.before = Some(rows);
            }
        }
    }

    /// A scan that is refused changes nothing, and is forced then.
    fn run(&self, job: &Job, index: usize) -> Report {
        let before = Rows::of(&self.databases[index].url);
        match run(job) {
            Ok(report) => report,
            Err(ScanError::TooMuchLost { .. }) => {
                assert_eq!(Rows::of(&self.databases[index].url), before, "{}", self.story());
                let forced = Job { expected: Expected { all: true, below: Vec::new() }, ..job.clone() };
                run(&forced).unwrap_or_else(|error| panic!("{error}\n{}", self.story()))
            }
            Err(error) => panic!("{error}\n{}", self.story()),
        }
    }

    /// Does the same for some paths. If another program has deleted the state of a root, that root
    /// is unknown, and nothing changes until it is scanned as a whole.
    fn run_parts(&self, job: &Job, index: usize) {
        let database = &self.databases[index];
        let before = Rows::of(&database.url);
        match run(job) {
            Err(ScanError::OutsideRoots { .. }) if database.before.is_none() => {
                assert_eq!(Rows::of(&database.url), before, "{}", self.story());
            }
            _ => drop(self.run(job, index)),
        }
    }

    /// Tells whether everything was seen all the same.
    fn scan_failing(&self, index: usize, call: &str, place: &Path, fresh: &Rows) -> bool {
        let database = &self.databases[index];
        let before = Rows::of(&database.url);
        let mut command: Command = self.home.command();
        command.arg("-d").arg(database.store.url()).args(&self.tree.roots);
        command.args(self.exclude.iter().flat_map(|pattern| ["--exclude", pattern.as_str()]));
        command.env("LD_PRELOAD", shim::errors()).env("SHIM_CALL", call).env("SHIM_PATH", place);
        let scan = Scan::of(&mut command);
        match scan.output.status.code() {
            Some(0) => return true,
            Some(4) => assert_eq!(Rows::of(&database.url), before, "{}", self.story()),
            Some(5) => {
                // Nothing lies below a file, though songs may have, where it was a folder before.
                let is_out_of_reach = |path: &Path| match call {
                    "open" => path == place,
                    _ => path.starts_with(place),
                };
                self.assert_parts(index, fresh, is_out_of_reach, |path| !is_out_of_reach(path));
            }
            code => panic!("{code:?}: {}\n{}", scan.stderr(), self.story()),
        }
        false
    }

    /// The songs of some paths are those of a full scan, those of others as they were.
    fn assert_parts(
        &self,
        index: usize,
        fresh: &Rows,
        stay: impl Fn(&Path) -> bool,
        are_fresh: impl Fn(&Path) -> bool,
    ) {
        let database = &self.databases[index];
        let Some(before) = &database.before else { return };
        let found = Rows::of(&database.url);
        for (id, path) in &self.paths {
            if stay(path) {
                let what = path.display();
                assert_eq!(found.songs.get(id), before.songs.get(id), "{what} stays\n{}", self.story());
            }
            if are_fresh(path) {
                let what = path.display();
                assert_eq!(found.songs.get(id), fresh.songs.get(id), "{what} is new\n{}", self.story());
            }
        }
    }

    /// Neither a scan of everything nor one of some paths writes when nothing has changed.
    fn assert_nothing_is_written(&mut self) {
        self.settle();
        for kind in [Kind::Only(vec![self.tree.place(), self.tree.place()]), Kind::Plain] {
            for database in &self.databases {
                let report = run(&self.job(&database.url, &kind)).expect("a scan");
                assert!(!report.is_written && report.read == 0, "{kind:?}: {report}\n{}", self.story());
            }
        }
    }

    fn story(&self) -> String {
        self.trail.join("\n")
    }
}

fn run(job: &Job) -> Result<Report, ScanError> {
    scan::run(job, &Progress::silent(), &Interrupt::default(), &Logger::root(Discard, o!()))
}

/// Plays the sequences of one thread after each other, and gives those that have failed.
fn play(seeds: impl Iterator<Item = u64>) -> Vec<u64> {
    let [_, server] = Store::both(&Home::new());
    let fails = |seed: &u64| {
        let home = Home::new();
        let file = Store::Sqlite(home.path("avalon.sqlite"));
        server.execute("DROP SCHEMA public CASCADE; CREATE SCHEMA public");
        let mut sequence = Sequence::new(*seed, &home, [&file, &server]);
        catch_unwind(AssertUnwindSafe(|| sequence.play())).is_err()
    };
    seeds.filter(fails).collect()
}

#[test]
fn rows_after_any_edits_are_those_of_a_full_scan() {
    let is_long = from_environment("AVALON_LONG").is_some_and(|flag| flag != 0);
    let sequences = if is_long { LONG_SEQUENCES } else { SEQUENCES };
    if let Some(seed) = from_environment("EDITS_SEED") {
        return assert_eq!(play(seed..seed + 1), [0; 0]);
    }
    // Much of the time is waiting for disks.
    let failed: Vec<u64> = thread::scope(|scope| {
        let players =
            (0..THREADS).map(|first| scope.spawn(move || play((first..sequences).step_by(THREADS as usize))));
        let players: Vec<_> = players.collect();
        players.into_iter().flat_map(|player| player.join().expect("a player")).collect()
    });
    assert!(failed.is_empty(), "EDITS_SEED of those that failed: {failed:?}");
}
