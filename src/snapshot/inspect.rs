//! What a snapshot consists of, whether it is whole, and how quickly it answers.

use std::fmt::Write;
use std::hint::black_box;
use std::time::{Duration, Instant};

use uuid::Uuid;

use super::format::section_of;
use super::query::Runs;
use super::{Direction, Field, Filter, Kind, OpenError, Page, Query, Snapshot, Verify};

/// Runs of each query, of which the median is told.
const RUNS: usize = 200;
/// Less than [`RUNS`] if they take longer.
const TIME_MAX: Duration = Duration::from_secs(2);

/// A report on the snapshot in `bytes`, for people.
///
/// # Errors
/// What is wrong with it.
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
    let counts = Kind::ALL.map(|kind| format!("{} {}", snapshot.count(kind), plural(kind)));
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

fn plural(kind: Kind) -> &'static str {
    match kind {
        Kind::Album => "albums",
        Kind::Artist => "artists",
        Kind::Genre => "genres",
        Kind::Song => "songs",
    }
}

/// The sections, the largest first.
fn sections(bytes: &[u8], songs: u32, text: &mut String) -> Result<(), OpenError> {
    let mut sections = Snapshot::sections(bytes)?;
    sections.sort_by_key(|(id, _, size)| (std::cmp::Reverse(*size), *id));
    let _ = writeln!(text, "{:>14} {:>12} {:>10} section", "bytes", "items", "per song");
    for (id, width, size) in sections {
        let name = section_of(id).map_or_else(
            || format!("unknown ({id})"),
            |(kind, column)| format!("{} {column:?}", plural(kind)),
        );
        let per_song = size as f64 / f64::from(songs.max(1));
        let _ = writeln!(text, "{size:>14} {:>12} {per_song:>10.1} {name}", size / width.max(1));
    }
    Ok(())
}

/// How long typical queries take, from the question to the places of all bytes of the answer.
fn timings(snapshot: &Snapshot<'_>, text: &mut String) {
    let _ = writeln!(text, "\n{:>12} {:>10} query", "median us", "entities");
    for (name, kind, query) in typical(snapshot) {
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
        let _ = writeln!(text, "{median:>12.1} {entities:>10} {name}");
    }
}

/// Questions with words and names that the snapshot holds.
fn typical(snapshot: &Snapshot<'_>) -> Vec<(String, Kind, Query)> {
    let count = snapshot.count(Kind::Song);
    if count == 0 {
        return Vec::new();
    }
    let middle = count / 2;
    let page = |offset| Some(Page { limit: 20, offset });
    let by = |field| Some((field, Direction::Ascending));
    let down = |field| Some((field, Direction::Descending));
    let mut all = Vec::new();
    let mut add = |name: String, query: Query| all.push((name, Kind::Song, query));
    let songs = &snapshot.songs;
    let filters = [
        (Kind::Album, &snapshot.albums, songs.album),
        (Kind::Artist, &snapshot.artists, songs.artist),
        (Kind::Genre, &snapshot.genres, songs.genre),
    ];
    for (kind, names, owner) in filters {
        let id = Uuid::from_bytes(names.entities.ids[owner[middle as usize].get() as usize]);
        let filters = vec![(kind, Filter::Id(id))];
        let name = format!("songs?{}_id=", plural(kind).trim_end_matches('s'));
        add(name.clone(), Query { filters: filters.clone(), ..Query::default() });
        let query = Query { filters, order: by(Field::Year), page: page(0), ..Query::default() };
        add(format!("{name}&order=year&limit=20"), query);
    }
    for chars in 1..=4 {
        let Some(words) = commonest(snapshot, chars) else { continue };
        let name = format!("songs?query={words}");
        let query = Query { words: Some(words), ..Query::default() };
        add(name.clone(), query.clone());
        add(format!("{name}&limit=20"), Query { page: page(0), ..query.clone() });
        for field in [Field::Year, Field::Name] {
            let query = Query { order: by(field), page: page(0), ..query.clone() };
            add(format!("{name}&order={}&limit=20", field.name()), query);
        }
    }
    for (name, filter) in genres(snapshot) {
        for words in (1..=4).filter_map(|chars| commonest(snapshot, chars)) {
            for (order, direction) in
                [("", None), ("&order=year", by(Field::Year)), ("&order=id&direction=desc", down(Field::Id))]
            {
                let name = format!("songs?query={words}&genre_id=({name}){order}&limit=20");
                let (words, filters) = (Some(words.clone()), vec![filter.clone()]);
                add(name, Query { words, filters, order: direction, page: page(0) });
            }
        }
    }
    for field in Field::ALL {
        let half = middle as usize;
        let query = Query { order: by(field), page: page(half), ..Query::default() };
        add(format!("songs?order={}&limit=20&offset={half}", field.name()), query);
    }
    add("songs".to_owned(), Query::default());
    all
}

/// The genre with the most songs, and the one whose songs are as near to a hundredth of all as can be.
fn genres(snapshot: &Snapshot<'_>) -> Vec<(String, (Kind, Filter))> {
    let genres = &snapshot.genres;
    let songs = |at: u32| genres.songs_range(at).len();
    let hundredth = snapshot.count(Kind::Song) as usize / 100;
    let all = || 0..genres.entities.count;
    let picked = [all().max_by_key(|at| songs(*at)), all().min_by_key(|at| songs(*at).abs_diff(hundredth))];
    let filter = |at: u32| {
        let id = Uuid::from_bytes(genres.entities.ids[at as usize]);
        (format!("of {} songs", songs(at)), (Kind::Genre, Filter::Id(id)))
    };
    picked.into_iter().flatten().map(filter).collect()
}

/// The beginning of so many characters that most songs match. Longer ones than are kept as sets
/// are found in the name in the middle.
fn commonest(snapshot: &Snapshot<'_>, chars: usize) -> Option<String> {
    let sets = &snapshot.songs.sets;
    let texts =
        (0..sets.counts.len() as u32).map(|at| (sets.counts[at as usize].get(), sets.prefixes.get(at)));
    let texts = texts.filter_map(|(count, text)| Some((count, std::str::from_utf8(text).ok()?)));
    let of_length = texts.filter(|(_, text)| text.chars().count() == chars);
    let stored = of_length.max_by_key(|(count, _)| *count).map(|(_, text)| text.to_owned());
    stored.or_else(|| {
        let suffixes = snapshot.songs.entities.suffixes;
        let suffix = suffixes.get(suffixes.len() / 2)?;
        let form = snapshot.songs.entities.forms.get(suffix.entity.get());
        let text = std::str::from_utf8(form.get(suffix.start.get() as usize..)?).ok()?;
        Some(text.chars().take(chars).collect())
    })
}

#[cfg(test)]
mod tests {
    use std::io::Cursor;

    use super::*;
    use crate::model::{Collection, Named, Song};

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
        crate::snapshot::build(&collection, &mut bytes).unwrap();
        let bytes = bytes.into_inner();
        let text = report(&bytes).unwrap();
        assert!(text.contains("1 albums, 1 artists, 1 genres, 2 songs"), "{text}");
        assert!(text.contains("songs PrefixSets") && !text.contains("unknown"), "{text}");
        assert!(text.contains(" 2 songs?query=lim\n"), "{text}");
        let mut empty = Cursor::new(Vec::new());
        crate::snapshot::build(&Collection::default(), &mut empty).unwrap();
        assert!(report(&empty.into_inner()).is_ok());
        assert_eq!(
            report(&bytes[..bytes.len() / 2]).unwrap_err(),
            OpenError::Length { expected: bytes.len() as u64, actual: bytes.len() as u64 / 2 }
        );
    }
}
