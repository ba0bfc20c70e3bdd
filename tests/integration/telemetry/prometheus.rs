//! `metrics`, as a real Prometheus and its promtool read it, and as workers come and go.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::http::{self, Connection};
use crate::harness::load::{Load, Outcome, Plan};
use crate::harness::server::{Server, Setup, collection};
use crate::scan_every;

const DASHBOARD: &str = include_str!("../../../config/grafana-dashboard.json");
const DURATION: &str = "avalon_http_request_duration_seconds";

/// The contents of a scrape.
#[derive(Debug)]
pub(super) struct Page {
    text: String,
    series: BTreeMap<String, f64>,
}

impl Page {
    fn of(text: &str) -> Page {
        let series = text.lines().filter(|line| !line.starts_with('#')).map(|line| {
            let (series, value) = line.rsplit_once(' ').expect("a series and a value");
            (series.to_owned(), value.parse().expect("a number"))
        });
        Page { text: text.to_owned(), series: series.collect() }
    }

    fn scrape(address: &str, path: &str) -> Page {
        let answer = http::get(address, path);
        assert_eq!(answer.status, 200, "{}", answer.text());
        Page::of(answer.text())
    }

    #[track_caller]
    fn value(&self, series: &str) -> f64 {
        *self.series.get(series).unwrap_or_else(|| panic!("{series} is not in {}", self.text))
    }

    /// How many answers of an endpoint had a status.
    fn count(&self, endpoint: &str, code: u16) -> f64 {
        let series = format!("{DURATION}_count{{endpoint=\"{endpoint}\",code=\"{code}\"}}");
        self.series.get(&series).copied().unwrap_or_default()
    }

    /// The names of all families, with their types.
    pub(super) fn families(&self) -> BTreeMap<&str, &str> {
        let types = self.text.lines().filter_map(|line| line.strip_prefix("# TYPE "));
        types.map(|line| line.split_once(' ').expect("a type")).collect()
    }
}

pub(super) fn scrape(server: &Server) -> Page {
    Page::scrape(&server.address, "/avalon/metrics")
}

/// Waits until a series has a value: gauges are written by others than the worker that answers.
#[track_caller]
fn wait_value(server: &Server, series: &str, value: f64) {
    eventually(&format!("{series} {value}"), || (scrape(server).value(series) == value).then_some(()));
}

/// Some answers of each kind, each on a connection of its own.
const ASKED: [(&str, u16, &str, u32); 7] = [
    ("/avalon/songs", 200, "songs", 12),
    ("/avalon/albums?query=album", 200, "albums", 7),
    ("/avalon/songs?limit=x", 400, "songs", 5),
    ("/avalon/heartbeat", 200, "heartbeat", 9),
    ("/nowhere", 404, "none", 4),
    ("/avalon/nothing", 404, "none", 2),
    ("/avalon/version", 200, "version", 1),
];

fn ask(server: &Server) {
    for (target, status, _, count) in ASKED {
        for _ in 0..count {
            assert_eq!(server.get(target).status, status, "{target}");
        }
    }
}

/// That each kind was counted so many times as it was asked for.
#[track_caller]
fn assert_counted(page: &Page, times: u32) {
    let mut expected: BTreeMap<(&str, u16), u32> = BTreeMap::new();
    for (_, status, endpoint, count) in ASKED {
        *expected.entry((endpoint, status)).or_default() += count * times;
    }
    for ((endpoint, status), count) in expected {
        assert_eq!(page.count(endpoint, status), f64::from(count), "{endpoint} {status} in {}", page.text);
    }
}

fn promtool(page: &str) {
    let mut child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("promtool: scripts/install-test-deps");
    child.stdin.take().expect("stdin").write_all(page.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("its end");
    let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && said.is_empty(), "{said}\n{page}");
}

#[test]
fn promtool_has_nothing_to_complain_about() {
    let server = Setup::with(&collection(2)).start();
    // Also while nothing has been counted.
    promtool(&scrape(&server).text);
    ask(&server);
    let mut connection = Connection::open(&server.address).expect("a connection");
    let not_modified = {
        let tag = connection.get("/avalon/songs").expect("an answer");
        format!("If-None-Match: {}", tag.header("etag").expect("a tag"))
    };
    assert_eq!(connection.request("GET", "/avalon/songs", &[&not_modified]).expect("an answer").status, 304);
    let get = connection.get("/avalon/metrics").expect("an answer");
    assert_eq!(get.header("content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    promtool(get.text());
    assert_eq!(Page::of(get.text()).count("songs", 304), 1.0);
    let head = connection.request("HEAD", "/avalon/metrics", &[]).expect("an answer");
    assert_eq!((head.status, head.header("content-type")), (200, get.header("content-type")));
    let options = connection.request("OPTIONS", "/avalon/metrics", &[]).expect("an answer");
    assert_eq!((options.status, options.header("allow")), (200, Some("GET, HEAD, OPTIONS")));
    let post = connection.request("POST", "/avalon/metrics", &["Content-Length: 0"]).expect("an answer");
    assert_eq!(post.status, 405);
    assert_eq!(scrape(&server).count("metrics", 405), 1.0);
    server.assert_clean_shutdown();
}

#[test]
fn numbers_are_right_whichever_worker_answers() {
    let server = Setup::with(&collection(2)).flag("--workers=3").start();
    server.wait_workers(3);
    ask(&server);
    let shares = server.status()["workers"].as_array().expect("workers").clone();
    assert!(shares.iter().all(|worker| worker["requests"].as_u64() > Some(0)), "{shares:?}");
    // A connection each: they go to one worker after the other.
    for round in 0..9 {
        let page = scrape(&server);
        assert_counted(&page, 1);
        assert_eq!(page.count("metrics", 200), f64::from(round), "{}", page.text);
        for (series, value) in [
            ("avalon_songs", 20.0),
            ("avalon_albums", 2.0),
            ("avalon_artists", 2.0),
            ("avalon_genres", 2.0),
            ("avalon_generation", 1.0),
            ("avalon_snapshot_stale", 0.0),
            ("avalon_last_reload_successful", 1.0),
            ("avalon_reloads_total{outcome=\"success\"}", 0.0),
        ] {
            assert_eq!(page.value(series), value, "{series}");
        }
        let snapshot = server.status()["snapshot"]["bytes"].as_f64().expect("a size");
        assert_eq!(page.value("avalon_snapshot_bytes"), snapshot);
        assert!(page.value("avalon_snapshot_build_duration_seconds") > 0.0);
        let (begin, made) =
            (page.value("process_start_time_seconds"), page.value("avalon_last_reload_timestamp_seconds"));
        assert!(begin > 1.7e9 && made >= begin, "{begin} {made}");
    }
    wait_value(&server, "avalon_workers", 3.0);
    wait_value(&server, "avalon_workers_wanted", 3.0);
    let page = eventually("the memory of all", || {
        let page = scrape(&server);
        let known = |process: &str| {
            let private = format!("avalon_process_private_memory_bytes{{process={process}}}");
            let resident = format!("avalon_process_resident_memory_bytes{{process={process}}}");
            let value = |series: &str| page.series.get(series).copied().unwrap_or_default();
            value(&private) > 10_000.0 && value(&resident) > value(&private)
        };
        let workers = [0, 1, 2].map(|slot| format!("\"worker\",slot=\"{slot}\""));
        workers.iter().map(String::as_str).chain(["\"master\""]).all(known).then_some(page)
    });
    assert_eq!(page.series.keys().filter(|series| series.contains("slot=")).count(), 6);
}

#[test]
fn bytes_and_connections_are_counted() {
    let server = Setup::with(&collection(30)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut bytes = 0;
    for target in ["/avalon/heartbeat", "/avalon/songs?limit=50", "/avalon/nothing"] {
        bytes += connection.get(target).expect("an answer").body.len();
    }
    assert_eq!(connection.request("HEAD", "/avalon/songs", &[]).expect("an answer").status, 200);
    assert_eq!(scrape(&server).value("avalon_http_response_bytes_total"), bytes as f64);
    // This one, and perhaps that of the scrape.
    eventually("a connection", || (scrape(&server).value("avalon_connections") >= 1.0).then_some(()));
    drop(connection);
    eventually("no connection", || (scrape(&server).value("avalon_connections") <= 1.0).then_some(()));
}

/// A client that does not read its answer.
#[test]
fn answer_without_a_reader_is_in_flight() {
    let long = crate::harness::server::heavy_collection(10, 32 << 20);
    let server = Setup::with(&long).start();
    let in_flight = || scrape(&server).value("avalon_http_requests_in_flight");
    eventually("nothing in flight", || (in_flight() == 0.0).then_some(()));
    let mut slow = Connection::open_narrow(&server.address).expect("a connection");
    slow.send(b"GET /avalon/songs HTTP/1.1\r\nHost: test\r\n\r\n").expect("sent");
    slow.first_byte().expect("an answer");
    eventually("one in flight", || (in_flight() == 1.0).then_some(()));
    drop(slow);
    eventually("nothing in flight again", || (in_flight() == 0.0).then_some(()));
}

#[test]
fn counts_outlive_workers_and_generations() {
    let server = Setup::with(&collection(2)).start();
    ask(&server);
    assert_counted(&scrape(&server), 1);

    for victim in server.wait_workers(2) {
        kill(victim, Signal::SIGKILL).expect("a worker");
    }
    // Scrapes must not be used here: a worker that is being killed loses the connections that it
    // has just accepted.
    eventually("both were replaced", || (server.status()["restarts"]["died"] == 2).then_some(()));
    wait_value(&server, "avalon_worker_restarts_total{cause=\"died\"}", 2.0);
    assert_counted(&scrape(&server), 1);
    wait_value(&server, "avalon_workers", 2.0);
    ask(&server);
    assert_counted(&scrape(&server), 2);

    server.signal(Signal::SIGTTIN);
    wait_value(&server, "avalon_workers", 3.0);
    ask(&server);
    server.signal(Signal::SIGTTOU);
    wait_value(&server, "avalon_workers", 2.0);
    server.wait_workers(2);
    assert_counted(&scrape(&server), 3);

    server.store(3);
    server.reload();
    let page = scrape(&server);
    assert_counted(&page, 3);
    for (series, value) in [
        ("avalon_generation", 2.0),
        ("avalon_songs", 30.0),
        ("avalon_reloads_total{outcome=\"success\"}", 1.0),
        ("avalon_reloads_total{outcome=\"failure\"}", 0.0),
    ] {
        assert_eq!(page.value(series), value, "{series}");
    }
    server.wait_workers(2);
    ask(&server);
    assert_counted(&scrape(&server), 4);

    fs::write(server.path("avalon.sqlite"), "this is no database, but long enough to be one")
        .expect("a file");
    server.signal(Signal::SIGHUP);
    // The server tries again after at most a second, and fails again.
    let failed = |server| scrape(server).value("avalon_reloads_total{outcome=\"failure\"}") >= 1.0;
    eventually("a failure", || failed(&server).then_some(()));
    let page = scrape(&server);
    assert_eq!((page.value("avalon_generation"), page.value("avalon_last_reload_successful")), (2.0, 0.0));
    assert!(
        page.value("avalon_last_reload_timestamp_seconds")
            >= page.value("process_start_time_seconds")
                + page.value("avalon_snapshot_build_duration_seconds")
    );
    assert_counted(&page, 4);
}

/// While workers come and go on the same slots, all the time, and generations with them.
#[test]
fn no_counter_ever_goes_back() {
    let setup = Setup::with(&collection(3)).flag("--workers=4");
    let server = setup.flag("--max-requests=40").flag("--max-requests-jitter=20").start();
    let load = Load::start(&Plan::of_artists(&server.address));
    let (mut before, mut scrapes, mut recycled) = (scrape(&server), 1, 0.0);
    while recycled < 20.0 || before.value("avalon_generation") < 3.0 {
        assert!(scrapes < 20_000, "nothing happens: {}", before.text);
        if scrapes % 100 == 0 && before.value("avalon_generation") < 3.0 {
            server.signal(Signal::SIGHUP);
        }
        let page = scrape(&server);
        scrapes += 1;
        let counters = before.series.iter().filter(|(series, _)| {
            series.starts_with(DURATION)
                || series.split('{').next().is_some_and(|name| name.ends_with("_total"))
        });
        for (series, value) in counters {
            assert!(page.value(series) >= *value, "{series} goes back from {value}: {}", page.text);
        }
        recycled = page.value("avalon_worker_restarts_total{cause=\"max_requests\"}");
        before = page;
    }
    let report = load.stop();
    report.assert_nothing_lost(100);
    let page = scrape(&server);
    assert_eq!(page.count("artists", 200), report.count(Outcome::Ok) as f64);
    assert_eq!(page.count("metrics", 200), f64::from(scrapes));
    server.assert_clean_shutdown();
}

#[test]
fn metrics_do_not_exist_for_others() {
    let not_found = (4, "avalon.service.error.not_found".to_owned());
    let server = Setup::with(&collection(1)).variable("AVALON_STATUS_ALLOW", "192.0.2.1").start();
    assert_eq!(server.get("/avalon/metrics").error(), not_found);
    let server = Setup::with(&collection(1)).start();
    assert_eq!(server.get("/avalon/metrics").status, 200);
    assert_eq!(server.get("/metrics").error(), not_found);
    let mut connection = Connection::open(&server.address).expect("a connection");
    let proxied = connection.request("GET", "/avalon/metrics", &["X-Forwarded-For: 127.0.0.1"]);
    assert_eq!(proxied.expect("an answer").error(), not_found);
    let server = Setup::with(&collection(1)).flag("--metrics=false").start();
    assert_eq!(server.get("/avalon/metrics").error(), not_found);
    assert_eq!(server.get("/avalon/status").status, 200);
}

/// The addresses of a server that are for metrics alone.
fn metrics_addresses(server: &Server) -> Vec<String> {
    let addresses = server.status()["metrics_listeners"].clone();
    let addresses = addresses.as_array().expect("a list").iter();
    addresses.map(|address| address.as_str().expect("an address").to_owned()).collect()
}

#[track_caller]
fn assert_metrics_alone(address: &str) {
    let own = Page::scrape(address, "/metrics");
    let long = Page::scrape(address, "/avalon/metrics");
    assert_eq!(own.value("avalon_songs"), long.value("avalon_songs"));
    for path in ["/", "/metrics/", "/avalon/songs", "/avalon/status", "/avalon/heartbeat"] {
        let answer = http::get(address, path);
        assert_eq!((answer.status, answer.error().0), (404, 4), "{path}");
    }
}

#[test]
fn addresses_for_metrics_give_nothing_else_and_follow_the_configuration() {
    let setup = Setup::with(&collection(1)).flag("--config=avalon.toml");
    let file = setup.path("avalon.toml");
    let unix = format!("unix:{}", setup.path("metrics.socket").display());
    let configure = |addresses: &[&str]| {
        let list = Value::from(addresses);
        fs::write(&file, format!("METRICS_BIND = {list}\nSTATUS_ALLOW = []\n")).expect("a file");
    };
    configure(&["127.0.0.2:0"]);
    let server = setup.start();
    server.wait_log("gives metrics on http://127.0.0.2:");
    // A client that STATUS_ALLOW does not list may see them there, and only there.
    assert_eq!(server.addresses.len(), 1);
    assert_eq!(server.get("/avalon/metrics").status, 404);
    let [first] = metrics_addresses(&server).try_into().expect("one address");
    assert_metrics_alone(&first);

    configure(&["127.0.0.2:0", &unix]);
    server.reload();
    assert_eq!(metrics_addresses(&server), [first.clone(), unix.clone()]);
    assert_metrics_alone(&first);
    assert_metrics_alone(&unix);
    assert_eq!(Page::scrape(&unix, "/metrics").value("avalon_generation"), 2.0);

    configure(&[&unix]);
    server.reload();
    eventually("the address is gone", || Connection::open(&first).is_err().then_some(()));
    assert_metrics_alone(&unix);

    fs::write(&file, "").expect("a file");
    server.reload();
    eventually("the socket is gone", || (!server.path("metrics.socket").exists()).then_some(()));
    assert_eq!(scrape(&server).value("avalon_generation"), 4.0);

    let in_use = TcpListener::bind("127.0.0.2:0").and_then(|listener| Ok((listener.local_addr()?, listener)));
    let (taken, _listener) = in_use.expect("a port");
    configure(&[&taken.to_string()]);
    server.signal(Signal::SIGHUP);
    server.wait_log(&format!("cannot listen on {taken}"));
    assert!(scrape(&server).value("avalon_reloads_total{outcome=\"failure\"}") >= 1.0);
}

#[test]
fn one_of_systemds_sockets_may_be_for_metrics() {
    let bind = || TcpListener::bind("127.0.0.1:0").expect("a port");
    let (web, metrics) = (bind(), bind());
    let shown = |listener: &TcpListener| listener.local_addr().expect("an address").to_string();
    let (web_address, metrics_address) = (shown(&web), shown(&metrics));
    let setup = Setup::with(&collection(1)).flag("--config=avalon.toml");
    let file = setup.path("avalon.toml");
    let settings = format!("METRICS_BIND = [\"{metrics_address}\", \"127.0.0.2:0\"]\n");
    fs::write(&file, &settings).expect("a file");
    let server = setup.passing(vec![("metrics", metrics.into()), ("web", web.into())]).start();
    assert_eq!(server.addresses, [format!("http://{web_address}")]);
    assert_eq!(server.get("/avalon/metrics").status, 404);
    let addresses = metrics_addresses(&server);
    assert_eq!((addresses.len(), addresses[0].as_str()), (2, format!("http://{metrics_address}").as_str()));
    server.reload();
    assert_eq!(metrics_addresses(&server), addresses);
    addresses.iter().for_each(|address| assert_metrics_alone(address));
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
    // Without metrics it is still not for the rest.
    fs::write(&file, settings + "METRICS = false\n").expect("a file");
    server.reload();
    assert_eq!(metrics_addresses(&server), addresses[..1]);
    for path in ["/metrics", "/avalon/metrics", "/avalon/heartbeat"] {
        assert_eq!(http::get(&metrics_address, path).status, 404, "{path}");
    }
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
}

/// A Prometheus in a folder of its own, which scrapes one server four times a second.
struct Prometheus {
    folder: tempfile::TempDir,
    child: Child,
    address: String,
}

impl Prometheus {
    fn start(target: &str) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        // Free at this moment, and at an address that no other test uses.
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a port").port();
        let [high, low] = port.to_be_bytes();
        let address = format!("127.89.{high}.{low}:{port}");
        let config = folder.path().join("prometheus.yml");
        let scrape = format!(
            "scrape_configs: [{{ job_name: avalon, scrape_interval: 250ms, scrape_timeout: 250ms, \
             metrics_path: /avalon/metrics, static_configs: [{{ targets: ['{target}'] }}] }}]\n"
        );
        fs::write(&config, scrape).expect("a file");
        let output = File::create(folder.path().join("output")).expect("a file");
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", folder.path().join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(output.try_clone().expect("a file"))
            .stderr(output)
            .spawn()
            .expect("prometheus: scripts/install-test-deps");
        let prometheus = Prometheus { folder, child, address };
        eventually("prometheus is up", || {
            let mut connection = Connection::open(&prometheus.address).ok()?;
            connection.get("/-/ready").ok().filter(|answer| answer.status == 200)
        });
        prometheus
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("output")
    }

    /// The samples that a query gives: their labels and values.
    fn query(&self, query: &str) -> Vec<(Value, f64)> {
        let encoded = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = http::get(&self.address, &format!("/api/v1/query?query={encoded}"));
        let json = answer.json();
        assert_eq!(json["status"], "success", "{query}: {json}");
        let samples = json["data"]["result"].as_array().expect("a vector").iter();
        let number = |sample: &Value| sample["value"][1].as_str()?.parse().ok();
        samples.map(|sample| (sample["metric"].clone(), number(sample).expect("a number"))).collect()
    }

    fn wait(&self, query: &str, value: f64) {
        eventually(&format!("{query} {value}"), || {
            matches!(self.query(query).as_slice(), [(_, got)] if *got == value).then_some(())
        });
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            eprintln!("prometheus printed:\n{}", fs::read_to_string(self.output()).unwrap_or_default());
        }
    }
}

/// Returns the queries of the dashboard, with its variables filled in as Grafana does.
fn dashboard_queries() -> Vec<String> {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    let panels = dashboard["panels"].as_array().expect("panels").iter();
    let targets = panels.filter(|panel| panel["type"] != "row");
    let targets = targets.flat_map(|panel| panel["targets"].as_array().expect("targets"));
    let annotations = dashboard["annotations"]["list"].as_array().expect("a list").iter();
    let exprs = targets.chain(annotations).filter_map(|target| target["expr"].as_str());
    let filled = |expr: &str| {
        expr.replace("$__rate_interval", "1m").replace("$job", "avalon").replace("$instance", ".*")
    };
    exprs.map(filled).collect()
}

/// Whether there is an answer only after a scan.
fn is_of_scans(query: &str) -> bool {
    ["_scan", "avalon_collection_revision", "avalon_source_revision"].iter().any(|part| query.contains(part))
}

#[test]
fn a_real_prometheus_gets_the_numbers_and_answers_the_dashboard() {
    let server = Setup::with(&collection(2)).start();
    let prometheus = Prometheus::start(server.address.trim_start_matches("http://"));
    prometheus.wait("up", 1.0);
    // From here on something has been counted between two scrapes, so that there are rates.
    ask(&server);
    let count = |matcher: &str| format!("sum({DURATION}_count{{{matcher}}})");
    prometheus.wait(&count("endpoint=\"songs\",code=\"200\""), 12.0);
    prometheus.wait(&count("code=\"404\""), 6.0);
    prometheus.wait("avalon_songs", 20.0);
    kill(server.wait_workers(2)[0], Signal::SIGKILL).expect("a worker");
    prometheus.wait("avalon_worker_restarts_total{cause=\"died\"}", 1.0);
    server.reload();
    prometheus.wait("avalon_generation", 2.0);
    // The former counts are still there, and none has decreased.
    prometheus.wait(&count("endpoint=\"songs\",code=\"200\""), 12.0);
    prometheus.wait(&format!("sum(resets({DURATION}_count[5m])) + sum(resets({DURATION}_bucket[5m]))"), 0.0);
    // This server does not scan.
    let (scans, queries): (Vec<_>, Vec<_>) =
        dashboard_queries().into_iter().partition(|query| is_of_scans(query));
    assert!(queries.len() > 20 && scans.len() > 5, "{queries:?} {scans:?}");
    for query in queries {
        // Each panel has something to show.
        eventually(&query, || (!prometheus.query(&query).is_empty()).then_some(()));
    }
}

#[test]
fn a_real_prometheus_answers_the_queries_about_scans_of_the_dashboard() {
    let server = scan_every::setup().flag("--scan-every=2").flag("--reload-on-change").start();
    let prometheus = Prometheus::start(server.address.trim_start_matches("http://"));
    prometheus.wait("avalon_last_scan_songs{fate=\"total\"}", 1.0);
    prometheus.wait("avalon_last_scan_songs{fate=\"added\"}", 0.0);
    for query in dashboard_queries().into_iter().filter(|query| is_of_scans(query)) {
        eventually(&query, || (!prometheus.query(&query).is_empty()).then_some(()));
    }
}

/// The names of metrics in a query: words that begin as ours do.
pub(super) fn names(query: &str) -> Vec<&str> {
    let words = query.split(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
    words.filter(|word| word.starts_with("avalon_") || word.starts_with("process_")).collect()
}

#[test]
fn the_dashboard_asks_only_for_metrics_that_exist() {
    let dashboard: Value = serde_json::from_str(DASHBOARD).expect("JSON");
    assert!(dashboard["schemaVersion"].as_u64() >= Some(36));
    let variables: Vec<&str> = dashboard["templating"]["list"]
        .as_array()
        .expect("variables")
        .iter()
        .map(|variable| variable["name"].as_str().expect("a name"))
        .collect();
    assert_eq!(variables, ["datasource", "job", "instance"]);
    let server = Setup::with(&collection(1)).start();
    let page = scrape(&server);
    let families = page.families();
    let mut asked: Vec<String> = dashboard_queries();
    let definitions = dashboard["templating"]["list"].as_array().expect("variables").iter();
    asked.extend(definitions.filter_map(|of| of["definition"].as_str()).map(str::to_owned));
    let mut seen = Vec::new();
    for query in &asked {
        assert!(!names(query).is_empty(), "{query}");
        for name in names(query) {
            let family = ["_bucket", "_count"].iter().find_map(|suffix| name.strip_suffix(suffix));
            let kind = families.get(family.unwrap_or(name)).copied();
            assert!(
                if family.is_some() { kind == Some("histogram") } else { kind.is_some() },
                "{name} in {query}"
            );
            seen.push(family.unwrap_or(name));
        }
    }
    // The dashboard shows all but one: resident memory counts the snapshot in every process.
    let unseen: Vec<_> = families.keys().filter(|family| !seen.contains(*family)).collect();
    assert_eq!(unseen, [&"avalon_process_resident_memory_bytes"]);
    let ids: std::collections::HashSet<_> =
        dashboard["panels"].as_array().expect("panels").iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), dashboard["panels"].as_array().map_or(0, Vec::len));
}
