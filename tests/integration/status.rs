//! The state of a running server: its status, and its processes in `ps`.

use std::fs;

use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::server::{Setup, collection};

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
