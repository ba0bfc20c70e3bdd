//! Questions to the model and to a snapshot, and the model's answers.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::{Row, model_form, model_matches, model_rows, model_space, name};
use crate::api::{Direction, Field};
use crate::model::{Collection, Kind, Owner, PerOwner};
use crate::snapshot::{Filter, Page, Query};

#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Question {
    pub(in crate::snapshot) kind: Kind,
    pub(in crate::snapshot) words: Option<String>,
    pub(in crate::snapshot) beginnings: Option<String>,
    pub(in crate::snapshot) id: Option<Index>,
    pub(in crate::snapshot) with_songs: Option<Box<Question>>,
    pub(in crate::snapshot) filters: Vec<(Owner, Wanted)>,
    pub(in crate::snapshot) order: Option<(Field, Direction)>,
    pub(in crate::snapshot) page: Option<Page>,
}

#[derive(Debug, Clone)]
pub(in crate::snapshot) enum Wanted {
    Id(Index),
    Name(String),
    NameOf(Index),
}

/// The values of the parts of a question.
fn words() -> impl Strategy<Value = Option<String>> {
    // Of the longer ones, the snapshot has no set.
    let some = ["a", "b", "s", "be", "σ", "the b", "bouncing", "souls", "\u{1112}"];
    prop::option::of(prop_oneof![3 => name(), 2 => select(some.to_vec()).prop_map(str::to_owned)])
}

/// Words that stand in no order, of one name or of several.
fn beginnings() -> impl Strategy<Value = Option<String>> {
    let some = ["a", "b", "s", "be", "σ", "\u{1112}", "\u{1f}", "bouncing", "soul t", "band unit"];
    let word = prop_oneof![1 => name(), 4 => select(some.to_vec()).prop_map(str::to_owned)];
    prop::option::weighted(0.4, prop::collection::vec(word, 0..4).prop_map(|words| words.join(" ")))
}

pub(in crate::snapshot) fn question() -> impl Strategy<Value = Question> {
    let inner = (flat_question(), prop::option::weighted(0.3, flat_question()));
    inner.prop_map(|(question, with_songs)| Question {
        with_songs: with_songs
            .filter(|_| question.kind != Kind::Song)
            .map(|songs| Box::new(Question { kind: Kind::Song, order: None, page: None, id: None, ..songs })),
        ..question
    })
}

fn flat_question() -> impl Strategy<Value = Question> {
    let wanted = prop_oneof![
        any::<Index>().prop_map(Wanted::Id),
        name().prop_map(Wanted::Name),
        any::<Index>().prop_map(Wanted::NameOf)
    ];
    let filters = prop::collection::vec((select(&Owner::ALL[..]), wanted), 0..3);
    let direction = select(&[Direction::Ascending, Direction::Descending][..]);
    let order = prop::option::of((select(&Field::ALL[..]), direction));
    let page = prop::option::of((
        prop_oneof![0..10_usize, Just(usize::MAX)],
        prop_oneof![0..20_usize, Just(usize::MAX)],
    ));
    let id = prop::option::weighted(0.15, any::<Index>());
    let asked = (select(&Kind::ALL[..]), words(), beginnings(), id, filters, order, page);
    asked.prop_map(|(kind, words, beginnings, id, filters, order, page)| Question {
        kind,
        words,
        beginnings,
        id,
        with_songs: None,
        filters: if kind == Kind::Song { filters } else { Vec::new() },
        order: order.filter(|(field, _)| kind == Kind::Song || matches!(field, Field::Id | Field::Name)),
        page: page.map(|(limit, offset)| Page { limit, offset }),
    })
}

pub(in crate::snapshot) fn model_answer(
    collection: &Collection,
    question: &Question,
) -> Vec<serde_json::Value> {
    let mut rows = model_rows(collection, question.kind);
    let all_ids: Vec<_> = rows.iter().map(|row| row.id).collect();
    if let Some(at) = question.id.filter(|_| !all_ids.is_empty()) {
        rows.retain(|row| row.id == *at.get(&all_ids));
    }
    if let (Some(songs), Kind::Of(owner)) = (&question.with_songs, question.kind) {
        let songs = model_answer(collection, songs);
        rows.retain(|row| songs.iter().any(|song| song[Field::id_of(owner).name()] == row.id.to_string()));
    }
    if let Some(words) = &question.beginnings {
        rows.retain(|row| model_has_all(row, words));
    }
    if let Some(words) = &question.words {
        rows.retain(|row| {
            let own =
                row.name.iter().chain(row.owners.iter().flat_map(PerOwner::values).map(|owner| &owner.name));
            own.into_iter().any(|name| model_matches(name, words))
        });
    }
    for (owner, wanted) in &question.filters {
        let list = owner.of(collection);
        rows.retain(|row| {
            let own = &row.owners.as_ref().unwrap()[*owner];
            match wanted {
                Wanted::Id(at) => own.id == at.get(list).id,
                Wanted::Name(name) => own.name.to_lowercase() == name.to_lowercase(),
                Wanted::NameOf(at) => own.name.to_lowercase() == at.get(list).name.to_lowercase(),
            }
        });
    }
    match question.order {
        Some((field, Direction::Ascending)) => rows.sort_by_key(|row| row.key(field)),
        Some((field, Direction::Descending)) => rows.sort_by_key(|row| std::cmp::Reverse(row.key(field))),
        None => {}
    }
    let page = question.page.unwrap_or(Page { limit: usize::MAX, offset: 0 });
    rows.iter().skip(page.offset).take(page.limit).map(Row::json).collect()
}

/// Each word is the beginning of a word of some name of the entity.
fn model_has_all(row: &Row, words: &str) -> bool {
    let own = row.name.iter().chain(row.owners.iter().flat_map(PerOwner::values).map(|owner| &owner.name));
    let split = |text: &str| -> Vec<String> {
        model_form(text).split(model_space).filter(|word| !word.is_empty()).map(str::to_owned).collect()
    };
    let held: Vec<String> = own.flat_map(|name| split(name)).collect();
    let asked = split(words);
    !asked.is_empty() && asked.iter().all(|word| held.iter().any(|held| held.starts_with(word)))
}

pub(in crate::snapshot) fn query_of(collection: &Collection, question: &Question) -> Query {
    let filter = |(owner, wanted): &(Owner, Wanted)| {
        let list = owner.of(collection);
        let filter = match wanted {
            Wanted::Id(at) => Filter::Id(at.get(list).id),
            Wanted::Name(name) => Filter::LowerName(crate::text::lower(name)),
            Wanted::NameOf(at) => Filter::LowerName(crate::text::lower(&at.get(list).name)),
        };
        (*owner, filter)
    };
    Query {
        words: question.words.as_deref().map(crate::text::search_form),
        beginnings: question.beginnings.as_deref().map(crate::snapshot::beginnings),
        id: question.id.and_then(|at| {
            let ids: Vec<_> = model_rows(collection, question.kind).iter().map(|row| row.id).collect();
            (!ids.is_empty()).then(|| *at.get(&ids))
        }),
        with_songs: question.with_songs.as_ref().map(|songs| Box::new(query_of(collection, songs))),
        filters: question.filters.iter().map(filter).collect(),
        order: question.order,
        page: question.page,
    }
}
