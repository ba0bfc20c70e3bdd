//! The configurations for nginx and HAProxy as they stand, with Debian's own of these, in front of
//! servers that are reloaded and replaced. Only addresses and folders are the test's.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::control::ctl_ok;
use crate::harness::http::{Answer, Connection, get};
use crate::harness::load::{Load, Plan, status_200};
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{before_deadline, eventually, free_port};
use crate::upgrade::Successor;

const NGINX: &str = include_str!("../../config/nginx.conf");
const HAPROXY: &str = include_str!("../../config/haproxy.cfg");

/// A proxy that runs, and is told to end when dropped.
struct Front {
    folder: TempDir,
    process: Child,
    address: String,
}

impl Front {
    /// Starts nginx with our configuration, in which `socket` is Avalon's.
    fn nginx(socket: &Path) -> Front {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().display().to_string();
        let config = replaced(NGINX, "unix:/run/avalon.sock", &format!("unix:{}", socket.display()));
        let config = replaced(&config, "/run/nginx.pid", &format!("{here}/pid"));
        let config = replaced(&config, "/var/log/nginx", &here);
        let command = ["/usr/sbin/nginx", "-g", "daemon off;", "-c"];
        Front::start(folder, &command, |port| {
            replaced(&config, "listen 80", &format!("listen 127.0.0.1:{port}"))
        })
    }

    fn haproxy(one: &Server, two: &Server) -> Front {
        let folder = tempfile::tempdir().expect("a folder");
        let address = |server: &Server| server.address.trim_start_matches("http://").to_owned();
        let config = replaced(HAPROXY, "127.0.0.1:8000", &address(one));
        let config = replaced(&config, "127.0.0.1:8001", &address(two));
        let config = replaced(&config, "/run/haproxy", &folder.path().display().to_string());
        let command = ["/usr/sbin/haproxy", "-db", "-f"];
        Front::start(folder, &command, |port| {
            replaced(&config, "bind :80", &format!("bind 127.0.0.1:{port}"))
        })
    }

    /// Runs a command, followed by a file with the configuration for a free port, and waits until it
    /// passes on what Avalon answers.
    fn start(folder: TempDir, command: &[&str], config: impl Fn(u16) -> String) -> Front {
        let (file, log) = (folder.path().join("config"), folder.path().join("log"));
        // Another process may be quicker to use the port.
        let started = before_deadline(|| {
            let port = free_port();
            fs::write(&file, config(port)).expect("a file");
            let log = fs::File::create(&log).expect("a file");
            let mut proxy = Command::new(command[0]);
            proxy.args(&command[1..]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let mut process = proxy.spawn().expect("a proxy: scripts/install-test-deps installs it");
            let address = format!("http://127.0.0.1:{port}");
            let serves = eventually("the proxy to serve or to end", || {
                let ended = process.try_wait().expect("a child").is_some();
                (ended || Connection::open(&address).is_ok()).then_some(!ended)
            });
            serves.then_some((process, address))
        });
        let log = fs::read_to_string(&log).unwrap_or_default();
        let (process, address) = started.unwrap_or_else(|| panic!("the proxy does not start: {log}"));
        let front = Front { folder, process, address };
        eventually("an answer through the proxy", || {
            let answer = Connection::open(&front.address).ok()?.get("/avalon/heartbeat").ok()?;
            (answer.status == 200 && answer.text() == "OKOKOK").then_some(())
        });
        front
    }

    /// Asks with these header lines from an address that is no trusted proxy's.
    fn ask(&self, target: &str, fields: &[&str]) -> Answer {
        let mut connection = Connection::open_from(&self.address, CLIENT).expect("a connection");
        connection.request("GET", target, fields).expect("an answer")
    }

    /// A command to HAProxy's socket, and the answer.
    fn tell(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.folder.path().join("admin.sock")).expect("the socket");
        socket.write_all(format!("{command}\n").as_bytes()).expect("a command");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Clients, as many requests as the limits for one address let pass.
    fn load(&self, plan: Plan) -> Load {
        let keepalive = Duration::from_secs(75);
        let load = Load::start(&Plan {
            address: self.address.clone(),
            keepalive,
            ..plan.clients(6, 3, Duration::from_millis(100))
        });
        load.wait_answers(30);
        load
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.process.wait();
        if std::thread::panicking() {
            for name in ["log", "error.log"] {
                eprintln!(
                    "{name}: {}",
                    fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
                );
            }
        }
    }
}

/// Of loopback, but not one of FORWARDED_ALLOW_IPS.
const CLIENT: &str = "127.0.0.9";

/// # Panics
/// If there is nothing to replace: the configuration is not what the test thinks.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}

/// A server with lists that are worth compressing, and an access log of clients and request ids.
fn setup() -> Setup {
    let setup = Setup::with(&collection(40)).flag("--keep-alive=5");
    let log = format!("--access-logfile={}", setup.path("access.log").display());
    setup.flag(&log).flag("--access-logformat=%(h)s %(U)s %({x-request-id}i)s")
}

/// The socket of a server that nginx's own user may reach.
fn socket_of(setup: &Setup) -> PathBuf {
    fs::set_permissions(setup.path(""), fs::Permissions::from_mode(0o711)).expect("permissions");
    setup.path("web")
}

fn behind_nginx() -> (Server, Front) {
    let setup = setup();
    let socket = socket_of(&setup);
    let bind = format!("--bind=unix:{}", socket.display());
    let server = setup.flag(&bind).variable("AVALON_UMASK", "0").start();
    let front = Front::nginx(&socket);
    (server, front)
}

/// What the access log of a server says of the request to `path`.
fn logged(servers: &[&Server], path: &str) -> String {
    eventually("a line of the access log", || {
        let text: String = servers
            .iter()
            .map(|server| fs::read_to_string(server.path("access.log")).unwrap_or_default())
            .collect();
        text.lines().find(|line| line.contains(&format!(" {path} "))).map(str::to_owned)
    })
}

/// What must be the same through a proxy as without it.
fn assert_passes_all(front: &Front, servers: &[&Server]) {
    let direct = servers[0].get("/avalon/songs");
    let through = front.ask("/avalon/songs", &[]);
    assert!(through.status == 200 && through.body == direct.body);
    let etag = direct.header("etag").expect("an ETag");
    assert_eq!(through.header("etag"), Some(etag));
    for coding in ["zstd", "gzip"] {
        let accept = format!("Accept-Encoding: {coding}");
        let compressed = front.ask("/avalon/songs", &[&accept]);
        assert_eq!(compressed.header("content-encoding"), Some(coding));
        assert!(compressed.body.len() < direct.body.len() / 2, "{coding}");
        let tag = format!("If-None-Match: {}", compressed.header("etag").expect("an ETag"));
        let unchanged = front.ask("/avalon/songs", &[&accept, &tag]);
        assert_eq!((unchanged.status, unchanged.body.len()), (304, 0), "{tag}");
        assert_eq!(unchanged.header("etag"), compressed.header("etag"));
    }
    let unchanged = front.ask("/avalon/songs", &[&format!("If-None-Match: {etag}")]);
    assert_eq!((unchanged.status, unchanged.header("etag")), (304, Some(etag)));
    // Errors are Avalon's.
    assert_eq!(front.ask("/avalon/nothing", &[]).error().0, 4);
    // The client is who has connected, not whom it names.
    front.ask("/avalon/genres", &["X-Forwarded-For: 1.1.1.1", "X-Request-Id: mine"]);
    assert_eq!(logged(servers, "/avalon/genres"), format!("{CLIENT} /avalon/genres mine"));
    let made = front.ask("/avalon/albums", &[]);
    let id = made.header("x-request-id").expect("an id");
    assert_eq!(logged(servers, "/avalon/albums"), format!("{CLIENT} /avalon/albums {id}"));
    for hidden in ["/avalon/status", "/avalon/metrics", "/avalon/%73tatus"] {
        assert_eq!(front.ask(hidden, &["X-Forwarded-For: 127.0.0.1"]).status, 404, "{hidden}");
        assert_eq!(get(&front.address, hidden).status, 404, "{hidden}");
    }
}

/// Asks as fast as one client can, which is more than it may.
fn assert_limits_one_client(front: &Front, allowed: usize) {
    let mut connection = Connection::open_from(&front.address, "127.0.0.10").expect("a connection");
    let answers = (0..allowed * 2).map(|_| connection.get("/avalon/version").expect("an answer").status);
    let answers: Vec<u16> = answers.collect();
    let passed = answers.iter().take_while(|status| **status == 200).count();
    assert!(passed >= allowed && answers.contains(&429), "{passed}");
    assert_eq!(front.ask("/avalon/version", &[]).status, 200, "another client");
}

/// Replaces the running master as an upgrade does; the new one ends when dropped.
fn upgrade(server: &mut Server) -> Successor {
    ctl_ok(server, &["upgrade"]);
    let new = Successor::of(server, server.pid());
    assert_eq!(server.wait_exit(), 0);
    new
}

fn reload_by_signal(server: &Server, generation: u32) {
    server.store(40 + generation - 1);
    server.signal(Signal::SIGHUP);
    server.wait_log(&format!("generation {generation} serves"));
}

#[test]
fn nginx_passes_what_avalon_says() {
    let (server, front) = behind_nginx();
    assert_passes_all(&front, &[&server]);
    // It keeps a few connections for all clients.
    (0..20).for_each(|_| assert_eq!(get(&front.address, "/avalon/version").status, 200));
    let workers = server.status()["workers"].clone();
    let open: u64 =
        workers.as_array().expect("workers").iter().filter_map(|w| w["connections"].as_u64()).sum();
    assert!((1..=8).contains(&open), "{workers}");
    assert_limits_one_client(&front, 400);
}

#[test]
fn reloads_and_upgrades_behind_nginx_lose_nothing() {
    let (mut server, front) = behind_nginx();
    let load = front.load(Plan::of_artists(""));
    reload_by_signal(&server, 2);
    load.wait_answers(100);
    reload_by_signal(&server, 3);
    load.wait_answers(100);
    let new = upgrade(&mut server);
    load.wait_answers(200);
    let report = load.stop();
    report.assert_nothing_lost(400);
    assert_eq!(report.versions.iter().copied().collect::<Vec<_>>(), [40, 41, 42]);
    drop(front);
    drop(new);
}

fn behind_haproxy() -> (Server, Server, Front) {
    let (one, two) = (setup().start(), setup().start());
    let front = Front::haproxy(&one, &two);
    (one, two, front)
}

/// How HAProxy sees a server: of "show stat", the columns `name` and `status`.
fn state(front: &Front, name: &str) -> String {
    let table = front.tell("show stat");
    let mut lines = table.trim_start_matches("# ").lines();
    let at = lines.next().and_then(|head| head.split(',').position(|column| column == "status"));
    let line = lines.find(|line| line.starts_with(&format!("avalon,{name},"))).expect("the server");
    line.split(',').nth(at.expect("a column")).expect("a status").to_owned()
}

#[test]
fn haproxy_passes_what_avalon_says() {
    let (one, two, front) = behind_haproxy();
    assert_passes_all(&front, &[&one, &two]);
    assert_limits_one_client(&front, 2000);
}

#[test]
fn reloads_and_upgrades_behind_haproxy_lose_nothing() {
    let (mut one, two, front) = behind_haproxy();
    let load = front.load(Plan::standard("", &["/avalon/songs", "/avalon/heartbeat"], status_200));
    reload_by_signal(&one, 2);
    load.wait_answers(100);
    reload_by_signal(&two, 2);
    load.wait_answers(100);
    let new = upgrade(&mut one);
    load.wait_answers(200);
    load.assert_nothing_lost();
    assert!(state(&front, "one").starts_with("UP") && state(&front, "two").starts_with("UP"));
    drop(front);
    drop(new);
}

/// As the comment in the configuration says; and what becomes of one that is simply gone.
#[test]
fn haproxy_leaves_out_who_is_drained_or_gone() {
    let (one, mut two, front) = behind_haproxy();
    let load = front.load(Plan::standard("", &["/avalon/songs", "/avalon/version"], status_200));
    assert_eq!(front.tell("set server avalon/one state drain").trim(), "");
    assert_eq!(state(&front, "one"), "DRAIN");
    // The number of connections in use is the seventh column.
    eventually("the last request of a drained server", || {
        let table = front.tell("show servers conn avalon");
        let line = table.lines().find(|line| line.starts_with("avalon/one "))?.to_owned();
        (line.split_whitespace().nth(6) == Some("0")).then_some(())
    });
    one.assert_clean_shutdown();
    load.wait_answers(100);
    load.assert_nothing_lost();
    // Killed, without a word: that is what the checks are for.
    two.signal(Signal::SIGQUIT);
    two.wait_exit();
    eventually("the checks to notice", || state(&front, "two").starts_with("DOWN").then_some(()));
    assert_eq!(front.ask("/avalon/version", &[]).status, 503);
}
