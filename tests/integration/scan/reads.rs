//! How a scan reads files: a few reads at offsets for each, no seeks, nothing of a cover, and
//! a format that must be counted only once.

mod big;

use std::fs;
use std::path::Path;

use super::Home;
use super::traced::{Call, traced};
use big::Big;

/// Most reads of a file.
const READS_MAX: usize = 5;
/// Bytes that may be read beyond the necessary ones: the windows at the head and at the end. A
/// frame that is cut by the end of a buffer is read with the next one, too.
const WINDOWS: u64 = 3 * 16 * 1024;

/// Returns the calls of a scan for a file.
fn calls_with<'a>(calls: &'a [Call], path: &Path) -> Vec<&'a Call> {
    calls.iter().filter(|call| Path::new(&call.path) == path).collect()
}

fn bytes_read(calls: &[&Call]) -> u64 {
    calls.iter().filter_map(|call| call.range()).map(|(start, end)| end - start).sum()
}

#[test]
fn each_format_costs_a_few_reads_and_no_seek() {
    let home = Home::new();
    let files = Big::all();
    for file in &files {
        fs::write(home.music().join(file.name), &file.bytes).expect("file");
    }
    let (scan, calls) = traced(&home, &home.url(), &[]);
    scan.assert_exited(0);
    let titles: Vec<String> = home.songs().into_iter().map(|(_, title)| title).collect();
    assert_eq!(titles, vec!["Title"; files.len()], "{}", scan.stderr());
    for Big { name, bytes, cover, .. } in &files {
        let of_file = calls_with(&calls, &home.music().join(name));
        assert_eq!(of_file.iter().filter(|call| call.name == "openat").count(), 1, "{name}: {of_file:#?}");
        let reads = of_file.iter().filter(|call| call.reads()).count();
        assert!((1..=READS_MAX).contains(&reads), "{name}: {of_file:#?}");
        for call in &of_file {
            assert!(!["lseek", "mmap", "read"].contains(&call.name.as_str()), "{name}: {call:?}");
            // The bytes beside a cover share a window with it.
            let Some((start, end)) = call.range() else { continue };
            let (from, to) = (cover.start as u64 + 16 * 1024, cover.end as u64 - 16 * 1024);
            assert!(end <= from || start >= to, "{name}: {call:?} reads the cover at {cover:?}");
        }
        let read = bytes_read(&of_file);
        assert!(
            read <= READS_MAX as u64 * 16 * 1024 && read < bytes.len() as u64 / 4,
            "{name}: {read} bytes"
        );
    }
}

#[test]
fn a_format_that_is_counted_is_read_once() {
    let home = Home::new();
    for (name, bytes) in big::counted() {
        let path = home.music().join(name);
        fs::write(&path, &bytes).expect("file");
        let (scan, calls) = traced(&home, &home.url(), &["--full"]);
        scan.assert_exited(0);
        let of_file = calls_with(&calls, &path);
        let read = bytes_read(&of_file);
        assert!(
            read > 0 && read <= bytes.len() as u64 * 6 / 5 + WINDOWS,
            "{name}: {read} of {} bytes",
            bytes.len()
        );
        assert!(of_file.iter().all(|call| call.name != "lseek"), "{name}: {of_file:#?}");
    }
}
