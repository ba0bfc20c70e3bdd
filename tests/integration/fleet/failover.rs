//! A primary fails, its replica takes its place, and the old primary comes back with old rows.

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::nodes::{Lookout, Music, node, replica_of, revision, wait_revision};
use crate::harness::alone;
use crate::harness::postgres::Postgres;
use crate::harness::server::Server;

/// From the end of a scan on the new primary to rows that are fresh.
const FRESH_WITHIN: Duration = Duration::from_secs(10);

#[test]
fn revision_never_falls_when_an_old_primary_comes_back() {
    let _alone = alone();
    let primary = Postgres::start();
    let database = primary.create_database();
    let mut music = Music::new();
    let replica = replica_of(&primary, &database.url(), &mut music);
    let (first, second) = (primary.port(), replica.port());
    let url = format!("postgresql://avalon@127.0.0.1:{first},127.0.0.1:{second}/{}", database.name);
    let nodes: Vec<Server> = (0..2).map(|_| node(&url).start()).collect();
    let lookouts: Vec<Lookout> = nodes.iter().map(Lookout::at).collect();

    primary.stop();
    replica.promote();
    let wanted = music.scan(&format!("{url}?target_session_attrs=read-write"));
    let begin = Instant::now();
    nodes.iter().for_each(|node| wait_revision(node, wanted));
    assert!(begin.elapsed() <= FRESH_WITHIN, "{:?}", begin.elapsed());

    // The loader asks the old primary first, which is one behind.
    primary.start_again();
    const BEHIND: &str = "the source is behind: it has revision 1, and revision 2 is served";
    for node in &nodes {
        node.signal(Signal::SIGHUP);
        let line = node.wait_log(BEHIND);
        assert!(line.contains("[ERROR]") && line.contains("--accept-older"), "{line}");
        let source = node.status()["source"].clone();
        assert!(source["reason"].as_str().is_some_and(|reason| reason.contains(BEHIND)), "{source}");
        assert_eq!((&source["stale"], &source["up"]), (&true.into(), &true.into()), "{source}");
        assert_eq!(revision(&node.address), Some(wanted));
        // Told once, however often a load finds it.
        node.signal(Signal::SIGHUP);
        node.wait_log_times(BEHIND, 2);
        let errors = node.log().lines().filter(|line| line.contains("[ERROR]")).count();
        assert_eq!(errors, 1, "{}", node.log());
    }
    for lookout in lookouts {
        assert!(lookout.looks() > 20);
    }
}
