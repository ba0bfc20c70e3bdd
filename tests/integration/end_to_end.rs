//! From a folder of music to an answer, with the real programs.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::unistd::Uid;
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::postgres::{Database, Postgres};
use crate::harness::server::{Server, Setup, run};

const SCAN: &str = env!("CARGO_BIN_EXE_avalon-scan");

fn sample_music() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sample-music")
}

/// One song of the sample, by a part of its path.
fn sample_song(part: &str) -> PathBuf {
    let songs =
        walkdir::WalkDir::new(sample_music()).into_iter().map(|entry| entry.expect("an entry").into_path());
    songs.into_iter().find(|path| path.is_file() && path.to_string_lossy().contains(part)).expect(part)
}

/// A folder for music and for a SQLite database.
struct Home(TempDir);

impl Home {
    fn new() -> Self {
        let home = Home(tempfile::tempdir().expect("a folder"));
        fs::create_dir(home.music()).expect("a folder");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn music(&self) -> PathBuf {
        self.path("music")
    }

    fn sqlite(&self) -> String {
        format!("sqlite:///{}", self.path("avalon.sqlite").display())
    }

    /// Puts a song of the sample at this place below the music.
    fn add(&self, name: impl AsRef<Path>, sample: &str) -> PathBuf {
        let path = self.music().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("a folder");
        fs::copy(sample_song(sample), &path).expect("a song");
        path
    }
}

#[track_caller]
fn scan(url: &str, path: &Path, code: i32) {
    let (got, _, stderr) = run(SCAN, &["-q", "-d", url, path.to_str().expect("UTF-8")], &[]);
    assert_eq!(got, code, "{stderr}");
}

fn names(server: &Server, target: &str) -> Vec<String> {
    let name = |song: &Value| song["name"].as_str().expect("a name").to_owned();
    server.get(target).success().iter().map(name).collect()
}

/// Does it over a SQLite file that is not there yet, and over an empty PostgreSQL database.
fn over_both(test: impl Fn(&Home, &str)) {
    let home = Home::new();
    test(&home, &home.sqlite());
    let database = Postgres::shared().create_database();
    test(&Home::new(), &database.url());
}

#[test]
fn the_sample_is_scanned_served_and_found() {
    over_both(|_, url| {
        scan(url, &sample_music(), 0);
        let server = Setup::new(url).start();
        let songs = server.get("/avalon/songs").success();
        let count = |list| server.get(&format!("/avalon/{list}")).success().len();
        assert_eq!((songs.len(), count("albums"), count("artists"), count("genres")), (24, 6, 4, 6));
        for song in &songs {
            for kind in ["album", "artist", "genre"] {
                let text = |field: &str| song[field].as_str().expect("text");
                let name: String = form_urlencoded::byte_serialize(text(kind).as_bytes()).collect();
                let id = text(&format!("{kind}_id"));
                let by_name = server.get(&format!("/avalon/songs?{kind}={name}")).success();
                let by_id = server.get(&format!("/avalon/songs?{kind}_id={id}")).success();
                assert!(by_name == by_id && by_name.contains(song), "{kind} of {song}");
                let listed = server.get(&format!("/avalon/{kind}s?query={name}")).success();
                assert!(listed.iter().any(|one| one["id"] == id && one["name"] == text(kind)), "{listed:?}");
            }
        }
        assert_eq!(names(&server, "/avalon/songs?query=SENORITA+nandu"), ["Adiós, señorita Ñandú"]);
        let tide =
            names(&server, "/avalon/songs?album=tide+tables&order=track&direction=desc&limit=2&offset=1");
        assert_eq!(tide, ["Flood", "Slack"]);
        let id = avalon::ids::song(&sample_song("Slack.ogg")).to_string();
        assert!(songs.iter().any(|song| song["id"] == id && song["name"] == "Slack"));
        server.assert_clean_shutdown();
    });
}

#[test]
fn names_that_are_not_utf8_are_served() {
    over_both(|home, url| {
        let folder = Path::new(OsStr::from_bytes(b"dir\xff\xfe")).to_owned();
        let song = home.add(folder.join(OsStr::from_bytes(b"caf\xe9.ogg")), "Slack.ogg");
        home.add("plain.ogg", "Flood.ogg");
        scan(url, &home.music(), 0);
        let server = Setup::new(url).start();
        assert_eq!(names(&server, "/avalon/songs?order=name"), ["Flood", "Slack"]);
        let slack = &server.get("/avalon/songs?query=slack").success()[0];
        assert_eq!(slack["id"], avalon::ids::song(&song).to_string());
        server.assert_clean_shutdown();
    });
}

#[test]
fn a_changed_file_is_served_after_a_scan_and_a_hangup() {
    over_both(|home, url| {
        let first = home.add("a.ogg", "Slack.ogg");
        home.add("b.ogg", "Flood.ogg");
        scan(url, &home.music(), 0);
        let server = Setup::new(url).start();
        let before = server.get("/avalon/songs?order=name");
        home.add("a.ogg", "Low Water.ogg");
        home.add("c/d.flac", "Afterglow.flac");
        scan(url, &home.music(), 0);
        // Nothing changes before the server is told.
        assert_eq!(server.get("/avalon/songs?order=name").body, before.body);
        server.reload();
        let after = server.get("/avalon/songs?order=name");
        assert_ne!(after.header("etag"), before.header("etag"));
        assert_eq!(names(&server, "/avalon/songs?order=name"), ["Afterglow", "Flood", "Low Water"]);
        // The id is that of the path.
        let id = avalon::ids::song(&first).to_string();
        assert!(after.success().iter().any(|song| song["id"] == id && song["name"] == "Low Water"));
        server.assert_clean_shutdown();
    });
}

/// Returns the tables according to the database.
fn schema(home: &Home, database: Option<&Database<'_>>) -> Vec<String> {
    if let Some(database) = database {
        let columns = "SELECT table_name || ' ' || column_name || ' ' || data_type || ' ' || is_nullable \
                       FROM information_schema.columns WHERE table_schema = 'public' \
                       UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
                       UNION ALL SELECT conname || pg_get_constraintdef(oid) FROM pg_constraint \
                       WHERE connamespace = 'public'::regnamespace ORDER BY 1";
        return database.client().query(columns, &[]).expect("rows").iter().map(|row| row.get(0)).collect();
    }
    let connection = Connection::open(home.path("avalon.sqlite")).expect("a database");
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_master WHERE sql NOTNULL ORDER BY 1").expect("SQL");
    statement.query_map([], |row| row.get(0)).expect("rows").map(|row| row.expect("text")).collect()
}

#[test]
fn server_and_scan_may_come_in_any_order() {
    let databases = [0; 2].map(|_| Postgres::shared().create_database());
    for postgres in [false, true] {
        let schemas = [true, false].map(|server_first| {
            let home = Home::new();
            home.add("a.ogg", "Slack.ogg");
            let database = postgres.then(|| &databases[usize::from(server_first)]);
            let url = database.map_or_else(|| home.sqlite(), Database::url);
            if server_first {
                let server = Setup::new(&url).start();
                for list in ["albums", "artists", "genres", "songs"] {
                    assert_eq!(server.get(&format!("/avalon/{list}")).success().len(), 0);
                }
                scan(&url, &home.music(), 0);
                assert_eq!(server.get("/avalon/songs").success().len(), 0);
                server.reload();
                assert_eq!(names(&server, "/avalon/songs"), ["Slack"]);
                server.assert_clean_shutdown();
            } else {
                scan(&url, &home.music(), 0);
                let server = Setup::new(&url).start();
                assert_eq!(names(&server, "/avalon/songs"), ["Slack"]);
                server.assert_clean_shutdown();
            }
            schema(&home, database)
        });
        assert!(schemas[0].len() >= 7, "{schemas:?}");
        assert_eq!(schemas[0], schemas[1]);
    }
}

#[test]
fn a_file_that_may_only_be_read_is_served() {
    let home = Home::new();
    home.add("a.ogg", "Slack.ogg");
    scan(&home.sqlite(), &home.music(), 0);
    let file = home.path("avalon.sqlite");
    let bytes = fs::read(&file).expect("a database");
    let set_mode =
        |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("a mode");
    set_mode(&file, 0o444);
    set_mode(home.0.path(), 0o555);
    let mut setup = Setup::new(&home.sqlite());
    if Uid::effective().is_root() {
        // For root every file may be written.
        setup = setup.flag("--user=65534").flag("--group=65534");
    }
    let server = setup.start();
    assert_eq!(names(&server, "/avalon/songs"), ["Slack"]);
    server.reload();
    assert_eq!(names(&server, "/avalon/songs"), ["Slack"]);
    assert_eq!(server.count_log("[WARNING]"), 0);
    server.assert_clean_shutdown();
    set_mode(home.0.path(), 0o755);
    assert!(fs::read(&file).expect("a database") == bytes);
    let left: Vec<_> =
        fs::read_dir(home.0.path()).expect("a folder").map(|entry| entry.expect("one").file_name()).collect();
    assert_eq!(left.len(), 2, "{left:?}");
}

#[test]
fn a_scan_of_nothing_leaves_the_served_collection() {
    over_both(|home, url| {
        home.add("a.ogg", "Slack.ogg");
        scan(url, &home.music(), 0);
        let server = Setup::new(url).start();
        fs::create_dir(home.path("empty")).expect("a folder");
        for nothing in ["missing", "empty", "music/a.ogg"] {
            scan(url, &home.path(nothing), 3);
            server.reload();
            assert_eq!(names(&server, "/avalon/songs"), ["Slack"], "{nothing}");
        }
        let (code, _, stderr) =
            run(SCAN, &["-q", "--allow-empty", "-d", url, home.path("empty").to_str().expect("UTF-8")], &[]);
        assert_eq!(code, 0, "{stderr}");
        server.reload();
        assert_eq!(server.get("/avalon/songs").success().len(), 0);
        server.assert_clean_shutdown();
    });
}

/// A scan that is still at it.
fn begin_scan(url: &str, path: &Path) -> Child {
    let mut command = Command::new(SCAN);
    command.env_clear().args(["-q", "-d", url]).arg(path).stdin(Stdio::null());
    command.spawn().expect("avalon-scan starts")
}

fn kill_hard(mut scan: Child) {
    assert_eq!(scan.try_wait().expect("a child"), None, "the scan has ended already");
    scan.kill().expect("the scan is there");
    scan.wait().expect("a child");
}

/// The old rows before and after a server and a scan have come again.
fn assert_old_then_new(home: &Home, url: &str, make_quick: impl Fn()) {
    let server = Setup::new(url).start();
    assert_eq!(names(&server, "/avalon/songs"), ["Slack"]);
    make_quick();
    scan(url, &home.music(), 0);
    server.reload();
    assert_eq!(names(&server, "/avalon/songs?order=name"), ["Flood", "Slack"]);
    server.assert_clean_shutdown();
}

#[test]
fn a_scan_killed_while_it_writes_leaves_the_old_rows_in_sqlite() {
    let home = Home::new();
    home.add("a.ogg", "Slack.ogg");
    scan(&home.sqlite(), &home.music(), 0);
    home.add("b.ogg", "Flood.ogg");
    let execute = |sql: &str| {
        Connection::open(home.path("avalon.sqlite")).and_then(|it| it.execute_batch(sql)).expect("SQL");
    };
    // Each new song takes for ever.
    execute(
        "CREATE TRIGGER slow AFTER INSERT ON tracks BEGIN \
         INSERT INTO albums WITH RECURSIVE count(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM count) \
         SELECT n, n FROM count WHERE n < 0; END",
    );
    let slow = begin_scan(&home.sqlite(), &home.music());
    eventually("a transaction under way", || home.path("avalon.sqlite-journal").exists().then_some(()));
    kill_hard(slow);
    assert_old_then_new(&home, &home.sqlite(), || execute("DROP TRIGGER slow"));
}

#[test]
fn a_scan_killed_while_it_writes_leaves_the_old_rows_in_postgresql() {
    let home = Home::new();
    let database = Postgres::shared().create_database();
    let url = database.url();
    home.add("a.ogg", "Slack.ogg");
    scan(&url, &home.music(), 0);
    home.add("b.ogg", "Flood.ogg");
    database.execute(
        "CREATE FUNCTION slow() RETURNS trigger LANGUAGE plpgsql AS \
         'BEGIN PERFORM pg_sleep(3600); RETURN NEW; END'; \
         CREATE TRIGGER slow BEFORE INSERT ON tracks FOR EACH ROW EXECUTE FUNCTION slow()",
    );
    let sleeping = || {
        let select =
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event = 'PgSleep'";
        database.client().query_opt(select, &[]).expect("a row").map(|row| row.get::<_, i32>(0))
    };
    let slow = begin_scan(&url, &home.music());
    let backend = eventually("a transaction under way", sleeping);
    kill_hard(slow);
    assert_old_then_new(&home, &url, || {
        // PostgreSQL sees only after the sleep that its client is gone.
        database.execute(&format!("SELECT pg_terminate_backend({backend})"));
        eventually("the end of the transaction", || sleeping().is_none().then_some(()));
        database.execute("DROP TRIGGER slow ON tracks");
    });
}
