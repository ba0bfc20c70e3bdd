//! The fuzz targets of `tests/fuzz` on stable Rust: their corpus, changed by chance for some
//! seconds. `FUZZ_SECONDS` says for how long (hours, if by hand), `FUZZ_SEED` repeats a run.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::env;
use std::fs;
use std::panic::RefUnwindSafe;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// A generator of George Marsaglia's (xorshift64).
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound.max(1) as u64) as usize
    }

    /// Changes some bytes as damage and malice would.
    fn change(&mut self, bytes: &mut Vec<u8>, other: &[u8]) {
        const INTERESTING: [u64; 8] = [0, 1, 7, 0xff, 0x7fff_ffff, 0xffff_ffff, 1 << 32, u64::MAX];
        for _ in 0..=self.below(6) {
            let at = self.below(bytes.len());
            match self.below(7) {
                0 if !bytes.is_empty() => bytes[at] ^= 1 << self.below(8),
                1 if !bytes.is_empty() => bytes[at] = self.next() as u8,
                2 | 3 => {
                    // A number, where numbers stand: in line, or anywhere.
                    let width = [1, 2, 3, 4, 4, 8][self.below(6)];
                    let at = if self.below(2) == 0 { at & !3 } else { at };
                    let value = match self.below(3) {
                        0 => self.next(),
                        1 => self.below(bytes.len() + 9) as u64,
                        _ => INTERESTING[self.below(INTERESTING.len())],
                    };
                    if let Some(number) = bytes.get_mut(at..at + width) {
                        number.copy_from_slice(&value.to_le_bytes()[..width]);
                        if self.below(2) == 0 {
                            number.reverse();
                        }
                    }
                }
                4 => bytes.truncate(at),
                5 => {
                    let from = self.below(other.len());
                    let piece = &other[from..(from + self.below(40)).min(other.len())];
                    bytes.splice(at..at, piece.iter().copied());
                }
                _ => {
                    let end = (at + self.below(20)).min(bytes.len());
                    bytes.drain(at..end);
                }
            }
        }
    }
}

/// The files of a corpus.
fn corpus(target: &str) -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let files = fs::read_dir(folder).expect("a corpus");
    files.map(|file| file.expect("a file").path()).collect()
}

fn fuzz(target: &str, extra: Vec<Vec<u8>>, check: fn(&[u8])) {
    let files = corpus(target).into_iter().map(|path| fs::read(path).expect("a file"));
    let corpus: Vec<Vec<u8>> = extra.into_iter().chain(files).collect();
    try_changed(target, &corpus, Duration::from_secs(5), 1, check);
}

/// Changes files of the corpus by chance, for `time`, or for the time that the environment has, of which each
/// of `many` targets gets a part.
fn try_changed(
    target: &str,
    corpus: &[Vec<u8>],
    time: Duration,
    many: u32,
    check: impl Fn(&[u8]) + RefUnwindSafe,
) {
    corpus.iter().for_each(|bytes| check(bytes));
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let time = number("FUZZ_SECONDS").map_or(time, |seconds| Duration::from_secs(seconds) / many);
    let seed: u64 = number("FUZZ_SEED").unwrap_or_else(|| {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).expect("a time after 1970");
        now.as_nanos() as u64
    });
    println!("FUZZ_SEED={seed} {target}");
    let mut chance = Chance(seed.max(1));
    let (begin, mut count) = (Instant::now(), 0_u64);
    while begin.elapsed() < time {
        let mut bytes = corpus[chance.below(corpus.len())].clone();
        let other = chance.below(corpus.len());
        chance.change(&mut bytes, &corpus[other]);
        let kept = bytes.clone();
        if std::panic::catch_unwind(|| check(&bytes)).is_err() {
            let path = env::temp_dir().join(format!("avalon-fuzz-{target}-{seed}"));
            fs::write(&path, kept).expect("written");
            panic!(
                "{target}: a panic after {count} tries with FUZZ_SEED={seed}; the input is {}",
                path.display()
            );
        }
        count += 1;
    }
    println!("{target}: {count} tries in {:?}", begin.elapsed());
    assert!(count > 0);
}

#[test]
fn snapshots_are_refused_or_answer_everything() {
    let golden = fs::read(crate::snapshot::golden()).expect("a snapshot");
    // Signed as a builder signs it: else no changed snapshot would get further than to its hash.
    assert_eq!(checks::signed(&golden), golden);
    fuzz("open", vec![golden], checks::open);
}

#[test]
fn query_strings_are_parsed_or_refused() {
    fuzz("params", Vec::new(), checks::params);
}

/// Most memory that the reading of one small file takes, in bytes.
const MEMORY_MAX: u64 = 4 << 20;
/// Longest time that it takes, also without optimisation and beside other tests.
const TIME_MAX: Duration = Duration::from_secs(10);
/// So many targets share the time that the environment has.
const READERS: u32 = 21;

/// Files with these endings, changed by chance, are read to an end, with little memory and few
/// calls.
fn reader(name: &str, endings: &[&str]) {
    let ending = |path: &Path| path.extension().map(|ending| ending.to_string_lossy().into_owned());
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/scan/field");
    let reported = walkdir::WalkDir::new(fixtures).into_iter().map(|file| file.expect("a file").into_path());
    let files: Vec<PathBuf> = corpus("read")
        .into_iter()
        .chain(reported)
        .filter(|path| ending(path).is_some_and(|ending| endings.contains(&ending.as_str())))
        .collect();
    // The start and the end of a file, as the readers have most to do there.
    let bytes = files.iter().map(|path| {
        let mut bytes = fs::read(path).expect("a file");
        let middle = 6000..bytes.len().saturating_sub(2000).max(6000).min(bytes.len().max(6000));
        if middle.end <= bytes.len() {
            bytes.drain(middle);
        }
        bytes
    });
    let bytes: Vec<Vec<u8>> = bytes.collect();
    assert!(!bytes.is_empty(), "{name} has no corpus");
    let file = PathBuf::from(format!("x.{}", endings[0]));
    try_changed(name, &bytes, Duration::from_millis(300), READERS, |bytes| {
        let begin = Instant::now();
        let copy = bytes.to_vec();
        let memory = allocation_counter::measure(|| checks::read(&file, copy));
        assert!(memory.bytes_max < MEMORY_MAX, "{} bytes of memory", memory.bytes_max);
        assert!(begin.elapsed() < TIME_MAX, "{:?}", begin.elapsed());
    });
}

macro_rules! readers {
    ($($name:ident: $($ending:literal)+;)+) => {
        mod readers {
            $(#[test]
            fn $name() {
                super::reader(concat!("read-", stringify!($name)), &[$($ending),+]);
            })+
        }
    };
}

readers! {
    ac3: "ac3" "eac3";
    adts: "aac";
    aiff: "aiff";
    amr: "amr";
    asf: "wma";
    core_audio: "caf";
    dsd: "dsf" "dff";
    flac: "flac";
    matroska: "mka" "weba";
    midi: "mid" "rmi";
    monkeys_audio: "ape";
    mp4: "m4a" "m4b";
    mpeg: "mp3";
    musepack: "mpc";
    ogg: "ogg" "oga" "opus" "spx" "ogv";
    optimfrog: "ofr";
    riff: "wav" "w64" "rf64";
    sun_audio: "au";
    tak: "tak";
    true_audio: "tta";
    wavpack: "wv";
}
