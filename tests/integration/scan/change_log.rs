//! Reloads that read the rows alone of which the log of changes tells: they serve what a server serves that starts with
//! the same database, whatever has happened to the rows and to the log.

use std::{fs, thread};

use nix::sys::signal::Signal;

use super::safety::Store;
use super::{Home, Scan, good_song};
use crate::control::ctl_ok;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup};
use crate::merges::answers;

/// How the log of a server names a load of changed rows alone, and one of all rows in place of it.
const CHANGED: &str = "changed since revision";
const ALL: &str = "the load reads all rows, ";
/// Whether the watcher has read them for the loader, in its session.
const BY_WATCHER: &str = "read by the watcher";

/// As a program does that knows nothing of the log of changes.
const COUNT: &str = "UPDATE avalon_revision SET counter = counter + 1, scan = NULL";

/// The line of a load of all rows, for this reason.
fn all(reason: &str) -> String {
    format!("{ALL}{reason}")
}

/// The good song with these tags.
fn tagged(title: &str, artist: &str, album: &str) -> Vec<u8> {
    let song = good_song();
    let number = |bytes: &[u8]| bytes.iter().fold(0, |number, byte| number << 7 | usize::from(*byte));
    let audio = &song[10 + number(&song[6..10])..];
    let bytes = |number: usize| [21, 14, 7, 0].map(|shift| (number >> shift & 127) as u8);
    let frame = |(name, text): (&[u8; 4], &str)| {
        [&name[..], &bytes(text.len() + 1), &[0, 0, 3], text.as_bytes()].concat()
    };
    let frames = [(b"TIT2", title), (b"TPE1", artist), (b"TALB", album), (b"TCON", "Ska")];
    let frames = frames.map(frame).concat();
    [b"ID3\x04\0\0", &bytes(frames.len())[..], &frames, audio].concat()
}

/// A folder of music, a database, and a server over it.
struct Rig<'a> {
    home: Home,
    store: &'a Store,
    server: Server,
}

impl<'a> Rig<'a> {
    /// With 120 songs, 12 albums and 4 artists, of which 13 may change for a merge.
    fn start(home: Home, store: &'a Store, url: &str) -> Rig<'a> {
        for at in 0..120 {
            put(&home, at, &format!("Song {at}"));
        }
        let scan = Scan::of(home.command().args(["-d", &store.url()]).arg(home.music()));
        scan.assert_exited(0);
        let server = Setup::new(url).start();
        Rig { home, store, server }
    }

    /// Scans, and has the server load what is new. Answers the revision.
    fn scan(&self) -> u64 {
        let mut command = self.home.command();
        command.args(["--json", "--reload", "-d", &self.store.url()]).arg(self.home.music());
        let scan = Scan::of(command.env("AVALON_CONTROL", self.server.path("control")));
        let report = scan.assert_exited(0).report();
        assert_eq!(report["reload"], "done", "{report}");
        report["database"]["revision"].as_u64().expect("a revision")
    }

    /// The same, and the server knows nothing of it.
    fn scan_alone(&self) -> u64 {
        let mut command = self.home.command();
        command.args(["--json", "-d", &self.store.url()]).arg(self.home.music());
        let report = Scan::of(&mut command).assert_exited(0).report();
        report["database"]["revision"].as_u64().expect("a revision")
    }

    fn wait_revision(&self, revision: u64) {
        ctl_ok(&self.server, &["reload", "--wait", "--revision", &revision.to_string()]);
    }

    /// Whether a step has the server load changed rows alone, which say that, and whether it serves what is there.
    #[track_caller]
    fn check(&self, what: &str, text: &str, step: impl FnOnce(&Self)) {
        let before = [CHANGED, ALL, text].map(|text| self.server.count_log(text));
        step(self);
        let after = [CHANGED, ALL, text].map(|text| self.server.count_log(text));
        assert_eq!(after[2], before[2] + 1, "{what}: {text}\n{}", self.server.log());
        let changed = after[0] - before[0];
        assert_eq!(changed, usize::from(!text.starts_with(ALL)), "{what}\n{}", self.server.log());
        let fresh = Setup::new(self.server.database_url()).start();
        assert!(answers(&self.server) == answers(&fresh), "{what}");
        fresh.assert_clean_shutdown();
    }
}

/// Puts a song with this title.
fn put(home: &Home, at: u32, title: &str) {
    put_of(home, at, title, &format!("Artist {}", at % 4));
}

fn put_of(home: &Home, at: u32, title: &str, artist: &str) {
    let path = home.music().join(format!("{:02}/{at}.mp3", at % 12));
    fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
    fs::write(path, tagged(title, artist, &format!("Album {}", at % 12))).expect("a song");
}

fn song(home: &Home, at: u32) -> std::path::PathBuf {
    home.music().join(format!("{:02}/{at}.mp3", at % 12))
}

#[test]
fn changes_of_files_are_served_by_the_log() {
    for number in 0..2 {
        let home = Home::new();
        let store = &Store::both(&home)[number];
        let rig = Rig::start(home, store, &store.url());
        let home = &rig.home;
        rig.check("added", "merged, 0 out and 2 in", |rig| {
            put(home, 200, "Added");
            put(home, 201, "Added Too");
            assert_eq!(rig.scan(), 2);
        });
        rig.check("new names", "merged, 0 out and 2 in", |rig| {
            put_of(home, 202, "Another", "Renamed");
            rig.scan();
        });
        rig.check("tagged again", "merged, 2 out and 2 in", |rig| {
            put(home, 5, "Song Five");
            put_of(home, 6, "Song Six", "Renamed");
            rig.scan();
        });
        rig.check("removed, and the last songs of an artist", "merged, 4 out and 0 in", |rig| {
            [202, 6, 7].iter().for_each(|at| fs::remove_file(song(home, *at)).expect("a song"));
            rig.scan();
        });
        rig.check("moved", "merged, 1 out and 1 in", |rig| {
            fs::rename(song(home, 8), song(home, 308)).expect("a song");
            rig.scan();
        });
        rig.check("several scans", "changed since revision 6", |rig| {
            put(home, 300, "Late");
            rig.scan_alone();
            fs::remove_file(song(home, 300)).expect("a song");
            put(home, 301, "Later");
            rig.scan_alone();
            fs::remove_file(song(home, 301)).expect("a song");
            put(home, 9, "Song Nine");
            rig.wait_revision(rig.scan_alone());
        });
        let before = rig.server.status();
        rig.check("there and back", "unchanged, as no row differs", |rig| {
            put(home, 300, "Late");
            rig.scan_alone();
            fs::remove_file(song(home, 300)).expect("a song");
            rig.wait_revision(rig.scan_alone());
        });
        let after = rig.server.status();
        assert_eq!(after["generation"], before["generation"], "nothing has changed");
        assert_eq!(after["snapshot"]["revision"], 11);
        rig.check("more than a tenth", &all("as too much has changed"), |rig| {
            (20..34).for_each(|at| put(home, at, "Too Many"));
            rig.scan();
        });
        rig.check("after all rows", "merged, 1 out and 1 in", |rig| {
            put(home, 10, "Song Ten");
            rig.scan();
        });
        rig.server.assert_clean_shutdown();
    }
}

#[test]
fn changes_that_no_scan_vouches_for_are_never_taken_for_none() {
    let gap = &all("as the log of changes has a gap");
    for number in 0..2 {
        let home = Home::new();
        let store = &Store::both(&home)[number];
        let rig = Rig::start(home, store, &store.url());
        let home = &rig.home;
        let rename = |at: u32| format!("UPDATE tracks SET name = 'Other {at}' WHERE name = 'Song {at}'");
        rig.check("a program that only counts", gap, |rig| {
            rig.store.execute(&format!("{}; {COUNT}", rename(1)));
            rig.wait_revision(2);
            assert!(String::from_utf8_lossy(&rig.server.get("/avalon/songs").body).contains("Other 1"));
        });
        rig.check("a scan after it", gap, |rig| assert_eq!(rig.scan(), 3));
        rig.check("and one after that", "merged, 1 out and 1 in", |rig| {
            put(home, 2, "Song Two");
            rig.scan();
        });
        rig.check("one that counts between two scans", gap, |rig| {
            rig.store.execute(COUNT);
            put(home, 3, "Song Three");
            rig.wait_revision(rig.scan_alone());
        });
        rig.check("one that counts and leaves the scan", gap, |rig| {
            let count = "UPDATE avalon_revision SET counter = counter + 1";
            rig.store.execute(&format!("{}; {count}", rename(4)));
            rig.wait_revision(7);
        });
        rig.scan();
        rig.check("an entry that was lost", gap, |rig| {
            put(home, 5, "Song Five");
            let revision = rig.scan_alone();
            rig.store.execute(&format!("DELETE FROM avalon_changes WHERE kind = 5 AND counter = {revision}"));
            rig.wait_revision(revision);
        });
        rig.scan_changed(6);
        rig.check("a scan of everything", &all("as a scan has changed more rows"), |rig| {
            put(home, 7, "Song Seven");
            let revision = rig.scan_alone();
            rig.store.execute(&format!(
                "DELETE FROM avalon_changes WHERE kind <> 5 AND counter = {revision};
                 UPDATE avalon_changes SET kind = 0 WHERE counter = {revision}"
            ));
            rig.wait_revision(revision);
        });
        rig.check("a scan after it", "merged, 1 out and 1 in", |rig| {
            put(home, 8, "Song Eight");
            rig.scan();
        });
        rig.check("a row that went without a word", &all("as the log misses rows"), |rig| {
            put(home, 10, "Song Ten");
            let revision = rig.scan_alone();
            rig.store.execute("DELETE FROM tracks WHERE name = 'Song 9'");
            rig.wait_revision(revision);
        });
        rig.check("a table of another program", &all("as the"), |rig| {
            rig.store.execute(
                "DROP TABLE avalon_changes; CREATE TABLE avalon_changes (answer INTEGER);
                 INSERT INTO avalon_changes VALUES (42)",
            );
            put(home, 11, "Song Eleven");
            rig.scan();
        });
        assert_eq!(rig.store.count("avalon_changes WHERE answer = 42"), 1);
        rig.check("no table", &all("as the database has no log of changes"), |rig| {
            rig.store.execute(&format!("DROP TABLE avalon_changes; {}; {COUNT}", rename(12)));
            let revision = rig.server.status()["snapshot"]["revision"].as_u64().expect("a revision");
            rig.wait_revision(revision + 1);
        });
        rig.server.assert_clean_shutdown();
    }
}

impl Rig<'_> {
    /// Tags a song again, so that the next load begins at a revision that the log knows.
    fn scan_changed(&self, at: u32) {
        put(&self.home, at, &format!("Song {at} Again"));
        self.scan();
    }
}

#[test]
fn rows_without_a_revision_are_served_by_a_reload_that_was_wished() {
    for number in 0..2 {
        let home = Home::new();
        let store = &Store::both(&home)[number];
        let rig = Rig::start(home, store, &store.url());
        let loads = |rig: &Rig<'_>| rig.server.count_log("rows=all");
        let has = |name: &str| String::from_utf8_lossy(&rig.server.get("/avalon/songs").body).contains(name);
        let count = loads(&rig);
        rig.store.execute("UPDATE tracks SET name = 'Foreign' WHERE name = 'Song 1'");
        rig.server.reload();
        assert!(has("Foreign") && loads(&rig) == count + 1, "{}", rig.server.log());
        rig.store.execute("UPDATE tracks SET name = 'Strange' WHERE name = 'Song 2'");
        rig.server.signal(Signal::SIGHUP);
        crate::harness::eventually("the name", || has("Strange").then_some(()));
        // What is left out of a full load may be part of the next one: the log does not know it.
        rig.store.execute("UPDATE tracks SET album_id = NULL WHERE name = 'Song 3'");
        rig.server.reload();
        assert!(!has("\"Song 3\""));
        let before = (rig.server.count_log(CHANGED), loads(&rig));
        assert_eq!(rig.scan(), 2);
        assert_eq!((rig.server.count_log(CHANGED), loads(&rig)), (before.0, before.1 + 1));
        assert!(has("\"Song 3\"") && has("\"Song 1\"") && !has("Foreign"));
        rig.check("by the log again", "merged, 1 out and 1 in", |rig| rig.scan_changed(4));
        rig.server.assert_clean_shutdown();
    }
}

#[test]
fn database_that_goes_back_is_read_as_a_whole() {
    for number in 0..2 {
        let home = Home::new();
        let store = &Store::both(&home)[number];
        let rig = Rig::start(home, store, &store.url());
        rig.scan_changed(1);
        rig.scan_changed(2);
        let before = rig.server.count_log(CHANGED);
        assert_eq!(before, 2);
        // Two revisions are taken back, and counted again by other scans.
        rig.store.execute("UPDATE avalon_revision SET counter = counter - 2, scan = NULL");
        rig.store.execute("UPDATE tracks SET name = 'Older' WHERE name = 'Song 3'");
        ctl_ok(&rig.server, &["reload", "--wait", "--accept-older"]);
        assert_eq!(rig.server.status()["snapshot"]["revision"], 1);
        rig.check("a scan of revision 2", &all("as the log of changes has a gap"), |rig| {
            assert_eq!(rig.scan(), 2);
        });
        rig.check("a scan of revision 3", "merged, 1 out and 1 in", |rig| rig.scan_changed(4));
    }
}

#[test]
fn server_with_a_watcher_reads_changes_and_one_without_the_right_all_rows() {
    let home = Home::new();
    let database = Postgres::shared().create_database();
    let url = database.url_of("plain_only", "sslmode=disable");
    let store = Store::Postgres(database);
    let rig = Rig::start(home, &store, &store.url());
    let tables = "albums, artists, genres, tracks, avalon_revision";
    rig.store.execute(&format!("GRANT SELECT ON {tables} TO plain_only"));
    let reader = Setup::new(&url)
        .variable("AVALON_RELOAD_ON_CHANGE", "true")
        .variable("AVALON_RELOAD_JITTER", "0")
        .start();
    let wait = |revision: u64| {
        crate::harness::eventually("the revision", || {
            (reader.status()["snapshot"]["revision"] == revision).then_some(())
        });
        assert!(answers(&reader) == answers(&rig.server), "{revision}");
    };
    rig.scan_changed(1);
    wait(2);
    assert_eq!(reader.count_log("log of changes cannot be read: permission denied"), 1, "{}", reader.log());
    rig.store.execute("GRANT SELECT ON avalon_changes TO plain_only");
    rig.scan_changed(2);
    wait(3);
    assert_eq!(reader.count_log(CHANGED), 1, "{}", reader.log());
    assert_eq!(reader.count_log(BY_WATCHER), 1, "{}", reader.log());
    reader.assert_clean_shutdown();
    rig.server.assert_clean_shutdown();
}

#[test]
fn loader_reads_changes_itself_if_the_watcher_gets_no_answer() {
    let home = Home::new();
    let database = Postgres::shared().create_database();
    let store = Store::Postgres(database);
    let rig = Rig::start(home, &store, &store.url());
    let reader = Setup::new(&store.url())
        .variable("AVALON_RELOAD_ON_CHANGE", "true")
        .variable("AVALON_RELOAD_JITTER", "0")
        .start();
    let Store::Postgres(database) = &store else { unreachable!() };
    let [mut writer, mut locker, mut observer] = [(); 3].map(|()| database.client());
    let mut wait_for = |what: &str, query: &str| -> i32 {
        let row = crate::harness::eventually(what, || observer.query_opt(query, &[]).expect(query));
        row.get(0)
    };
    let watcher = "SELECT pid FROM pg_stat_activity WHERE application_name = 'avalon-watcher' AND
        datname = current_database()";
    let first = wait_for("the watcher's session", watcher);
    // As a scan does it: 4 is the kind of a song, and 5 says that the log is complete.
    writer
        .batch_execute(
            "BEGIN; UPDATE tracks SET track = 77 WHERE id = (SELECT min(id::text)::uuid FROM tracks);
             UPDATE avalon_revision SET counter = counter + 1, scan = md5('scan')::uuid;
             INSERT INTO avalon_changes SELECT counter, 5, scan FROM avalon_revision;
             INSERT INTO avalon_changes SELECT counter, 4, tracks.id FROM avalon_revision, tracks WHERE track = 77",
        )
        .expect("a change");
    // The lock is granted as the change is committed, so before the watcher sees that.
    let locking = thread::spawn(move || {
        locker.batch_execute("BEGIN; LOCK TABLE tracks IN ACCESS EXCLUSIVE MODE").map(|()| locker)
    });
    wait_for(
        "the lock's turn",
        "SELECT pid FROM pg_stat_activity WHERE query LIKE 'BEGIN; LOCK%' AND
        wait_event_type = 'Lock' AND datname = current_database()",
    );
    writer.batch_execute("COMMIT").expect("a change");
    let mut locker = locking.join().expect("a thread").expect("the lock");
    wait_for(
        "the loader's session",
        "SELECT pid FROM pg_stat_activity WHERE application_name <> 'avalon-watcher' AND
        wait_event_type = 'Lock' AND datname = current_database()",
    );
    // The watcher has ended, as a thread of it still waited for the lock.
    wait_for("another watcher's session", &format!("{watcher} AND pid <> {first} AND state = 'idle'"));
    locker.batch_execute("ROLLBACK").expect("the lock is given back");
    crate::harness::eventually("the change", || (reader.status()["snapshot"]["revision"] == 2).then_some(()));
    assert_eq!([CHANGED, BY_WATCHER].map(|text| reader.count_log(text)), [1, 0], "{}", reader.log());
    reader.assert_clean_shutdown();
    rig.server.assert_clean_shutdown();
}
