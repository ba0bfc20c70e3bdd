//! Questions to the model and to a snapshot, and the model's answers.

use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::model::{Row, model_matches, model_rows, name};
use crate::api::{Direction, Field};
use crate::model::{Collection, Kind, Owner, PerOwner};
use crate::snapshot::{Filter, Page, Query};

#[derive(Debug, Clone)]
pub(in crate::snapshot) struct Question {
    pub(in crate::snapshot) kind: Kind,
    pub(in crate::snapshot) words: Option<String>,
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

pub(in crate::snapshot) fn question() -> impl Strategy<Value = Question> {
    let words = prop::option::of(
        prop_oneof![3 => name(), 2 => select(&["a", "b", "s", "be", "σ", "the b", "\u{1112}"][..]).prop_map(str::to_owned)],
    );
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
    (select(&Kind::ALL[..]), words, filters, order, page).prop_map(|(kind, words, filters, order, page)| {
        Question {
            kind,
            words,
            filters: if kind == Kind::Song { filters } else { Vec::new() },
            order: order.filter(|(field, _)| kind == Kind::Song || matches!(field, Field::Id | Field::Name)),
            page: page.map(|(limit, offset)| Page { limit, offset }),
        }
    })
}

pub(in crate::snapshot) fn model_answer(
    collection: &Collection,
    question: &Question,
) -> Vec<serde_json::Value> {
    let mut rows = model_rows(collection, question.kind);
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
        filters: question.filters.iter().map(filter).collect(),
        order: question.order,
        page: question.page,
    }
}
