//! Several publishers at once, and the removal of old snapshots.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::thread;
use std::time::{Duration, SystemTime};

use serde_json::Value;

use super::{Publisher, names};

/// Two publishers of other rows each, to one store.
pub(super) fn assert_counter_rises(url: &str, pointer: impl Fn() -> Option<Value> + Sync, rounds: u32) {
    let publishers = [Publisher::to(url), Publisher::to(url)];
    thread::scope(|scope| {
        let work: Vec<_> = publishers
            .iter()
            .zip([1, 2])
            .map(|(publisher, first)| {
                scope.spawn(move || {
                    for round in 0..rounds {
                        publisher.publish(first + 2 * (round % 4));
                    }
                })
            })
            .collect();
        let (mut last, mut seen) = (0, BTreeSet::new());
        while !work.iter().all(thread::ScopedJoinHandle::is_finished) {
            let Some(pointer) = pointer() else { continue };
            let counter = pointer["counter"].as_u64().expect("a counter");
            assert!(counter >= last, "{counter} after {last}");
            last = counter;
            seen.insert(pointer["hash"].as_str().expect("a hash").to_owned());
        }
        assert!(seen.len() > 2, "{seen:?}");
    });
}

#[test]
fn counter_rises_and_each_pointed_snapshot_is_there_with_two_publishers_at_once() {
    let store = Publisher::to_folder();
    let path = store.store().join("current.json");
    assert_counter_rises(
        store.url(),
        || {
            let pointer: Value = serde_json::from_slice(&fs::read(&path).ok()?).expect("a whole pointer");
            let object = store.object_of(pointer["hash"].as_str().expect("a hash"));
            let len = fs::metadata(object).expect("the object is there").len();
            assert_eq!(Some(len), pointer["compressed_length"].as_u64());
            Some(pointer)
        },
        20,
    );
    let songs = u64::from(super::artists(&store.node().start())) * 10;
    assert_eq!(Some(songs), store.pointer()["songs"].as_u64());
}

#[test]
fn old_snapshots_are_removed_and_never_those_that_may_be_returned_to() {
    let publisher = Publisher::to_folder();
    let hash = |of: &Publisher| of.pointer()["hash"].as_str().expect("a hash").to_owned();
    let hashes: Vec<String> = (1..=7)
        .map(|artists| {
            publisher.publish(artists);
            hash(&publisher)
        })
        .collect();
    let other = publisher.store().join("notes.txt");
    fs::write(&other, "a file of an operator's").expect("a file");
    let age = |path: &std::path::Path, days: u64| {
        let time = SystemTime::now() - Duration::from_secs(days * 24 * 3600);
        File::options().write(true).open(path).and_then(|file| file.set_modified(time)).expect("a time");
    };
    for (days, name) in names(&publisher.store()).iter().enumerate() {
        age(&publisher.store().join(name), 20 + days as u64);
    }
    publisher.publish(8);
    let left: BTreeSet<String> = names(&publisher.store()).into_iter().collect();
    let has = |hash: &String| left.contains(&format!("{hash}.snapshot.zst"));
    assert!(hashes[3..].iter().all(&has) && has(&hash(&publisher)), "the last five: {left:?}");
    assert!(other.exists() && left.contains("current.json"));
    assert!(hashes[..3].iter().filter(|hash| has(hash)).count() < 3, "{left:?}");
    // A removed snapshot can be published again, and an old one is written again before the pointer
    // names it.
    publisher.publish(1);
    let age = fs::metadata(publisher.object()).expect("an object").modified().expect("a time");
    assert!(age.elapsed().expect("in the past") < Duration::from_secs(3600));
    publisher.publish(6);
    let age = fs::metadata(publisher.object()).expect("an object").modified().expect("a time");
    assert!(age.elapsed().expect("in the past") < Duration::from_secs(3600));
}
