//! An object store that takes conditions for nothing, or refuses them, as old ones do.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use super::*;

/// An empty one.
const LIST: &str = "<ListBucketResult xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\"></ListBucketResult>";

/// What a store does about conditions.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Conditions {
    Kept,
    MatchingIgnored,
    Ignored,
    MatchingRefused,
    Refused,
}

/// A store of small objects in memory; it ends with the process.
fn store(conditions: Conditions) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let objects: Arc<Mutex<BTreeMap<String, Vec<u8>>>> = Arc::default();
    thread::spawn(move || {
        for client in listener.incoming() {
            let (Ok(client), objects) = (client, Arc::clone(&objects)) else { return };
            // A client that leaves is no error.
            thread::spawn(move || serve(client, &objects, conditions).map_or((), |()| ()));
        }
    });
    format!("s3://AKEY:secret@music?endpoint=http://{address}&region=us-east-1")
}

fn serve(
    client: TcpStream,
    objects: &Mutex<BTreeMap<String, Vec<u8>>>,
    conditions: Conditions,
) -> io::Result<()> {
    let (mut reader, mut client) = (BufReader::new(client.try_clone()?), client);
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") && reader.read_line(&mut head)? > 0 {}
    let head = head.to_ascii_lowercase();
    let field = |name: &str| head.lines().find_map(|line| line.strip_prefix(&format!("{name}: ")));
    let len = field("content-length").and_then(|len| len.parse().ok()).unwrap_or(0);
    let mut body = vec![0; len];
    reader.read_exact(&mut body)?;
    let mut words = head.split_whitespace();
    let (method, target) = (words.next().unwrap_or_default(), words.next().unwrap_or_default());
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut objects = objects.lock().expect("objects");
    let tag = |content: &[u8]| format!("\"{:032x}\"", xxhash_rust::xxh3::xxh3_128(content));
    let there = objects.get(path).map(|content| tag(content));
    let fails = match (field("if-none-match"), field("if-match")) {
        (Some(_), _) => there.is_some() && conditions != Conditions::Ignored,
        (_, Some(wanted)) => {
            let keeps = [Conditions::Kept, Conditions::MatchingRefused].contains(&conditions);
            keeps && there.as_deref() != Some(wanted)
        }
        _ => false,
    };
    let refuses = match conditions {
        Conditions::MatchingRefused => field("if-match").is_some(),
        Conditions::Refused => field("if-match").or(field("if-none-match")).is_some(),
        _ => false,
    };
    let answer = |status: &str, fields: &str, body: &[u8]| {
        let head = format!(
            "HTTP/1.1 {status}\r\n{fields}Content-Length: {}\r\nConnection: close\r\n\r\n",
            body.len()
        );
        [head.as_bytes(), body].concat()
    };
    let bytes = match (method, there) {
        ("get", _) if query.contains("list-type") => answer("200 OK", "", LIST.as_bytes()),
        ("get", None) => answer("404 Not Found", "", b""),
        ("get", Some(tag)) => answer("200 OK", &format!("ETag: {tag}\r\n"), &objects[path]),
        _ if refuses => answer("501 Not Implemented", "", b"<Error><Code>NotImplemented</Code></Error>"),
        ("put", _) if fails => answer("412 Precondition Failed", "", b""),
        ("put", _) => {
            objects.insert(path.to_owned(), body);
            answer("200 OK", "", b"")
        }
        _ => answer("204 No Content", "", b""),
    };
    client.write_all(&bytes)
}

#[test]
fn store_that_keeps_no_conditions_is_told_of() {
    for conditions in [
        Conditions::Kept,
        Conditions::MatchingIgnored,
        Conditions::Ignored,
        Conditions::MatchingRefused,
        Conditions::Refused,
    ] {
        let publisher = Publisher::to(&store(conditions));
        let assert_told = |err: &str| {
            let is_told = err.contains("keeps no conditions") && err.contains("have only one");
            assert_eq!(is_told, conditions != Conditions::Kept, "{conditions:?} {err}");
            assert!(!err.contains("secret"), "{err}");
        };
        for artists in [3, 4] {
            publisher.fill(artists);
            let (code, out, err) = publisher.run(&["--from-database"]);
            assert!(code == 0 && out.contains("published"), "{conditions:?} {code} {out} {err}");
            assert_told(&err);
        }
        assert_eq!(artists(&publisher.node().start()), 4, "{conditions:?}");
        let (code, out, err) = publisher.run(&["--rollback"]);
        assert!(code == 0 && out.contains("returned to"), "{conditions:?} {code} {out} {err}");
        assert_told(&err);
        assert_eq!(artists(&publisher.node().start()), 3, "{conditions:?}");
    }
}
