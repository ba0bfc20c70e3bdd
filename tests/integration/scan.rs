//! `avalon-scan` as its users meet it: exit codes, messages, and the contents of the database
//! afterwards.

mod change_log;
mod edits;
mod keep;
mod made;
mod memory;
mod orphans;
mod output;
mod parts;
mod predecessor;
mod reads;
mod reload;
mod report;
mod safety;
mod traced;
mod unchanged;
mod watch;
mod watch_postgresql;

use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use avalon::ids;
use flate2::read::GzDecoder;
use nix::unistd::Uid;
use rusqlite::Connection;
use tempfile::TempDir;

use crate::harness::postgres::Postgres;

/// Any user but root; Debian's `nobody`.
const NOBODY: u32 = 65534;

/// A folder with a database, a folder of music and a copy of one good song.
struct Home {
    folder: TempDir,
}

impl Home {
    fn new() -> Home {
        let folder = tempfile::tempdir().expect("folder");
        let home = Home { folder };
        fs::create_dir(home.music()).expect("folder");
        home
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn music(&self) -> PathBuf {
        self.path("music")
    }

    fn url(&self) -> String {
        format!("sqlite:///{}", self.path("avalon.sqlite").display())
    }

    /// Puts the good song at this place below the music.
    fn add(&self, name: impl AsRef<Path>) -> PathBuf {
        let path = self.music().join(name);
        fs::create_dir_all(path.parent().expect("a parent")).expect("folder");
        fs::write(&path, good_song()).expect("file");
        path
    }

    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_avalon-scan"));
        command.env_clear().env("TMPDIR", self.folder.path()).current_dir(self.folder.path());
        command
    }

    /// Scans with these arguments into the database of this home.
    fn scan<I: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = I>) -> Scan {
        Scan::of(self.command().arg("-d").arg(self.url()).args(arguments))
    }

    /// Titles, ids and all, as the database holds them.
    fn songs(&self) -> Vec<(String, String)> {
        self.rows("SELECT id, name FROM tracks ORDER BY id")
    }

    fn rows(&self, query: &str) -> Vec<(String, String)> {
        let database = Connection::open(self.path("avalon.sqlite")).expect("database");
        let mut statement = database.prepare(query).expect("statement");
        let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).expect("rows");
        rows.collect::<Result<_, _>>().expect("rows")
    }

    fn ids(&self) -> Vec<String> {
        self.songs().into_iter().map(|(id, _)| id).collect()
    }
}

/// A scan that has ended.
struct Scan {
    output: Output,
}

impl Scan {
    fn of(command: &mut Command) -> Scan {
        Scan { output: command.output().expect("avalon-scan starts") }
    }

    fn stderr(&self) -> String {
        String::from_utf8_lossy(&self.output.stderr).into_owned()
    }

    #[track_caller]
    fn assert_exited(&self, code: i32) -> &Scan {
        assert_eq!(self.output.status.code(), Some(code), "{}", self.stderr());
        self
    }

    #[track_caller]
    fn assert_says(&self, part: &str) -> &Scan {
        assert!(self.stderr().contains(part), "{part:?} is not in: {}", self.stderr());
        self
    }

    #[track_caller]
    fn assert_silent(&self) -> &Scan {
        assert_eq!((self.stderr().as_str(), self.output.stdout.len()), ("", 0));
        self
    }
}

fn unpack(archive: &[u8], target: &Path) {
    tar::Archive::new(GzDecoder::new(archive)).unpack(target).expect("tar");
}

pub(crate) fn good_song() -> Vec<u8> {
    use std::io::Read;
    let archive = GzDecoder::new(&include_bytes!("../fixtures/scan/music.tar.gz")[..]);
    let mut archive = tar::Archive::new(archive);
    let entries = archive.entries().expect("tar").map(|entry| entry.expect("tar"));
    let mut entry = entries
        .into_iter()
        .find(|entry| entry.path_bytes().ends_with(b"mp3/id3v24-utf8.mp3"))
        .expect("the good song");
    let mut bytes = Vec::new();
    entry.read_to_end(&mut bytes).expect("tar");
    bytes
}

fn id(path: &Path) -> String {
    ids::song(path).simple().to_string()
}

#[test]
fn a_scan_stores_the_collection_and_sums_up() {
    let home = Home::new();
    unpack(include_bytes!("../fixtures/scan/music.tar.gz"), home.folder.path());
    let scan = home.scan([home.music()]);
    scan.assert_exited(0).assert_says("Read 192 files: ").assert_says(" songs, ").assert_says(" seconds");
    assert_eq!(home.songs().len(), 165);
    let song = id(&home.music().join("ogg/unicode.ogg"));
    let stored = home.rows(&format!(
        "SELECT tracks.name, artists.name || '/' || albums.name || '/' || genres.name || '/' || track \
         || '/' || year || '/' || length FROM tracks JOIN artists ON artists.id = artist_id \
         JOIN albums ON albums.id = album_id JOIN genres ON genres.id = genre_id WHERE tracks.id = '{song}'"
    ));
    let expected = ("\u{1f3b8} ΣΊΣΥΦΟΣ".to_owned(), "فيروز/Straße/ロック/1/2004/1".to_owned());
    assert_eq!(stored, [expected]);
}

#[test]
fn a_second_scan_replaces_the_first() {
    let home = Home::new();
    let first = home.add("first.mp3");
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.ids(), [id(&first)]);
    let second = home.add("second.mp3");
    fs::remove_file(&first).expect("remove");
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.ids(), [id(&second)]);
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.ids(), [id(&second)]);
}

/// The original never managed the second one: albums went before the songs that refer to them.
#[test]
fn a_second_scan_into_postgresql_works_and_a_failed_one_changes_nothing() {
    let home = Home::new();
    unpack(include_bytes!("../fixtures/scan/music.tar.gz"), home.folder.path());
    let database = Postgres::shared().create_database();
    let scan = |path: &Path| Scan::of(home.command().arg("-d").arg(database.url()).arg(path));
    let songs = || -> Vec<String> {
        let rows = database.client().query("SELECT CAST(id AS text) FROM tracks ORDER BY id", &[]);
        rows.expect("rows").iter().map(|row| row.get(0)).collect()
    };
    scan(&home.music()).assert_exited(0);
    let first = songs();
    assert_eq!(first.len(), 165);
    scan(&home.music()).assert_exited(0);
    assert_eq!(songs(), first);
    scan(&home.path("missing")).assert_exited(3);
    assert_eq!(songs(), first);
    scan(&home.music().join("track")).assert_exited(0);
    assert_eq!(songs().len(), 19);
}

#[test]
fn relative_and_untidy_paths_give_the_ids_of_the_absolute_path() {
    let home = Home::new();
    let song = home.add("inner/song.mp3");
    for path in ["music", "./music/", "music/inner/..", "music//inner/../../music/inner"] {
        home.scan([path]).assert_exited(0);
        assert_eq!(home.ids(), [id(&song)], "{path}");
    }
}

#[test]
fn names_that_are_not_utf8_are_indexed() {
    let home = Home::new();
    let song = home.add(Path::new(OsStr::from_bytes(b"dir\xff")).join(OsStr::from_bytes(b"caf\xe9.mp3")));
    home.scan([home.music()]).assert_exited(0);
    assert_eq!(home.ids(), [id(&song)]);
    let scan = home.scan([home.music().join(OsStr::from_bytes(b"dir\xff"))]);
    scan.assert_exited(0);
    assert_eq!(home.ids(), [id(&song)]);
}

#[test]
fn links_to_files_are_songs_and_loops_are_named() {
    let home = Home::new();
    let song = home.add("song.mp3");
    let link = home.music().join("link.mp3");
    symlink(&song, &link).expect("link");
    symlink(home.music(), home.music().join("again")).expect("link");
    let broken = home.music().join("loop.mp3");
    symlink(&broken, &broken).expect("link");
    let scan = home.scan([home.music()]);
    scan.assert_exited(0).assert_says(&broken.display().to_string()).assert_says("1 broken link");
    let mut expected = vec![id(&song), id(&link)];
    expected.sort();
    assert_eq!(home.ids(), expected);
    home.scan([home.music().join("again")]).assert_exited(0);
    assert_eq!(home.songs().len(), 2);
}

/// For every fault of a path, the songs of the scan before stay.
#[test]
fn paths_that_cannot_be_scanned_change_nothing() {
    let home = Home::new();
    let song = home.add("song.mp3");
    home.scan([home.music()]).assert_exited(0);
    fs::create_dir(home.path("empty")).expect("folder");
    fs::create_dir(home.path("texts")).expect("folder");
    fs::write(home.path("texts/notes.txt"), "no music").expect("file");
    for (arguments, message) in [
        (vec![home.path("missing")], "does not exist"),
        (vec![home.music(), home.path("missing")], "does not exist"),
        (vec![song.clone()], "is not a folder"),
        (vec![home.path("empty")], "--allow-empty"),
        (vec![home.path("texts")], "1 no audio"),
        (vec!["--allow-empty".into(), home.path("missing")], "does not exist"),
    ] {
        home.scan(&arguments).assert_exited(3).assert_says(message);
        assert_eq!(home.ids(), [id(&song)], "{arguments:?}");
    }
    home.scan(["--allow-empty".into(), home.path("empty")]).assert_exited(0);
    assert_eq!(home.songs(), []);
}

/// Folders of the configuration are scanned when the command line names none, and only then.
#[test]
fn the_configuration_names_the_folders() {
    let home = Home::new();
    let song = home.add("song.mp3");
    fs::create_dir(home.path("other")).expect("folder");
    fs::copy(&song, home.path("other/more.mp3")).expect("a copy");
    let folders = format!("COLLECTION = [{:?}, {:?}]\n", home.music(), home.path("other"));
    fs::write(home.path("avalon.toml"), folders).expect("file");
    let config = home.path("avalon.toml").display().to_string();
    Scan::of(home.command().args(["-c", &config])).assert_exited(0);
    assert_eq!(home.songs().len(), 2);
    Scan::of(home.command().args(["-c", &config]).arg(home.music())).assert_exited(0);
    assert_eq!(home.ids(), [id(&song)]);
    Scan::of(home.command().env("AVALON_COLLECTION", "/no/such/folder"))
        .assert_exited(3)
        .assert_says("/no/such/folder");
    assert_eq!(home.ids(), [id(&song)]);
}

#[test]
fn a_wrong_command_line_or_configuration_ends_with_2() {
    let home = Home::new();
    home.add("song.mp3");
    let music = home.music().display().to_string();
    fs::write(home.path("bad.toml"), "DATABASE_UR = \"sqlite:////tmp/x\"\n").expect("file");
    let bad = home.path("bad.toml").display().to_string();
    for (arguments, message) in [
        (vec![], "PATH"),
        (vec![""], "PATH"),
        (vec!["--no-such-flag", &music], "--no-such-flag"),
        (vec!["-d", "mysql://host/db", &music], "mysql"),
        (vec!["-c", &bad, &music], "DATABASE_URL"),
        (vec!["-c", "/no/such/file", &music], "/no/such/file"),
    ] {
        let scan = Scan::of(home.command().args(&arguments));
        scan.assert_exited(2).assert_says(message);
    }
    assert!(!home.path("avalon.sqlite").exists());
}

#[test]
fn a_database_that_fails_ends_with_1() {
    let home = Home::new();
    home.add("song.mp3");
    let url = format!("sqlite:///{}", home.path("no/such/folder.sqlite").display());
    let scan = Scan::of(home.command().arg("-d").arg(url).arg(home.music()));
    scan.assert_exited(1).assert_says("folder.sqlite");
    fs::write(home.path("avalon.sqlite"), "this is no database, but it is long enough to be one")
        .expect("file");
    home.scan([home.music()]).assert_exited(1).assert_says("avalon.sqlite");
}

#[test]
fn the_database_is_found_in_flags_environment_and_configuration() {
    let home = Home::new();
    home.add("song.mp3");
    let url = |name: &str| format!("sqlite:///{}", home.path(name).display());
    fs::write(home.path("avalon.toml"), format!("DATABASE_URL = \"{}\"\n", url("file.sqlite")))
        .expect("file");
    let scan = |command: &mut Command, database: &str| {
        Scan::of(command.arg(home.music())).assert_exited(0);
        assert!(home.path(database).exists(), "{database}");
    };
    scan(home.command().args(["--database", &url("long.sqlite")]), "long.sqlite");
    scan(home.command().arg(format!("--database-url={}", url("alias.sqlite"))), "alias.sqlite");
    scan(home.command().env("AVALON_DATABASE_URL", url("variable.sqlite")), "variable.sqlite");
    scan(home.command().env("AVALON_CONFIG", home.path("avalon.toml")), "file.sqlite");
    fs::remove_file(home.path("file.sqlite")).expect("remove");
    scan(home.command().arg("--config").arg(home.path("avalon.toml")), "file.sqlite");
    // The default lies in the temporary folder, as the original has it.
    scan(&mut home.command(), "avalon.sqlite");
}

#[test]
fn quiet_shows_errors_only() {
    let home = Home::new();
    home.add("song.mp3");
    fs::write(home.music().join("torn.mp3"), "no music").expect("file");
    let torn = home.music().join("torn.mp3").display().to_string();
    home.scan([home.music()]).assert_exited(0).assert_says(&torn).assert_says("1 unreadable");
    home.scan([OsStr::new("-q"), home.music().as_os_str()]).assert_exited(0).assert_silent();
    home.scan([OsStr::new("-q"), OsStr::new("/no/such/folder")])
        .assert_exited(3)
        .assert_says("/no/such/folder");
}

#[test]
fn errors_reach_the_terminal_when_the_log_is_a_file() {
    let home = Home::new();
    let scan = Scan::of(home.command().env("AVALON_LOG_PATH", home.path("log")).arg("/no/such/folder"));
    scan.assert_exited(3).assert_says("avalon-scan: folder /no/such/folder does not exist");
    let log = fs::read_to_string(home.path("log")).expect("log");
    assert!(log.contains("[ERROR] avalon-scan: folder /no/such/folder does not exist"), "{log}");
}

/// A name must not forge a line of the log.
#[test]
fn a_line_break_in_a_name_breaks_no_log_line() {
    let home = Home::new();
    home.add("song.mp3");
    fs::write(home.music().join("torn\n[CRITICAL] all is lost.mp3"), "no music").expect("file");
    let scan = home.scan([home.music()]);
    scan.assert_exited(0).assert_says("torn\\n[CRITICAL] all is lost.mp3");
}

/// As an ordinary user, because root may read everything.
#[test]
fn folders_closed_to_the_user_are_named_and_passed_over() {
    let home = Home::new();
    let song = home.add("good.mp3");
    let closed = home.add("closed/inside.mp3").parent().expect("a parent").to_owned();
    let secret = home.music().join("secret.txt");
    fs::write(&secret, "x").expect("file");
    let forbid = |path: &Path| fs::set_permissions(path, fs::Permissions::from_mode(0o000)).expect("mode");
    let scanner = home.path("avalon-scan");
    fs::copy(env!("CARGO_BIN_EXE_avalon-scan"), &scanner).expect("copy");
    fs::set_permissions(home.folder.path(), fs::Permissions::from_mode(0o777)).expect("mode");
    forbid(&closed);
    forbid(&secret);
    let mut command = Command::new(scanner);
    command.env_clear().current_dir("/").arg("-d").arg(home.url());
    if Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    let scan = Scan::of(command.arg(home.music()));
    scan.assert_exited(5).assert_says("2 unreadable");
    scan.assert_says(&closed.display().to_string()).assert_says(&secret.display().to_string());
    assert_eq!(home.ids(), [id(&song)]);
    // A folder that was asked for by name and cannot be listed is no small matter.
    let mut command = Command::new(home.path("avalon-scan"));
    command.env_clear().current_dir("/").arg("-d").arg(home.url());
    if Uid::effective().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    Scan::of(command.arg(home.music()).arg(&closed)).assert_exited(3).assert_says("cannot be read");
    fs::set_permissions(&closed, fs::Permissions::from_mode(0o755)).expect("mode");
}

#[test]
fn the_help_tells_the_exit_codes() {
    let scan = Scan::of(Home::new().command().arg("--help"));
    scan.assert_exited(0);
    let help = String::from_utf8_lossy(&scan.output.stdout).into_owned();
    for part in [
        "Exit codes:",
        "  0  ",
        "  1  ",
        "  2  ",
        "  3  ",
        "  4  ",
        "  5  ",
        "  130  ",
        "--allow-empty",
        "--database",
        "AVALON_CONFIG",
    ] {
        assert!(help.contains(part), "{part:?} is not in: {help}");
    }
}
