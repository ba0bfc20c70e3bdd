//! `--reload`: the server serves the stored collection.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixListener;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::report::assert_valid;
use super::{Home, Scan};
use crate::harness::server::{Setup, collection};

#[test]
fn stored_changes_are_served_and_nothing_else_is_reloaded() {
    let server = Setup::with(&collection(3)).start();
    let home = Home::new();
    home.add("song.mp3");
    let control = server.path("control");
    let scan = |arguments: &[&str]| {
        let mut command = home.command();
        command.arg("--json").arg("-d").arg(server.database_url()).arg("--reload").args(arguments);
        Scan::of(command.env("AVALON_CONTROL", &control).arg(home.music()))
    };
    let generation = || server.status()["generation"].as_u64().expect("a number");
    let before = generation();
    let first = scan(&["--force"]);
    assert_eq!(first.assert_exited(0).report()["reload"], "done", "{}", first.stderr());
    // All that tell the revision tell the same.
    assert_eq!(first.report()["database"]["revision"], 1);
    assert_eq!(server.status()["snapshot"]["revision"], 1);
    assert_eq!(server.get("/avalon/status").json()["revision"], 1);
    // It has waited, so that the next request is answered by the new rows.
    assert_eq!(server.get("/avalon/songs").success().len(), 1);
    assert_eq!(generation(), before + 1);
    let second = scan(&[]);
    assert_eq!(second.assert_exited(0).report()["reload"], "not_needed");
    assert_eq!(second.report()["database"]["revision"], 1);
    assert_eq!(generation(), before + 1);
    assert_valid(&[first.report(), second.report()]);
}

#[test]
fn no_server_is_no_error_and_one_that_fails_is() {
    let home = Home::new();
    home.add("song.mp3");
    let control = home.path("control");
    let scan = |song: &str| {
        home.add(song);
        let mut command = home.command();
        command.args(["--json", "--reload", "-d", &home.url()]).arg(home.music());
        Scan::of(command.env("AVALON_CONTROL", &control))
    };
    let mut reports = Vec::new();
    let scans = scan("one.mp3");
    scans.assert_exited(0).assert_says("No server answers");
    reports.push(scans.report());
    // A socket that a dead master has left.
    let listener = UnixListener::bind(&control).expect("a socket");
    drop(listener);
    let scans = scan("two.mp3");
    assert_eq!(scans.assert_exited(0).report()["reload"], "no_server");
    reports.push(scans.report());
    fs::remove_file(&control).expect("remove");
    for (answer, reason) in [("{\"error\": \"the roof is on fire\"}\n", "roof"), ("", "has gone")] {
        let listener = UnixListener::bind(&control).expect("a socket");
        let server = std::thread::spawn(move || {
            let (stream, _) = listener.accept().expect("a client");
            let mut line = String::new();
            BufReader::new(&stream).read_line(&mut line).expect("a line");
            (&stream).write_all(answer.as_bytes()).expect("a client");
            line
        });
        let songs = home.songs().len();
        let scans = scan(&format!("{reason}.mp3"));
        scans.assert_exited(1).assert_says(reason).assert_says("is stored");
        assert!(server.join().expect("a server").contains("reload"));
        assert_eq!(home.songs().len(), songs + 1);
        assert_eq!(scans.report()["reload"], "failed");
        reports.push(scans.report());
        fs::remove_file(&control).expect("remove");
    }
    assert_valid(&reports);
}

/// A server may take its time, and a signal must not wait for it.
#[test]
fn a_signal_ends_the_wait_for_the_server() {
    let home = Home::new();
    home.add("song.mp3");
    let control = home.path("control");
    let listener = UnixListener::bind(&control).expect("a socket");
    let mut command = home.command();
    command.args(["--json", "--reload", "-d", &home.url()]).arg(home.music());
    let child = command
        .env("AVALON_CONTROL", &control)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("avalon-scan");
    let (_stream, _) = listener.accept().expect("the scan");
    let sent = Instant::now();
    kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGTERM).expect("kill");
    let scan = Scan { output: child.wait_with_output().expect("an end") };
    assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
    scan.assert_exited(143).assert_says("the new collection is stored");
    assert_valid(&[scan.report()]);
    assert_eq!(home.songs().len(), 1);
}
