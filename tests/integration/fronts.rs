//! The configurations for nginx and HAProxy as they stand, in front of servers that are reloaded, replaced,
//! killed and stopped.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::control::ctl_ok;
use crate::harness::eventually;
use crate::harness::front::{CLIENT, Front};
use crate::harness::http::{Connection, get};
use crate::harness::load::{Load, Plan, status_200};
use crate::harness::server::{Server, Setup, collection, heavy_collection};
use crate::upgrade::Successor;

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

/// Returns the lines about the request to `path` in the access logs of the servers.
fn logged(servers: &[&Server], path: &str) -> String {
    eventually("a line of the access log", || {
        let text: String = servers
            .iter()
            .map(|server| fs::read_to_string(server.path("access.log")).unwrap_or_default())
            .collect();
        text.lines().find(|line| line.contains(&format!(" {path} "))).map(str::to_owned)
    })
}

/// Checks that answers through a proxy equal those without it.
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
fn nginx_passes_the_answers_of_avalon() {
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
    let front = Front::haproxy(&[&one, &two]);
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
fn haproxy_passes_the_answers_of_avalon() {
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

/// As the comment in the configuration says; and the fate of a server that is simply gone.
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
    // This kills it without notice: the checks are for this case.
    two.signal(Signal::SIGQUIT);
    two.wait_exit();
    eventually("the checks to notice", || state(&front, "two").starts_with("DOWN").then_some(()));
    assert_eq!(front.ask("/avalon/version", &[]).status, 503);
}

/// All processes of a server.
fn processes(server: &Server) -> Vec<Pid> {
    [vec![server.pid()], server.workers(), server.helpers()].concat()
}

fn signal_all(processes: &[Pid], signal: Signal) {
    processes.iter().for_each(|pid| kill(*pid, signal).expect("a process"));
}

/// Ten clients that keep their connections and two that do not lose no request while one of three servers is
/// killed, nor while one is stopped for half a minute and goes on then; and wait for none longer than so.
fn assert_survives(front: impl Fn(&[&Server]) -> Front) {
    let servers = [setup().start(), setup().start(), setup().start()];
    let front = front(&servers.each_ref());
    let begin_load = || {
        let plan = Plan::standard(&front.address, &["/avalon/songs", "/avalon/artists?limit=3"], status_200);
        let plan = Plan { keepalive: Duration::from_secs(75), ..plan };
        let load = Load::start(&plan.clients(10, 2, Duration::from_millis(100)));
        load.wait_answers(100);
        load
    };
    let end_load = |load: Load, patience| {
        let report = load.stop();
        report.assert_nothing_lost(500);
        assert!(report.took(1.0) <= patience, "{report:?}");
    };

    let load = begin_load();
    let stopped = processes(&servers[0]);
    signal_all(&stopped, Signal::SIGSTOP);
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_secs(30) {
        load.wait_answers(10);
    }
    signal_all(&stopped, Signal::SIGCONT);
    load.wait_answers(200);
    end_load(load, Duration::from_secs(5));

    let load = begin_load();
    // The helpers end by themselves.
    signal_all(&[vec![servers[1].pid()], servers[1].workers()].concat(), Signal::SIGKILL);
    load.wait_answers(500);
    end_load(load, Duration::from_millis(1500));
}

#[test]
fn haproxy_survives_a_server_that_is_killed_or_hangs() {
    assert_survives(Front::haproxy);
}

#[test]
fn nginx_survives_a_server_that_is_killed_or_hangs() {
    assert_survives(Front::nginx_nodes);
}

/// A proxy waits for the client there, not for the server.
#[test]
fn clients_may_rest_for_longer_than_servers() {
    let servers = [1, 2].map(|_| Setup::with(&heavy_collection(40, 30_000_000)).start());
    for front in [Front::haproxy, Front::nginx_nodes] {
        let front = front(&servers.each_ref());
        let mut client = Connection::open_narrow(&front.address).expect("a connection");
        client.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
        client.first_byte().expect("the answer has begun");
        // Longer than `timeout server` and `proxy_read_timeout`: this time is under test.
        std::thread::sleep(Duration::from_secs(5));
        let answer = client.answer("GET").expect("the whole answer");
        assert!(answer.success().len() == 400, "{}", answer.body.len());
    }
}
