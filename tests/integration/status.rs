//! The state of a running server: its status, and its processes in `ps`.

use std::fs;
use std::time::Instant;

use nix::sys::signal::Signal;

use crate::harness::http::Connection;
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{DEADLINE, eventually, free_port, http};

#[test]
fn status_tells_of_all_workers_whichever_answers() {
    let server = Setup::with(&collection(2)).start();
    let workers: Vec<i64> = server.wait_workers(2).iter().map(|pid| i64::from(pid.as_raw())).collect();
    let asked = 20;
    for _ in 0..asked {
        server.get("/avalon/heartbeat");
    }
    let status = server.get("/avalon/status");
    assert_eq!(status.header("content-type"), Some("application/json; charset=utf-8"));
    let status = status.json();
    assert_eq!((&status["songs"], &status["artists"]), (&20.into(), &2.into()));
    assert_eq!(status["requests"].as_u64(), Some(asked));
    let mut shown: Vec<i64> = status["workers"]
        .as_array()
        .expect("workers")
        .iter()
        .filter_map(|worker| worker["pid"].as_i64())
        .collect();
    shown.sort_unstable();
    let mut expected = workers;
    expected.sort_unstable();
    assert_eq!(shown, expected);
}

/// Stops the master as soon as its log has a line with `text`, and gives the metrics that a worker shows then.
fn metrics_at(server: &Server, address: &str, text: &str) -> impl Fn(&str) -> Option<f64> + use<> {
    // At once, before the master does anything else.
    let begin = Instant::now();
    while server.count_log(text) == 0 {
        assert!(begin.elapsed() < DEADLINE, "no {text:?} in {}", server.log());
    }
    server.signal(Signal::SIGSTOP);
    let page = http::get(address, "/avalon/metrics").text().to_owned();
    server.signal(Signal::SIGCONT);
    move |name| page.lines().find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
}

#[test]
fn workers_show_at_once_what_the_log_tells() {
    let address = format!("127.0.0.1:{}", free_port());
    let server = Setup::with(&collection(2)).flag(&format!("--bind={address}")).spawn();
    let checked = |metrics: &dyn Fn(&str) -> Option<f64>| metrics("avalon_source_checked_timestamp_seconds");
    let of_first = metrics_at(&server, &address, "generation 1 serves on");
    assert_eq!((of_first("avalon_generation"), of_first("avalon_snapshot_stale")), (Some(1.0), Some(0.0)));
    assert!(checked(&of_first).is_some());
    assert_eq!(of_first("avalon_source_up"), Some(1.0));

    server.store(3);
    server.signal(Signal::SIGHUP);
    let of_second = metrics_at(&server, &address, "generation 2 serves on");
    assert_eq!((of_second("avalon_generation"), of_second("avalon_songs")), (Some(2.0), Some(30.0)));
    assert!(checked(&of_second) > checked(&of_first));

    server.wait_workers(2);
    fs::remove_file(server.path("avalon.sqlite")).expect("the database");
    server.signal(Signal::SIGHUP);
    let of_third = metrics_at(&server, &address, "reload failed");
    assert_eq!((of_third("avalon_generation"), of_third("avalon_snapshot_stale")), (Some(2.0), Some(1.0)));
    assert_eq!(checked(&of_third), checked(&of_second));
}

#[test]
fn status_does_not_exist_for_others() {
    let server = Setup::with(&collection(1)).variable("AVALON_STATUS_ALLOW", "192.0.2.1").start();
    assert_eq!(server.get("/avalon/status").status, 404);
    let server = Setup::with(&collection(1)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let proxied = connection.request("GET", "/avalon/status", &["X-Forwarded-For: 192.0.2.1"]);
    assert_eq!(proxied.expect("an answer").error(), (4, "avalon.service.error.not_found".to_owned()));
}

#[test]
fn process_titles_say_who_is_who_and_hide_arguments_and_environment() {
    let server = Setup::with(&collection(1))
        .flag("--env=AVALON_STATSD_PREFIX=sekret-argument")
        .variable("AVALON_SENTRY_DSN", "http://sekret-variable@127.0.0.1:9/1")
        .start();
    let title = |pid| fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    eventually("the master's title", || {
        let title = title(server.pid());
        (title.trim_end_matches('\0') == "avalon: master [2 workers]").then_some(())
    });
    let mut titles: Vec<String> =
        server.wait_workers(2).into_iter().map(|pid| title(pid).trim_end_matches('\0').to_owned()).collect();
    titles.sort_unstable();
    assert_eq!(titles, ["avalon: worker 0 [gen 1]", "avalon: worker 1 [gen 1]"]);
    for pid in server.workers().into_iter().chain([server.pid()]) {
        let environment = fs::read(format!("/proc/{pid}/environ")).expect("an environment");
        assert!(!String::from_utf8_lossy(&environment).contains("sekret"), "{pid}");
    }
}
