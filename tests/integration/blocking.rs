//! Reloads that wait for a file, a resolver or a directory of users that does not answer. The
//! master sends signs of life, answers, and replaces workers all the while. It also does so if a
//! log cannot be written ([`logs`]).

mod logs;

use std::fs::{self, OpenOptions};
use std::io::Read;
use std::net::UdpSocket;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};

use crate::harness::host::obstacle;
use crate::harness::hung_mount::HungMount;
use crate::harness::notify::Notified;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{alone, eventually};

/// Longest time between two signs of life while something hangs.
const GAP_MAX: Duration = Duration::from_secs(1);
/// Longest time in which a killed worker is replaced.
const REPLACED_MAX: Duration = Duration::from_millis(500);

/// A server that tells of its life, with a watchdog of a second.
fn watched(setup: Setup) -> (Server, Notified) {
    let notified = Notified::bind(&setup.path("notify"));
    let socket = setup.path("notify");
    let setup = setup.variable("NOTIFY_SOCKET", socket.to_str().expect("UTF-8"));
    let server = setup.variable("WATCHDOG_USEC", "1000000").start();
    notified.until_ready();
    (server, notified)
}

fn asks(server: &Server) -> bool {
    let is_asking = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"avalon: config"))
    };
    server.workers().iter().any(is_asking)
}

/// Reloads, which must hang for three seconds and more, and checks the master meanwhile.
fn assert_lives_while_it_hangs(server: &Server, notified: &Notified) {
    server.signal(Signal::SIGHUP);
    eventually("a child that asks", || asks(server).then_some(()));
    assert_shows_life(notified);
    assert!(asks(server), "it did not hang: {}", server.log());
    assert_replaces(server);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    assert_eq!(server.status()["state"], "reloading");
}

/// For three seconds.
fn assert_shows_life(notified: &Notified) {
    // Skips the earlier messages.
    while notified.next_within(Duration::from_millis(1)).is_some() {}
    let begin = Instant::now();
    let (mut last, mut longest) = (begin, Duration::ZERO);
    while begin.elapsed() < Duration::from_secs(3) {
        if notified.next_within(GAP_MAX).is_some_and(|said| said.get("WATCHDOG").is_some()) {
            longest = longest.max(last.elapsed());
            last = Instant::now();
        }
    }
    longest = longest.max(last.elapsed());
    assert!(longest <= GAP_MAX, "{longest:?}");
}

/// Kills a worker of two.
fn assert_replaces(server: &Server) {
    let victim = *server.workers().iter().find(|pid| is_worker(**pid)).expect("a worker");
    kill(victim, Signal::SIGKILL).expect("a worker");
    let killed = Instant::now();
    eventually("another worker", || {
        let workers: Vec<Pid> = server.workers().into_iter().filter(|pid| is_worker(*pid)).collect();
        (workers.len() == 2 && !workers.contains(&victim)).then_some(())
    });
    assert!(killed.elapsed() <= REPLACED_MAX, "{:?}", killed.elapsed());
}

fn is_worker(pid: Pid) -> bool {
    fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"avalon: worker"))
}

/// A file whose opening waits for a writer.
fn hang(path: &Path) {
    fs::remove_file(path).expect("a file");
    mkfifo(path, Mode::S_IRWXU).expect("a FIFO");
}

#[test]
fn configuration_that_does_not_open_holds_nothing_up() {
    let _alone = alone();
    let setup = Setup::with(&collection(2));
    let file = setup.path("settings.toml");
    fs::write(&file, "KEEPALIVE = 3\n").expect("a file");
    let flag = format!("--config={}", file.display());
    let (server, notified) = watched(setup.flag(&flag));
    hang(&file);
    assert_lives_while_it_hangs(&server, &notified);
    // When it answers after all, the reload goes on.
    fs::write(&file, "KEEPALIVE = 4\n").expect("a writer");
    server.wait_log("generation 2 serves on ");
    // And one that never answers is given up by a stop at once.
    server.signal(Signal::SIGHUP);
    eventually("a child that asks", || asks(&server).then_some(()));
    let mut server = server;
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
}

/// As a network file system that is gone: who waits for it cannot be killed.
#[test]
fn configuration_on_a_file_system_that_is_gone_holds_nothing_up() {
    let _alone = alone();
    let setup = Setup::with(&collection(2));
    let folder = setup.path("mount");
    let Some(mount) = HungMount::at(&folder, "KEEPALIVE = 3\n") else {
        return eprintln!("not tested: FUSE may not be used here");
    };
    let flag = format!("--config={}", folder.join("settings.toml").display());
    let (mut server, notified) = watched(setup.flag(&flag));
    mount.hang();
    assert_lives_while_it_hangs(&server, &notified);
    // A second reload waits for the first; a stop waits for none.
    server.signal(Signal::SIGHUP);
    server.wait_log("reload waits");
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    drop(mount);
}

/// The pid file, the control socket and a Unix socket of `BIND` lie in folders that cannot be looked into any more.
#[test]
fn names_on_a_file_system_that_is_gone_hold_nothing_up() {
    let _alone = alone();
    let setup = Setup::with(&collection(2)).flag("--pid=names/pid");
    let folder = setup.path("names");
    fs::create_dir(&folder).expect("a folder");
    let socket = format!("unix:{}", folder.join("web").display());
    let (server, notified) = watched(setup.flag(&format!("--bind={socket}")));
    let mounted = HungMount::hanging_over(&folder);
    let Some(mount) = mounted else { return eprintln!("not tested: FUSE may not be used here") };
    assert_shows_life(&notified);
    assert_replaces(&server);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
    drop(mount);
    fs::remove_file(folder.join("pid")).expect("a pid file");
    server.wait_log("PIDFILE was removed, and is made again");
    let mut server = server;
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0, "{}", server.log());
}

#[test]
fn reload_is_given_up_and_names_the_obstacle() {
    let setup = Setup::with(&collection(2));
    let file = setup.path("settings.toml");
    fs::write(&file, "").expect("a file");
    let flag = format!("--config={}", file.display());
    let server = setup.flag(&flag).start();
    hang(&file);
    server.signal(Signal::SIGHUP);
    let line = server.wait_log("reload failed, generation 1 goes on serving: ");
    assert!(line.contains(&format!("file {} does not answer within 30 s", file.display())), "{line}");
    server.wait_workers(2);
    fs::remove_file(&file).expect("a FIFO");
    fs::write(&file, "").expect("a file");
    server.reload();
}

/// A log whose opening waits: it was a file, and is a FIFO without a reader by now.
#[test]
fn folder_of_a_log_that_hangs_is_found_by_the_child() {
    let setup = Setup::with(&collection(2));
    let file = setup.path("settings.toml");
    fs::write(&file, "").expect("a file");
    let flag = format!("--config={}", file.display());
    let server = setup.flag(&flag).start();
    let fifo = server.path("log");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    fs::write(&file, format!("LOG_PATH = \"{}\"\n", fifo.display())).expect("a file");
    server.signal(Signal::SIGHUP);
    eventually("a child that asks", || asks(&server).then_some(()));
    assert_eq!(server.status()["state"], "reloading");
    // A reader lets the child go on, and the master too.
    let mut reader = OpenOptions::new();
    let mut reader = reader.read(true).custom_flags(nix::libc::O_NONBLOCK).open(&fifo).expect("a reader");
    eventually("a line in the new log", || {
        let mut text = String::new();
        let _ = reader.read_to_string(&mut text);
        text.contains("generation 2 serves on ").then_some(())
    });
}

/// In a mount namespace with other files in /etc.
const BOX: &str = "mount --bind \"$1/resolv.conf\" /etc/resolv.conf && mount --bind \"$1/nsswitch.conf\" \
    /etc/nsswitch.conf && shift && exec \"$@\"";

fn boxed(setup: Setup, nameserver: &str) -> Setup {
    let folder = setup.path("");
    fs::write(setup.path("resolv.conf"), format!("nameserver {nameserver}\noptions timeout:5 attempts:2\n"))
        .expect("a file");
    fs::write(setup.path("nsswitch.conf"), "hosts: files dns\npasswd: hang files\ngroup: hang files\n")
        .expect("a file");
    let folder = folder.to_str().expect("UTF-8").to_owned();
    setup.wrapped(&["unshare", "--mount", "sh", "-c", BOX, "sh", &folder])
}

/// A service for names (nss(5)) that knows no user, and answers only as long as there is no file `hangs`.
const SERVICE: &str = r#"
#include <unistd.h>
static int ask(void) { while (access(FLAG, F_OK) == 0) usleep(10000); return 0; }
int _nss_hang_getpwnam_r(const char *n, void *r, char *b, size_t l, int *e) { return ask(); }
int _nss_hang_getpwuid_r(unsigned n, void *r, char *b, size_t l, int *e) { return ask(); }
int _nss_hang_getgrnam_r(const char *n, void *r, char *b, size_t l, int *e) { return ask(); }
int _nss_hang_getgrgid_r(unsigned n, void *r, char *b, size_t l, int *e) { return ask(); }
"#;

fn make_service(setup: &Setup) {
    let source = setup.path("hang.c");
    fs::write(&source, SERVICE).expect("a file");
    let flag = format!("-DFLAG=\"{}\"", setup.path("hangs").display());
    let made = Command::new("cc")
        .args(["-shared", "-fPIC", &flag, "-o"])
        .arg(setup.path("libnss_hang.so.2"))
        .arg(&source)
        .status();
    assert!(made.expect("a C compiler").success());
}

#[test]
fn dead_resolver_holds_nothing_up() {
    if let Some(obstacle) = obstacle() {
        return eprintln!("not tested: {obstacle}");
    }
    let _alone = alone();
    // Takes questions and never answers.
    let silent =
        UdpSocket::bind("127.0.0.53:53").or_else(|_| UdpSocket::bind("127.77.0.1:53")).expect("a port");
    let nameserver = silent.local_addr().expect("an address").ip().to_string();
    let setup = Setup::with(&collection(2));
    let file = setup.path("settings.toml");
    fs::write(&file, "BIND = [\"127.0.0.1:0\"]\n").expect("a file");
    let flag = format!("--config={}", file.display());
    let (server, notified) = watched(boxed(setup.flag(&flag).without_bind(), &nameserver));
    fs::write(&file, "BIND = [\"127.0.0.1:0\", \"avalon.example.org:0\"]\n").expect("a file");
    assert_lives_while_it_hangs(&server, &notified);
    server.wait_log("reload failed, generation 1 goes on serving: cannot listen on avalon.example.org:0");
}

#[test]
fn hanging_directory_of_users_holds_nothing_up() {
    if let Some(obstacle) = obstacle() {
        return eprintln!("not tested: {obstacle}");
    }
    let _alone = alone();
    let setup = boxed(Setup::with(&collection(2)), "127.0.0.1");
    make_service(&setup);
    let (file, hangs) = (setup.path("settings.toml"), setup.path("hangs"));
    fs::write(&file, "USER = \"nobody\"\n").expect("a file");
    let flag = format!("--config={}", file.display());
    let folder = setup.path("");
    let setup = setup.variable("LD_LIBRARY_PATH", folder.to_str().expect("UTF-8"));
    let (server, notified) = watched(setup.flag(&flag));
    fs::write(&hangs, "").expect("a file");
    assert_lives_while_it_hangs(&server, &notified);
    fs::remove_file(&hangs).expect("a file");
    server.wait_log("generation 2 serves on ");
}
