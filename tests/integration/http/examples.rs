//! The clients in examples/ work as they claim.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::process::{Command, Output};
use std::thread;

use crate::harness::server::{Setup, collection};
use crate::readme::sample_server;

fn find(url: &str, words: &[&str]) -> Output {
    Command::new("/usr/bin/python3")
        .arg(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/find.py"))
        .arg(url)
        .args(words)
        .env_clear()
        .env("PYTHONUTF8", "1")
        .output()
        .expect("Debian's python3")
}

/// The lines that it prints.
#[track_caller]
fn lines(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).lines().map(str::to_owned).collect()
}

#[track_caller]
fn assert_fails(output: &Output, reason: &str) {
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && text.contains(reason), "{text}");
    assert!(!text.contains("Traceback"), "{text}");
}

#[test]
fn the_python_client_finds_words_and_reads_all_pages() {
    let server = sample_server();
    let url = format!("{}/avalon", server.address);
    let found = lines(&find(&url, &["limon", "tren"]));
    assert_eq!(found, ["Tres Naranjos - Coraz\u{f3}n de Lim\u{f3}n - \u{bf}D\u{f3}nde est\u{e1} el tren?"]);
    assert_eq!(lines(&find(&url, &["nothing"])), [] as [&str; 0]);

    let server = Setup::with(&collection(55)).start();
    let url = server.address.clone();
    let songs = server.get("/avalon/songs").success();
    let expected = songs.iter().map(|song| {
        let name = |field: &str| song[field].as_str().expect("a name").to_owned();
        format!("{} - {} - {}", name("artist"), name("album"), name("name"))
    });
    assert_eq!(lines(&find(&format!("{url}/avalon/"), &["song"])), expected.collect::<Vec<_>>());
    assert_fails(&find(&format!("{url}/nothing"), &["song"]), "There is no such endpoint");
    drop(server);
    assert_fails(&find(&url, &["song"]), "refused");
    assert_fails(&find(&url, &[]), "usage");
}

/// A server whose collection changes after the first page.
#[test]
fn the_python_client_begins_again_when_the_collection_changes() {
    let song = |name: &str| format!("{{\"artist\":\"A\",\"album\":\"B\",\"name\":\"{name}\"}}");
    let list = |name: &str| format!("{{\"errors\":[],\"success\":[{}],\"warnings\":[]}}", song(name));
    let next = "X-Avalon-Snapshot: 01\r\nLink: <?words=x&limit=1&offset=1>; rel=\"next\"\r\n";
    let conflict = "{\"errors\":[{\"code\":7,\"message\":\"changed\"}],\"success\":null,\"warnings\":[]}";
    let answers = [
        ("200 OK", next, list("old"), "limit=100"),
        ("409 Conflict", "", conflict.to_owned(), "offset=1&snapshot=01"),
        ("200 OK", next, list("new"), "limit=100"),
        ("200 OK", "", list("newer"), "offset=1&snapshot=01"),
    ];
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let url = format!("http://{}/avalon", listener.local_addr().expect("an address"));
    let serving = thread::spawn(move || {
        for (status, fields, body, asked) in answers {
            let (mut client, _) = listener.accept().expect("a client");
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                client.read_exact(&mut byte).expect("a head");
                head.push(byte[0]);
            }
            let head = String::from_utf8_lossy(&head);
            assert!(head.lines().next().expect("a line").contains(asked), "{head}");
            let answer = format!(
                "HTTP/1.1 {status}\r\nContent-Type: application/json; charset=utf-8\r\nContent-Length: {}\r\n\
                 {fields}Connection: close\r\n\r\n{body}",
                body.len()
            );
            client.write_all(answer.as_bytes()).expect("an answer");
        }
    });
    assert_eq!(lines(&find(&url, &["x"])), ["A - B - new", "A - B - newer"]);
    serving.join().expect("all asked");
}
