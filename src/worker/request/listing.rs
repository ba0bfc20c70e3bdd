//! The endpoints that list entities: the parameters become a question, the snapshot's selection a
//! response. Also the addresses of single entities.

use std::time::Instant;

use hyper::header::{ETAG, IF_MATCH};
use hyper::{HeaderMap, Request, Response};
use uuid::Uuid;

use super::params::{self, Question};
use super::snapshots::Served;
use crate::snapshot::{Kind, LIST_TAIL, Page, Selection, Snapshot};
use crate::worker::answer::body::Payload;
use crate::worker::answer::compression::Acceptable;
use crate::worker::answer::error::ApiError;
use crate::worker::answer::list::{ListBody, append_counts};
use crate::worker::answer::warning::Warning;
use crate::worker::answer::{entity_tag, links, response};

/// The settings of lists.
pub(in crate::worker) struct Lists {
    /// Smallest body that is compressed for clients that accept it, in bytes.
    pub(in crate::worker) compress_from: Option<u64>,
    /// Whether responses state the time that they took to make.
    pub(in crate::worker) debug_headers: bool,
    /// Limit of entities in one list.
    pub(in crate::worker) list_max: Option<usize>,
    /// Whether lists warn of parameters that they ignore.
    pub(in crate::worker) strict: bool,
}

/// A list, and the facts about it in its head.
struct Listed {
    body: ListBody,
    /// With `total`: the number of entities on all pages together, and this page.
    total: Option<(usize, Option<Page>)>,
}

impl Lists {
    /// Returns the list of `kind` that a request asks for.
    ///
    /// # Errors
    /// If a parameter is wrong, or a precondition of the request does not hold.
    pub(super) fn answer<B>(
        &self,
        served: Served,
        kind: Kind,
        request: &Request<B>,
    ) -> Result<Response<Payload>, ApiError> {
        let query_string = request.uri().query().unwrap_or_default();
        let begin = self.debug_headers.then(Instant::now);
        let question = params::parse(kind, query_string)?;
        let Served { snapshot, name } = served;
        check_hash(&question, snapshot)?;
        let headers = request.headers();
        let tag = entity_tag::of(snapshot.hash(), kind, query_string, self.settings());
        let coding = self.compress_from.and_then(|least| Acceptable::of(headers, least));
        // The client's tag tells whether the client has the current answer. Then there is no need
        // to select.
        let known = entity_tag::known(headers, &tag, coding).filter(|_| !headers.contains_key(IF_MATCH));
        let mut response = match known {
            Some(known) => response::not_modified(known),
            None => {
                let Listed { body, total } = self.list(snapshot, kind, question, query_string);
                let selected = begin.map(|begin| begin.elapsed());
                let mut response = conditional(response::list(body, &tag, coding), headers)?;
                if let Some((total, page)) = total {
                    let links = page.and_then(|page| links::links(query_string, page, total));
                    response::total(&mut response, total, links);
                }
                if let (Some(begin), Some(selected)) = (begin, selected) {
                    response::timing(&mut response, selected, begin.elapsed() - selected);
                }
                response
            }
        };
        response::name_snapshot(&mut response, name);
        if self.compress_from.is_some() {
            response::vary(&mut response);
        }
        Ok(response)
    }

    /// Returns a number for the settings that influence the answer to a question.
    fn settings(&self) -> u64 {
        let most = self.list_max.map_or(0, |most| most as u64);
        most << 1 | u64::from(self.strict)
    }

    fn list(
        &self,
        snapshot: &'static Snapshot<'static>,
        kind: Kind,
        question: Question<'_>,
        query_string: &str,
    ) -> Listed {
        let (counts, total) = (question.counts, question.total);
        let mut query = question.query();
        // A request for one entity more shows whether the list is cut.
        let most = self.list_max.filter(|most| query.page.is_none_or(|page| page.limit > *most));
        if let Some(most) = most {
            query.page = Some(Page { limit: most + 1, offset: query.page.map_or(0, |page| page.offset) });
        }
        let (mut selection, total) = match total {
            true => {
                let (selection, total) = snapshot.select_counted(kind, &query);
                (selection, Some(total))
            }
            false => (snapshot.select(kind, &query), None),
        };
        let mut warnings = Vec::new();
        if let Some(most) = most {
            if selection.len() > most {
                warnings.push(Warning::ListCut { most });
            }
            selection.truncate(most);
            query.page = query.page.map(|page| Page { limit: most, ..page });
        }
        if self.strict {
            warnings.extend(params::ignored(kind, query_string));
        }
        let counts = match kind {
            Kind::Of(owner) if counts => {
                Some(snapshot.song_counts(owner, &selection, query.with_songs.as_deref()))
            }
            _ => None,
        };
        let body = ListBody::new(snapshot, kind, selection).warning(&warnings);
        let body = match counts {
            Some(counts) => body.counting(counts),
            None => body,
        };
        Listed { body, total: total.map(|total| (total, query.page)) }
    }

    /// Returns the entity of `kind` with this id.
    ///
    /// # Errors
    /// If there is none, a parameter is wrong, or a precondition of the request does not hold.
    pub(super) fn entity<B>(
        &self,
        served: Served,
        kind: Kind,
        id: Uuid,
        request: &Request<B>,
    ) -> Result<Response<Payload>, ApiError> {
        let query_string = request.uri().query().unwrap_or_default();
        let question = params::parse_entity(kind, query_string)?;
        let Served { snapshot, name } = served;
        check_hash(&question, snapshot)?;
        let at = snapshot.find(kind, id).ok_or(ApiError::UnknownId { kind, id })?;
        let json = snapshot.json_run(kind, at, at + 1);
        let mut body = Vec::with_capacity(json.len() + 128);
        body.extend_from_slice(b"{\"errors\":[],\"success\":");
        body.extend_from_slice(&json[..json.len() - 1]);
        if let (true, Kind::Of(owner)) = (question.counts, kind) {
            let counts = snapshot.song_counts(owner, &Selection::Range(at..at + 1), None);
            counts.into_iter().for_each(|counts| append_counts(&mut body, kind, counts));
        }
        body.push(b'}');
        // The end of a list without the bracket.
        body.extend_from_slice(&LIST_TAIL[1..]);
        let tag = entity_tag::of_entity(snapshot.hash(), kind, id, query_string);
        let tag = entity_tag::value(&tag, body.len() as u64, None);
        let mut response = conditional(response::tagged(body.into(), Some(tag)), request.headers())?;
        response::name_snapshot(&mut response, name);
        Ok(response)
    }
}

/// Refuses a question for the collection of another server, or of another time.
fn check_hash(question: &Question<'_>, snapshot: &Snapshot<'_>) -> Result<(), ApiError> {
    let hash = snapshot.hash();
    match question.snapshot.filter(|asked| *asked != hash) {
        Some(asked) => Err(ApiError::CollectionChanged { asked, served: hash }),
        None => Ok(()),
    }
}

/// Returns an answer under the conditions of a request (RFC 9110 13.2.2).
pub(super) fn conditional(
    response: Response<Payload>,
    headers: &HeaderMap,
) -> Result<Response<Payload>, ApiError> {
    let selected = response.headers().get(ETAG);
    if entity_tag::is_unmatched(headers, selected) {
        return Err(ApiError::PreconditionFailed);
    }
    match selected.cloned() {
        Some(selected) if entity_tag::knows(headers, &selected) => Ok(response::not_modified(selected)),
        _ => Ok(response),
    }
}
