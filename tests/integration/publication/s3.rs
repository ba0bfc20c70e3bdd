//! A real object store, and the failures on the way to it.

use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;

use super::proxy::{Harm, Proxy};
use super::together::assert_counter_rises;
use super::{Publisher, artists, identity};
use crate::harness::seaweed::Seaweed;
use crate::harness::server::{Server, run};
use crate::harness::{eventually, free_port};

/// The time in which a node that could not fetch serves the new rows after a repair.
const HEALED_WITHIN: Duration = Duration::from_secs(10);

fn pointer(url: &str) -> Option<avalon::publication::Pointer> {
    let url = avalon::config::SnapshotUrl::parse(url, |_| None).expect("a URL");
    avalon::publication::seen(&url).expect("a store")
}

#[test]
fn object_store_is_published_to_and_fetched_from() {
    let store = Seaweed::start();
    let publisher = Publisher::to(&store.url(&store.address()));
    let (code, _, err) = publisher.run(&["--rollback"]);
    assert!(code == 1 && err.contains("nothing is published there"), "{err}");
    assert!(publisher.publish(30).contains("published hash="));
    assert!(publisher.publish(30).contains("has it already"));
    let nodes = [publisher.node().start(), publisher.node().start(), publisher.node().start()];
    let first = identity(&nodes[0]);
    assert!(nodes.iter().all(|node| identity(node) == first && artists(node) == 30));
    let log = nodes[0].log();
    assert!(!log.contains("se%2Fc") && !log.contains("se/c") && !log.contains("AKEY"), "{log}");
    publisher.publish(31);
    nodes.iter().for_each(Server::reload);
    assert!(nodes.iter().all(|node| artists(node) == 31));
    assert!(publisher.ok(&["--rollback"]).contains(&first.0));
    nodes[0].reload();
    assert_eq!(identity(&nodes[0]), first);
    // Keys of the environment count as well.
    let (code, out, err) = run(
        env!("CARGO_BIN_EXE_avalonctl"),
        &["publish", "--rollback", "--url=s3://music/some/place"],
        &[
            ("AWS_ACCESS_KEY_ID", "AKEY"),
            ("AWS_SECRET_ACCESS_KEY", "se/c+ret"),
            ("AWS_ENDPOINT_URL", &format!("http://{}", store.address())),
        ],
    );
    assert!(code == 1 && err.contains("a roll-back can return to") || code == 0, "{code} {out} {err}");
    // Wrong ones are refused, and no store is no answer.
    let wrong = Publisher::to(&publisher.url().replace("AKEY", "BKEY"));
    wrong.fill(1);
    let (code, _, err) = wrong.run(&["--from-database"]);
    assert!(code == 1 && err.contains("403") && !err.contains("BKEY:"), "{code} {err}");
    let nowhere = Publisher::to("s3://music?endpoint=http://127.0.0.1:9");
    nowhere.fill(1);
    let (code, _, err) = nowhere.run(&["--from-database"]);
    assert!(code == 3 && err.contains("does not answer"), "{code} {err}");
}

/// Of 20 MB compressed, as names by chance compress to half.
#[test]
fn large_object_is_written_in_parts_and_only_once() {
    let store = Seaweed::start();
    let publisher = Publisher::to(&store.url(&store.address()));
    let mut large = crate::harness::server::collection(3);
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    for song in &mut large.songs {
        let mut name = String::new();
        while name.len() < 700_000 {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            name += &format!("{random:016x}");
        }
        song.name = Some(name);
    }
    let url = avalon::config::DatabaseUrl::parse(&publisher.database()).expect("a URL");
    avalon::database::replace(&url, &large).expect("a database");
    assert!(publisher.ok(&["--from-database"]).contains("published hash="));
    let object = pointer(publisher.url()).expect("a pointer").object;
    let parts = object.compressed_length.div_ceil(8 << 20);
    assert!(parts >= 3, "{}", object.compressed_length);
    // S3 puts the number of parts into the tag of an object.
    let head = store.head(&format!("some/place/v2/{}.snapshot.zst", object.name()));
    assert!(head.contains(&format!("-{parts}\"")), "{head}");
    let node = publisher.node().start();
    assert_eq!(artists(&node), 3);
    assert!(publisher.ok(&["--from-database"]).contains("has it already"));
}

#[test]
fn counter_rises_in_an_object_store_with_two_publishers_at_once() {
    let store = Seaweed::start();
    let url = store.url(&store.address());
    Publisher::to(&url).publish(9);
    assert_counter_rises(&url, || Some(serde_json::to_value(pointer(&url)?).expect("JSON")), 20);
    let node = Publisher::to(&url).node().start();
    assert_eq!(u64::from(artists(&node)) * 10, pointer(&url).expect("a pointer").object.songs);
}

#[test]
fn node_serves_on_while_its_store_fails_and_is_fresh_soon_after() {
    let store = Seaweed::start();
    let proxy = Proxy::before(&store.address());
    let publisher = Publisher::to(&store.url(&store.address()));
    let mut count = 40;
    publisher.publish(count);
    let node = Publisher::to(&store.url(&proxy.address)).node().start();
    for (harm, reason) in [(Harm::Unavailable, "503"), (Harm::Flip, "is of no use"), (Harm::Slow, "too slow")]
    {
        proxy.set(harm);
        publisher.publish(count + 1);
        let failures = node.count_log("reload failed");
        let before = proxy.requests();
        node.signal(Signal::SIGHUP);
        eventually("the reason in the status", || {
            let status = node.status();
            status["source"]["reason"].as_str().filter(|told| told.contains(reason))?;
            Some(())
        });
        assert_eq!(artists(&node), count, "{harm:?}");
        if harm == Harm::Flip {
            // One look at the pointer and one transfer for each try.
            let tries = node.count_log("reload failed") - failures + 1;
            let requests = proxy.requests() - before;
            assert!(requests <= 2 * tries, "{requests} requests in {tries} tries");
        }
        proxy.set(Harm::None);
        let repaired = Instant::now();
        count += 1;
        eventually("the published rows", || (artists(&node) == count).then_some(()));
        let took = repaired.elapsed();
        assert!(took < HEALED_WITHIN, "{harm:?}: {took:?}\n{}", node.log());
    }
    // A transfer that is cut goes on where it was, and nothing fails.
    proxy.set(Harm::CutOnce);
    publisher.publish(count + 1);
    let (failures, requests) = (node.count_log("reload failed"), proxy.requests());
    node.reload();
    assert_eq!((artists(&node), node.count_log("reload failed")), (count + 1, failures));
    assert_eq!(proxy.requests() - requests, 3, "the pointer, and two parts");
}

/// Python's own web server, which knows no parts of files; killed when dropped.
pub(super) struct Web(Child);

impl Web {
    pub(super) fn serving(folder: &Path, port: u16) -> Web {
        let mut command = Command::new("python3");
        command.args(["-m", "http.server", "--bind=127.0.0.1", &port.to_string()]).current_dir(folder);
        let web = Web(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("python3"));
        eventually("the web server", || TcpStream::connect(("127.0.0.1", port)).ok());
        web
    }
}

impl Drop for Web {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A look at the pointer is all it takes; the configuration is read all the same.
#[test]
fn reload_of_what_is_served_fetches_nothing() {
    let publisher = Publisher::to_folder();
    publisher.publish(30);
    let port = free_port();
    let _web = Web::serving(publisher.store().parent().expect("a folder"), port);
    let proxy = Proxy::before(&format!("127.0.0.1:{port}"));
    let setup = Publisher::to(&format!("http://{}/", proxy.address)).node();
    let kept = setup.path("kept");
    let setup = setup.flag(&format!("--snapshot-path={}", kept.display()));
    let again = Publisher::to(&format!("http://{}/", proxy.address)).node();
    let again = again.flag(&format!("--snapshot-path={}", kept.display()));
    let node = setup.start();
    assert_eq!(proxy.requests(), 2, "the pointer and the snapshot");
    let first = identity(&node);
    for generation in 2..5 {
        let before = proxy.requests();
        node.reload();
        assert_eq!(proxy.requests() - before, 1, "the pointer");
        let status = node.status();
        assert_eq!((identity(&node), &status["generation"]), (first.clone(), &generation.into()), "{status}");
        assert_eq!(status["snapshot"]["stale"], false);
        assert_eq!(status["snapshot"]["revision"], publisher.pointer()["counter"]);
    }
    // The pointer is another one with the same rows: its counter is taken over.
    publisher.publish(31);
    publisher.ok(&["--rollback"]);
    let before = proxy.requests();
    node.reload();
    assert_eq!(proxy.requests() - before, 1, "the pointer");
    assert_eq!(node.status()["snapshot"]["revision"], publisher.pointer()["counter"]);
    // A snapshot that was kept is confirmed in the same way.
    node.wait_log("snapshot saved");
    let before = proxy.requests();
    let again = again.start();
    eventually("fresh rows", || (again.status()["snapshot"]["stale"] == false).then_some(()));
    assert_eq!((identity(&again), proxy.requests() - before), (first, 1));
}

#[test]
fn web_server_is_fetched_from() {
    let publisher = Publisher::to_folder();
    publisher.publish(30);
    let port = free_port();
    let web = Web::serving(publisher.store().parent().expect("a folder"), port);
    // It sends all of an object again where the rest of it is asked for.
    let proxy = Proxy::before(&format!("127.0.0.1:{port}"));
    let node = Publisher::to(&format!("http://{}/", proxy.address)).node().start();
    assert_eq!(artists(&node), 30);
    publisher.publish(31);
    proxy.set(Harm::CutOnce);
    node.reload();
    assert_eq!(artists(&node), 31);
    drop(web);
    node.signal(Signal::SIGHUP);
    node.wait_log("reload failed");
    assert_eq!(artists(&node), 31);
}
