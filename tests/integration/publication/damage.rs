//! Objects and pointers that are wrong: the former rows serve, the reason is told, and a repair is found.

use std::fs;
use std::io::Write;

use nix::sys::signal::Signal;
use serde_json::{Value, json};

use super::{Publisher, artists};
use crate::harness::eventually;
use crate::harness::server::{Server, Setup};

/// A node that serves three artists, of a store in which four are published already.
fn node_before_a_change() -> (Publisher, Server) {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let node = publisher.node().start();
    publisher.publish(4);
    (publisher, node)
}

/// Reloads, which must fail with this reason in log and status; the old rows serve.
fn assert_refused(node: &Server, reason: &str) {
    node.signal(Signal::SIGHUP);
    node.wait_log(reason);
    assert_eq!(artists(node), 3);
    eventually("the reason in the status", || {
        let status = node.status();
        let told = status["source"]["reason"].as_str().is_some_and(|told| told.contains(reason));
        (told && status["snapshot"]["stale"] == true).then_some(())
    });
}

/// Waits until it serves the published snapshot by itself.
fn assert_heals(node: &Server) {
    eventually("the published rows", || (artists(node) == 4).then_some(()));
    eventually("fresh rows", || (node.status()["snapshot"]["stale"] == false).then_some(()));
}

#[test]
fn damaged_objects_are_refused_and_published_again() {
    type Damage = fn(&mut Vec<u8>);
    let cases: [(Damage, &str); 5] = [
        (|bytes| *bytes = bytes[..bytes.len() / 2].to_vec(), "compressed bytes instead of"),
        (|bytes| bytes.push(0), "compressed bytes instead of"),
        (|bytes| bytes[0] ^= 1, "it cannot be decompressed"),
        (
            |bytes| {
                let middle = bytes.len() / 2;
                bytes[middle] ^= 1
            },
            "is of no use",
        ),
        (|bytes| bytes.fill(0), "it cannot be decompressed"),
    ];
    let (publisher, node) = node_before_a_change();
    let good = fs::read(publisher.object()).expect("an object");
    for (damage, reason) in cases {
        let mut bad = good.clone();
        damage(&mut bad);
        fs::write(publisher.object(), bad).expect("an object");
        assert_refused(&node, reason);
    }
    // The publisher checks the object in the store, so the same snapshot can be published again.
    publisher.ok(&["--from-database"]);
    assert_heals(&node);
}

#[test]
fn object_that_is_missing_is_fetched_when_it_is_back() {
    let (publisher, node) = node_before_a_change();
    fs::remove_file(publisher.object()).expect("an object");
    assert_refused(&node, "is missing; publish it again");
    publisher.ok(&["--from-database"]);
    assert_heals(&node);
}

#[test]
fn store_that_is_away_is_found_again() {
    let (publisher, node) = node_before_a_change();
    let (store, away) =
        (publisher.store().parent().expect("a folder").to_owned(), publisher.folder.path().join("away"));
    fs::rename(&store, &away).expect("renamed");
    assert_refused(&node, "No such file");
    fs::rename(&away, &store).expect("renamed");
    assert_heals(&node);
}

/// Replaces the pointer's fields.
fn with(pointer: &Value, changes: &[(&str, Value)]) -> Vec<u8> {
    let mut changed = pointer.clone();
    changes.iter().for_each(|(name, value)| changed[*name] = value.clone());
    serde_json::to_vec(&changed).expect("JSON")
}

#[test]
fn hostile_pointers_are_refused_and_replaced_by_the_next_publication() {
    let (publisher, node) = node_before_a_change();
    let path = publisher.store().join("current.json");
    let good = publisher.pointer();
    let huge = json!(u64::MAX);
    for (bytes, reason) in [
        (with(&good, &[("hash", json!("../../../../../../../etc/passwd"))]), "32 hexadecimal digits"),
        (with(&good, &[("length", huge.clone())]), "cannot come of"),
        (
            with(&good, &[("length", json!(1_u64 << 41)), ("compressed_length", json!(1_u64 << 40))]),
            "instead of",
        ),
        (with(&good, &[("compressed_length", json!(1))]), "cannot come of"),
        (with(&good, &[("counter", json!("x"))]), "it is none of this program's"),
        (with(&good, &[("checksum", json!("0".repeat(32)))]), "it is another snapshot"),
        (
            with(&good, &[("length", json!(good["length"].as_u64().expect("a length") + 1))]),
            "it is another snapshot",
        ),
        (b"[]".to_vec(), "it is none of this program's"),
        (b"{\"counter\": 1}".to_vec(), "it is none of this program's"),
        (b"[".repeat(1 << 20), "bytes or more"),
        (b"\xff\x00".to_vec(), "it is none of this program's"),
    ] {
        fs::write(&path, bytes).expect("a pointer");
        assert_refused(&node, reason);
    }
    publisher.ok(&["--from-database"]);
    assert_heals(&node);
}

#[test]
fn bomb_ends_at_the_length_that_the_pointer_says() {
    let (publisher, node) = node_before_a_change();
    let mut bomb = zstd::stream::write::Encoder::new(Vec::new(), 19).expect("zstd");
    let zeros = vec![0_u8; 1 << 20];
    (0..256).for_each(|_| bomb.write_all(&zeros).expect("zstd"));
    let bomb = bomb.finish().expect("zstd");
    let pointer = publisher.pointer();
    fs::write(publisher.object(), &bomb).expect("an object");
    let bytes = with(&pointer, &[("compressed_length", json!(bomb.len()))]);
    fs::write(publisher.store().join("current.json"), bytes).expect("a pointer");
    assert_refused(&node, "it is longer than the pointer says");
}

#[test]
fn node_without_room_says_so_and_serves_on() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    // Files of this process tree can have 2 KB more than the first snapshot.
    let length = publisher.pointer()["length"].as_u64().expect("a length") + 2048;
    let prlimit = format!("--fsize={length}");
    let node = publisher.node().wrapped(&["prlimit", &prlimit]);
    let room = node.path("room");
    fs::create_dir(&room).expect("a folder");
    let node = node.flag(&format!("--snapshot-dir={}", room.display())).start();
    publisher.publish(40);
    node.signal(Signal::SIGHUP);
    node.wait_log("RLIMIT_FSIZE");
    assert_eq!(artists(&node), 3);
    fs::remove_dir(&room).expect("removed");
    node.signal(Signal::SIGHUP);
    node.wait_log("SNAPSHOT_DIR");
    assert_eq!(artists(&node), 3);
}

#[test]
fn node_without_any_source_ends() {
    let publisher = Publisher::to_folder();
    let mut node: Server = Setup::spawn(publisher.node());
    assert_eq!(node.wait_exit(), 4);
    assert!(node.log().contains("nothing is published there"), "{}", node.log());
}
