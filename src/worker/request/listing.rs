//! The endpoints that list entities: the parameters become a question, the snapshot's selection a response.

use std::time::Instant;

use hyper::header::{ETAG, IF_MATCH};
use hyper::{HeaderMap, Request, Response};

use super::params;
use super::snapshots::Served;
use crate::snapshot::Kind;
use crate::worker::answer::body::Payload;
use crate::worker::answer::compression::Acceptable;
use crate::worker::answer::error::ApiError;
use crate::worker::answer::{entity_tag, response};

/// How lists are answered.
pub(in crate::worker) struct Lists {
    /// Bytes from which on bodies are compressed for clients that accept it.
    pub(in crate::worker) compress_from: Option<u64>,
    /// Whether responses tell how long they took to make.
    pub(in crate::worker) debug_headers: bool,
}

impl Lists {
    /// The list of `kind` that a request asks for.
    ///
    /// # Errors
    /// A parameter is wrong, or a precondition of the request does not hold.
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
        let hash = snapshot.hash();
        if let Some(asked) = question.snapshot.filter(|asked| *asked != hash) {
            return Err(ApiError::CollectionChanged { asked, served: hash });
        }
        let headers = request.headers();
        let tag = entity_tag::of(hash, kind, query_string);
        let coding = self.compress_from.and_then(|least| Acceptable::of(headers, least));
        // The tag of a client tells whether it has what it would get: nothing need be selected then.
        let known = entity_tag::known(headers, &tag, coding).filter(|_| !headers.contains_key(IF_MATCH));
        let mut response = match known {
            Some(known) => response::not_modified(known),
            None => {
                let selection = snapshot.select(kind, &question.query());
                let selected = begin.map(|begin| begin.elapsed());
                let response = response::list(snapshot, kind, selection, &tag, coding);
                let mut response = conditional(response, headers)?;
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
}

/// A list under the conditions of a request (RFC 9110 13.2.2).
fn conditional(response: Response<Payload>, headers: &HeaderMap) -> Result<Response<Payload>, ApiError> {
    let selected = response.headers().get(ETAG);
    if entity_tag::is_unmatched(headers, selected) {
        return Err(ApiError::PreconditionFailed);
    }
    match selected.cloned() {
        Some(selected) if entity_tag::knows(headers, &selected) => Ok(response::not_modified(selected)),
        _ => Ok(response),
    }
}
