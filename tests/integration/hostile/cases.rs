//! A table of requests at the edge of HTTP/1.1 (RFC 9110, RFC 9112), and the answer to each. A
//! comment gives the reason for each case that is stricter or more lenient than the RFC.

use super::Watched;
use crate::harness::server::{Setup, collection};

/// The bytes of a client, and the statuses of all answers; after the last one the connection ends.
type Case = (&'static [u8], &'static [u16]);

/// `Connection: close` stands in most, so that the end is not waited for.
const REQUEST_LINES: &[Case] = &[
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    // Empty lines before a request (9112 2.2).
    (b"\r\nGET /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    (b"\r\n\r\n\r\nGET /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    // hyper takes a bare LF for the end of a line, as RFC 9112 2.2 allows, and cannot be told not to.
    (b"GET /avalon/version HTTP/1.1\nHost: h\nConnection: close\n\n", &[200]),
    (b"\nGET /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    // A bare CR is never one.
    (b"GET /avalon/version HTTP/1.1\rHost: h\r\r", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\rX: y\r\n\r\n", &[400]),
    (b"GET\t/avalon/version\tHTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version\tHTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version  HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1 \r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP / 1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"\x00GET /avalon/version HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GE\x00T /avalon/version HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"G@T /avalon/version HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"G\xc3\x89T /avalon/version HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b" /avalon/version HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    // Any token is a method (9110 9.1), in any case.
    (b"get /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[405]),
    (b"M-SEARCH /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[405]),
    (b"!#$%&'*+-.^_`|~ /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[405]),
    // Versions (9112 2.3).
    (b"GET /avalon/version HTTP/0.9\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.10\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/01.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/2.0\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/3\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTX/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version Http/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version ICE/1.0\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.0\r\n\r\n", &[200]),
];

const TARGETS: &[Case] = &[
    (b"GET * HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"POST * HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"OPTIONS * HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET h:80 HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET example.org HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"OPTIONS h:80 HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"CONNECT h:80 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[404]),
    (b"GET http://h/avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    // The target counts, not the field (9112 3.2.2); the field must be a valid one all the same.
    (b"GET http://other/avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET http://h/avalon/version HTTP/1.1\r\nHost: a b\r\n\r\n", &[400]),
    (b"GET /avalon/version#part HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/../avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[404]),
    (b"GET /avalon/version\x01 HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/version\x7f HTTP/1.1\r\nHost: h\r\n\r\n", &[400]),
    (b"GET /avalon/%00 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[404]),
    (b"GET /avalon/%zz HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[404]),
    (b"GET /avalon/songs?limit=1?limit=2 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[400]),
    (b"GET //avalon/version HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n", &[404]),
];

const HOSTS: &[Case] = &[
    (b"GET /avalon/version HTTP/1.1\r\nConnection: close\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost:\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: \t \r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: a, b\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: u@h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: http://h/\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h/p\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h:80x\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h:70000\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: [::1\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\xff\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.0\r\nHost: u@h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nhOsT:h:8000  \r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: [2001:db8::1]\r\nConnection: close\r\n\r\n", &[200]),
];

const FIELDS: &[Case] = &[
    (b"GET /avalon/version HTTP/1.1\r\n Host: h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost : h\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX Y: z\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX\x00: z\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: a\x00b\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: a\x0bb\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: a\x7fb\r\n\r\n", &[400]),
    // Folded lines (9112 5.2).
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: a\r\n b\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: a\r\n\tb\r\n\r\n", &[400]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX:\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX:\t a\tb \t\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX: \xe9\xff\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nX_Y: z\r\nConnection: close\r\n\r\n", &[200]),
    // An upgrade is an offer that may be declined (9110 7.8).
    (
        b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: upgrade, close\r\n\r\n",
        &[200],
    ),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nConnection: keep-alive, close\r\n\r\n", &[200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nTE: trailers\r\nConnection: TE, close\r\n\r\n", &[200]),
];

/// The bytes after the head could pass for a second request. A body is never read: the connection
/// ends behind the answer, or the whole body has been skipped.
const BODIES: &[Case] = &[
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabcGET /avalon/genres HTTP/1.1\r\n\r\n", &[413]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nGET /avalon/version HTTP/1.0\r\n\r\n", &[405, 200]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\nGET /avalon/version HTTP/1.0\r\n\r\n", &[200, 200]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd", &[400]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 3,3\r\n\r\nabc", &[400]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 1e1\r\n\r\nabc", &[400]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: \xb3\r\n\r\nabc", &[400]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n", &[400]),
    (b"POST /avalon/version HTTP/1.0\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", &[400]),
    // Sizes of chunks are not looked at, as the connection ends: nothing behind them is an own request.
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n1;\n=a\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\na\r\n0\r\n\r\nGET / HTTP/1.1\r\n\r\n", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\na", &[405]),
    (b"POST /avalon/version HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", &[405]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n", &[413]),
];

const CONDITIONS: &[Case] = &[
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Match: *\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nConnection: close\r\n\r\n", &[412]),
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nIf-None-Match: *\r\nConnection: close\r\n\r\n", &[412]),
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Match: *\r\nIf-None-Match: *\r\nConnection: close\r\n\r\n", &[304]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nConnection: close\r\n\r\n", &[412]),
    (b"GET /avalon/version HTTP/1.1\r\nHost: h\r\nIf-Match: *\r\nConnection: close\r\n\r\n", &[200]),
    // Not where the answer would be no success anyway, and not for other methods (9110 13.2.1).
    (b"GET /avalon/none HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nConnection: close\r\n\r\n", &[404]),
    (b"GET /avalon/genres?limit=x HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nConnection: close\r\n\r\n", &[400]),
    (b"OPTIONS /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Match: \"x\"\r\nConnection: close\r\n\r\n", &[200]),
    // There are no dates and no ranges.
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nIf-Unmodified-Since: Thu, 01 Jan 1970 00:00:00 GMT\r\nConnection: close\r\n\r\n", &[200]),
    (b"GET /avalon/genres HTTP/1.1\r\nHost: h\r\nRange: bytes=0-1\r\nConnection: close\r\n\r\n", &[200]),
];

#[test]
fn requests_at_the_edge_of_the_protocol_are_answered_as_the_table_says() {
    let watched = Watched::new(Setup::with(&collection(2)).start());
    let mut wrong = Vec::new();
    for (request, expected) in [REQUEST_LINES, TARGETS, HOSTS, FIELDS, BODIES, CONDITIONS].concat() {
        let answers = watched.answers(request);
        let statuses: Vec<u16> = answers.iter().map(|answer| answer.status).collect();
        if statuses != expected {
            wrong.push(format!("{statuses:?}, not {expected:?}: {}", request.escape_ascii()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    watched.assert_unharmed();
}
