//! The cache fields of answers, and their effect in a cache.

use std::fs;
use std::process::{Child, Command, Stdio};

use super::{LISTS, TEXTS};
use crate::harness::http::{Connection, get};
use crate::harness::server::{Server, Setup, collection};
use crate::harness::{eventually, free_port};

const CACHE_CONTROL: &str = "cache-control";

#[test]
fn lists_may_be_kept_and_nothing_else() {
    for (setting, told) in
        [(None, Some("no-cache")), (Some("max-age=60, public"), Some("max-age=60, public")), (Some(""), None)]
    {
        let mut setup = Setup::with(&collection(1));
        if let Some(setting) = setting {
            setup = setup.variable("AVALON_CACHE_CONTROL", setting);
        }
        let server = setup.start();
        for list in LISTS {
            let answer = server.get(list);
            assert_eq!(answer.header(CACHE_CONTROL), told, "{list}");
            let known = format!("If-None-Match: {}", answer.header("etag").expect("a tag"));
            let mut connection = Connection::open(&server.address).expect("a connection");
            let answer = connection.request("GET", list, &[&known]).expect("an answer");
            assert_eq!((answer.status, answer.header(CACHE_CONTROL)), (304, told), "{list}");
            let mut ask = |method, target, field: &str| {
                connection.request(method, target, &[field]).expect("an answer")
            };
            for (answer, status) in [
                (ask("GET", &format!("{list}?limit=x"), "X: y"), 400),
                (ask("POST", list, "Content-Length: 0"), 405),
                (ask("GET", list, "If-Match: \"x\""), 412),
                (ask("OPTIONS", list, "X: y"), 200),
            ] {
                assert_eq!(
                    (answer.status, answer.header(CACHE_CONTROL)),
                    (status, Some("no-store")),
                    "{list}"
                );
            }
        }
        for target in TEXTS.into_iter().chain(["/avalon/status", "/avalon/metrics", "/avalon/none"]) {
            assert_eq!(server.get(target).header(CACHE_CONTROL), Some("no-store"), "{target}");
        }
        server.assert_clean_shutdown();
    }
    let (code, _, error) = crate::harness::server::run(
        env!("CARGO_BIN_EXE_avalon-master"),
        &["--check-config"],
        &[("AVALON_CACHE_CONTROL", "no\ncache")],
    );
    assert!(code == 2 && error.contains("CACHE_CONTROL") && error.contains("ASCII"), "{code} {error}");
}

/// Debian's Varnish with its defaults, which keeps answers without cache fields for two minutes.
struct Varnish {
    _folder: tempfile::TempDir,
    process: Child,
    address: String,
}

impl Varnish {
    fn before(server: &Server) -> Varnish {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let log = folder.path().join("log");
        let output = fs::File::create(&log).expect("a file");
        let process = Command::new("/usr/sbin/varnishd")
            .arg("-F")
            .args(["-n".as_ref(), folder.path().join("work").as_os_str()])
            .args(["-a", &format!("127.0.0.1:{port}"), "-b", server.address.trim_start_matches("http://")])
            .args(["-j", "none", "-s", "malloc,16m"])
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("varnishd: scripts/install-test-deps installs it");
        let varnish = Varnish { _folder: folder, process, address: format!("http://127.0.0.1:{port}") };
        eventually(&format!("Varnish is up: {}", fs::read_to_string(&log).unwrap_or_default()), || {
            let answer = Connection::open(&varnish.address).ok()?.get("/avalon/heartbeat").ok()?;
            (answer.status == 200).then_some(())
        });
        varnish
    }
}

impl Drop for Varnish {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_cache_shows_no_row_of_before_a_reload() {
    let server = Setup::with(&collection(2)).start();
    let varnish = Varnish::before(&server);
    for artists in [2, 3, 5] {
        server.store(artists);
        server.reload();
        for _ in 0..3 {
            assert_eq!(get(&varnish.address, "/avalon/artists").success().len(), artists as usize);
            assert_eq!(get(&varnish.address, "/avalon/heartbeat").text(), "OKOKOK");
        }
    }
    server.assert_clean_shutdown();
    // No heartbeat of a server that is gone.
    assert_eq!(get(&varnish.address, "/avalon/heartbeat").status, 503);
}
