//! The display of a scan, and its end: lines on a terminal, signals, one scan at a time, and the
//! database before everything else.

use std::fs;
use std::io::Read;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use nix::pty::{Winsize, openpty};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::{Home, Scan};
use crate::harness::postgres::Postgres;
use crate::harness::shim;

/// Returns the output of a scan on a terminal of this many columns, and its exit code. A file
/// called `hangs.mp3` does not answer for two seconds.
fn on_a_terminal(home: &Home, columns: u16) -> (String, Option<i32>) {
    let size = Winsize { ws_row: 24, ws_col: columns, ws_xpixel: 0, ws_ypixel: 0 };
    let pty = openpty(Some(&size), None).expect("a terminal");
    let mut command = home.command();
    command
        .env("LD_PRELOAD", shim::errors())
        .env("SHIM_PATH", home.music().join("hangs.mp3"))
        .env("SHIM_CALL", "hang");
    command.args(["--file-timeout", "2", "-d", &home.url()]).arg(home.music());
    let mut child = command.env("TERM", "xterm").stderr(Stdio::from(pty.slave)).spawn().expect("avalon-scan");
    // The command holds the other end of the terminal open as well.
    drop(command);
    let mut shown = Vec::new();
    // The terminal says EIO when its last user is gone.
    let _ = fs::File::from(pty.master).read_to_end(&mut shown);
    let code = child.wait().expect("an end").code();
    (String::from_utf8_lossy(&shown).into_owned(), code)
}

/// The lines that stay on a terminal, and the widest text that was drawn and wiped away again.
fn lines_and_widest(shown: &str) -> (Vec<String>, String) {
    let mut lines = Vec::new();
    let mut widest = String::new();
    for line in shown.split('\n') {
        // Each drawing begins at the start of the line; sequences of the terminal end with a letter.
        for drawing in line.split('\r') {
            let mut text = String::new();
            for (number, part) in drawing.split("\u{1b}[").enumerate() {
                let rest = part.trim_start_matches(|c: char| c.is_ascii_digit() || c == ';' || c == '?');
                let skip = usize::from(number > 0 && !rest.is_empty());
                text.push_str(if number > 0 { &rest[skip..] } else { part });
            }
            let text = text.trim_end().to_owned();
            if text.starts_with('[') {
                lines.push(text);
            } else if text.chars().count() > widest.chars().count() {
                widest = text;
            }
        }
    }
    (lines, widest)
}

#[test]
fn covers_and_texts_are_counted_not_listed() {
    let home = Home::new();
    for album in 0..40 {
        for song in 0..12 {
            home.add(format!("{album}/{song}.mp3"));
        }
        for cover in 0..2 {
            fs::write(home.music().join(format!("{album}/{cover}.jpg")), b"\xff\xd8\xff\xe0 no music")
                .expect("file");
        }
        fs::write(home.music().join(format!("{album}/list.m3u")), "#EXTM3U\n").expect("file");
    }
    let scan = home.scan([home.music()]);
    scan.assert_exited(0).assert_says("120 no audio");
    assert!(scan.stderr().lines().count() <= 5, "{}", scan.stderr());
    let (shown, code) = on_a_terminal(&home, 80);
    assert_eq!(code, Some(0), "{shown}");
    let (lines, _) = lines_and_widest(&shown);
    assert!((1..=5).contains(&lines.len()), "{lines:?}");
}

#[test]
fn progress_fits_a_narrow_terminal() {
    let home = Home::new();
    for song in 0..200 {
        home.add(format!("{}/{song}.mp3", song % 50));
    }
    // The scan lasts long enough to be drawn.
    home.add("hangs.mp3");
    let (shown, code) = on_a_terminal(&home, 34);
    assert_eq!(code, Some(5), "{shown}");
    let (_, widest) = lines_and_widest(&shown);
    assert!(widest.contains("files"), "no progress was shown: {widest:?}");
    assert!(widest.chars().count() <= 34, "{widest:?}");
}

#[test]
fn a_signal_ends_a_scan_within_a_second_and_nothing_has_changed() {
    let home = Home::new();
    home.add("a.mp3");
    home.scan([home.music()]).assert_exited(0);
    let hangs = home.add("hangs.mp3");
    let before = home.songs();
    for (signal, code) in [(Signal::SIGINT, 130), (Signal::SIGTERM, 143)] {
        let mut command = home.command();
        command.arg("-d").arg(home.url()).arg("--file-timeout").arg("2000").arg(home.music());
        command.env("AVALON_LOG_LEVEL", "DEBUG");
        command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &hangs).env("SHIM_CALL", "hang");
        command.env("SHIM_MARK", home.path("hanging"));
        let child = command.stderr(Stdio::piped()).spawn().expect("avalon-scan");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !home.path("hanging").exists() {
            assert!(Instant::now() < deadline, "the scan never reached the file");
            std::thread::yield_now();
        }
        fs::remove_file(home.path("hanging")).expect("remove");
        let sent = Instant::now();
        kill(Pid::from_raw(child.id().cast_signed()), signal).expect("kill");
        let scan = Scan { output: child.wait_with_output().expect("an end") };
        assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
        scan.assert_exited(code).assert_says("the old collection is untouched");
        assert_eq!(home.songs(), before);
    }
    // Nothing is left that keeps the next scan out.
    home.scan([home.music()]).assert_exited(0);
}

/// nohup and the background jobs of a shell ignore signals for the programs that they start.
#[test]
fn a_signal_that_the_starter_ignores_stays_ignored() {
    let home = Home::new();
    let hangs = home.add("hangs.mp3");
    let mut command = home.command();
    let scan = command.get_program().to_owned();
    command = Command::new("sh");
    command.args(["-c", "trap '' HUP; exec \"$0\" \"$@\""]).arg(scan);
    command.env_clear().arg("-d").arg(home.url()).arg("--file-timeout").arg("2000").arg(home.music());
    command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &hangs).env("SHIM_CALL", "hang");
    command.env("SHIM_MARK", home.path("hanging"));
    let child = command.stderr(Stdio::piped()).spawn().expect("a shell");
    let deadline = Instant::now() + Duration::from_secs(60);
    while !home.path("hanging").exists() {
        assert!(Instant::now() < deadline, "the scan never reached the file");
        std::thread::yield_now();
    }
    let pid = Pid::from_raw(child.id().cast_signed());
    kill(pid, Signal::SIGHUP).expect("kill");
    kill(pid, Signal::SIGTERM).expect("kill");
    let scan = Scan { output: child.wait_with_output().expect("an end") };
    scan.assert_exited(143).assert_says("SIGTERM");
}

#[test]
fn a_second_scan_ends_at_once_and_names_the_first() {
    let home = Home::new();
    let hangs = home.add("hangs.mp3");
    let postgres = Postgres::shared().create_database();
    for url in [home.url(), postgres.url()] {
        let mut command = home.command();
        command.arg("-d").arg(&url).arg("--file-timeout").arg("2000").arg(home.music());
        command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &hangs).env("SHIM_CALL", "hang");
        command.env("SHIM_MARK", home.path("hanging"));
        let mut first = command.stderr(Stdio::null()).spawn().expect("avalon-scan");
        let deadline = Instant::now() + Duration::from_secs(60);
        while !home.path("hanging").exists() {
            assert!(Instant::now() < deadline, "the scan never reached the file");
            std::thread::yield_now();
        }
        fs::remove_file(home.path("hanging")).expect("remove");
        let second = Scan::of(home.command().arg("-d").arg(&url).arg(home.music()));
        second.assert_exited(1).assert_says("another scan").assert_says(&format!("process {}", first.id()));
        // The kernel gives the lock back, however the first one ends.
        first.kill().expect("kill");
        first.wait().expect("an end");
        let deadline = Instant::now() + Duration::from_secs(30);
        while Scan::of(home.command().arg("-d").arg(&url).arg(home.music())).output.status.code() != Some(0) {
            assert!(Instant::now() < deadline, "the lock stayed");
        }
    }
}

/// A database that cannot be used is told before the first music file is opened.
#[test]
fn the_database_comes_before_the_music() {
    let home = Home::new();
    let song = home.add("song.mp3");
    let trace = home.path("trace");
    let run = |url: &str| {
        let mut command = Command::new("strace");
        command.args(["-f", "-qq", "-e", "trace=%file", "-o"]).arg(&trace);
        command.arg(env!("CARGO_BIN_EXE_avalon-scan")).arg("-d").arg(url).arg(home.music());
        let scan = Scan::of(command.env_clear().env("TMPDIR", home.folder.path()));
        (scan, fs::read_to_string(&trace).expect("a trace"))
    };
    let refused = format!("sqlite:///{}", home.path("no/such/folder.sqlite").display());
    let closed = "postgresql://user@127.0.0.1:1/none".to_owned();
    for url in [refused, closed] {
        let (scan, calls) = run(&url);
        scan.assert_exited(1);
        assert!(
            !calls.contains(&home.music().display().to_string() as &str) || !calls.contains("song.mp3"),
            "{calls}"
        );
    }
    let (scan, calls) = run(&home.url());
    scan.assert_exited(0);
    let at = |part: &str| calls.find(part).unwrap_or_else(|| panic!("{part} is not in the trace"));
    assert!(at("avalon.sqlite.scan") < at(&song.display().to_string()));
}
