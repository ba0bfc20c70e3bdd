//! No file costs a scan memory, and every loss is reported: real scans of files whose items are far
//! too many, far too large, or missing.

use std::fs;
use std::io::Write;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::made::{CARRIERS, Key, WAYS, bare, corpus, frame, id3_tag};
use super::parts::{Part, Parts};
use super::{Home, Scan};

/// Most memory that a file may cost beyond an ordinary one, in KB.
const COST_MAX: u64 = 16 * 1024;
/// Most memory for data and stacks that a scan of all files gets, in bytes.
const DATA_MAX: u64 = 128 << 20;
/// Most bytes that are kept of a value.
const TEXT_MAX: usize = 4096;
/// Most warnings about one file: the first losses, and the number of the others.
const WARNINGS_MAX: usize = 9;
/// Longest time of a scan of two files, without optimisation and beside other tests.
const TIME_MAX: Duration = Duration::from_secs(30);
const MB: u64 = 1 << 20;
/// Names of files that end with a hole begin so; some of their formats have no names.
const BEHIND: &str = "behind";

fn title() -> (Key, Parts) {
    (Key::Title, Parts::of("Title"))
}

fn artist(part: Part) -> (Key, Parts) {
    (Key::Artist, Parts::one(part))
}

/// Every way to write tags with every odd item: names of files, and their contents.
fn odd_files() -> Vec<(String, Parts)> {
    let mut files = Vec::new();
    for (way, ending, make, has_covers) in WAYS {
        let many = (0..20_000).map(|number| artist(Part::Bytes(format!("{number:05}").into())));
        let mut odd_items = vec![
            ("hole", vec![title(), artist(Part::Hole(100 * MB))]),
            ("long", vec![title(), artist(Part::Bytes(vec![b'a'; 3 << 20]))]),
            ("claim", vec![title(), artist(Part::Claim(0xf00_0000))]),
            ("many", [title()].into_iter().chain(many).collect()),
        ];
        if has_covers {
            let cover = |part| (Key::Cover, Parts::one(part));
            odd_items.push(("cover", vec![cover(Part::Hole(200 * MB)), title()]));
            odd_items
                .push(("covers", [vec![title()], vec![cover(Part::Bytes(vec![7; 9])); 20_000]].concat()));
        }
        for (odd, items) in odd_items {
            files.push((format!("{way}-{odd}.{ending}"), make(&items)));
        }
    }
    files.extend(odd_tags());
    // Far more behind the sound than any reader may look at.
    for file in fs::read_dir(corpus()).expect("a corpus") {
        let name = file.expect("a file").file_name().to_string_lossy().into_owned();
        let parts = Parts::of(bare(&name)).then(Parts::one(Part::Hole(300 * MB)));
        files.push((format!("{BEHIND}-{name}"), parts));
    }
    files
}

/// ID3 tags whose frames are small in the file and large when they are unpacked, in every format
/// that carries them.
fn odd_tags() -> Vec<(String, Parts)> {
    // A megabyte in a block of its own can be said again and again.
    let mut zlib = ZlibEncoder::new(Vec::new(), Compression::best());
    zlib.write_all(b"\x03").and_then(|()| zlib.flush()).expect("in memory");
    let begin = zlib.get_ref().len();
    zlib.write_all(&vec![b'a'; 1 << 20]).and_then(|()| zlib.flush()).expect("in memory");
    let packed = zlib.finish().expect("in memory");
    let (first, again) = packed.split_at(begin);
    let size = (200_u32 << 20) + 1;
    let packed = [&size.to_be_bytes()[..], first, &again.repeat(200)].concat();
    let title = || frame(3, "TIT2", [0, 0], Parts::of("\u{3}Title"));
    let bomb = frame(3, "TPE1", [0, 0x80], Parts::of(packed));
    let bombs = (0..20).fold(title(), |frames, _| frames.then(bomb.clone()));
    let cover = frame(3, "APIC", [0, 0], Parts::one(Part::Hole(100 * MB)));
    let tags = [("bombs", id3_tag(3, 0, bombs)), ("unsynchronised", id3_tag(3, 0x80, cover.then(title())))];
    let files = CARRIERS.iter().flat_map(|(ending, carry)| {
        tags.iter().map(move |(odd, tag)| (format!("tag-{odd}.{ending}"), carry(tag.clone())))
    });
    files.collect()
}

/// Scans, and tells the most memory that the scan had, in KB.
fn measured(home: &Home) -> (Scan, u64) {
    let measure = home.path("memory");
    let scan = home.command();
    let mut command = Command::new("/usr/bin/time");
    command.args(["-f", "%M", "-o"]).arg(&measure).arg(scan.get_program());
    command.env_clear().env("TMPDIR", home.folder.path()).current_dir(home.folder.path());
    let scan = Scan::of(command.arg("-d").arg(home.url()).arg(home.music()));
    let told = fs::read_to_string(&measure).expect("a measure");
    (scan, told.trim().parse().unwrap_or_else(|_| panic!("{told}")))
}

/// Title and artist of the song in this file.
fn names(home: &Home, file: &str) -> Option<(String, String)> {
    let id = super::id(&home.music().join(file));
    let rows = home.rows(&format!(
        "SELECT coalesce(tracks.name, ''), artists.name FROM tracks JOIN artists ON artists.id = artist_id WHERE tracks.id = '{id}'"
    ));
    rows.into_iter().next()
}

#[test]
fn no_file_costs_memory() {
    let home = Home::new();
    home.add("good.mp3");
    let (scan, ordinary) = measured(&home);
    scan.assert_exited(0);
    let all = Home::new();
    let files = odd_files();
    // A scan of one file mostly waits for its database.
    let wrong: Vec<String> = thread::scope(|scope| {
        let check = |files| fault_of_each(files, ordinary, &all);
        let parts = files.chunks(files.len().div_ceil(4)).map(|part| scope.spawn(move || check(part)));
        let parts: Vec<_> = parts.collect();
        parts.into_iter().flat_map(|part| part.join().expect("no panic")).collect()
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
    let mut command = Command::new("prlimit");
    command.arg(format!("--data={DATA_MAX}")).arg(all.command().get_program());
    command.env_clear().env("TMPDIR", all.folder.path());
    Scan::of(command.arg("-d").arg(all.url()).arg(all.music())).assert_exited(0);
    assert_eq!(all.songs().len(), files.len());
}

/// Scans each file beside an ordinary one, returns its faults, and moves it to `all`.
fn fault_of_each(files: &[(String, Parts)], ordinary: u64, all: &Home) -> Vec<String> {
    let mut wrong = Vec::new();
    for (name, parts) in files {
        let home = Home::new();
        home.add("good.mp3");
        parts.write(&home.music().join(name));
        let begin = Instant::now();
        let (scan, memory) = measured(&home);
        let time = begin.elapsed();
        scan.assert_exited(0);
        let cost = memory.saturating_sub(ordinary);
        let warnings = warnings(&scan, name);
        let Some((title, artist)) = names(&home, name) else {
            wrong.push(format!("{name} is no song: {warnings:?}"));
            continue;
        };
        let is_lossy = ["long.", "claim.", "many.", "bombs."].iter().any(|odd| name.contains(odd));
        let is_right = cost <= COST_MAX
            && time <= TIME_MAX
            && (title == "Title" || name.starts_with(BEHIND))
            && artist.len() <= TEXT_MAX
            && warnings.len() <= WARNINGS_MAX
            && (!is_lossy || !warnings.is_empty());
        if !is_right {
            wrong.push(format!("{name}: {cost} KB, {time:?}, title {title:?}, {warnings:?}"));
        }
        fs::rename(home.music().join(name), all.music().join(name)).expect("moved");
    }
    wrong
}

/// The warnings about a file.
fn warnings(scan: &Scan, name: &str) -> Vec<String> {
    let text = scan.stderr();
    text.lines().filter(|line| line.contains("WARN") && line.contains(name)).map(str::to_owned).collect()
}

/// A text that is too long, in every format: it is cut, and one line tells it.
#[test]
fn a_long_text_is_cut_and_told_once() {
    let home = Home::new();
    let name = |way: &str, ending: &str| format!("{way}.{ending}");
    for (way, ending, make, _) in WAYS {
        let items = [title(), artist(Part::Bytes(vec![b'a'; 5000]))];
        make(&items).write(&home.music().join(name(way, ending)));
        let items = [title(), artist(Part::Bytes(vec![b'a'; TEXT_MAX]))];
        make(&items).write(&home.music().join(name(way, &format!("whole.{ending}"))));
    }
    let scan = home.scan([home.music()]);
    scan.assert_exited(0);
    for (way, ending, ..) in WAYS {
        for (file, count) in [(name(way, ending), 1), (name(way, &format!("whole.{ending}")), 0)] {
            let warnings = warnings(&scan, &format!("/{file}"));
            assert_eq!(names(&home, &file), Some(("Title".to_owned(), "a".repeat(TEXT_MAX))), "{file}");
            assert_eq!(warnings.len(), count, "{file}: {warnings:?}");
            let is_told = |line: &String| line.contains("Could not read artist of ") && line.contains("long");
            assert!(warnings.iter().all(is_told), "{warnings:?}");
        }
    }
}

/// A text that does not fit its encoding, in every format: one line tells it, and nothing else is lost.
#[test]
fn a_bad_text_is_told_once() {
    let home = Home::new();
    for (way, ending, make, _) in WAYS {
        // Half of a character of UTF-16, or a character of Latin-1.
        let bad: &[u8] = if ending == "wma" { b"\x00\xd8a\0" } else { b"caf\xe9" };
        make(&[artist(Part::Bytes(bad.into())), title()])
            .write(&home.music().join(format!("{way}.{ending}")));
    }
    let scan = home.scan([home.music()]);
    scan.assert_exited(0);
    for (way, ending, ..) in WAYS {
        let file = format!("{way}.{ending}");
        let warnings = warnings(&scan, &format!("/{file}"));
        let (title, artist) = names(&home, &file).unwrap_or_else(|| panic!("{file} is no song"));
        assert_eq!(title, "Title", "{file}");
        // The bad characters of a frame of ID3 cost the frame, as avalonms had it.
        let is_repaired = artist.contains('\u{fffd}') || artist.is_empty() && way.starts_with("id3");
        assert!(is_repaired, "{file}: {artist:?}");
        let is_told = warnings.len() == 1 && warnings[0].contains("Could not read artist of ");
        assert!(is_told && warnings[0].contains("UTF-"), "{file}: {warnings:?}");
    }
}
