//! Nodes that watch one database, music that real scans store there, and a check of a node's rows
//! over time.

use std::fs;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use nix::unistd::Pid;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::eventually;
use crate::harness::http;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, run};
use crate::scan::good_song;

/// How often a node is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// A folder of music that grows.
pub(super) struct Music {
    folder: TempDir,
    song: Vec<u8>,
    songs: u32,
}

impl Music {
    pub(super) fn new() -> Music {
        Music { folder: tempfile::tempdir().expect("a folder"), song: good_song(), songs: 0 }
    }

    /// Adds a song, has avalon-scan store all in this database, and gives the revision that it tells.
    pub(super) fn scan(&mut self, url: &str) -> u64 {
        self.scan_with(url, &[])
    }

    /// The same with more flags and variables.
    pub(super) fn scan_with(&mut self, url: &str, more: &[(&str, &str)]) -> u64 {
        fs::write(self.folder.path().join(format!("{}.mp3", self.songs)), &self.song).expect("a song");
        self.songs += 1;
        let folder = self.folder.path().to_str().expect("UTF-8");
        let reload = more.iter().any(|(name, _)| *name == "AVALON_CONTROL").then_some("--reload");
        let arguments = ["--json", "-q", "-d", url].into_iter().chain(reload).chain([folder]);
        let arguments: Vec<&str> = arguments.collect();
        let (code, report, err) = run(env!("CARGO_BIN_EXE_avalon-scan"), &arguments, more);
        assert_eq!(code, 0, "{err}");
        let report: Value = serde_json::from_str(&report).expect("a report");
        report["database"]["revision"].as_u64().expect("a revision")
    }
}

/// A replica of a cluster that shows a first scan into this database.
pub(super) fn replica_of(primary: &Postgres, url: &str, music: &mut Music) -> Postgres {
    music.scan(url);
    let replica = primary.start_replica();
    replica.catch_up_with(primary);
    replica
}

/// A node that watches its database, with one worker.
pub(super) fn node(url: &str) -> Setup {
    Setup::new(url)
        .without_flags()
        .flag("--bind=127.0.0.1:0")
        .flag("--workers=1")
        .variable("AVALON_RELOAD_ON_CHANGE", "true")
}

/// The revision that a node serves, as a worker says.
pub(super) fn revision(address: &str) -> Option<u64> {
    http::get(address, "/avalon/status").json()["revision"].as_u64()
}

/// Waits until a node serves this revision, or a later one.
pub(super) fn wait_revision(server: &Server, wanted: u64) {
    eventually(&format!("revision {wanted} on {}", server.address), || {
        (revision(&server.address) >= Some(wanted)).then_some(())
    });
}

/// The watcher of a node, if it has one now.
pub(super) fn find_watcher(server: &Server) -> Option<Pid> {
    let title = |pid: &Pid| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    server.helpers().into_iter().find(|pid| title(pid).starts_with(b"avalon: watcher"))
}

/// The watcher of a node, once it has one.
pub(super) fn watcher(server: &Server) -> Pid {
    eventually("a watcher", || find_watcher(server))
}

/// The ETag of all songs.
pub(super) fn etag(server: &Server) -> String {
    server.get("/avalon/songs").header("etag").expect("an ETag").to_owned()
}

/// Looks at the revision of a node again and again until it is dropped; it must never fall.
pub(super) struct Lookout {
    end: Arc<AtomicBool>,
    looks: Option<JoinHandle<usize>>,
}

impl Lookout {
    pub(super) fn at(server: &Server) -> Lookout {
        let (end, address) = (Arc::new(AtomicBool::new(false)), server.address.clone());
        let is_over = Arc::clone(&end);
        let looks = thread::spawn(move || {
            let (mut last, mut looks) = (None, 0);
            while !is_over.load(Ordering::Relaxed) {
                let begin = Instant::now();
                let now = revision(&address);
                assert!(now >= last, "revision {now:?} after {last:?} on {address}");
                (last, looks) = (now, looks + 1);
                thread::sleep(LOOK_EVERY.saturating_sub(begin.elapsed()));
            }
            looks
        });
        Lookout { end, looks: Some(looks) }
    }

    /// Ends it, and gives how often it has looked.
    pub(super) fn looks(mut self) -> usize {
        self.end.store(true, Ordering::Relaxed);
        self.looks.take().expect("a thread").join().expect("a revision that never falls")
    }
}

impl Drop for Lookout {
    fn drop(&mut self) {
        self.end.store(true, Ordering::Relaxed);
    }
}
