use std::fs;
use std::io::Read;
use std::os::unix::net::UnixStream;

use super::*;
use crate::telemetry::Log;

fn record<'a>(target: &'a str) -> AccessRecord<'a> {
    AccessRecord {
        client: None,
        scheme: "http",
        method: "GET",
        target,
        protocol: "HTTP/1.1",
        status: 200,
        request_id: b"",
        trace: None,
        request_header: &|_| None,
        response_header: &|_| None,
    }
}

fn settings(path: PathBuf) -> AccessSettings {
    AccessSettings { path: Some(path), format: AccessFormat::parse("%(U)s %(b)s").unwrap() }
}

fn discard() -> Logger {
    Logger::root(slog::Discard, slog::o!())
}

fn answer(log: &AccessLog, target: &str) {
    let line = log.begin(&record(target));
    log.finish(line, 7, Duration::ZERO);
}

#[test]
fn lines_are_gathered_and_follow_a_file_that_is_moved() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("access.log");
    let log = AccessLog::open(&settings(path.clone())).unwrap();
    answer(&log, "/a");
    answer(&log, "/b");
    assert_eq!(fs::read_to_string(&path).unwrap(), "");
    log.flush(&discard());
    assert_eq!(fs::read_to_string(&path).unwrap(), "/a 7\n/b 7\n");
    fs::rename(&path, folder.path().join("old")).unwrap();
    log.reopen().unwrap();
    answer(&log, "/c");
    log.flush(&discard());
    assert_eq!(fs::read_to_string(&path).unwrap(), "/c 7\n");
    // Lines beyond the limit are written without a flush.
    (0..GATHERED_MAX).for_each(|_| answer(&log, "/d"));
    assert!(fs::metadata(&path).unwrap().len() > GATHERED_MAX as u64);
}

#[test]
fn lost_lines_are_counted_and_told_when_lines_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let told = folder.path().join("log");
    let log_settings = crate::telemetry::LogSettings {
        format: crate::telemetry::LogFormat::parse("%(message)s").unwrap(),
        date_format: String::new(),
        level: slog::Level::Info,
        path: Some(told.clone()),
    };
    let logger = Log::start(&log_settings, "worker", "test").unwrap();
    let log = AccessLog::open(&settings("/dev/full".into())).unwrap();
    answer(&log, "/a");
    answer(&log, "/b");
    log.flush(logger.logger());
    assert_eq!(fs::read_to_string(&told).unwrap(), "");
    assert_eq!(log.output.take_lost(), 2);
}

/// A slow reader of a pipe loses whole lines, and gets no partial ones.
#[test]
fn lines_in_a_pipe_are_whole() {
    let (mut reader, writer) = UnixStream::pair().unwrap();
    writer.set_nonblocking(true).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let settings = settings(folder.path().join("unused"));
    let file = std::fs::File::from(std::os::fd::OwnedFd::from(writer));
    let log = AccessLog { output: Arc::new(Output::into_file(file)), ..AccessLog::open(&settings).unwrap() };
    let target = "/x".repeat(1000);
    for _ in 0..2000 {
        answer(&log, &target);
    }
    log.flush(&discard());
    let lost = log.output.lost();
    drop(log);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    let whole = text.lines().filter(|line| **line == format!("{target} 7")).count() as u64;
    assert!(lost > 0 && whole > 0);
    assert_eq!(whole + lost, 2000);
}
