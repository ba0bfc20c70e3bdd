//! The clients in examples/ work as they claim.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use serde_json::Value;
use tempfile::TempDir;

use crate::documents::sample_server;
use crate::harness::server::{Setup, collection};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A client, as a program that takes the address of a server and words.
struct Client {
    command: Vec<OsString>,
    /// Where its compiled form is.
    _folder: Option<TempDir>,
}

impl Client {
    fn python() -> Client {
        let script = Path::new(ROOT).join("examples/find.py");
        Client { command: vec!["/usr/bin/python3".into(), script.into()], _folder: None }
    }

    /// Compiled, because an older Node.js does not take the types away.
    fn typescript() -> Client {
        let folder = tempfile::tempdir().expect("a folder");
        let output = tsc(folder.path());
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
        let script = folder.path().join("find.mjs");
        Client { command: vec!["node".into(), script.into()], _folder: Some(folder) }
    }

    fn find(&self, url: &str, words: &[&str]) -> Output {
        Command::new(&self.command[0])
            .args(&self.command[1..])
            .arg(url)
            .args(words)
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("PYTHONUTF8", "1")
            .output()
            .expect("Debian's python3, and node")
    }
}

/// Compiles the client in TypeScript into a folder, with all checks.
fn tsc(folder: &Path) -> Output {
    let program = Path::new(ROOT).join("target/peers/node_modules/.bin/tsc");
    assert!(program.exists(), "{} is missing: scripts/install-test-deps", program.display());
    Command::new(program)
        .args(["--strict", "--noUncheckedIndexedAccess", "--noUnusedLocals", "--erasableSyntaxOnly"])
        .args(["--target", "es2022", "--module", "nodenext", "--lib", "es2022,dom"])
        .arg(Path::new(ROOT).join("examples/find.mts"))
        .arg("--outDir")
        .arg(folder)
        .output()
        .expect("tsc")
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
    assert!(
        output.status.code() == Some(1) && text.to_lowercase().contains(&reason.to_lowercase()),
        "{text}"
    );
    assert!(!text.contains("Traceback") && !text.contains("   at "), "{text}");
}

#[test]
fn the_python_client_finds_words_and_reads_all_pages() {
    finds_words_and_reads_all_pages(&Client::python());
}

#[test]
fn the_typescript_client_finds_words_and_reads_all_pages() {
    finds_words_and_reads_all_pages(&Client::typescript());
}

fn finds_words_and_reads_all_pages(client: &Client) {
    let find = |url: &str, words: &[&str]| client.find(url, words);
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

#[test]
fn clients_begin_again_when_the_collection_changes() {
    begins_again_when_the_collection_changes(&Client::python());
    begins_again_when_the_collection_changes(&Client::typescript());
}

/// Asks a server whose collection changes after the first page.
fn begins_again_when_the_collection_changes(client: &Client) {
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
    assert_eq!(lines(&client.find(&url, &["x"])), ["A - B - new", "A - B - newer"]);
    serving.join().expect("all asked");
}

/// The server's answers have no other fields and no other types.
#[test]
fn the_typescript_client_has_the_fields_that_the_description_has() {
    let client = std::fs::read_to_string(Path::new(ROOT).join("examples/find.mts")).expect("the client");
    let server = Setup::with(&collection(1)).start();
    let schemas = server.get("/avalon/openapi.json").json()["components"]["schemas"].clone();
    for (interface, schema) in [("Song", "Song"), ("Problem", "Error"), ("Envelope<T>", "SongList")] {
        let (_, fields) = client.split_once(&format!("interface {interface} {{\n")).expect(interface);
        let lines = fields.lines().take_while(|line| *line != "}");
        let names: BTreeSet<&str> =
            lines.map(|line| line.trim().split_once(": ").expect("a field").0).collect();
        let properties = schemas[schema]["properties"].as_object().expect("properties");
        assert_eq!(names, properties.keys().map(String::as_str).collect(), "{interface}");
        for (name, property) in properties.iter().filter(|_| interface == "Song") {
            let types = match &property["type"] {
                Value::Array(types) => types.iter().filter_map(Value::as_str).collect(),
                one => vec![one.as_str().expect("a type")],
            };
            let types: Vec<&str> =
                types.into_iter().map(|of| if of == "integer" { "number" } else { of }).collect();
            let line = format!("  {name}: {};\n", types.join(" | "));
            assert!(fields.contains(&line), "{line}");
        }
    }
}
