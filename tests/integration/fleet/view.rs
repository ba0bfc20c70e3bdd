//! `avalonctl fleet`: a comparison of the collections that several servers serve.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use serde_json::Value;

use crate::harness::server::{Server, Setup, collection, run};

const CTL: &str = env!("CARGO_BIN_EXE_avalonctl");

/// Exit code, output and errors.
fn fleet(arguments: &[&str]) -> (i32, String, String) {
    run(CTL, &[&["fleet"], arguments].concat(), &[])
}

fn node(database: &Server) -> Server {
    Setup::new(database.database_url()).start()
}

#[test]
fn servers_of_the_same_rows_are_equal_and_one_that_is_held_back_is_not() {
    let one = Setup::with(&collection(3)).start();
    let (two, mut three) = (node(&one), node(&one));
    let addresses = [&one, &two, &three].map(|node| node.address.clone());
    let urls = addresses.each_ref().map(String::as_str);
    let (code, table, errors) = fleet(&urls);
    assert_eq!((code, errors.as_str()), (0, ""), "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 5, "{table}");
    assert!(lines[0].starts_with("server ") && lines[4] == "3 of 3 serve the same collection", "{table}");
    for (line, url) in lines[1..4].iter().zip(urls) {
        assert!(line.starts_with(&format!("{url}  {}", env!("CARGO_PKG_VERSION"))), "{table}");
        assert!(line.ends_with(" no"), "{table}");
    }

    // The third one is not told of a change.
    one.store(4);
    one.reload();
    two.reload();
    let (code, table, _) = fleet(&urls);
    assert_eq!(code, 1, "{table}");
    assert!(table.ends_with("\n2 different collections are served\n"), "{table}");
    let (code, json, _) = fleet(&[&["--json"], &urls[..]].concat());
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!((code, &json["is_equal"]), (1, &Value::Bool(false)));
    let hash = |at: usize| &json["nodes"][at]["status"]["hash"];
    assert!(hash(0) == hash(1) && hash(1) != hash(2), "{json}");
    assert_eq!(json["nodes"][2]["url"], urls[2]);

    three.reload();
    assert_eq!(fleet(&urls).0, 0);
    // A server that has ended.
    three.signal(Signal::SIGTERM);
    assert_eq!(three.wait_exit(), 0);
    let (code, table, _) = fleet(&urls);
    assert_eq!(code, 1, "{table}");
    assert!(table.contains("refused") && table.ends_with("\n1 of 3 show no status\n"), "{table}");
}

#[test]
fn server_that_may_be_stale_is_not_equal() {
    let server = Setup::with(&collection(3)).start();
    let path = server.database_url().strip_prefix("sqlite:///").expect("a file").to_owned();
    std::fs::remove_file(path).expect("the database");
    server.signal(Signal::SIGHUP);
    server.wait_log("reload failed, generation 1 goes on serving: ");
    let (code, table, _) = fleet(&[&server.address]);
    assert_eq!(code, 1, "{table}");
    assert!(table.ends_with("\n1 of 1 may be stale\n"), "{table}");
    assert!(table.contains(&format!("\n{}: ", server.address)), "no reason: {table}");
}

#[test]
fn path_of_a_server_is_a_part_of_its_url() {
    let server = Setup::with(&collection(1)).flag("--request-path=/music/api").start();
    assert_eq!(fleet(&[&format!("{}/music/api/", server.address)]).0, 0);
    assert_eq!(fleet(&[server.address.trim_start_matches("http://")]).0, 1);
    let (_, table, _) = fleet(&[&server.address]);
    assert!(table.contains("404 at ") && table.contains("STATUS_ALLOW"), "{table}");
}

/// A server that answers each connection with these bytes, once its client has asked.
fn impostor(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("an address");
    let address = listener.local_addr().expect("an address").to_string();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut request = [0; 1024];
            let _ = stream.read(&mut request);
            let _ = stream.write_all(answer);
        }
    });
    address
}

#[test]
fn answers_that_are_no_status_are_named_and_hurt_no_other_server() {
    let server = Setup::with(&collection(1)).start();
    let silent = TcpListener::bind("127.0.0.1:0").expect("an address");
    let silent = silent.local_addr().map(|address| (silent, address.to_string())).expect("an address");
    let html = impostor(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\n<html>");
    let other = impostor(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}");
    let moved = impostor(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n");
    let junk = impostor(b"220 mail ready\r\n");
    let begin = Instant::now();
    let (code, table, _) = fleet(&[&server.address, &html, &other, &moved, &junk, &silent.1]);
    assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    assert_eq!(code, 1, "{table}");
    let lines: Vec<&str> = table.lines().collect();
    assert!(lines[1].ends_with(" no"), "{table}");
    for (line, reason) in
        lines[2..6].iter().zip(["is no status: expected value", "names no hash", "302 at ", "http"])
    {
        assert!(line.contains(reason), "{line}");
    }
    assert!(lines[6].contains("timeout"), "{table}");
    assert_eq!(lines[7], "5 of 6 show no status");
}

#[test]
fn text_that_names_no_server_is_a_usage_error() {
    for arguments in [&[][..], &["ftp://one"], &["http://user:secret@one/"], &["a b"]] {
        let (code, _, errors) = fleet(arguments);
        assert_eq!(code, 2, "{arguments:?}: {errors}");
    }
}
