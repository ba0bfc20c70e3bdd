//! Sessions with SQLite files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::thread;

use avalon::database::{DatabaseError, Notice, StateChanges};
use seccompiler::{
    SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
};

use super::*;
use crate::database::load;
use crate::database::sqlite::without_privileges;

fn path(place: &Place) -> &Path {
    Path::new(place.url.strip_prefix("sqlite:///").unwrap())
}

#[test]
fn nothing_changed_writes_nothing() {
    for journal in ["DELETE", "WAL"] {
        let place = Place::sqlite();
        store(&place.url, &collection(300), &files()).unwrap();
        place.execute(&format!("PRAGMA journal_mode = {journal}"));
        let before =
            (fs::read(path(&place)).unwrap(), fs::metadata(path(&place)).unwrap().modified().unwrap());
        // Another connection would see that something was written.
        let other = place.connection();
        let version = || -> i64 { other.query_row("PRAGMA data_version", [], |row| row.get(0)).unwrap() };
        let version_before = version();

        assert_eq!(store(&place.url, &collection(300), &files()), Ok(None));
        let after =
            (fs::read(path(&place)).unwrap(), fs::metadata(path(&place)).unwrap().modified().unwrap());
        assert!(before == after, "{journal}");
        assert_eq!(version(), version_before);
        let wal = fs::metadata(format!("{}-wal", path(&place).display()));
        assert_eq!(wal.map_or(0, |wal| wal.len()), 0);

        store(&place.url, &collection(301), &files()).unwrap();
        assert_ne!(version(), version_before);
    }
}

/// Ten songs of many: the pages of the rest stay as they are.
#[test]
fn little_changed_writes_little() {
    let place = Place::sqlite();
    store(&place.url, &collection(20_000), &[]).unwrap();
    let before = fs::read(path(&place)).unwrap();
    let mut rows = collection(20_000);
    rows.songs.iter_mut().skip(7_000).take(10).for_each(|song| song.year = Some(2001));
    store(&place.url, &rows, &[]).unwrap();
    let after = fs::read(path(&place)).unwrap();
    let pages = before.chunks(4096).zip(after.chunks(4096)).filter(|(old, new)| old != new).count();
    assert!((3..=6).contains(&pages), "{pages} pages");
    assert_eq!(before.len(), after.len());
}

#[test]
fn a_lock_of_another_program_is_told_and_has_an_end() {
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    let other = place.connection();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (outcome, told) = open_telling(&place.url);
    let error = outcome.unwrap_err();
    assert!(matches!(error, DatabaseError::Locked { .. }), "{error}");
    let told = told.lock().unwrap();
    let [notice @ Notice::Waiting { .. }] = told.as_slice() else { panic!("{told:?}") };
    assert!(notice.to_string().contains("avalon.sqlite is locked by another program"), "{notice}");
}

/// A reader in the middle of its rows keeps a commit waiting.
#[test]
fn a_commit_waits_for_readers() {
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    let (session, told) = open_telling(&place.url);
    let mut session = session.unwrap();
    let (before, seen) = previous(&mut session);
    let reader = place.connection();
    reader.execute_batch("BEGIN; SELECT * FROM tracks").unwrap();
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    thread::scope(|scope| {
        let scan = scope.spawn(|| session.store(changes(before.last_scan, rows, StateChanges::default())));
        while told.lock().unwrap().is_empty() {
            assert!(!scan.is_finished(), "the scan did not wait");
            thread::yield_now();
        }
        reader.execute_batch("COMMIT").unwrap();
        assert_eq!(scan.join().unwrap(), Ok(Some(2)));
    });
    assert_eq!(load_all(&place.url), collection(5));
}

#[test]
fn reading_waits_for_a_commit() {
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    let (session, told) = open_telling(&place.url);
    let mut session = session.unwrap();
    let writer = place.connection();
    writer.execute_batch("BEGIN EXCLUSIVE").unwrap();
    thread::scope(|scope| {
        let scan = scope.spawn(|| previous(&mut session).1.known.songs());
        while told.lock().unwrap().is_empty() {
            assert!(!scan.is_finished(), "the scan did not wait");
            thread::yield_now();
        }
        writer.execute_batch("COMMIT").unwrap();
        assert_eq!(scan.join().unwrap(), 3);
    });
}

#[test]
fn tables_that_cannot_be_written_are_told_first() {
    for (sql, expected) in [
        ("CREATE TABLE tracks (id, title)", "no such column: name"),
        ("CREATE VIEW albums AS SELECT 1 AS id, 'x' AS name", "cannot modify albums because it is a view"),
    ] {
        let place = Place::sqlite();
        place.execute(sql);
        let error = refusal(&place.url).to_string();
        assert!(error.contains(expected), "{error}");
    }
    let place = Place::sqlite();
    fs::write(path(&place), "This is no database. ".repeat(100)).unwrap();
    assert!(refusal(&place.url).to_string().ends_with("the file is no SQLite database"));
}

#[test]
fn a_database_without_write_access_is_reported_first() {
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    let folder = path(&place).parent().unwrap().to_owned();
    let lock = folder.join("avalon.sqlite.scan");
    let set = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    let message = || without_privileges(|| refusal(&place.url).to_string());
    let no_files = format!("no file can be created in its folder {}", folder.display());

    // The folder, with a file of the lock that a killed scan has left, and without.
    fs::write(&lock, "").unwrap();
    set(&folder, 0o555);
    set(path(&place), 0o666);
    set(&lock, 0o666);
    assert!(message().contains(&no_files), "{}", message());
    set(&folder, 0o755);
    fs::remove_file(&lock).unwrap();
    set(&folder, 0o555);
    assert!(message().contains(&no_files), "{}", message());

    // The same through a link in a folder that takes files, and through links that lead nowhere.
    let links = tempfile::tempdir().unwrap();
    set(links.path(), 0o777);
    let linked = |target: &Path| {
        let link = links.path().join("link.sqlite");
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        without_privileges(|| refusal(&format!("sqlite:///{}", link.display())).to_string())
    };
    assert!(linked(path(&place)).contains(&no_files), "{}", linked(path(&place)));
    assert!(linked(&folder.join("missing.sqlite")).contains(&no_files));
    let nowhere = format!("its folder {}/no does not exist", folder.display());
    assert!(linked(&folder.join("no/avalon.sqlite")).contains(&nowhere));

    // The file, and the file of the lock.
    set(&folder, 0o777);
    set(path(&place), 0o444);
    assert!(message().ends_with("avalon.sqlite: there is no write permission"), "{}", message());
    set(path(&place), 0o666);
    fs::write(&lock, "").unwrap();
    set(&lock, 0o444);
    assert!(message().contains("there is no write permission for"), "{}", message());
    assert_eq!(load_all(&place.url), collection(3));

    let missing = refusal(&format!("sqlite:///{}/no/avalon.sqlite", folder.display())).to_string();
    assert!(missing.ends_with(&format!("its folder {}/no does not exist", folder.display())), "{missing}");
    let is_folder = refusal(&format!("sqlite:///{}", folder.display())).to_string();
    assert!(is_folder.ends_with("it is a folder, not a file"), "{is_folder}");
}

/// Runs `work` in a thread whose system call `number` fails with ENOLCK if its second argument is
/// one of `commands`.
fn without_locks<T: Send>(number: i64, commands: &[i32], work: impl FnOnce() -> T + Send) -> T {
    let rules = commands.iter().map(|command| {
        let is_command =
            SeccompCondition::new(1, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, *command as u64).unwrap();
        SeccompRule::new(vec![is_command]).unwrap()
    });
    let rules = BTreeMap::from([(number, rules.collect())]);
    let action = SeccompAction::Errno(nix::libc::ENOLCK as u32);
    let arch = std::env::consts::ARCH.try_into().unwrap();
    let filter = SeccompFilter::new(rules, SeccompAction::Allow, action, arch).unwrap();
    let program: seccompiler::BpfProgram = filter.try_into().unwrap();
    thread::scope(|scope| {
        let limited = scope.spawn(move || {
            seccompiler::apply_filter(&program).unwrap();
            work()
        });
        limited.join().unwrap()
    })
}

/// As a network share does it. SQLite itself says that the database is locked.
#[test]
fn a_file_system_without_locks_is_said_to_be_one() {
    use nix::libc::{F_OFD_SETLK, F_SETLK, LOCK_EX, LOCK_NB, SYS_fcntl, SYS_flock};
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    let expected = "its file system has no working locks";
    let commands = [F_SETLK, F_OFD_SETLK];
    let by_flock = without_locks(SYS_flock, &[LOCK_EX | LOCK_NB], || refusal(&place.url).to_string());
    assert!(by_flock.contains(expected), "{by_flock}");
    let by_fcntl = without_locks(SYS_fcntl, &commands, || refusal(&place.url).to_string());
    assert!(by_fcntl.contains(expected), "{by_fcntl}");
    let began = Instant::now();
    let by_load = without_locks(SYS_fcntl, &commands, || load(&place.url).unwrap_err().to_string());
    assert!(by_load.contains(expected), "{by_load}");
    assert!(began.elapsed() < Duration::from_secs(5));
}

/// Relative paths count from the working directory, so it takes a process of its own.
#[test]
fn a_path_that_looks_like_a_uri_is_a_path() {
    let folder = tempfile::tempdir().unwrap();
    let scan = std::process::Command::new(env!("CARGO_BIN_EXE_avalon-scan"))
        .args(["--quiet", "--allow-empty", "--database", "sqlite:///file:x.sqlite", "."])
        .current_dir(folder.path())
        .status();
    assert!(scan.unwrap().success());
    assert!(folder.path().join("file:x.sqlite").exists());
    assert!(!folder.path().join("x.sqlite").exists());
    assert!(load_all(&format!("sqlite:///{}/file:x.sqlite", folder.path().display())).songs.is_empty());
}

#[test]
fn other_tables_of_ours_do_not_need_a_new_sqlite() {
    let place = Place::sqlite();
    store(&place.url, &collection(1), &[]).unwrap();
    let connection = place.connection();
    let mut statement =
        connection.prepare("SELECT sql FROM sqlite_master WHERE name LIKE 'avalon%'").unwrap();
    let rows = statement.query_map([], |row| row.get::<_, Option<String>>(0)).unwrap();
    let schema = rows.filter_map(|row| row.unwrap()).collect::<Vec<_>>().join("\n").to_uppercase();
    assert_eq!(schema.matches("CREATE TABLE").count(), 6, "{schema}");
    assert!(!schema.contains("STRICT") && !schema.contains("GENERATED"), "{schema}");
}
