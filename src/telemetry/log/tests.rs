use super::*;
use slog::{crit, debug, info, o};
use std::fmt;
use std::fs::{File, OpenOptions, read_to_string};
use std::path::Path;

fn settings(format: &str, path: &Path) -> LogSettings {
    LogSettings {
        format: LogFormat::parse(format).unwrap(),
        date_format: "%Y".to_owned(),
        level: Level::Info,
        path: Some(path.to_owned()),
    }
}

fn log(format: &str, path: &Path) -> Log {
    Log::start(&settings(format, path), "master", "avalon").unwrap()
}

#[test]
fn a_record_is_one_line_with_the_attributes_of_its_place_and_process() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = log(
        "[%(process)d] [%(levelname)-8s] %(processName)s %(name)s %(filename)s %(module)s %(lineno)d %(message)s",
        &path,
    );
    let line = line!() + 1;
    info!(log.logger(), "ready"; "songs" => 3);
    let process = std::process::id();
    let expected = format!("[{process}] [INFO    ] master avalon tests.rs tests {line} ready songs=3\n");
    assert_eq!(read_to_string(&path).unwrap(), expected);
}

#[test]
fn levels_have_the_names_and_numbers_of_python_and_those_below_are_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = log("%(levelname)s %(levelno)d %(message)s", &path);
    debug!(log.logger(), "d");
    info!(log.logger(), "i");
    warn!(log.logger(), "w");
    error!(log.logger(), "e");
    crit!(log.logger(), "c");
    let expected = "INFO 20 i\nWARNING 30 w\nERROR 40 e\nCRITICAL 50 c\n";
    assert_eq!(read_to_string(&path).unwrap(), expected);
}

#[test]
fn times_are_of_now() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let before = seconds(Timestamp::now());
    info!(log("%(created).6f %(msecs)d %(relativeCreated)d %(asctime)s", &path).logger(), "");
    let text = read_to_string(&path).unwrap();
    let fields: Vec<f64> = text.split_whitespace().map(|field| field.parse().unwrap()).collect();
    assert!(fields[0] >= before - 1e-5 && fields[0] < before + 60.0, "{text}");
    assert_eq!(fields[1], (fields[0].fract() * 1000.0 + 1e-4).floor(), "{text}");
    assert!(fields[2] < 60_000.0 && fields[3] >= 2026.0, "{text}");
}

#[test]
fn a_process_has_its_own_name_in_the_same_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let master = log("%(processName)s %(message)s", &path);
    let worker = master.for_process("worker 3");
    info!(worker.logger().new(o!("gen" => 2)), "a");
    info!(master.logger(), "b");
    assert_eq!(read_to_string(&path).unwrap(), "worker 3 a gen=2\nmaster b\n");
}

#[test]
fn a_log_is_appended_to_and_only_its_owner_may_write() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    info!(log("%(message)s", &path).logger(), "first");
    info!(log("%(message)s", &path).logger(), "second");
    assert_eq!(read_to_string(&path).unwrap(), "first\nsecond\n");
    assert_eq!(path.metadata().unwrap().permissions().mode() & 0o133, 0);
}

#[test]
fn reopen_follows_a_moved_file_and_keeps_the_old_one_if_it_cannot() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = log("%(message)s", &path);
    info!(log.logger(), "one");
    std::fs::rename(&path, &moved).unwrap();
    info!(log.logger(), "two");
    std::fs::create_dir(&path).unwrap();
    let error = log.reopen().unwrap_err().to_string();
    assert!(error.starts_with(&format!("cannot append to the log file {}: ", path.display())), "{error}");
    info!(log.logger(), "three");
    std::fs::remove_dir(&path).unwrap();
    log.reopen().unwrap();
    info!(log.logger(), "four");
    assert_eq!(read_to_string(&moved).unwrap(), "one\ntwo\nthree\n");
    assert_eq!(read_to_string(&path).unwrap(), "four\n");
}

#[test]
fn a_file_that_was_moved_is_left_as_soon_as_another_has_its_name() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = log("%(message)s", &path);
    let look = || {
        log.lines.output.forget_looking();
        log.follow();
    };
    look();
    info!(log.logger(), "one");
    std::fs::rename(&path, &moved).unwrap();
    look();
    info!(log.logger(), "two");
    // The program that moved the file may be about to make the new one.
    assert!(!path.exists());
    File::create(&path).unwrap();
    log.lines.output.forget_looking();
    info!(log.logger(), "three");
    assert_eq!(read_to_string(&moved).unwrap(), "one\ntwo\n");
    assert_eq!(read_to_string(&path).unwrap(), "three\n");

    std::fs::remove_file(&path).unwrap();
    look();
    look();
    info!(log.logger(), "four");
    assert_eq!(read_to_string(&path).unwrap(), "four\n");
}

#[test]
fn a_file_that_cannot_be_followed_is_named_once() {
    let folder = tempfile::tempdir().unwrap();
    let (path, moved) = (folder.path().join("log"), folder.path().join("log.1"));
    let log = log("%(levelname)s %(message)s", &path);
    std::fs::rename(&path, &moved).unwrap();
    std::fs::create_dir(&path).unwrap();
    for _ in 0..3 {
        log.lines.output.forget_looking();
        log.follow();
    }
    info!(log.logger(), "goes on");
    let text = read_to_string(&moved).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("ERROR the log could not be reopened: cannot append to "), "{text}");
    assert_eq!(lines[1..], ["INFO goes on"]);
}

/// `copytruncate`: the same file, to whose end the log appends.
#[test]
fn a_file_that_was_emptied_is_written_from_its_beginning() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = log("%(message)s", &path);
    info!(log.logger(), "one");
    OpenOptions::new().write(true).truncate(true).open(&path).unwrap();
    info!(log.logger(), "two");
    assert_eq!(read_to_string(&path).unwrap(), "two\n");
}

#[test]
fn json_has_the_key_values_as_keys() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = log("json", &path);
    let line = line!() + 2;
    let logger = log.logger().new(o!("worker" => 3, "gen" => 1));
    info!(logger, "bad {}", "tag\n\u{202e}"; "songs" => 3_u64, "share" => 0.5, "ok" => true, "none" => None::<u8>,
        "gen" => 2, "title" => "say \"hi\"\u{1b}[0m\u{9b}", "nan" => f64::NAN, "level" => "mine");
    let text = read_to_string(&path).unwrap();
    assert!(text.ends_with("}\n") && text.lines().count() == 1 && text.is_ascii(), "{text}");
    let mut object: serde_json::Value = serde_json::from_str(&text).unwrap();
    let time: Timestamp = object["ts"].take().as_str().unwrap().parse().unwrap();
    assert!(Timestamp::now().duration_since(time).as_secs().abs() < 60);
    let thread = std::thread::current().name().map(str::to_owned);
    let expected = serde_json::json!({
        "ts": null, "level": "INFO", "msg": "bad tag\n\u{202e}", "name": "avalon",
        "process": std::process::id(), "processName": "master", "threadName": thread,
        "module": "tests", "lineno": line, "worker": 3, "gen": 2, "songs": 3, "share": 0.5,
        "ok": true, "none": null, "title": "say \"hi\"\u{1b}[0m\u{9b}", "nan": "NaN", "level_": "mine",
    });
    assert_eq!(object, expected);
}

#[test]
fn lines_that_cannot_be_written_are_counted() {
    let log = log("%(message)s", Path::new("/dev/full"));
    info!(log.logger(), "lost");
    error!(log.logger(), "lost too");
    assert_eq!(log.lost(), 2);
}

/// A pipe with O_DIRECT keeps writes apart: each read returns one write.
#[test]
fn a_record_is_one_write_and_a_full_pipe_is_not_waited_for() {
    use nix::fcntl::OFlag;
    let (read, write) = nix::unistd::pipe2(OFlag::O_DIRECT | OFlag::O_NONBLOCK).unwrap();
    let Log { lines, .. } = log("[%(levelname)s] %(message)s", Path::new("/dev/null"));
    let log = Log::over(Lines { output: Arc::new(Output::into_file(write.into())), ..lines });
    info!(log.logger(), "first"; "key" => "some value");
    warn!(log.logger(), "second");
    let mut bytes = [0; 4096];
    for expected in ["[INFO] first key=\"some value\"\n", "[WARNING] second\n"] {
        let count = nix::unistd::read(&read, &mut bytes).unwrap();
        assert_eq!(std::str::from_utf8(&bytes[..count]), Ok(expected));
    }
    while log.lost() == 0 {
        info!(log.logger(), "without a reader");
    }
    info!(log.logger(), "still without a reader");
    while nix::unistd::read(&read, &mut bytes).is_ok() {}
    info!(log.logger(), "read again");
    for expected in ["[INFO] read again\n", "[WARNING] log lines were lost count=2\n"] {
        let count = nix::unistd::read(&read, &mut bytes).unwrap();
        assert_eq!(std::str::from_utf8(&bytes[..count]), Ok(expected));
    }
    assert_eq!(log.lost(), 2);
}

/// A pipe takes a part of a line that is longer than its pages.
#[test]
fn a_line_that_was_cut_off_does_not_run_into_the_next() {
    use nix::fcntl::OFlag;
    let (read, write) = nix::unistd::pipe2(OFlag::O_NONBLOCK).unwrap();
    let Log { lines, .. } = log("%(message)s", Path::new("/dev/null"));
    let log = Log::over(Lines { output: Arc::new(Output::into_file(write.into())), ..lines });
    info!(log.logger(), "{}", "x".repeat(1 << 20));
    assert_eq!(log.lost(), 1);
    let mut bytes = [0; 1 << 16];
    while nix::unistd::read(&read, &mut bytes).is_ok() {}
    info!(log.logger(), "whole");
    let count = nix::unistd::read(&read, &mut bytes).unwrap();
    assert_eq!(std::str::from_utf8(&bytes[..count]), Ok("\nwhole\nlog lines were lost count=1\n"));
}

#[test]
fn threads_and_values_that_log_themselves_do_not_mix_lines() {
    struct Logs<'a>(&'a Logger);
    impl fmt::Display for Logs<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            info!(self.0, "inner");
            f.write_str("logs")
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("log");
    let log = log("%(message)s.", &path);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..100).for_each(|_| info!(log.logger(), "outer {}", Logs(log.logger()))));
        }
    });
    let text = read_to_string(&path).unwrap();
    let count = |line| text.lines().filter(|found| *found == line).count();
    assert_eq!((count("inner."), count("outer logs."), text.lines().count()), (400, 400, 800));
    assert_eq!(log.lost(), 0);
}

#[test]
fn a_log_that_cannot_be_opened_says_path_and_reason() {
    let failed = |settings: LogSettings| Log::start(&settings, "master", "avalon").unwrap_err().to_string();
    assert_eq!(
        failed(settings("%(message)s", Path::new("/nowhere/log"))),
        "cannot append to the log file /nowhere/log: No such file or directory (os error 2)"
    );
    let bad_date =
        LogSettings { date_format: "%!".into(), ..settings("%(message)s", Path::new("/dev/null")) };
    assert!(failed(bad_date).starts_with("bad date format \"%!\": "));
}
