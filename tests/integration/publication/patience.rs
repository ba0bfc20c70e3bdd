//! `PUBLISH_PATIENCE`: the publisher dies, and nodes that have the database, too, go on with its rows.

use std::fs;

use nix::sys::signal::Signal;

use super::*;
use crate::harness::eventually;

/// Has a publisher's database hold rows of this revision.
fn fill(publisher: &Publisher, artists: u32, revision: u32) {
    publisher.fill(artists);
    let database = publisher.folder.path().join("avalon.sqlite");
    let database = rusqlite::Connection::open(database).expect("a database");
    let sql = format!(
        "CREATE TABLE IF NOT EXISTS avalon_revision (one BOOLEAN NOT NULL DEFAULT true PRIMARY KEY CHECK (one),
            counter BIGINT NOT NULL, scan UUID, changed TIMESTAMPTZ NOT NULL DEFAULT CURRENT_TIMESTAMP);
         DELETE FROM avalon_revision;
         INSERT INTO avalon_revision (counter) VALUES ({revision});"
    );
    database.execute_batch(&sql).expect("SQL");
}

/// A node that serves three artists of revision 1 of the store, and has little patience.
fn patient(publisher: &Publisher, watches: bool) -> Server {
    fill(publisher, 3, 1);
    publisher.ok(&["--from-database"]);
    let node = publisher.node().variable("AVALON_DATABASE_URL", &publisher.database());
    let node = node.flag("--publish-patience=2s").flag("--watch-every=1").flag("--reload-jitter=0");
    let node = if watches { node.flag("--reload-on-change").start() } else { node.start() };
    wait_serves(&node, 3, "store");
    node
}

fn wait_serves(node: &Server, wanted: u32, from: &str) {
    eventually(&format!("{wanted} artists of the {from}"), || {
        let is_it = artists(node) == wanted && node.status()["source"]["serves"] == from;
        is_it.then_some(())
    });
    let line = format!("avalon_serves_info{{from=\"{from}\"}} 1");
    eventually("the metric", || node.get("/avalon/metrics").text().contains(&line).then_some(()));
}

#[test]
fn rows_of_the_database_are_served_while_nobody_publishes_them() {
    for watches in [false, true] {
        let publisher = Publisher::to_folder();
        let node = patient(&publisher, watches);
        fill(&publisher, 4, 2);
        wait_serves(&node, 4, "database");
        node.wait_log("the database is read instead: the database has newer rows");
        assert_eq!(node.status()["source"]["stale"], true);
        // The published rows are older, also with a new pointer.
        let other = Publisher::to(publisher.url());
        fill(&other, 9, 1);
        assert!(other.ok(&["--from-database", "--accept-older"]).contains("published"));
        node.signal(Signal::SIGHUP);
        node.wait_log(
            "nothing new is published: the store has rows of revision 1 of the database, and revision 2",
        );
        assert_eq!(artists(&node), 4);
        fill(&publisher, 5, 3);
        publisher.ok(&["--from-database"]);
        wait_serves(&node, 5, "store");
        eventually("fresh rows", || (node.status()["source"]["stale"] == false).then_some(()));
    }
}

#[test]
fn rows_of_the_database_are_served_while_the_store_is_away() {
    let publisher = Publisher::to_folder();
    let node = patient(&publisher, true);
    let away = publisher.store().with_extension("away");
    fs::rename(publisher.store(), &away).expect("a folder");
    // The same rows: nothing is to be gained.
    eventually("an outage", || (node.status()["source"]["up"] == false).then_some(()));
    node.wait_log("reload failed, generation 1 goes on");
    fill(&publisher, 4, 2);
    wait_serves(&node, 4, "database");
    let loads = node.count_log("collection loaded");
    fill(&publisher, 6, 3);
    wait_serves(&node, 6, "database");
    fs::rename(&away, publisher.store()).expect("a folder");
    eventually("the pointer", || {
        let status = node.status();
        let reason = status["source"]["reason"].as_str()?.to_owned();
        reason.contains("nothing new is published").then_some(())
    });
    assert_eq!((artists(&node), node.count_log("collection loaded")), (6, loads + 1));
    publisher.ok(&["--from-database"]);
    wait_serves(&node, 6, "store");
}
