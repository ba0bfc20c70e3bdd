//! Disks without room, on both sides: the former generation serves, no half object is left, and a message says where.

use std::fs;

use nix::sys::signal::Signal;

use super::*;
use crate::harness::eventually;
use crate::harness::small_disk::SmallDisk;

/// Artists whose snapshot has more than 64 kB, compressed to less.
const MANY: u32 = 100;
/// Fewer, whose compressed snapshot fits into that beside another one.
const SOME: u32 = 30;

#[test]
fn node_whose_disk_is_full_says_where_and_serves_on() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let node = publisher.node();
    let Some(disk) = SmallDisk::mount(node.path("disk"), "64k") else {
        return crate::harness::skip("no file system can be mounted here");
    };
    let node = node.flag(&format!("--snapshot-dir={}", disk.path().display())).start();
    publisher.publish(MANY);
    node.signal(Signal::SIGHUP);
    let told = node.wait_log("No space left");
    let place = format!("SNAPSHOT_DIR {}: ", disk.path().display());
    assert!(told.contains(&place) && told.contains("make room there, or name another folder"), "{told}");
    assert_eq!((artists(&node), names(disk.path()).len()), (3, 0));
    // There is room again, and the server needs no operator.
    publisher.publish(4);
    eventually("the published rows", || (artists(&node) == 4).then_some(()));
}

#[test]
fn store_that_is_full_keeps_what_it_has() {
    let folder = tempfile::tempdir().expect("a folder");
    let Some(disk) = SmallDisk::mount(folder.path().join("store"), "64k") else {
        return crate::harness::skip("no file system can be mounted here");
    };
    let publisher = Publisher::to(&format!("file://{}", disk.path().display()));
    publisher.publish(3);
    let (v2, node) = (disk.path().join("v2"), publisher.node().start());
    let (before, pointer) = (names(&v2), fs::read(v2.join("current.json")).expect("a pointer"));
    fs::write(disk.path().join("filler"), vec![0; 64 * 1024]).expect_err("a full disk");
    publisher.fill(SOME);
    let (code, out, err) = publisher.run(&["--from-database"]);
    let told = format!(
        "{}: No space left on device (os error 28): make room there, and publish again",
        v2.display()
    );
    assert!(code == 1 && err.contains(&told), "{code} {out} {err}");
    assert_eq!((names(&v2), fs::read(v2.join("current.json")).expect("a pointer")), (before, pointer));
    node.reload();
    assert_eq!(artists(&node), 3);
    fs::remove_file(disk.path().join("filler")).expect("removed");
    assert!(publisher.ok(&["--from-database"]).contains("published"));
    node.reload();
    assert_eq!(artists(&node), SOME);
}
