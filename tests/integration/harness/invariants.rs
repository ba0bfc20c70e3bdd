//! The invariants of a server at rest, after any event.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::Pid;

use super::server::Server;
use super::{before_deadline, eventually};

/// How a server was at rest.
pub(crate) struct Baseline {
    descriptors: Vec<String>,
    workers: usize,
    /// Parts of log lines that may be warnings or errors.
    expected: Vec<String>,
}

impl Baseline {
    /// Of a server that serves with so many workers and has nothing under way.
    pub(crate) fn of(server: &Server, workers: usize) -> Baseline {
        server.wait_workers(workers);
        eventually("the child that looks at names", || (!server.helpers().is_empty()).then_some(()));
        let descriptors = eventually("descriptors that stay as they are", || {
            // A master that works may hold both ends of a channel to a child that it has just forked.
            let waits = is_in_state(server.pid(), 'S');
            let before = descriptors(server.pid());
            let stays = snapshots_of(server).len() == 1 && descriptors(server.pid()) == before;
            (waits && stays).then_some(before)
        });
        Baseline { descriptors, workers, expected: Vec::new() }
    }

    /// Allows warnings and errors that hold `text`.
    pub(crate) fn expecting(mut self, text: &str) -> Baseline {
        self.expected.push(text.to_owned());
        self
    }

    /// The same with another number of workers, to each of which the master has a socket.
    pub(crate) fn with_workers(mut self, workers: usize) -> Baseline {
        const SOCKET: &str = "socket";
        for _ in self.workers..workers {
            self.descriptors.push(SOCKET.to_owned());
        }
        for _ in workers..self.workers {
            let last = self.descriptors.iter().rposition(|name| name == SOCKET).expect("a socket");
            self.descriptors.remove(last);
        }
        self.descriptors.sort();
        self.workers = workers;
        self
    }

    /// INV: waits until nothing is under way any more, and asserts that the master has one
    /// thread and the descriptors of before, that its children are the workers and none a zombie,
    /// that no process of this server is another process's child, that there is one snapshot in
    /// memory, and that nothing unexpected was logged.
    pub(crate) fn assert_holds(&self, server: &Server) {
        self.wait_quiet(server);
        let threads = fs::read_dir(format!("/proc/{}/task", server.pid())).expect("a process").count();
        assert_eq!(threads, 1, "threads of the master");
        self.assert_log(&server.log());
    }

    /// Waits until no work is under way, and the rest is as before.
    pub(crate) fn wait_quiet(&self, server: &Server) {
        let mut last = Vec::new();
        let rest = before_deadline(|| {
            last = self.differences(server);
            last.is_empty().then_some(())
        });
        assert!(rest.is_some(), "no rest: {last:#?}");
    }

    /// No warning and no error but the expected ones.
    pub(crate) fn assert_log(&self, log: &str) {
        let levels = ["[WARNING]", "[ERROR]", "[CRITICAL]", "panicked"];
        let alarming = log.lines().filter(|line| levels.iter().any(|level| line.contains(level)));
        let unexpected: Vec<&str> =
            alarming.filter(|line| !self.expected.iter().any(|text| line.contains(text))).collect();
        assert!(unexpected.is_empty(), "unexpected in the log: {unexpected:#?}");
    }

    /// Returns the differences from the baseline, temporary or lasting.
    fn differences(&self, server: &Server) -> Vec<String> {
        let mut found = Vec::new();
        let mut compare = |what: &str, is: &dyn Debug, right: bool| {
            if !right {
                found.push(format!("{what}: {is:?}"));
            }
        };
        let made = server.count_log("making generation");
        let done = [" serves on ", "reload failed, generation", "the database holds the rows"];
        let done: usize = done.iter().map(|line| server.count_log(line)).sum();
        compare("generations made and done", &(made, done), made == done);
        let children = server.workers();
        compare("children", &children, children.len() == self.workers);
        let zombies: Vec<&Pid> = children.iter().filter(|pid| is_zombie(**pid)).collect();
        compare("zombies", &zombies, zombies.is_empty());
        let helpers = server.helpers();
        let orphans: Vec<Pid> = processes_in(&server.path(""))
            .into_iter()
            .filter(|pid| *pid != server.pid() && !children.contains(pid) && !helpers.contains(pid))
            .collect();
        compare("orphans", &orphans, orphans.is_empty());
        let descriptors = descriptors(server.pid());
        compare("descriptors of the master", &descriptors, descriptors == self.descriptors);
        let snapshots = snapshots_of(server);
        compare("snapshots", &snapshots, snapshots.len() == 1);
        found
    }
}

/// Returns the open descriptors of a process, without the numbers that vary.
pub(crate) fn descriptors(pid: Pid) -> Vec<String> {
    let links = fs::read_dir(format!("/proc/{pid}/fd")).expect("a process").flatten();
    let links = links.filter_map(|fd| fs::read_link(fd.path()).ok());
    let mut links: Vec<String> = links
        .map(|link| link.display().to_string().split(":[").next().unwrap_or_default().to_owned())
        .collect();
    links.sort();
    links
}

/// The snapshots that master and workers hold, by inode.
pub(crate) fn snapshots_of(server: &Server) -> BTreeSet<u64> {
    let mut all = BTreeSet::new();
    for fd in fs::read_dir(format!("/proc/{}/fd", server.pid())).into_iter().flatten().flatten() {
        let link = fs::read_link(fd.path()).unwrap_or_default();
        if link.to_string_lossy().contains(SNAPSHOT) {
            all.extend(fs::metadata(fd.path()).map(|metadata| metadata.ino()));
        }
    }
    for worker in server.workers() {
        let maps = fs::read_to_string(format!("/proc/{worker}/maps")).unwrap_or_default();
        let inode = |line: &str| line.split_whitespace().nth(4)?.parse::<u64>().ok();
        all.extend(maps.lines().filter(|line| line.contains(SNAPSHOT)).filter_map(inode));
    }
    all
}

/// Part of the name of its memory.
pub(crate) const SNAPSHOT: &str = "avalon-snapshot";

fn is_zombie(pid: Pid) -> bool {
    is_in_state(pid, 'Z')
}

/// Waits until a process has ended with all its threads. Its parent may not have reaped it yet. The first thread of a
/// killed worker may be a zombie while another one still takes a connection.
pub(crate) fn wait_gone(pid: Pid) {
    eventually("the end of a process", || {
        let threads = fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        (threads == 0 || threads == 1 && is_zombie(pid)).then_some(())
    });
}

/// Whether the kernel shows a process in this state (stat in proc(5)).
fn is_in_state(pid: Pid, state: char) -> bool {
    fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(&format!(") {state} ")))
}

/// All processes that work in a folder, as every process of a server does in its own.
pub(crate) fn processes_in(folder: &Path) -> Vec<Pid> {
    let folder = fs::canonicalize(folder).expect("a folder");
    let pids = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).map(Pid::from_raw);
    pids.filter(|pid| fs::read_link(format!("/proc/{pid}/cwd")).is_ok_and(|cwd| cwd == folder)).collect()
}
