//! The fuzz targets of `tests/fuzz` on stable Rust: their corpus, changed by chance for some
//! seconds. `FUZZ_SECONDS` says for how long (hours, if by hand), `FUZZ_SEED` repeats a run.

#[path = "../fuzz/checks.rs"]
mod checks;

use std::env;
use std::fs;
use std::path::Path;
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
                    // A number, where numbers stand.
                    let (at, width) = (at & !3, [4, 8][self.below(2)]);
                    let value = match self.below(3) {
                        0 => self.next(),
                        1 => self.below(bytes.len() + 9) as u64,
                        _ => INTERESTING[self.below(INTERESTING.len())],
                    };
                    if let Some(number) = bytes.get_mut(at..at + width) {
                        number.copy_from_slice(&value.to_le_bytes()[..width]);
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

fn fuzz(target: &str, extra: Vec<Vec<u8>>, check: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz/corpus").join(target);
    let mut corpus = extra;
    for file in fs::read_dir(folder).expect("a corpus") {
        corpus.push(fs::read(file.expect("a file").path()).expect("a file"));
    }
    corpus.iter().for_each(|bytes| check(bytes));
    let number = |name| env::var(name).ok().map(|text| text.parse().expect("a number"));
    let time = Duration::from_secs(number("FUZZ_SECONDS").unwrap_or(5));
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
    fuzz("open", vec![golden], checks::open);
}

#[test]
fn query_strings_are_parsed_or_refused() {
    fuzz("params", Vec::new(), checks::params);
}
