//! A real `avalon-master` in a folder of its own, with its log in a file.

use std::fs;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use avalon::config::DatabaseUrl;
use avalon::control;
use avalon::model::{Collection, Named, Song};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::http::{self, Answer};
use super::terminal::Terminal;
use super::{DEADLINE, before_deadline, eventually};

/// How to start a server.
pub(crate) struct Setup {
    folder: TempDir,
    database_url: String,
    flags: Vec<String>,
    variables: Vec<(String, String)>,
    wrapper: Vec<String>,
    passed: Vec<OwnedFd>,
}

impl Setup {
    /// A server over this database, on a free port of 127.0.0.1, with two workers.
    pub(crate) fn new(database_url: &str) -> Self {
        Setup {
            folder: tempfile::tempdir().expect("a folder"),
            database_url: database_url.to_owned(),
            flags: vec!["--bind=127.0.0.1:0".to_owned(), "--workers=2".to_owned()],
            variables: Vec::new(),
            wrapper: Vec::new(),
            passed: Vec::new(),
        }
    }

    /// A server over a SQLite database in its own folder that holds `collection`.
    pub(crate) fn with(collection: &Collection) -> Self {
        let mut setup = Setup::new("");
        setup.database_url = format!("sqlite:///{}", setup.path("avalon.sqlite").display());
        let url = DatabaseUrl::parse(&setup.database_url).expect("a URL");
        avalon::database::replace(&url, collection).expect("a database");
        setup
    }

    pub(crate) fn flag(mut self, flag: &str) -> Self {
        self.flags.push(flag.to_owned());
        self
    }

    pub(crate) fn variable(mut self, name: &str, value: &str) -> Self {
        self.variables.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Takes a variable back.
    pub(crate) fn without_variable(mut self, name: &str) -> Self {
        self.variables.retain(|(other, _)| other != name);
        self
    }

    /// Starts it through another program, such as prlimit(1).
    pub(crate) fn wrapped(mut self, wrapper: &[&str]) -> Self {
        self.wrapper = wrapper.iter().map(|&word| word.to_owned()).collect();
        self
    }

    /// Starts it as systemd does, with these descriptors (at most two) in LISTEN_FDS.
    pub(crate) fn passing(mut self, passed: Vec<(&str, OwnedFd)>) -> Self {
        // A shell, as LISTEN_PID must be that of the process itself.
        const SCRIPT: &str = "exec 3<&0 4<&1 </dev/null >/dev/null; export LISTEN_PID=$$; exec \"$0\" \"$@\"";
        let names: Vec<&str> = passed.iter().map(|(name, _)| *name).collect();
        self = self.variable("LISTEN_FDS", &names.len().to_string());
        self = self.variable("LISTEN_FDNAMES", &names.join(":"));
        self.passed = passed.into_iter().map(|(_, fd)| fd).collect();
        self.wrapped(&["/bin/sh", "-c", SCRIPT])
    }

    /// Starts it as the leader of a session, and so of a group, without a terminal.
    pub(crate) fn in_session(self) -> Self {
        self.wrapped(&["setsid"])
    }

    /// Starts it, through other programs if need be, as the leader of a session whose controlling terminal is
    /// this one, and in its foreground.
    pub(crate) fn on_terminal(mut self, terminal: &Terminal, through: &[&str]) -> Self {
        self.passed = vec![terminal.its_side()];
        self.wrapped(&[&["setsid", "--ctty"], through].concat())
    }

    /// Leaves to a configuration file where to serve.
    pub(crate) fn without_bind(mut self) -> Self {
        self.flags.retain(|flag| !flag.starts_with("--bind="));
        self
    }

    /// Drops the flags that were there.
    pub(crate) fn without_flags(mut self) -> Self {
        self.flags.clear();
        self
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.database_url
    }

    /// Starts it, even if the start fails later.
    pub(crate) fn spawn(mut self) -> Server {
        let stderr = self.path("stderr");
        let words = self.wrapper.iter().map(String::as_str).chain([env!("CARGO_BIN_EXE_avalon-master")]);
        let words: Vec<&str> = words.collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command.env_clear().env("TMPDIR", self.folder.path()).current_dir(self.folder.path());
        command.env("AVALON_CONTROL", self.path("control"));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        if !self.database_url.is_empty() {
            command.env("AVALON_DATABASE_URL", &self.database_url);
        }
        let mut passed = std::mem::take(&mut self.passed).into_iter().map(Stdio::from);
        let mut next = || passed.next().unwrap_or_else(Stdio::null);
        command.args(&self.flags).stdin(next()).stdout(next());
        command.stderr(fs::File::create(&stderr).expect("a file"));
        // A fork of another test may hold the descriptor that has written a wrapper, until its exec.
        let child = eventually("a start", || match command.spawn() {
            Err(error) if error.kind() == std::io::ErrorKind::ExecutableFileBusy => None,
            started => Some(started.expect("avalon-master starts")),
        });
        Server { setup: self, child, address: String::new(), addresses: Vec::new(), exited: None }
    }

    /// Starts it, and waits until it serves.
    pub(crate) fn start(self) -> Server {
        let mut server = self.spawn();
        let line = server.wait_log(" serves on ");
        let addresses = line.split(" serves on ").nth(1).and_then(|rest| rest.split(" workers=").next());
        server.addresses = addresses.unwrap_or_default().split(", ").map(str::to_owned).collect();
        server.address = server.addresses[0].clone();
        server
    }
}

fn children_of(master: Pid) -> Vec<Pid> {
    let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children")).unwrap_or_default();
    children.split_whitespace().map(|pid| Pid::from_raw(pid.parse().expect("a pid"))).collect()
}

fn title_starts(pid: Pid, with: &str) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|title| title.starts_with(with.as_bytes()))
}

fn is_helper(pid: &Pid) -> bool {
    ["avalon: log writer", "avalon: names", "avalon: watcher"].iter().any(|title| title_starts(*pid, title))
}

/// The children of any master, without its helpers.
pub(crate) fn workers_of(master: Pid) -> Vec<Pid> {
    children_of(master).into_iter().filter(|pid| !is_helper(pid)).collect()
}

/// A running server; killed when dropped, and its log shown if the test has failed.
pub(crate) struct Server {
    setup: Setup,
    child: Child,
    /// The first address it serves on.
    pub(crate) address: String,
    /// All of them.
    pub(crate) addresses: Vec<String>,
    exited: Option<ExitStatus>,
}

impl Server {
    pub(crate) fn get(&self, target: &str) -> Answer {
        http::get(&self.address, target)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.setup.path(name)
    }

    pub(crate) fn database_url(&self) -> &str {
        &self.setup.database_url
    }

    pub(crate) fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(self.pid(), signal).expect("the master is there");
    }

    pub(crate) fn log(&self) -> String {
        read(&self.path("stderr"))
    }

    /// How many lines of the log hold `text`.
    pub(crate) fn count_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    /// Waits for a line of the log, and gives it.
    pub(crate) fn wait_log(&self, text: &str) -> String {
        self.wait_log_times(text, 1)
    }

    /// Waits until `times` lines hold `text`, and gives the last of them.
    pub(crate) fn wait_log_times(&self, text: &str, times: usize) -> String {
        let find = || {
            let log = self.log();
            // Only whole lines count.
            let whole = log.rfind('\n').map_or("", |end| &log[..end]);
            whole.lines().filter(|line| line.contains(text)).nth(times - 1).map(str::to_owned)
        };
        eventually(&format!("{times} log lines with {text:?} in:\n{}", self.log()), find)
    }

    /// The children of the master, without its helpers.
    pub(crate) fn workers(&self) -> Vec<Pid> {
        workers_of(self.pid())
    }

    /// The children of the master that help it with files: they write its logs, and look at names.
    pub(crate) fn helpers(&self) -> Vec<Pid> {
        children_of(self.pid()).into_iter().filter(is_helper).collect()
    }

    /// The children of the master that write its logs.
    pub(crate) fn log_writers(&self) -> Vec<Pid> {
        children_of(self.pid()).into_iter().filter(|pid| title_starts(*pid, "avalon: log writer")).collect()
    }

    /// Waits until a loader is at work, and gives it.
    pub(crate) fn wait_loader(&self) -> Pid {
        let is_loader = |pid: &Pid| title_starts(*pid, "avalon: loader");
        eventually("a loader", || self.workers().into_iter().find(is_loader))
    }

    /// Waits until a worker of this generation has started.
    pub(crate) fn wait_worker_of(&self, generation: u64) {
        let mark = format!("[gen {generation}]");
        let is_of = |pid: &Pid| {
            let title = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&title).contains(&mark)
        };
        eventually(&format!("a worker of generation {generation}"), || {
            self.workers().into_iter().find(is_of)
        });
    }

    /// Waits until it has exactly so many children.
    pub(crate) fn wait_workers(&self, count: usize) -> Vec<Pid> {
        eventually(&format!("{count} workers"), || {
            Some(self.workers()).filter(|workers| workers.len() == count)
        })
    }

    /// Reloads it, and waits until the next generation serves and no other one accepts.
    pub(crate) fn reload(&self) {
        let answer = control::call(
            &self.path("control"),
            control::Command::Reload(control::Reload::waiting()),
            Some(DEADLINE),
        );
        answer.unwrap_or_else(|error| panic!("reload: {error}\n{}", self.log()));
    }

    /// Returns the master's answer to `avalonctl status`.
    pub(crate) fn status(&self) -> serde_json::Value {
        let answer = control::call(&self.path("control"), control::Command::Status, Some(DEADLINE));
        answer.unwrap_or_else(|error| panic!("status: {error}\n{}", self.log()))
    }

    /// Makes its database hold [`collection`] of so many artists, for the next reload.
    pub(crate) fn store(&self, artists: u32) {
        let url = DatabaseUrl::parse(self.database_url()).expect("a URL");
        avalon::database::replace(&url, &collection(artists)).expect("rows");
    }

    /// Waits for its end, and gives the exit code.
    pub(crate) fn wait_exit(&mut self) -> i32 {
        eventually("the end of the master", || self.try_exit())
    }

    /// The exit code, if it has ended.
    pub(crate) fn try_exit(&mut self) -> Option<i32> {
        self.exited = self.child.try_wait().expect("a child");
        self.exited.map(|status| status.code().unwrap_or(-1))
    }

    /// Stops it gracefully, and looks at how it went.
    pub(crate) fn assert_clean_shutdown(mut self) {
        self.signal(Signal::SIGTERM);
        assert_eq!(self.wait_exit(), 0, "{}", self.log());
        assert_eq!(self.count_log("[ERROR]") + self.count_log("[CRITICAL]"), 0, "{}", self.log());
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if self.exited.is_none() {
            let workers = self.workers();
            let _ = self.child.kill();
            let _ = self.child.wait();
            // They drain when their master is gone; the harness does not wait for that.
            for worker in workers {
                let _ = kill(worker, Signal::SIGKILL);
            }
        }
        if std::thread::panicking() {
            eprintln!("log of the server:\n{}", self.log());
        }
    }
}

/// Runs a binary of ours to its end, and gives exit code, stdout and stderr.
///
/// # Panics
/// If it does not end: a server has started that should not.
pub(crate) fn run(binary: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
    let mut command = Command::new(binary);
    command.env_clear().envs(variables.iter().copied()).args(arguments).stdin(Stdio::null());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("the binary starts");
    let (stdout, stderr) = (child.stdout.take().expect("stdout"), child.stderr.take().expect("stderr"));
    let [stdout, stderr] = [OwnedFd::from(stdout), OwnedFd::from(stderr)].map(|output| {
        std::thread::spawn(move || {
            let mut text = String::new();
            fs::File::from(output).read_to_string(&mut text).map(|_| text)
        })
    });
    let Some(status) = before_deadline(|| child.try_wait().expect("a child")) else {
        let _ = child.kill();
        panic!("{binary} {arguments:?} does not end: {:?}", stderr.join());
    };
    let status = status.code().unwrap_or(-1);
    let text = |output: std::thread::JoinHandle<std::io::Result<String>>| {
        output.join().expect("a thread").expect("output in UTF-8")
    };
    (status, text(stdout), text(stderr))
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).into_owned()
}

/// [`collection`] with names of songs so long that a list of all has `bytes` bytes, and a snapshot
/// of it twice as many.
pub(crate) fn heavy_collection(artists: u32, bytes: usize) -> Collection {
    let mut collection = collection(artists);
    let len = bytes / collection.songs.len();
    for song in &mut collection.songs {
        song.name = song.name.take().map(|name| name + &"x".repeat(len));
    }
    collection
}

/// A small collection: `artists` artists with ten songs each.
pub(crate) fn collection(artists: u32) -> Collection {
    let name = |at: u32| format!("Artist {at:04}");
    let album = |at: u32| format!("Album {at:04}");
    let named = |id, name| Named { id, name };
    let songs = (0..artists * 10).map(|at| Song {
        id: avalon::ids::song(Path::new(&format!("/music/{at}.ogg"))),
        name: Some(format!("Song {at:05}")),
        length: Some(180 + i64::from(at % 60)),
        track: Some(i64::from(at % 10) + 1),
        year: Some(1990 + i64::from(at % 30)),
        album: at / 10,
        artist: at / 10,
        genre: at % 2,
    });
    Collection {
        albums: (0..artists).map(|at| named(avalon::ids::album(&album(at)), album(at))).collect(),
        artists: (0..artists).map(|at| named(avalon::ids::artist(&name(at)), name(at))).collect(),
        genres: ["Rock", "Ska"].map(|name| named(avalon::ids::genre(name), name.to_owned())).to_vec(),
        songs: songs.collect(),
    }
}

/// A server over the sample collection, which a real scan has read.
pub(crate) fn sample() -> Setup {
    let setup = Setup::new("");
    let url = format!("sqlite:///{}", setup.path("avalon.sqlite").display());
    let scan = Command::new(env!("CARGO_BIN_EXE_avalon-scan"))
        .args(["--quiet", "--database", &url])
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/sample-music"))
        .env_clear()
        .status()
        .expect("avalon-scan");
    assert!(scan.success());
    setup.variable("AVALON_DATABASE_URL", &url)
}
