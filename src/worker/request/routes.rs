//! Finds the endpoint for a request's path.

use std::fmt::Write as _;

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};
use uuid::Uuid;

use super::params::parse_id;
use crate::api::Endpoint;

/// Returns the endpoint at `path`, under `request_path`. Percent-encoded letters count as letters;
/// an encoded slash is not a separator.
pub(super) fn find(request_path: &str, path: &str) -> Option<Endpoint> {
    // Nearly all clients write it plainly. With the request path "/" the part before the slash is
    // empty.
    let plain = path.strip_prefix(request_path.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    if let Some(endpoint) = plain.and_then(|name| find_fixed(|of| of == name)) {
        return Some(endpoint);
    }
    let rest = strip_prefix(path, request_path)?;
    let name = rest.strip_prefix('/')?;
    match name.split_once('/') {
        None => find_fixed(|of| same_segment(name, of)),
        Some((list, rest)) if !rest.contains('/') => match find_fixed(|of| same_segment(list, of)) {
            // avalonms has no endpoint there, so a path without an id gets its answer.
            Some(Endpoint::List(kind)) if id(path).is_some() => Some(Endpoint::Entity(kind)),
            _ => None,
        },
        Some(_) => None,
    }
}

/// Returns the endpoint with this path, other than that of an entity.
fn find_fixed(is_its: impl Fn(&str) -> bool) -> Option<Endpoint> {
    let fixed = Endpoint::ALL.into_iter().filter(|endpoint| !matches!(endpoint, Endpoint::Entity(_)));
    { fixed }.find(|endpoint| is_its(endpoint.path()))
}

/// Returns the id of the entity at `path`: its last segment.
pub(super) fn id(path: &str) -> Option<Uuid> {
    let (before, segment) = path.rsplit_once('/')?;
    let id = percent_decode_str(segment).decode_utf8().ok()?;
    parse_id(&id).filter(|_| !before.is_empty())
}

/// Returns the endpoint at `path` on an address of `METRICS_BIND`: only the metrics, also at
/// `/metrics`, where scrapers expect them.
pub(super) fn find_metrics(request_path: &str, path: &str) -> Option<Endpoint> {
    let at = |request_path| find(request_path, path).filter(|endpoint| *endpoint == Endpoint::Metrics);
    at("/").or_else(|| at(request_path))
}

/// Returns the address of the page, for a path that leads to it: the request path without the slash
/// behind it, or `/`. The address is relative to that path, as proxies may add other segments, and
/// keeps the query string.
pub(super) fn page_from(request_path: &str, path: &str, query: Option<&str>) -> Option<String> {
    let segments = || request_path.split('/').filter(|segment| !segment.is_empty());
    let last = segments().next_back()?;
    let mut target = ".".to_owned();
    let mut add = |segment: &str| {
        let _ = write!(target, "/{}", utf8_percent_encode(segment, &ENCODED));
    };
    match path {
        "/" => segments().for_each(add),
        path if strip_prefix(path, request_path) == Some("") => add(last),
        _ => return None,
    }
    target.push('/');
    if let Some(query) = query {
        let _ = write!(target, "?{query}");
    }
    Some(target)
}

/// The bytes that are encoded in a segment of a path.
const ENCODED: AsciiSet = NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn strip_prefix<'p>(mut path: &'p str, request_path: &str) -> Option<&'p str> {
    for wanted in request_path.split('/').skip(1).filter(|segment| !segment.is_empty()) {
        let rest = path.strip_prefix('/')?;
        let len = rest.find('/').unwrap_or(rest.len());
        if !same_segment(&rest[..len], wanted) {
            return None;
        }
        path = &rest[len..];
    }
    Some(path)
}

fn same_segment(encoded: &str, wanted: &str) -> bool {
    encoded == wanted || (encoded.contains('%') && percent_decode_str(encoded).eq(wanted.bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Kind, Owner};

    const ID: &str = "0048612e-1207-59f4-bebb-a0bc9a48cd1a";

    #[test]
    fn endpoints_stand_under_the_request_path() {
        for (request_path, path, endpoint) in [
            ("/avalon", "/avalon/songs", Some(Endpoint::List(Kind::Song))),
            ("/avalon", "/%61valon/song%73", Some(Endpoint::List(Kind::Song))),
            ("/", "/heartbeat", Some(Endpoint::Heartbeat)),
            ("/a/b", "/a/b/version", Some(Endpoint::Version)),
            ("/\u{e9}", "/%C3%A9/albums", Some(Endpoint::List(Kind::Of(Owner::Album)))),
            ("/avalon", &format!("/avalon/songs/{ID}"), Some(Endpoint::Entity(Kind::Song))),
            ("/", &format!("/genre%73/%30{}", &ID[1..]), Some(Endpoint::Entity(Kind::Of(Owner::Genre)))),
            ("/avalon", "/avalon/songs/1", None),
            ("/avalon", "/avalon/songs/{id}", None),
            ("/avalon", &format!("/avalon/songs/{ID}/"), None),
            ("/avalon", &format!("/avalon/songs//{ID}"), None),
            ("/avalon", &format!("/avalon/version/{ID}"), None),
            ("/avalon", &format!("/avalon/songs/x/{ID}"), None),
            ("/avalon", "/avalon", None),
            ("/avalon", "/avalon/", Some(Endpoint::Page)),
            ("/avalon", "/%61valon/", Some(Endpoint::Page)),
            ("/", "/", Some(Endpoint::Page)),
            ("/a/b", "/a/b/", Some(Endpoint::Page)),
            ("/a/b", "/a/", None),
            ("/avalon", "/", None),
            ("/avalon", "/avalon/page", None),
            ("/avalon", "/avalon//", None),
            ("/avalon", "/avalon/songs/", None),
            ("/avalon", "/avalon//songs", None),
            ("/avalon", "//avalon/songs", None),
            ("/avalon", "/avalon%2Fsongs", None),
            ("/avalon", "/avalon/songs%0A", None),
            ("/avalon", "/avalon/songs%00", None),
            ("/avalon", "/AVALON/songs", None),
            ("/avalon", "/songs", None),
            ("/a/b", "/a%2Fb/songs", None),
            ("/", "//songs", None),
        ] {
            assert_eq!(find(request_path, path), endpoint, "{path} under {request_path}");
        }
    }

    #[test]
    fn paths_beside_the_page_lead_to_it() {
        for (request_path, path, query, target) in [
            ("/avalon", "/avalon", None, Some("./avalon/")),
            ("/avalon", "/%61valon", None, Some("./avalon/")),
            ("/avalon", "/", Some("query=a%20b&x"), Some("./avalon/?query=a%20b&x")),
            ("/a/b", "/", None, Some("./a/b/")),
            ("/a/b", "/a/b", Some(""), Some("./b/?")),
            ("/\u{e9}: x", "/%C3%A9:%20x", None, Some("./%C3%A9%3A%20x/")),
            ("/a/b", "/a", None, None),
            ("/avalon", "/avalon/x", None, None),
            ("/avalon", "//avalon", None, None),
            ("/avalon", "//", None, None),
            ("/avalon", "", None, None),
            ("/", "/", None, None),
            ("/", "/x", None, None),
        ] {
            assert_eq!(
                page_from(request_path, path, query).as_deref(),
                target,
                "{path} under {request_path}"
            );
        }
    }

    #[test]
    fn metrics_alone_stand_at_their_own_address() {
        for (path, found) in [
            ("/metrics", true),
            ("/avalon/metrics", true),
            ("/avalon/%6detrics", true),
            ("/", false),
            ("/avalon/", false),
            ("/metrics/", false),
            ("/avalon/status", false),
            ("/heartbeat", false),
            ("/avalon/metrics/metrics", false),
        ] {
            assert_eq!(find_metrics("/avalon", path), found.then_some(Endpoint::Metrics), "{path}");
        }
    }
}
