//! Which collection a list is of: told with each, and demanded by `snapshot`.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;

use super::{LISTS, TEXTS, assert_error};
use crate::harness::http::{Answer, Connection, get};
use crate::harness::server::{Server, Setup, collection};

const NAME: &str = "x-avalon-snapshot";

fn name(answer: &Answer) -> String {
    answer.header(NAME).expect("the name of a collection").to_owned()
}

#[test]
fn lists_name_their_collection_and_nothing_else_does() {
    let server = Setup::with(&collection(200)).start();
    let hash = server.status()["snapshot"]["hash"].as_str().expect("a hash").to_owned();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut ask = |method, target: &str, fields: &[&str]| {
        connection.request(method, target, fields).expect("an answer")
    };
    for list in LISTS {
        for target in [list.to_owned(), format!("{list}?limit=1&snapshot={hash}")] {
            let plain = ask("GET", &target, &[]);
            let tag = format!("If-None-Match: {}", plain.header("etag").expect("a tag"));
            for answer in [
                &plain,
                &ask("HEAD", &target, &[]),
                &ask("GET", &target, &["Accept-Encoding: zstd"]),
                &ask("GET", &target, &["Accept-Encoding: gzip"]),
            ] {
                assert_eq!((answer.status, name(answer)), (200, hash.clone()), "{target}");
            }
            let known = ask("GET", &target, &[&tag]);
            assert_eq!((known.status, name(&known)), (304, hash.clone()), "{target}");
        }
    }
    for target in TEXTS.iter().copied().chain(["/avalon/songs?limit=x", "/avalon/nothing"]) {
        assert_eq!(ask("GET", target, &[]).header(NAME), None, "{target}");
    }
}

#[test]
fn demands_that_cannot_be_met_are_conflicts_and_no_hashes_are_errors() {
    let server = Setup::with(&collection(20)).start();
    let hash = name(&server.get("/avalon/songs"));
    let mut connection = Connection::open(&server.address).expect("a connection");
    let other = hash.chars().rev().collect::<String>();
    for list in LISTS {
        let right = format!("{list}?snapshot={}&limit=2", hash.to_uppercase());
        let wrong = format!("{list}?snapshot={other}&limit=2");
        assert_eq!(connection.get(&right).expect("an answer").success().len(), 2, "{list}");
        for fields in [vec![], vec!["If-None-Match: *"], vec!["If-Match: *"], vec!["Accept-Encoding: gzip"]] {
            let answer = connection.request("GET", &wrong, &fields).expect("an answer");
            assert_error(&answer, 409, 7, "collection_changed");
            let payload = &answer.json()["errors"][0]["payload"];
            assert_eq!(
                (&payload["value"], &payload["served"]),
                (&other.clone().into(), &hash.clone().into())
            );
            assert_eq!(name(&answer), hash);
        }
        let head = connection.request("HEAD", &wrong, &[]).expect("an answer");
        assert_eq!((head.status, name(&head), head.body.len()), (409, hash.clone(), 0));
        for malformed in ["", "x", &hash[1..], &format!("{hash}0"), &format!("{hash}%00")] {
            let answer = connection.get(&format!("{list}?snapshot={malformed}")).expect("an answer");
            assert_error(&answer, 400, 101, "invalid_input_type");
        }
    }
}

/// The names of all artists, page by page over new connections to one node after the other; `None` if a node has
/// another collection than the first page is of.
fn pages(nodes: &[Server; 2], run: usize) -> Option<(String, Vec<String>)> {
    let target = "/avalon/artists?order=name&direction=desc&limit=4";
    let (mut names, mut demand) = (Vec::new(), String::new());
    for page in 0.. {
        let node = &nodes[(run + page) % 2];
        let answer = get(&node.address, &format!("{target}&offset={}{demand}", names.len()));
        if answer.status == 409 {
            assert_error(&answer, 409, 7, "collection_changed");
            return None;
        }
        let listed = answer.success();
        if page == 0 {
            demand = format!("&snapshot={}", name(&answer));
        }
        if listed.is_empty() {
            break;
        }
        names.extend(listed.iter().map(|artist| artist["name"].as_str().expect("a name").to_owned()));
    }
    Some((demand, names))
}

/// New artists come first in this order, so a page of the next collection repeats some of the last one's.
#[test]
fn pages_over_changes_are_of_one_collection_or_a_conflict() {
    let one = Setup::with(&collection(10)).start();
    let two = Setup::new(one.database_url()).start();
    let nodes = [one, two];
    let (over, changed) = (AtomicBool::new(false), AtomicU32::new(0));
    let (mut whole, mut conflicts) = (0, 0);
    thread::scope(|scope| {
        let changes = scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                nodes[0].store(11 + changed.load(Ordering::Relaxed));
                nodes.iter().for_each(Server::reload);
                changed.fetch_add(1, Ordering::Relaxed);
            }
        });
        for run in 0.. {
            if (run >= 200 && changed.load(Ordering::Relaxed) >= 5) || changes.is_finished() {
                break;
            }
            let Some((demand, names)) = pages(&nodes, run) else {
                conflicts += 1;
                continue;
            };
            whole += 1;
            let wanted: Vec<String> = (0..names.len()).rev().map(|at| format!("Artist {at:04}")).collect();
            assert!(names == wanted && names.len() >= 10, "run {run}{demand}: {names:?}");
        }
        over.store(true, Ordering::Relaxed);
        changes.join().expect("changes");
    });
    println!("{whole} whole, {conflicts} conflicts, {changed:?} changes");
    assert!(whole > 0 && conflicts > 0, "{whole} whole, {conflicts} conflicts");
}
