//! SIGHUP: the next generation takes over without losing a request, or nothing changes.

use std::fs;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use socket2::{Domain, Socket, Type};

use avalon::config::DatabaseUrl;
use avalon::database;

use crate::harness::http::{self, Answer, Connection};
use crate::harness::load::{Load, Plan, Verdict, status_200};
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{eventually, free_port, shim};

fn start_load(server: &Server) -> Load {
    let targets = ["songs", "artists", "songs?artist=artist%200000", "heartbeat"];
    let targets = targets.map(|of| format!("/avalon/{of}"));
    let plan = Plan::standard(&server.address, &targets.each_ref().map(String::as_str), check);
    Load::start(&plan.clients(12, 4, Duration::from_millis(20)))
}

/// Accepts whole answers of any generation: the length of a list is one that was ever right.
fn check(answer: &Answer) -> Verdict {
    status_200(answer)?;
    if answer.text() == "OKOKOK" {
        return Ok(None);
    }
    match answer.success().len() {
        10..=20 => Ok(None),
        100..=200 => Ok(None),
        len => Err(format!("a list of {len}")),
    }
}

fn store(server: &Server, artists: u32) {
    let url = DatabaseUrl::parse(server.database_url()).expect("a URL");
    database::replace(&url, &collection(artists)).expect("rows");
}

fn songs(server: &Server) -> usize {
    server.get("/avalon/songs").success().len()
}

#[test]
fn reloads_under_load_lose_nothing_and_serve_the_new_rows() {
    let server = Setup::with(&collection(10)).flag("--workers=3").start();
    let load = start_load(&server);
    for artists in 11..=20 {
        store(&server, artists);
        server.reload();
        // Workers of the generation before may still take waiting connections; soon none is left.
        eventually("the new rows", || (songs(&server) == artists as usize * 10).then_some(()));
    }
    load.assert_nothing_lost();
    assert_eq!(songs(&server), 200);
    server.assert_clean_shutdown();
}

/// As proxies do, which ask on connections that they have kept.
#[test]
fn kept_connections_show_no_row_of_before_a_reload() {
    let server = Setup::with(&collection(10)).flag("--keep-alive=60").start();
    let open = || {
        let mut connection = Connection::open(&server.address).expect("a connection");
        assert_eq!(connection.get("/avalon/genres").expect("an answer").success().len(), 2);
        connection
    };
    let mut kept: Vec<Connection> = (0..20).map(|_| open()).collect();
    // The second half waits for another reload, in workers that drain for the second time.
    for artists in [11, 12] {
        store(&server, artists);
        server.reload();
        for mut connection in kept.split_off(kept.len() - 10) {
            let tag =
                format!("If-None-Match: {}", server.get("/avalon/artists").header("etag").expect("a tag"));
            let answer = connection.request("GET", "/avalon/artists", &[]).expect("an answer");
            assert_eq!(answer.success().len(), artists as usize);
            assert!(answer.closes() && tag.ends_with(answer.header("etag").expect("a tag")));
        }
    }
    server.assert_clean_shutdown();
}

/// The observations of a client that connects for each request: when each answer had come, and its
/// collection.
type Seen = Vec<(Instant, Instant, String)>;

fn ask_until(address: &str, over: &AtomicBool) -> Seen {
    let mut seen = Seen::new();
    while !over.load(Ordering::Relaxed) {
        let asked = Instant::now();
        let answer = http::get(address, "/avalon/artists?limit=1");
        let of = answer.header("x-avalon-snapshot").expect("a collection").to_owned();
        seen.push((asked, Instant::now(), of));
    }
    seen
}

/// Clients that connect for each request see the new rows from some moment on, and hardly an old one after that.
#[test]
fn old_and_new_answers_do_not_alternate() {
    let server = Setup::with(&collection(10)).flag("--workers=2").start();
    let mut windows = Vec::new();
    let mut late = 0;
    for artists in 11..=20 {
        store(&server, artists);
        let over = AtomicBool::new(false);
        let (seen, new) = thread::scope(|scope| {
            let clients: Vec<_> = (0..4).map(|_| scope.spawn(|| ask_until(&server.address, &over))).collect();
            server.reload();
            let new = server.get("/avalon/artists").header("x-avalon-snapshot").expect("a hash").to_owned();
            over.store(true, Ordering::Relaxed);
            let seen: Vec<Seen> =
                clients.into_iter().map(|client| client.join().expect("a client")).collect();
            (seen.concat(), new)
        });
        let first_new = seen.iter().filter(|(_, _, of)| *of == new).map(|(_, came, _)| *came).min();
        let first_new = first_new.expect("an answer of the new rows");
        // Asked when some client had the new rows already.
        let old = seen.iter().filter(|(asked, _, of)| *of != new && *asked > first_new);
        late += old.clone().count();
        windows.push(old.map(|(_, came, _)| came.duration_since(first_new)).max().unwrap_or_default());
    }
    windows.sort_unstable();
    println!("{late} old answers after the first new one, windows {windows:.1?}");
    assert!(windows[windows.len() / 2] <= Duration::from_millis(20), "{windows:.1?}");
    // With both generations accepting for a fifth of a second there were about sixty of them in each reload.
    assert!(late <= 20, "{late} old answers, {windows:.1?}");
    server.assert_clean_shutdown();
}

#[test]
fn workers_that_crash_with_their_first_answer_change_nothing() {
    let setup = Setup::with(&collection(10));
    let crash = setup.path("crash");
    let setup = setup.variable("SHIM_PATH", &crash.display().to_string());
    let server = setup.variable("LD_PRELOAD", &shim::answers().display().to_string()).start();
    let before = server.wait_workers(2);
    fs::write(&crash, "").expect("a file");
    store(&server, 11);
    // No client asks meanwhile: the new workers ask themselves.
    assert_keeps(&server, &before, "[ERROR]", "a new worker did not come up: killed by SIGABRT");
    fs::remove_file(&crash).expect("a file");
    assert_eq!(songs(&server), 100);
    server.reload();
    assert_eq!(songs(&server), 110);
}

/// The questions that new workers ask themselves are none of clients.
#[test]
fn own_questions_are_not_counted() {
    let setup = Setup::with(&collection(10));
    let log = setup.path("access.log");
    let setup = setup.flag(&format!("--access-logfile={}", log.display()));
    // A proxy must begin with its header; the worker does not.
    let server = setup.flag("--proxy-protocol").variable("AVALON_PROXY_ALLOW_IPS", "192.0.2.1").start();
    server.reload();
    let status = server.status();
    let workers = status["workers"].as_array().expect("workers");
    assert!(workers.iter().all(|worker| worker["requests"] == 0), "{status}");
    server.get("/avalon/songs");
    let lines = eventually("a line", || fs::read_to_string(&log).ok().filter(|text| !text.is_empty()));
    assert_eq!(lines.lines().count(), 1, "{lines}");
    server.assert_clean_shutdown();
}

#[test]
fn connections_in_their_keep_alive_outlive_reloads() {
    let server = Setup::with(&collection(10)).flag("--keep-alive=10").start();
    let mut idle: Vec<Connection> = (0..50)
        .map(|_| {
            let mut connection = Connection::open(&server.address).expect("a connection");
            assert!(!connection.get("/avalon/heartbeat").expect("an answer").closes());
            connection
        })
        .collect();
    server.reload();
    server.reload();
    for connection in &mut idle {
        // Idle since before two reloads: served, and told that it was the last time.
        let answer = connection.get("/avalon/songs").expect("an answer to who was idle");
        assert_eq!(answer.success().len(), 100);
        assert!(answer.closes());
        assert_eq!(connection.rest().expect("an orderly end"), b"");
    }
    server.wait_workers(2);
    server.assert_clean_shutdown();
}

#[test]
fn slow_reader_gets_the_whole_answer_of_its_generation() {
    let server = Setup::with(&collection(2000)).start();
    let whole = server.get("/avalon/songs").body;
    let mut slow = Connection::open(&server.address).expect("a connection");
    slow.send(b"GET /avalon/songs HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    slow.first_byte().expect("the answer has begun");
    store(&server, 10);
    server.reload();
    eventually("the new rows", || (songs(&server) == 100).then_some(()));
    let answer = slow.answer("GET").expect("the whole answer");
    assert!(answer.body == whole, "{} bytes instead of {}", answer.body.len(), whole.len());
    server.wait_workers(2);
}

/// A reload that must fail: with a line that says why, and the same workers as before.
fn assert_keeps(server: &Server, before: &[Pid], level: &str, reason: &str) {
    let failed = server.count_log("reload failed, generation");
    server.signal(Signal::SIGHUP);
    let line = server.wait_log_times("reload failed, generation", failed + 1);
    assert!(line.contains(level) && line.contains(reason), "{line}");
    let workers = eventually("the old workers", || {
        Some(server.workers()).filter(|workers| workers.len() == before.len())
    });
    assert_eq!(workers, before);
}

#[test]
fn broken_configuration_changes_nothing() {
    let setup = Setup::with(&collection(10));
    let file = setup.path("avalon.toml");
    fs::write(&file, "KEEPALIVE = 5\n").expect("a file");
    let server = setup.variable("AVALON_CONFIG", &file.display().to_string()).start();
    let before = server.wait_workers(2);
    let load = start_load(&server);
    for (text, reason) in [
        ("KEEPALIVE = \n", "avalon.toml:1"),
        ("\nKEEPALIV = 5\n", "avalon.toml:2: unknown key \"KEEPALIV\"; did you mean KEEPALIVE?"),
        ("BACKLOG = 0\n", "avalon.toml:1: BACKLOG: expected a whole number from 1 to 65535, got 0"),
        ("LOG_PATH = \"/nowhere/at/all/log\"\n", "/nowhere/at/all/log"),
    ] {
        fs::write(&file, text).expect("a file");
        assert_keeps(&server, &before, "[ERROR]", reason);
    }
    fs::remove_file(&file).expect("a file");
    assert_keeps(&server, &before, "[ERROR]", "AVALON_CONFIG names");
    fs::write(&file, "KEEPALIVE = 6\n").expect("a file");
    server.reload();
    load.assert_nothing_lost();
}

#[test]
fn broken_sqlite_file_changes_nothing() {
    let server = Setup::with(&collection(10)).start();
    let before = server.wait_workers(2);
    let load = start_load(&server);
    let path = server.path("avalon.sqlite");
    let good = fs::read(&path).expect("a database");
    fs::write(&path, "this is no database, but long enough to be one").expect("a file");
    assert_keeps(&server, &before, "[WARNING]", "no SQLite database");
    fs::write(&path, &good[..good.len() / 2]).expect("a file");
    assert_keeps(&server, &before, "[WARNING]", "avalon.sqlite");
    // Pages of rubbish behind a good header.
    let mut rubbish = good.clone();
    rubbish[100..].fill(0xa5);
    fs::write(&path, rubbish).expect("a file");
    assert_keeps(&server, &before, "[WARNING]", "avalon.sqlite");
    fs::write(&path, good).expect("a file");
    server.reload();
    load.assert_nothing_lost();
}

#[test]
fn dead_postgres_changes_nothing() {
    let postgres = Postgres::start();
    let rows = postgres.create_database();
    let url = DatabaseUrl::parse(&rows.url()).expect("a URL");
    database::replace(&url, &collection(10)).expect("rows");
    let server = Setup::new(&rows.url()).start();
    assert_eq!(songs(&server), 100);
    let before = server.wait_workers(2);
    let load = start_load(&server);
    postgres.kill();
    assert_keeps(&server, &before, "[WARNING]", "PostgreSQL database");
    assert_eq!(songs(&server), 100);
    load.assert_nothing_lost();
    assert!(!server.log().contains(Postgres::PASSWORD));
}

#[test]
fn odd_rows_are_left_out_and_counted() {
    let server = Setup::with(&collection(10)).start();
    let rows = rusqlite::Connection::open(server.path("avalon.sqlite")).expect("a database");
    rows.execute_batch(
        "PRAGMA foreign_keys = OFF;
         UPDATE tracks SET album_id = NULL WHERE name = 'Song 00000';
         UPDATE tracks SET artist_id = 'x' WHERE name = 'Song 00001';
         UPDATE tracks SET id = 'no id' WHERE name = 'Song 00002';
         UPDATE tracks SET year = NULL, track = 'many' WHERE name = 'Song 00003';",
    )
    .expect("odd rows");
    server.reload();
    eventually("the odd rows", || (songs(&server) == 97).then_some(()));
    let odd = server.get("/avalon/songs?order=year&limit=1").success();
    assert_eq!((&odd[0]["name"], odd[0]["year"].is_null()), (&"Song 00003".into(), true));
    assert_eq!(server.count_log("[WARNING]"), 1, "{}", server.log());
}

#[test]
fn addresses_change_with_the_configuration_and_busy_ones_change_nothing() {
    let setup = Setup::with(&collection(10));
    let file = setup.path("avalon.toml");
    let sockets = ["a", "b"].map(|name| format!("unix:{}", setup.path(name).display()));
    let bind = |addresses: &[&str]| format!("BIND = {addresses:?}\nWORKERS = 2\n");
    fs::write(&file, bind(&[&sockets[0]])).expect("a file");
    let server = setup.without_flags().variable("AVALON_CONFIG", &file.display().to_string()).start();
    assert_eq!(http::get(&sockets[0], "/avalon/heartbeat").text(), "OKOKOK");

    let holder = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let busy = holder.local_addr().expect("an address").to_string();
    fs::write(&file, bind(&[&sockets[0], &busy])).expect("a file");
    assert_keeps(&server, &server.wait_workers(2), "[ERROR]", &busy);

    fs::write(&file, bind(&[&sockets[0], &sockets[1]])).expect("a file");
    server.reload();
    assert_eq!(http::get(&sockets[1], "/avalon/heartbeat").text(), "OKOKOK");

    fs::write(&file, bind(&[&sockets[1]])).expect("a file");
    server.reload();
    eventually("the end of the old address", || Connection::open(&sockets[0]).is_err().then_some(()));
    assert_eq!(http::get(&sockets[1], "/avalon/heartbeat").text(), "OKOKOK");
    assert!(!fs::exists(sockets[0].trim_start_matches("unix:")).expect("a folder"));
}

#[test]
fn address_becomes_all_addresses_without_loss_and_is_named_the_other_way_round() {
    let setup = Setup::with(&collection(10));
    let file = setup.path("avalon.toml");
    let port = free_port();
    let bind = |host: &str| format!("BIND = \"{host}:{port}\"\nWORKERS = 2\n");
    fs::write(&file, bind("127.0.0.1")).expect("a file");
    let server = setup.without_flags().variable("AVALON_CONFIG", &file.display().to_string()).start();
    let load = Load::start(&Plan::of_artists(&server.address));
    load.wait_answers(50);
    assert!(Connection::open(&format!("127.0.0.2:{port}")).is_err());

    fs::write(&file, bind("0.0.0.0")).expect("a file");
    server.reload();
    for address in ["127.0.0.1", "127.0.0.2"] {
        assert_eq!(http::get(&format!("{address}:{port}"), "/avalon/heartbeat").text(), "OKOKOK");
    }
    // No other test shares it.
    std::net::TcpListener::bind(("0.0.0.0", port)).expect_err("in use");

    fs::write(&file, bind("127.0.0.1")).expect("a file");
    assert_keeps(&server, &server.wait_workers(2), "[ERROR]", "the server's own former address");
    load.assert_nothing_lost();
}

/// Whether another server of the same user that shares may listen on this port.
fn may_join(port: u16) -> bool {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
    socket.set_reuse_port(true).expect("an option");
    let address = SocketAddr::from(([0, 0, 0, 0], port));
    socket.bind(&address.into()).and_then(|()| socket.listen(1)).is_ok()
}

/// As a start with that configuration leaves it.
#[test]
fn address_that_was_widened_is_shared_as_reuse_port_says() {
    for is_shared in [false, true] {
        let setup = Setup::with(&collection(1));
        let (file, port) = (setup.path("avalon.toml"), free_port());
        let write = |host: &str| {
            let text = format!("BIND = \"{host}:{port}\"\nWORKERS = 2\nREUSE_PORT = {is_shared}\n");
            fs::write(&file, text).expect("a file");
        };
        write("127.0.0.1");
        let server = setup.without_flags().variable("AVALON_CONFIG", &file.display().to_string()).start();
        write("0.0.0.0");
        server.reload();
        eventually("an answer on another address", || {
            Connection::open(&format!("127.0.0.2:{port}")).is_ok().then_some(())
        });
        assert_eq!(may_join(port), is_shared, "after a reload");
        server.assert_clean_shutdown();
        let fresh = Setup::with(&collection(1)).without_bind().flag(&format!("--bind=0.0.0.0:{port}"));
        let server = fresh.variable("AVALON_REUSE_PORT", &is_shared.to_string()).start();
        assert_eq!(may_join(port), is_shared, "after a start");
        server.assert_clean_shutdown();
    }
}

#[test]
fn workers_and_request_path_change_with_the_configuration() {
    let setup = Setup::with(&collection(10));
    let file = setup.path("avalon.toml");
    fs::write(&file, "WORKERS = 1\n").expect("a file");
    let setup = setup.without_flags().flag("--bind=127.0.0.1:0");
    let server = setup.variable("AVALON_CONFIG", &file.display().to_string()).start();
    server.wait_workers(1);
    fs::write(&file, "WORKERS = 3\nREQUEST_PATH = \"/music\"\n").expect("a file");
    server.reload();
    server.wait_workers(3);
    assert_eq!(server.get("/music/songs").success().len(), 100);
    assert_eq!(server.get("/avalon/songs").status, 404);
}

#[test]
fn storm_of_reloads_leaves_no_trace() {
    let server = Setup::with(&collection(10)).start();
    let master = server.pid();
    let count = |what: &str| fs::read_dir(format!("/proc/{master}/{what}")).expect("a process").count();
    server.reload();
    server.wait_workers(2);
    let fds = count("fd");
    for _ in 0..100 {
        server.signal(Signal::SIGHUP);
    }
    // The last one has begun when a reload after it is done.
    server.reload();
    eventually("rest", || (server.workers().len() == 2 && count("fd") <= fds).then_some(()));
    assert_eq!(count("task"), 1);
    let generations = server.count_log(" serves on ");
    assert!(generations < 50, "{generations} generations");
    assert_eq!(songs(&server), 100);
    server.assert_clean_shutdown();
}
