//! From a request's path to an endpoint.

use percent_encoding::percent_decode_str;

use crate::api::Endpoint;

/// The endpoint at `path`, under `request_path`. Percent-encoded letters are the letters;
/// an encoded slash separates nothing.
pub(super) fn find(request_path: &str, path: &str) -> Option<Endpoint> {
    // Nearly all clients write it plainly. With a request path of "/" nothing stands before the slash.
    let plain = path.strip_prefix(request_path.trim_end_matches('/')).and_then(|rest| rest.strip_prefix('/'));
    if let Some(endpoint) = plain.and_then(|name| Endpoint::ALL.into_iter().find(|of| of.name() == name)) {
        return Some(endpoint);
    }
    let rest = strip_prefix(path, request_path)?;
    let name = rest.strip_prefix('/')?;
    Endpoint::ALL.into_iter().find(|endpoint| same_segment(name, endpoint.name()))
}

/// The endpoint at `path` on an address of `METRICS_BIND`: the metrics alone, also at `/metrics`, where
/// scrapers expect them.
pub(super) fn find_metrics(request_path: &str, path: &str) -> Option<Endpoint> {
    let at = |request_path| find(request_path, path).filter(|endpoint| *endpoint == Endpoint::Metrics);
    at("/").or_else(|| at(request_path))
}

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

    #[test]
    fn endpoints_stand_under_the_request_path() {
        for (request_path, path, endpoint) in [
            ("/avalon", "/avalon/songs", Some(Endpoint::List(Kind::Song))),
            ("/avalon", "/%61valon/song%73", Some(Endpoint::List(Kind::Song))),
            ("/", "/heartbeat", Some(Endpoint::Heartbeat)),
            ("/a/b", "/a/b/version", Some(Endpoint::Version)),
            ("/\u{e9}", "/%C3%A9/albums", Some(Endpoint::List(Kind::Of(Owner::Album)))),
            ("/avalon", "/avalon", None),
            ("/avalon", "/avalon/", None),
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
    fn metrics_alone_stand_at_their_own_address() {
        for (path, found) in [
            ("/metrics", true),
            ("/avalon/metrics", true),
            ("/avalon/%6detrics", true),
            ("/", false),
            ("/metrics/", false),
            ("/avalon/status", false),
            ("/heartbeat", false),
            ("/avalon/metrics/metrics", false),
        ] {
            assert_eq!(find_metrics("/avalon", path), found.then_some(Endpoint::Metrics), "{path}");
        }
    }
}
