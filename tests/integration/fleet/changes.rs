//! A change of the database is served by all nodes within seconds, whichever server of it they read.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use avalon::config::DatabaseUrl;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::nodes::{Lookout, Music, etag, node, replica_of, revision, wait_revision, watcher};
use crate::control::{ctl, ctl_ok};
use crate::harness::alone;
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, collection};

/// The promises, from the end of a scan to the slowest node and to the middle one.
const SLOWEST: Duration = Duration::from_secs(5);
const MEDIAN: Duration = Duration::from_millis(2500);

/// Memory of a watcher that it shares with no process.
const WATCHER_BYTES: u64 = 6_000_000;

/// Bytes of a process that no other has.
fn private_bytes(pid: Pid) -> u64 {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).expect("smaps_rollup");
    let private = rollup.lines().filter(|line| line.starts_with("Private_"));
    private
        .map(|line| line.split_whitespace().nth(1).expect("a number").parse::<u64>().expect("kB"))
        .sum::<u64>()
        * 1024
}

#[test]
fn ten_scans_reach_nodes_on_primary_replica_and_pooler() {
    let _alone = alone();
    let cluster = Postgres::start();
    let database = cluster.create_database();
    let mut music = Music::new();
    let replica = replica_of(&cluster, &database.url(), &mut music);
    let pooler = cluster.start_pooler();
    let of_replica = format!("postgresql://avalon@127.0.0.1:{}/{}", replica.port(), database.name);
    let urls = [database.url(), of_replica, pooler.url(&database.name)];
    let nodes: Vec<Server> = urls.iter().map(|url| node(url).start()).collect();
    let lookouts: Vec<Lookout> = nodes.iter().map(Lookout::at).collect();
    let mut times = Vec::new();
    for scan in 0..10 {
        let wanted = music.scan(&database.url());
        let end = Instant::now();
        nodes.iter().for_each(|node| wait_revision(node, wanted));
        times.push(end.elapsed());
        let tags: Vec<String> = nodes.iter().map(etag).collect();
        assert!(tags.iter().all(|tag| *tag == tags[0]), "after scan {scan}: {tags:?}");
    }
    for lookout in lookouts {
        assert!(lookout.looks() >= 100);
    }
    times.sort_unstable();
    println!("from a scan to all nodes: {times:?}");
    assert!(times[times.len() / 2] <= MEDIAN && times[times.len() - 1] <= SLOWEST, "{times:?}");
    for node in nodes {
        // They have confirmed the served rows, and reported their view.
        let status = node.status();
        assert_eq!(status["source"]["revision"], status["snapshot"]["revision"]);
        let metrics = node.get("/avalon/metrics").text().to_owned();
        assert!(
            metrics.contains("\navalon_source_revision 11\n") && metrics.contains("\navalon_source_up 1\n")
        );
        let bytes = private_bytes(watcher(&node));
        println!("memory of a watcher: {bytes} bytes");
        assert!(bytes <= WATCHER_BYTES, "{bytes}");
        // Each change was one reload.
        assert_eq!(node.count_log("making generation"), 11);
        node.assert_clean_shutdown();
    }
}

/// With `AVALON_LONG=1`, and true for a release build: most of the time a loader builds.
#[test]
fn scan_of_a_large_collection_reaches_a_node_within_seconds() {
    if std::env::var_os("AVALON_LONG").is_none_or(|flag| flag == "0") {
        return;
    }
    let _alone = alone();
    let database = Postgres::shared().create_database();
    Music::new().scan(&database.url());
    let url = DatabaseUrl::parse(&database.url()).expect("a URL");
    avalon::database::replace(&url, &collection(10_000)).expect("rows");
    let server = node(&database.url()).start();
    let statement = "DELETE FROM tracks WHERE id = (SELECT id FROM tracks LIMIT 1);
        UPDATE avalon_revision SET counter = counter + 1";
    database.execute(statement);
    let end = Instant::now();
    wait_revision(&server, 2);
    println!("100,000 songs: {:.1?}", end.elapsed());
    assert!(end.elapsed() <= SLOWEST, "{:?}", end.elapsed());
    server.assert_clean_shutdown();
}

#[test]
fn reload_with_a_revision_waits_for_a_replica_that_lags() {
    let _alone = alone();
    let cluster = Postgres::start();
    let database = cluster.create_database();
    let mut music = Music::new();
    let replica = replica_of(&cluster, &database.url(), &mut music);
    replica.lag("3s");
    let url = format!("postgresql://avalon@127.0.0.1:{}/{}", replica.port(), database.name);
    // One watches, the other learns of the change only because a client asks.
    let nodes = [node(&url).start(), Setup::new(&url).start()];
    let lookouts = nodes.each_ref().map(Lookout::at);
    for node in &nodes {
        let wanted = music.scan(&database.url());
        let begin = Instant::now();
        let number = wanted.to_string();
        let (code, _, err) = ctl(node, &["reload", "--wait", "--revision", &number, "--timeout", "1"]);
        assert_eq!(code, 4, "{err}");
        let has = wanted - 1;
        assert!(err.contains(&format!("revision {wanted} does not serve: ")), "{err}");
        assert!(err.contains(&format!("has revision {has}; a replica may lag")), "{err}");
        ctl_ok(node, &["reload", "--wait", "--revision", &number]);
        let took = begin.elapsed();
        assert!(revision(&node.address) >= Some(wanted), "{took:?}");
        assert!(took >= Duration::from_secs(2) && took <= Duration::from_secs(8), "{took:?}");
        // It has them, and need not load anything.
        let made = node.count_log("making generation");
        ctl_ok(node, &["reload", "--wait", "--revision", "1"]);
        assert_eq!(node.count_log("making generation"), made);
    }
    // A scan that asks a node waits for its own rows.
    let socket = nodes[1].path("control");
    let wanted = music.scan_with(&database.url(), &[("AVALON_CONTROL", socket.to_str().expect("UTF-8"))]);
    assert!(revision(&nodes[1].address) >= Some(wanted));
    assert!(lookouts.into_iter().all(|lookout| lookout.looks() > 0));
    for node in nodes {
        node.assert_clean_shutdown();
    }
}

#[test]
fn watcher_that_is_killed_ten_times_loses_no_change() {
    let cluster = Postgres::shared();
    let database = cluster.create_database();
    let mut music = Music::new();
    music.scan(&database.url());
    let server = node(&database.url()).start();
    for kills in 1..=10 {
        let pid = watcher(&server);
        // Before a change and after it.
        let wanted = (kills % 2 == 0).then(|| music.scan(&database.url()));
        kill(pid, Signal::SIGKILL).expect("a watcher");
        server.wait_log_times("the watcher of the database has ended (killed by SIGKILL)", kills);
        let wanted = wanted.unwrap_or_else(|| music.scan(&database.url()));
        wait_revision(&server, wanted);
    }
    server.assert_clean_shutdown();
}

/// When a node has begun its reload with this number, in seconds since 1970.
fn begin_of(node: &Server, number: usize) -> f64 {
    let line = node.wait_log_times("making generation", number);
    line.split(' ').next().and_then(|time| time.parse().ok()).expect("a time")
}

#[test]
fn nodes_spread_their_reloads_over_the_jitter() {
    const NODES: usize = 12;
    const ROUNDS: usize = 4;
    const JITTER: f64 = 4.0;
    let _alone = alone();
    let cluster = Postgres::start();
    let database = cluster.create_database();
    let pooler = cluster.start_pooler();
    let mut music = Music::new();
    music.scan(&database.url());
    let start = |_| {
        let setup = node(&pooler.url(&database.name)).variable("AVALON_RELOAD_JITTER", "4");
        setup.variable("AVALON_LOG_FORMAT", "%(created)f [%(levelname)s] %(message)s").start()
    };
    let nodes: Vec<Server> = (0..NODES).map(start).collect();
    let mut offsets = Vec::new();
    for round in 1..=ROUNDS {
        let wanted = music.scan(&database.url());
        let scanned = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock").as_secs_f64();
        nodes.iter().for_each(|node| wait_revision(node, wanted));
        offsets.extend(nodes.iter().map(|node| begin_of(node, round + 1) - scanned));
    }
    offsets.sort_unstable_by(f64::total_cmp);
    let spread = offsets[offsets.len() - 1] - offsets[0];
    println!("reloads of {NODES} nodes in {ROUNDS} rounds, seconds after the scan: {offsets:.1?}");
    assert!(spread >= 0.8 * JITTER, "{offsets:?}");
    // They are spread, and not in two heaps.
    let middle = offsets[0] + spread / 2.0;
    let early = offsets.iter().filter(|offset| **offset < middle).count();
    assert!((NODES..=offsets.len() - NODES / 2).contains(&early), "{offsets:?}");
    for node in nodes {
        node.assert_clean_shutdown();
    }
}
