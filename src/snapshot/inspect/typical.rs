//! Typical questions about songs.

use uuid::Uuid;

use crate::api::{Direction, Field};
use crate::model::{Kind, Owner};
use crate::snapshot::open::Snapshot;
use crate::snapshot::query::{Filter, Page, Query};

/// Questions about songs, with words and names that the snapshot has, and their names for the report.
pub(super) fn typical(snapshot: &Snapshot<'_>) -> Vec<(String, Query)> {
    let count = snapshot.count(Kind::Song);
    if count == 0 {
        return Vec::new();
    }
    let middle = count / 2;
    let page = |offset| Some(Page { limit: 20, offset });
    let by = |field| Some((field, Direction::Ascending));
    let down = |field| Some((field, Direction::Descending));
    let mut all = Vec::new();
    let mut add = |name: String, query: Query| all.push((name, query));
    for (owner, of) in snapshot.songs.owners.iter() {
        let id = Uuid::from_bytes(snapshot.names[owner].entities.ids[of[middle as usize].get() as usize]);
        let filters = vec![(owner, Filter::Id(id))];
        let name = format!("songs?{}=", Field::id_of(owner).name());
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
                add(name, Query { words, filters, order: direction, page: page(0), ..Query::default() });
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

/// The genre with the most songs, and the one whose songs are closest to a hundredth of all.
fn genres(snapshot: &Snapshot<'_>) -> Vec<(String, (Owner, Filter))> {
    let genres = &snapshot.names[Owner::Genre];
    let songs = |at: u32| genres.songs_range(at).len();
    let hundredth = snapshot.count(Kind::Song) as usize / 100;
    let all = || 0..genres.entities.count;
    let picked = [all().max_by_key(|at| songs(*at)), all().min_by_key(|at| songs(*at).abs_diff(hundredth))];
    let filter = |at: u32| {
        let id = Uuid::from_bytes(genres.entities.ids[at as usize]);
        (format!("of {} songs", songs(at)), (Owner::Genre, Filter::Id(id)))
    };
    picked.into_iter().flatten().map(filter).collect()
}

/// The beginning of this many characters that matches the most songs. Without a set for one, the
/// beginning of the word suffix in the middle.
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
