//! The files of `tests/fixtures/scan/field`, which users of other programs reported. `field.tsv`
//! beside the folder holds the right values of each.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use super::samples::{losses, read, row};
use super::tags::Unread;

/// Most calls that read a file whose length is stated.
const CALLS_MAX: u64 = 6;

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scan")
}

/// Returns all files, by their path in the folder.
fn files() -> BTreeMap<String, Vec<u8>> {
    let folder = fixtures().join("field");
    let entries = walkdir::WalkDir::new(&folder).into_iter().map(|entry| entry.expect("an entry"));
    let files = entries.filter(|entry| entry.file_type().is_file()).map(|entry| {
        let path = entry.path().strip_prefix(&folder).expect("below it").to_string_lossy().into_owned();
        (path, fs::read(entry.path()).expect("a file"))
    });
    files.collect()
}

#[test]
fn every_reported_file_gives_the_right_values() {
    let text = fs::read_to_string(fixtures().join("field.tsv")).expect("a table");
    let mut due: BTreeMap<&str, &str> = text
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.split_once('\t').unwrap_or_else(|| panic!("{line}")))
        .collect();
    let mut wrong = Vec::new();
    for (path, bytes) in files() {
        let (reading, calls) = read(&path, bytes);
        let reading = reading.unwrap_or_else(|unread| panic!("{path}: {unread:?}"));
        // A tab separates columns, and a line is a file.
        let found = format!("{}\t{}", row(&reading), losses(&reading));
        if due.remove(path.as_str()) != Some(&found) {
            wrong.push(format!("{path}\t{found}"));
        }
        assert!(calls <= CALLS_MAX || reading.guess.is_some(), "{path}: {calls} calls");
    }
    assert!(wrong.is_empty() && due.is_empty(), "not as due:\n{}\nmissing: {due:?}", wrong.join("\n"));
}

/// After a cut or overwritten byte anywhere in a file its reader ends without a panic.
#[test]
fn torn_files_end() {
    for (path, bytes) in files() {
        let check = |bytes: Vec<u8>| {
            if let (Err(Unread::Broken(why)), _) = read(&path, bytes) {
                assert!(!why.starts_with("its reader failed"), "{path}: {why}");
            }
        };
        for at in (0..bytes.len()).step_by(bytes.len() / 20 + 1) {
            check(bytes[..at].to_vec());
            let mut torn = bytes.clone();
            torn[at..].iter_mut().take(4).for_each(|byte| *byte = !*byte);
            check(torn);
        }
    }
}
