//! The page: one HTML document, `index.html`, that browses and searches the collection through the API.
//!
//! The document is the same for every server: its addresses are relative. It may run no script and use no
//! style but its own, which the Content-Security-Policy names by their digests.

use std::fmt::Write as _;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use hyper::header::{
    CONTENT_ENCODING, CONTENT_SECURITY_POLICY, ETAG, HeaderName, HeaderValue, REFERRER_POLICY,
};
use hyper::{HeaderMap, Response};
use sha2::{Digest, Sha256};
use xxhash_rust::xxh3::xxh3_128;

use super::answer::body::Payload;
use super::answer::compression::{Acceptable, Coding};
use super::answer::error::ApiError;
use super::answer::{entity_tag, response};

const DOCUMENT: &str = include_str!("index.html");
const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const OPENER_POLICY: HeaderName = HeaderName::from_static("cross-origin-opener-policy");
/// Tells the page that the collection comes from a former start and that the database has not confirmed it.
const STALE: HeaderName = HeaderName::from_static("x-avalon-stale");

/// The level of both codings: the worker makes each once and sends it often.
const GZIP_LEVEL: u32 = 9;
const ZSTD_LEVEL: i32 = 19;

/// The page, which a worker makes with its first request.
static PAGE: LazyLock<Page> = LazyLock::new(|| Page::of(DOCUMENT));

/// A document in the form in which the worker sends it.
struct Page {
    plain: Representation,
    gzip: Option<Representation>,
    zstd: Option<Representation>,
    /// Its Content-Security-Policy.
    policy: HeaderValue,
}

struct Representation {
    body: Bytes,
    tag: HeaderValue,
    coding: Option<Coding>,
}

/// The page for a client that accepts a coding, under the conditions of its request.
///
/// # Errors
/// If the request demands another document (`If-Match`).
pub(in crate::worker) fn answer(
    headers: &HeaderMap,
    accepted: Option<Acceptable>,
    is_stale: bool,
) -> Result<Response<Payload>, ApiError> {
    let page = &*PAGE;
    let sent = page.for_client(accepted);
    if entity_tag::is_unmatched(headers, Some(&sent.tag)) {
        return Err(ApiError::PreconditionFailed);
    }
    let mut response = if entity_tag::knows(headers, &sent.tag) {
        response::not_modified(sent.tag.clone())
    } else {
        let mut response = response::document(HTML, sent.body.clone());
        let fields = response.headers_mut();
        fields.insert(ETAG, sent.tag.clone());
        if let Some(coding) = sent.coding {
            fields.insert(CONTENT_ENCODING, HeaderValue::from_static(coding.name()));
        }
        response
    };
    // A cache updates its stored answer with the fields of a 304.
    let fields = response.headers_mut();
    fields.insert(CONTENT_SECURITY_POLICY, page.policy.clone());
    fields.insert(REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    fields.insert(OPENER_POLICY, HeaderValue::from_static("same-origin"));
    if is_stale {
        fields.insert(STALE, HeaderValue::from_static("1"));
    }
    Ok(response)
}

impl Page {
    fn of(document: &'static str) -> Self {
        let bytes = document.as_bytes();
        // Hexadecimal digits and letters, and base64, are always valid in a field.
        let value = |text: String| HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("\"\""));
        let hash = xxh3_128(bytes);
        let coded = |coding: Coding, body: Option<Vec<u8>>| {
            let tag = value(format!("\"{hash:032x}-{}\"", coding.name()));
            body.map(|body| Representation { body: body.into(), tag, coding: Some(coding) })
        };
        Page {
            plain: Representation {
                body: Bytes::from_static(bytes),
                tag: value(format!("\"{hash:032x}\"")),
                coding: None,
            },
            gzip: coded(Coding::Gzip, gzip(bytes)),
            zstd: coded(Coding::Zstd, zstd::bulk::compress(bytes, ZSTD_LEVEL).ok()),
            policy: value(policy(document)),
        }
    }

    fn for_client(&self, accepted: Option<Acceptable>) -> &Representation {
        let coding = accepted.and_then(|accepted| accepted.for_body_of(self.plain.body.len() as u64));
        let coded = match coding {
            None => None,
            Some(Coding::Gzip) => self.gzip.as_ref(),
            Some(Coding::Zstd) => self.zstd.as_ref(),
        };
        coded.unwrap_or(&self.plain)
    }
}

fn gzip(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::new(GZIP_LEVEL));
    std::io::Write::write_all(&mut encoder, bytes).ok()?;
    encoder.finish().ok()
}

/// Returns the policy that allows only the scripts and styles of the document, and only requests to this
/// server.
fn policy(document: &str) -> String {
    let mut policy = "default-src 'none'".to_owned();
    for (directive, element) in [("script-src", "script"), ("style-src", "style")] {
        let _ = write!(policy, "; {directive}");
        for content in contents(document, element) {
            let _ = write!(policy, " 'sha256-{}'", STANDARD.encode(Sha256::digest(content.as_bytes())));
        }
    }
    policy.push_str("; connect-src 'self'; img-src 'self' data:; base-uri 'none'; form-action 'none'");
    policy.push_str("; frame-ancestors 'none'");
    policy
}

/// The texts of all elements of this name.
fn contents<'d>(document: &'d str, element: &str) -> impl Iterator<Item = &'d str> {
    let (begin, end) = (format!("<{element}"), format!("</{element}>"));
    let mut rest = document;
    std::iter::from_fn(move || {
        let (_, after) = rest.split_once(&begin)?;
        let (_, after) = after.split_once('>')?;
        let (content, after) = after.split_once(&end)?;
        rest = after;
        Some(content)
    })
}

#[cfg(test)]
mod tests {
    use hyper::header::{ACCEPT_ENCODING, IF_MATCH, IF_NONE_MATCH};

    use super::*;

    /// Bytes of the page as most clients get it.
    const GZIP_MAX: usize = 15_000;

    fn asked(fields: &[(HeaderName, &str)]) -> Result<Response<Payload>, ApiError> {
        let value = |text: &str| HeaderValue::from_str(text).unwrap();
        let headers: HeaderMap = fields.iter().map(|(name, text)| (name.clone(), value(text))).collect();
        let accepted = Acceptable::of(&headers, 1);
        answer(&headers, accepted, false)
    }

    #[test]
    fn the_document_is_one_file_and_small() {
        let page = Page::of(DOCUMENT);
        assert!(page.gzip.as_ref().is_some_and(|gzip| gzip.body.len() <= GZIP_MAX));
        assert!(page.zstd.as_ref().is_some_and(|zstd| zstd.body.len() <= GZIP_MAX));
        // Browsers make LF of CR LF before they compare digests; and no inline handler or style passes the policy.
        assert!(!DOCUMENT.contains('\r') && !DOCUMENT.contains(" style=") && !DOCUMENT.contains(" onclick="));
        for name in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!DOCUMENT.contains(name), "{name}");
        }
        assert!(!DOCUMENT.contains("://"), "an address of another server");
    }

    #[test]
    fn the_policy_names_each_script_and_style_by_its_digest() {
        let policy = policy("<style>a</style><p><script type=\"module\">b</script><script>c</script>");
        let digest = |text: &str| STANDARD.encode(Sha256::digest(text.as_bytes()));
        let (a, b, c) = (digest("a"), digest("b"), digest("c"));
        assert!(policy.contains(&format!("; script-src 'sha256-{b}' 'sha256-{c}';")), "{policy}");
        assert!(policy.contains(&format!("; style-src 'sha256-{a}';")), "{policy}");
        assert!(policy.starts_with("default-src 'none';") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(contents(DOCUMENT, "script").count(), 1);
        assert_eq!(contents(DOCUMENT, "style").count(), 1);
    }

    #[test]
    fn each_coding_has_a_tag_of_its_own_and_is_known_by_it() {
        let mut tags = Vec::new();
        for coding in ["identity", "gzip", "zstd"] {
            let whole = asked(&[(ACCEPT_ENCODING, coding)]).unwrap();
            let sent = whole.headers().get(CONTENT_ENCODING).map_or("identity", |it| it.to_str().unwrap());
            assert_eq!((whole.status().as_u16(), sent), (200, coding));
            let tag = whole.headers()[ETAG].to_str().unwrap().to_owned();
            let again = asked(&[(ACCEPT_ENCODING, coding), (IF_NONE_MATCH, &tag)]).unwrap();
            assert_eq!(again.status(), 304);
            assert_eq!(again.headers()[ETAG], tag);
            assert!(asked(&[(ACCEPT_ENCODING, coding), (IF_MATCH, &tag)]).is_ok());
            tags.push(tag);
        }
        assert!(tags[0] != tags[1] && tags[1] != tags[2] && tags[0] != tags[2]);
        let other = asked(&[(IF_MATCH, "\"x\"")]);
        assert_eq!(other.err(), Some(ApiError::PreconditionFailed));
    }
}
