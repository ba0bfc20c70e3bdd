//! A report on a snapshot: its sections, the result of its checks, and for typical queries the plan and the
//! time.

mod typical;

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use typical::typical;

use super::format::section_of;
use super::open::{OpenError, Snapshot, Verify};
use super::query::Runs;
use crate::model::Kind;

/// Runs of each query; the report shows their median.
const RUNS: usize = 200;
/// The runs of a query end after this time, even if they are fewer than [`RUNS`].
const TIME_MAX: Duration = Duration::from_secs(2);
/// Characters of the column of plans.
const PLAN_WIDTH: usize = 32;

/// A report on the snapshot in `bytes`, for people.
///
/// # Errors
/// The first fault in `bytes`.
pub fn report(bytes: &[u8]) -> Result<String, OpenError> {
    let begin = Instant::now();
    let snapshot = Snapshot::open(bytes, Verify::Full)?;
    let verified = begin.elapsed();
    let songs = snapshot.count(Kind::Song);
    let mut text = format!("hash {:032x}, {} bytes", snapshot.hash(), snapshot.size());
    if songs > 0 {
        let _ = write!(text, " ({:.0} per song)", snapshot.size() as f64 / f64::from(songs));
    }
    let _ = writeln!(text, ", every byte verified in {:.3} s", verified.as_secs_f64());
    let counts = Kind::ALL.map(|kind| format!("{} {}", snapshot.count(kind), kind.plural()));
    let _ = writeln!(
        text,
        "{}, {} sets of common beginnings\n",
        counts.join(", "),
        snapshot.songs.sets.counts.len()
    );
    sections(bytes, songs, &mut text)?;
    timings(&snapshot, &mut text);
    Ok(text)
}

/// The sections, the largest first.
fn sections(bytes: &[u8], songs: u32, text: &mut String) -> Result<(), OpenError> {
    let mut sections = Snapshot::sections(bytes)?;
    sections.sort_by_key(|(id, _, size)| (std::cmp::Reverse(*size), *id));
    let _ = writeln!(text, "{:>14} {:>12} {:>10} section", "bytes", "items", "per song");
    for (id, width, size) in sections {
        let name = section_of(id).map_or_else(
            || format!("unknown ({id})"),
            |(kind, column)| format!("{} {column:?}", kind.plural()),
        );
        let per_song = size as f64 / f64::from(songs.max(1));
        let _ = writeln!(text, "{size:>14} {:>12} {per_song:>10.1} {name}", size / width.max(1));
    }
    Ok(())
}

/// Plans of typical queries about songs, and their times from the question until all bytes of the answer are
/// located.
fn timings(snapshot: &Snapshot<'_>, text: &mut String) {
    let kind = Kind::Song;
    let _ = writeln!(text, "\n{:>12} {:<PLAN_WIDTH$} {:>10} query", "median us", "plan", "entities");
    for (name, query) in typical(snapshot) {
        let plan = snapshot.way(&query);
        let mut times = Vec::with_capacity(RUNS);
        let (begin, mut entities) = (Instant::now(), 0);
        while times.len() < RUNS && (times.is_empty() || begin.elapsed() < TIME_MAX) {
            let begin = Instant::now();
            let selection = snapshot.select(kind, &query);
            entities = selection.len();
            black_box(snapshot.json_len(kind, &selection));
            for run in Runs::new(selection) {
                black_box(snapshot.json_run(kind, run.start, run.end));
            }
            times.push(begin.elapsed());
        }
        times.sort_unstable();
        let median = times[times.len() / 2].as_secs_f64() * 1e6;
        let _ = writeln!(text, "{median:>12.1} {plan:<PLAN_WIDTH$} {entities:>10} {name}");
    }
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use uuid::Uuid;

    use super::*;
    use crate::model::{Collection, Named, Song};
    use crate::rows::Rows;

    #[test]
    fn report_names_every_section_and_times_queries() {
        let named = |byte, name: &str| Named { id: Uuid::from_bytes([byte; 16]), name: name.to_owned() };
        let song = |byte: u8| Song {
            id: Uuid::from_bytes([byte; 16]),
            name: Some("Limon".to_owned()),
            length: Some(1),
            track: Some(1),
            year: Some(2000),
            album: 0,
            artist: 0,
            genre: 0,
        };
        let collection = Collection {
            albums: vec![named(1, "A")],
            artists: vec![named(2, "B")],
            genres: vec![named(3, "C")],
            songs: vec![song(4), song(5)],
        };
        let mut bytes = Cursor::new(Vec::new());
        crate::snapshot::build(&Rows::of(&collection).unwrap(), &mut bytes).unwrap();
        let bytes = bytes.into_inner();
        let text = report(&bytes).unwrap();
        assert!(text.contains("1 albums, 1 artists, 1 genres, 2 songs"), "{text}");
        assert!(text.contains("songs PrefixSets") && !text.contains("unknown"), "{text}");
        assert!(text.contains(" 2 songs?query=lim\n"), "{text}");
        let line = |query: &str| text.lines().find(|line| line.ends_with(query)).unwrap();
        assert!(line(" songs?query=lim").contains(" whole by words "), "{text}");
        assert!(line(" songs").contains(" all "), "{text}");
        let mut empty = Cursor::new(Vec::new());
        crate::snapshot::build(&Rows::of(&Collection::default()).unwrap(), &mut empty).unwrap();
        assert!(report(&empty.into_inner()).is_ok());
        assert_eq!(
            report(&bytes[..bytes.len() / 2]).unwrap_err(),
            OpenError::Length { expected: bytes.len() as u64, actual: bytes.len() as u64 / 2 }
        );
    }
}
