//! The fields that let pages of other origins read answers (CORS, as the Fetch standard has it).
//!
//! No answer allows credentials: the API has none, so a page learns no more than its own server
//! could.

use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_METHOD, ETAG, HeaderName,
    HeaderValue, LINK, ORIGIN, VARY,
};
use hyper::{HeaderMap, Method};

use super::error;
use super::response::{SNAPSHOT, TIMING, TOTAL_COUNT};
use crate::config::AllowedOrigins;

/// Seconds for which browsers remember an answer to a preflight request; their own limit is
/// similar.
const MAX_AGE: HeaderValue = HeaderValue::from_static("7200");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// The pages that may read answers, and the fields that they may read.
pub(in crate::worker) struct Cors {
    allowed: Allowed,
    exposed: Option<HeaderValue>,
}

enum Allowed {
    All,
    Named(Vec<HeaderValue>),
}

impl Cors {
    /// Returns `None` if only pages of the server's own address may read. `request_id` is the field
    /// of request ids.
    pub(in crate::worker) fn of(origins: &AllowedOrigins, request_id: Option<&str>) -> Option<Self> {
        let allowed = match origins {
            AllowedOrigins::All => Allowed::All,
            AllowedOrigins::Named(names) if names.is_empty() => return None,
            AllowedOrigins::Named(names) => {
                Allowed::Named(names.iter().filter_map(|name| HeaderValue::from_str(name).ok()).collect())
            }
        };
        let names = [ETAG, LINK, SNAPSHOT, TOTAL_COUNT, TIMING].map(|name: HeaderName| name.to_string());
        let names: Vec<String> = names.into_iter().chain(request_id.map(str::to_owned)).collect();
        Some(Cors { allowed, exposed: HeaderValue::try_from(names.join(", ")).ok() })
    }

    /// Adds the permissions of the requesting page to an answer, if a page requests it.
    pub(in crate::worker) fn add(&self, method: &Method, request: &HeaderMap, response: &mut HeaderMap) {
        let origin = match &self.allowed {
            Allowed::All => request.contains_key(ORIGIN).then_some(ANY),
            Allowed::Named(names) => {
                // A cache must not give an answer for one origin to another, or to a request
                // without origin.
                vary(response);
                request.get(ORIGIN).filter(|origin| names.contains(origin)).cloned()
            }
        };
        let Some(origin) = origin else { return };
        response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        if *method == Method::OPTIONS && request.contains_key(ACCESS_CONTROL_REQUEST_METHOD) {
            response.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(error::ALLOW));
            response.insert(ACCESS_CONTROL_ALLOW_HEADERS, ANY);
            response.insert(ACCESS_CONTROL_MAX_AGE, MAX_AGE);
        } else if let Some(exposed) = &self.exposed {
            response.insert(ACCESS_CONTROL_EXPOSE_HEADERS, exposed.clone());
        }
    }
}

/// Lists the origin among the request fields that select an answer.
fn vary(response: &mut HeaderMap) {
    let others = response.get(VARY).and_then(|value| value.to_str().ok());
    let value = others.and_then(|others| HeaderValue::try_from(format!("{others}, origin")).ok());
    response.insert(VARY, value.unwrap_or(const { HeaderValue::from_static("origin") }));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn added(origins: &AllowedOrigins, method: Method, request: &[(HeaderName, &'static str)]) -> HeaderMap {
        let request: HeaderMap =
            request.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect();
        let mut response = HeaderMap::new();
        response.insert(VARY, HeaderValue::from_static("accept-encoding"));
        if let Some(cors) = Cors::of(origins, Some("x-request-id")) {
            cors.add(&method, &request, &mut response);
        }
        response
    }

    #[test]
    fn named_origins_are_told_and_others_are_not() {
        let origins = AllowedOrigins::Named(vec!["https://a".into(), "http://b:1".into()]);
        for (origin, allowed) in
            [("https://a", true), ("http://b:1", true), ("http://a", false), ("null", false)]
        {
            let response = added(&origins, Method::GET, &[(ORIGIN, origin)]);
            let expected = allowed.then(|| HeaderValue::from_static(origin));
            assert_eq!(response.get(ACCESS_CONTROL_ALLOW_ORIGIN), expected.as_ref());
            assert_eq!(response[VARY], "accept-encoding, origin");
            let exposed = response.get(ACCESS_CONTROL_EXPOSE_HEADERS);
            let names = "etag, link, x-avalon-snapshot, x-total-count, server-timing, x-request-id";
            assert_eq!(exposed.map(|value| value.to_str().unwrap()), allowed.then_some(names));
            assert!(!response.contains_key(ACCESS_CONTROL_MAX_AGE));
        }
        let response = added(&origins, Method::GET, &[]);
        assert_eq!(
            (response.len(), &response[VARY]),
            (1, &HeaderValue::from_static("accept-encoding, origin"))
        );
    }

    #[test]
    fn all_origins_get_the_same_answer_and_none_need_no_field() {
        let response = added(&AllowedOrigins::All, Method::GET, &[(ORIGIN, "null")]);
        assert_eq!(
            (&response[ACCESS_CONTROL_ALLOW_ORIGIN], &response[VARY]),
            (&ANY, &HeaderValue::from_static("accept-encoding"))
        );
        assert_eq!(added(&AllowedOrigins::All, Method::GET, &[]).len(), 1);
        assert_eq!(added(&AllowedOrigins::Named(vec![]), Method::GET, &[(ORIGIN, "https://a")]).len(), 1);
    }

    #[test]
    fn preflight_requests_learn_the_allowed_methods_and_fields() {
        let asked = [(ORIGIN, "https://a"), (ACCESS_CONTROL_REQUEST_METHOD, "GET")];
        let response = added(&AllowedOrigins::All, Method::OPTIONS, &asked);
        assert_eq!(response[ACCESS_CONTROL_ALLOW_METHODS], error::ALLOW);
        assert_eq!(
            (&response[ACCESS_CONTROL_ALLOW_HEADERS], &response[ACCESS_CONTROL_MAX_AGE]),
            (&ANY, &MAX_AGE)
        );
        let plain = added(&AllowedOrigins::All, Method::OPTIONS, &asked[..1]);
        assert!(!plain.contains_key(ACCESS_CONTROL_ALLOW_METHODS));
    }
}
