//! `avalon-scan --watch` into PostgreSQL, also when that ends the connections for a while.

use std::fs::{self, File};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::safety::Store;
use super::{Home, id};
use crate::harness::eventually;
use crate::harness::notify::Notified;

/// Killed when dropped.
struct Watch(Child);

impl Watch {
    /// Starts it, and waits until it is ready.
    fn start(home: &Home, url: &str) -> Watch {
        let socket = home.path("notify");
        let notified = Notified::bind(&socket);
        let mut command: Command = home.command();
        command.env("NOTIFY_SOCKET", socket).env("AVALON_CONTROL", "none").args(["--watch", "-d", url]);
        command.arg(home.music()).stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(home.path("stderr")).expect("a file"));
        let watch = Watch(command.spawn().expect("avalon-scan starts"));
        notified.until_ready();
        watch
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn changes_are_stored_in_postgresql() {
    let home = Home::new();
    let [_, store] = Store::both(&home);
    let Store::Postgres(database) = &store else { unreachable!("the second one is") };
    let mut songs = vec![home.add("a/1.mp3")];
    let mut watch = Watch::start(&home, &store.url());
    let assert_stored = |songs: &[std::path::PathBuf]| {
        let mut expected: Vec<String> = songs.iter().map(|path| id(path)).collect();
        expected.sort();
        eventually("the songs", || {
            let stored: Vec<String> = store.songs().into_iter().map(|(id, _)| id).collect();
            (stored == expected).then_some(())
        });
    };
    assert_stored(&songs);
    songs.push(home.add("b/c/2.mp3"));
    assert_stored(&songs);
    // Rows that another program deletes come back with the next change.
    store.execute("DELETE FROM tracks");
    songs.push(home.add("b/3.mp3"));
    assert_stored(&songs);
    // As a restart of the server does; it lets no client in for a while.
    let name = database.client().query_one("SELECT current_database()", &[]).expect("a name");
    let name: String = name.get(0);
    let admin = crate::harness::postgres::Postgres::shared().create_database();
    admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS false"));
    admin
        .execute(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'"));
    songs.push(home.add("b/4.mp3"));
    fs::remove_file(songs.remove(0)).expect("a song");
    eventually("a failure", || {
        fs::read_to_string(home.path("stderr")).is_ok_and(|log| log.contains("[ERROR]")).then_some(())
    });
    admin.execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS true"));
    assert_stored(&songs);
    // A scan that finds nothing new writes nothing.
    let scans = store.count("avalon_scans");
    kill(Pid::from_raw(watch.0.id().cast_signed()), Signal::SIGTERM).expect("the watch");
    assert_eq!(watch.0.wait().expect("an end").code(), Some(0));
    assert_eq!(store.count("avalon_scans"), scans);
}

/// The lock tells that a pass has begun although it is not due.
#[test]
fn a_pass_begins_while_files_still_come_in_postgresql_too() {
    let home = Home::new();
    let [_, store] = Store::both(&home);
    home.add("0.mp3");
    let _watch = Watch::start(&home, &store.url());
    let has_lock = || {
        store.count(
            "pg_locks WHERE locktype = 'advisory' AND database =
             (SELECT oid FROM pg_database WHERE datname = current_database())",
        ) > 0
    };
    eventually("no lock", || (!has_lock()).then_some(()));
    home.add("a/1.mp3");
    eventually("the lock", || has_lock().then_some(()));
    home.add("b/2.mp3");
    eventually("one pass for both", || {
        fs::read_to_string(home.path("stderr")).is_ok_and(|log| log.contains("2 songs added")).then_some(())
    });
    assert_eq!(store.count("tracks"), 3);
}
