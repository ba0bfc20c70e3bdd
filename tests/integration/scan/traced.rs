//! The calls that a scan makes, as strace tells them.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::{Home, Scan};

/// One call with a file.
#[derive(Debug)]
pub(super) struct Call {
    pub(super) name: String,
    /// The text between the brackets.
    pub(super) arguments: String,
    /// The file of the descriptor that is the first argument; of a call that opens a file, that file.
    pub(super) path: String,
    /// The result of the call; negative for an error.
    pub(super) result: i64,
}

impl Call {
    /// `None` for lines that tell signals and ends of threads.
    fn parse(line: &str) -> Option<Call> {
        let (name, rest) = line.split_once('(')?;
        let (arguments, result) = rest.rsplit_once(" = ")?;
        let opens = name.starts_with("open");
        let named = if opens { result } else { arguments };
        let path =
            named.split_once('<').and_then(|(_, path)| path.split_once('>')).map_or("", |(path, _)| path);
        let number = result.split(|c: char| c != '-' && !c.is_ascii_digit()).next()?;
        Some(Call {
            name: name.to_owned(),
            arguments: arguments.trim_end().trim_end_matches(')').to_owned(),
            path: path.to_owned(),
            result: number.parse().ok()?,
        })
    }

    pub(super) fn reads(&self) -> bool {
        ["read", "pread64", "readv", "preadv", "preadv2"].contains(&self.name.as_str())
    }

    pub(super) fn writes(&self) -> bool {
        ["write", "pwrite64", "writev", "pwritev", "pwritev2", "ftruncate"].contains(&self.name.as_str())
    }

    /// Returns first byte and end of the bytes that a `pread64` returned.
    pub(super) fn range(&self) -> Option<(u64, u64)> {
        let start: u64 = self.arguments.rsplit_once(", ")?.1.parse().ok()?;
        (self.name == "pread64").then_some((start, start + u64::try_from(self.result).ok()?))
    }

    pub(super) fn is_below(&self, folder: &Path) -> bool {
        Path::new(&self.path).starts_with(folder)
    }
}

/// Scans with these arguments, and tells all calls with files.
pub(super) fn traced(home: &Home, url: &str, arguments: &[&str]) -> (Scan, Vec<Call>) {
    let folder = home.path("traces");
    let _ = fs::remove_dir_all(&folder);
    fs::create_dir(&folder).expect("folder");
    let mut command = Command::new("strace");
    // A file for each thread: calls of several threads do not cut each other's lines.
    command.args(["-ff", "-qq", "-y", "-s", "0", "-e", "trace=%desc,openat", "-o"]).arg(folder.join("trace"));
    command.arg(env!("CARGO_BIN_EXE_avalon-scan")).arg("-d").arg(url).args(arguments).arg(home.music());
    let scan = Scan::of(command.env_clear().env("TMPDIR", home.folder.path()));
    let mut calls = Vec::new();
    for file in fs::read_dir(&folder).expect("folder") {
        let bytes = fs::read(file.expect("a trace").path()).expect("a trace");
        calls.extend(String::from_utf8_lossy(&bytes).lines().filter_map(Call::parse));
    }
    assert!(calls.iter().any(|call| call.name == "openat"), "strace tells nothing");
    (scan, calls)
}
