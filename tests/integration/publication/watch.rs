//! `RELOAD_ON_CHANGE` with `SNAPSHOT_URL`: nodes follow the pointer by themselves, and not back.

use std::fs;
use std::time::{Duration, Instant};

use super::*;
use crate::harness::eventually;

fn watching(publisher: &Publisher) -> Server {
    publisher.node().flag("--reload-on-change").flag("--watch-every=1").flag("--reload-jitter=1").start()
}

#[test]
fn nodes_follow_publications_and_rollbacks_by_themselves() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let nodes = [watching(&publisher), watching(&publisher), watching(&publisher)];
    let follow = |wanted: u32| {
        let begin = Instant::now();
        for node in &nodes {
            eventually("what is published", || (artists(node) == wanted).then_some(()));
        }
        begin.elapsed()
    };
    follow(3);
    publisher.publish(4);
    // The issue asks for 5 s; beside other tests a poll or a load may take longer.
    assert!(follow(4) < Duration::from_secs(20));
    publisher.ok(&["--rollback"]);
    follow(3);
    let counter = &publisher.pointer()["counter"];
    for node in &nodes {
        eventually("the counter", || (node.status()["snapshot"]["revision"] == *counter).then_some(()));
        eventually("fresh rows", || (node.status()["source"]["stale"] == false).then_some(()));
    }
}

#[test]
fn store_that_is_away_is_reported_and_older_rows_are_not_served() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let older = fs::read(publisher.store().join("current.json")).expect("a pointer");
    let node = watching(&publisher);
    publisher.publish(4);
    eventually("what is published", || (artists(&node) == 4).then_some(()));

    let away = publisher.store().with_extension("away");
    fs::rename(publisher.store(), &away).expect("a folder");
    eventually("an outage", || (node.status()["source"]["up"] == false).then_some(()));
    eventually("staleness", || (node.status()["source"]["stale"] == true).then_some(()));
    fs::rename(&away, publisher.store()).expect("a folder");
    eventually("fresh rows", || (node.status()["source"]["stale"] == false).then_some(()));

    // A backup of the store.
    fs::write(publisher.store().join("current.json"), older).expect("a file");
    let reason = || node.status()["source"]["reason"].as_str().map(str::to_owned);
    eventually("the reason", || reason().filter(|reason| reason.contains("the source is behind")));
    assert_eq!(artists(&node), 4);
    let control = node.path("control").display().to_string();
    let reload = |arguments: &[&str]| {
        let (code, _, errors) = run(
            env!("CARGO_BIN_EXE_avalonctl"),
            &[&["--socket", &control, "reload", "--wait"], arguments].concat(),
            &[],
        );
        (code, errors)
    };
    let (code, errors) = reload(&[]);
    assert_eq!((code, artists(&node)), (1, 4), "{errors}");
    assert_eq!(reload(&["--accept-older"]), (0, String::new()));
    assert_eq!(artists(&node), 3);
}
