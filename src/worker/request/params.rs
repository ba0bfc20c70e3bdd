//! Turns the query string into a question for the snapshot.
//!
//! As in avalonms, the first value of a repeated parameter counts, unknown parameters have no effect, and the
//! order of the checks decides which error the client gets.

use std::borrow::Cow;

use uuid::Uuid;

use super::error::ApiError;
use crate::api::{Direction, Field, Parameter};
use crate::model::{Kind, Owner, PerOwner};
use crate::snapshot::{Filter, Page, Query, beginnings};
use crate::text;
use crate::worker::answer::warning::Warning;

/// Warnings about ignored parameters in one answer.
const WARNINGS_MAX: usize = 16;

/// The parameters that the API knows, decoded.
#[derive(Default)]
struct Parameters<'q> {
    query: Option<Cow<'q, str>>,
    words: Option<Cow<'q, str>>,
    order: Option<Cow<'q, str>>,
    direction: Option<Cow<'q, str>>,
    limit: Option<Cow<'q, str>>,
    offset: Option<Cow<'q, str>>,
    names: PerOwner<Option<Cow<'q, str>>>,
    ids: PerOwner<Option<Cow<'q, str>>>,
    id: Option<Cow<'q, str>>,
    song_query: Option<Cow<'q, str>>,
    song_words: Option<Cow<'q, str>>,
    counts: Option<Cow<'q, str>>,
    total: Option<Cow<'q, str>>,
    snapshot: Option<Cow<'q, str>>,
}

impl<'q> Parameters<'q> {
    fn read(query_string: &'q str) -> Self {
        let mut parameters = Parameters::default();
        for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
            let slot = match Parameter::parse(&name) {
                Some(Parameter::Query) => &mut parameters.query,
                Some(Parameter::Words) => &mut parameters.words,
                Some(Parameter::Order) => &mut parameters.order,
                Some(Parameter::Direction) => &mut parameters.direction,
                Some(Parameter::Limit) => &mut parameters.limit,
                Some(Parameter::Offset) => &mut parameters.offset,
                Some(Parameter::Name(owner)) => &mut parameters.names[owner],
                Some(Parameter::Id(owner)) => &mut parameters.ids[owner],
                Some(Parameter::OwnId) => &mut parameters.id,
                Some(Parameter::SongQuery) => &mut parameters.song_query,
                Some(Parameter::SongWords) => &mut parameters.song_words,
                Some(Parameter::Counts) => &mut parameters.counts,
                Some(Parameter::Total) => &mut parameters.total,
                Some(Parameter::Snapshot) => &mut parameters.snapshot,
                None => continue,
            };
            slot.get_or_insert(value);
        }
        parameters
    }
}

/// A valid question. Its words are still as the client wrote them: the entity tag needs only those, and a
/// client that has the answer already needs only the tag.
pub(super) struct Question<'q> {
    words: Words<'q>,
    /// Words of songs; an album, artist or genre must have a song with one of them.
    song_words: Words<'q>,
    /// Everything but the words.
    query: Query,
    /// Whether the answer includes the numbers of songs and albums of each entity.
    pub(super) counts: bool,
    /// Whether the answer includes the number of entities on all pages together.
    pub(super) total: bool,
    /// The hash of the only collection that may answer.
    pub(super) snapshot: Option<u128>,
}

impl Question<'_> {
    /// Returns the question for the snapshot.
    pub(super) fn query(self) -> Query {
        let Query { filters, order, page, id, with_songs, .. } = self.query;
        let with_songs = with_songs.map(|songs| Box::new(self.song_words.added_to(*songs)));
        self.words.added_to(Query { filters, order, page, id, with_songs, ..Query::default() })
    }
}

/// The values of `query` and `words`, or of `song_query` and `song_words`.
struct Words<'q> {
    query: Option<Cow<'q, str>>,
    beginnings: Option<Cow<'q, str>>,
}

impl Words<'_> {
    fn is_none(&self) -> bool {
        self.query.is_none() && self.beginnings.is_none()
    }

    fn added_to(self, query: Query) -> Query {
        Query {
            words: self.query.map(|words| text::search_form(&words)),
            beginnings: self.beginnings.map(|words| beginnings(&words)),
            ..query
        }
    }
}

/// Returns the question of `query_string` about entities of `kind`.
pub(super) fn parse(kind: Kind, query_string: &str) -> Result<Question<'_>, ApiError> {
    let asked = Parameters::read(query_string);
    let song_words = Words { query: asked.song_query, beginnings: asked.song_words };
    let (filters, with_songs) = match kind {
        Kind::Song => (filters(asked.ids, asked.names)?, None),
        Kind::Of(_) => {
            let filters = lenient_filters(asked.ids);
            let is_asked = !filters.is_empty() || !song_words.is_none();
            (Vec::new(), is_asked.then(|| Box::new(Query { filters, ..Query::default() })))
        }
    };
    let order = order(kind, asked.order, asked.direction)?;
    let page = page(asked.limit, asked.offset)?;
    // avalonms lacks these parameters, so errors of its own parameters come first.
    let counts = truth(Parameter::Counts, asked.counts.filter(|_| Parameter::Counts.is_of(kind)))?;
    let total = truth(Parameter::Total, asked.total)?;
    let snapshot = asked.snapshot.map(parse_hash).transpose()?;
    let id = asked.id.and_then(|text| parse_id(&text));
    let words = Words { query: asked.query, beginnings: asked.words };
    let query = Query { filters, order, page, id, with_songs, ..Query::default() };
    Ok(Question { words, song_words, query, counts, total, snapshot })
}

/// Returns the ignored parameters of `query_string` in a list of `kind`: unknown names, and
/// malformed ids that avalonms ignores. Each appears once, and only the first [`WARNINGS_MAX`]
/// appear.
pub(super) fn ignored(kind: Kind, query_string: &str) -> Vec<Warning> {
    let mut warnings: Vec<Warning> = Vec::new();
    let mut seen: Vec<Parameter> = Vec::new();
    for (name, value) in form_urlencoded::parse(query_string.as_bytes()) {
        let warning = match Parameter::parse(&name).filter(|parameter| parameter.is_of(kind)) {
            // The first value counts.
            Some(parameter) if seen.contains(&parameter) => continue,
            Some(parameter) => {
                seen.push(parameter);
                let is_lenient = match parameter {
                    Parameter::OwnId => true,
                    Parameter::Id(_) => kind != Kind::Song,
                    _ => false,
                };
                if !is_lenient || parse_id(&value).is_some() {
                    continue;
                }
                Warning::NoId { field: parameter.name(), value: value.into_owned() }
            }
            None => Warning::UnknownParameter {
                nearest: Parameter::nearest(&name, kind).map(Parameter::name),
                name: name.into_owned(),
            },
        };
        if !warnings.contains(&warning) {
            warnings.push(warning);
        }
        if warnings.len() == WARNINGS_MAX {
            break;
        }
    }
    warnings
}

/// Returns the question about the entity of `kind` at its own address: its parameters are `counts`
/// and `snapshot`.
pub(super) fn parse_entity(kind: Kind, query_string: &str) -> Result<Question<'_>, ApiError> {
    let Parameters { counts, snapshot, .. } = Parameters::read(query_string);
    let counts = truth(Parameter::Counts, counts.filter(|_| Parameter::Counts.is_of(kind)))?;
    let snapshot = snapshot.map(parse_hash).transpose()?;
    let none = || Words { query: None, beginnings: None };
    Ok(Question {
        words: none(),
        song_words: none(),
        query: Query::default(),
        counts,
        total: false,
        snapshot,
    })
}

/// Returns the ids of the owners of songs. Lists other than that of songs ignore malformed ids,
/// while avalonms ignores all ids.
fn lenient_filters(ids: PerOwner<Option<Cow<'_, str>>>) -> Vec<(Owner, Filter)> {
    let ids = ids.into_iter().filter_map(|(owner, id)| Some((owner, Filter::Id(parse_id(&id?)?))));
    ids.collect()
}

/// Parses true or false, in any case; false without a value.
fn truth(parameter: Parameter, text: Option<Cow<'_, str>>) -> Result<bool, ApiError> {
    let Some(text) = text else { return Ok(false) };
    let truths = [("true", true), ("false", false)].into_iter();
    let found = truths.filter(|(name, _)| name.eq_ignore_ascii_case(&text)).map(|(_, truth)| truth).next();
    found.ok_or_else(|| ApiError::InvalidTruth { field: parameter.name(), value: text.into_owned() })
}

/// Returns the filters, or the first error in the order of avalonms: album, artist, genre.
fn filters(
    ids: PerOwner<Option<Cow<'_, str>>>,
    names: PerOwner<Option<Cow<'_, str>>>,
) -> Result<Vec<(Owner, Filter)>, ApiError> {
    let mut filters = Vec::new();
    for ((owner, id), (_, name)) in ids.into_iter().zip(names) {
        if let Some(value) = id {
            let id = parse_id(&value).ok_or_else(|| ApiError::InvalidId {
                field: Parameter::Id(owner).name(),
                value: value.into_owned(),
            })?;
            filters.push((owner, Filter::Id(id)));
        }
        if let Some(name) = name {
            filters.push((owner, Filter::LowerName(text::lower(&name))));
        }
    }
    Ok(filters)
}

/// Parses an id: hyphenated or plain, in braces or as a URN, in any case. Looser forms are refused.
pub(super) fn parse_id(text: &str) -> Option<Uuid> {
    // The crate takes upper-case digits, but only a lower-case prefix of a URN.
    Uuid::try_parse(text).ok()
}

/// Parses a hash in the form of `X-Avalon-Snapshot`, in any case.
fn parse_hash(text: Cow<'_, str>) -> Result<u128, ApiError> {
    let is_hash = text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    let hash = is_hash.then(|| u128::from_str_radix(&text, 16).ok()).flatten();
    hash.ok_or_else(|| ApiError::InvalidHash(text.into_owned()))
}

fn order(
    kind: Kind,
    order: Option<Cow<'_, str>>,
    direction: Option<Cow<'_, str>>,
) -> Result<Option<(Field, Direction)>, ApiError> {
    let Some(order) = order else { return Ok(None) };
    let direction = direction.map_or(Ok(Direction::Ascending), |direction| {
        Direction::parse(&direction).ok_or_else(|| ApiError::InvalidDirection(direction.into_owned()))
    })?;
    let field = Field::parse(kind, &order);
    let field = field.ok_or_else(|| ApiError::InvalidOrder(order.into_owned()))?;
    Ok(Some((field, direction)))
}

fn page(limit: Option<Cow<'_, str>>, offset: Option<Cow<'_, str>>) -> Result<Option<Page>, ApiError> {
    let limit = limit.as_deref().map(|text| parse_integer(Parameter::Limit, text)).transpose()?;
    let offset = offset.as_deref().map(|text| parse_integer(Parameter::Offset, text)).transpose()?;
    let Some(limit) = limit else { return Ok(None) };
    let limit = limit.not_negative(Parameter::Limit)?;
    let offset = offset.map_or(Ok(0), |offset| offset.not_negative(Parameter::Offset))?;
    Ok(Some(Page { limit, offset }))
}

/// An integer of any size.
struct Integer<'a> {
    negative: bool,
    /// The digits without leading zeros; empty for zero.
    digits: &'a str,
}

/// Parses ASCII digits as Python's `int()` does, with a sign, leading zeros and white space around.
/// (Python also takes underscores, other digits and a negative zero; this parser does not.)
fn parse_integer(parameter: Parameter, text: &str) -> Result<Integer<'_>, ApiError> {
    let trimmed = text.trim();
    let (negative, digits) = match trimmed.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, trimmed.strip_prefix('+').unwrap_or(trimmed)),
    };
    let significant = digits.trim_start_matches('0');
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number || (negative && significant.is_empty()) {
        return Err(ApiError::InvalidInteger { field: parameter.name(), value: text.to_owned() });
    }
    Ok(Integer { negative, digits: significant })
}

impl Integer<'_> {
    /// Returns the value, or the largest `usize` if it is larger.
    fn not_negative(&self, parameter: Parameter) -> Result<usize, ApiError> {
        if self.negative {
            let digits = format!("-{}", self.digits);
            return Err(ApiError::Negative { field: parameter.name(), digits });
        }
        if self.digits.is_empty() {
            return Ok(0);
        }
        Ok(self.digits.parse().unwrap_or(usize::MAX))
    }
}

#[cfg(test)]
mod tests;
