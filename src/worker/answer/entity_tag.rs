//! Entity tags of lists, and the conditions that name them (RFC 9110 13).
//!
//! A tag identifies the snapshot, the question, the length of the list and its coding: so the
//! worker knows whether a client has the current list without making that list.

use bytes::Bytes;
use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH};
use uuid::Uuid;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::compression::{Acceptable, Coding};
use super::hex;
use crate::snapshot::Kind;

/// Snapshot and question. Servers with the same rows have the same tag.
pub(in crate::worker) type Tag = [u8; 50];

/// Returns the tag of the list of `kind` for `query_string`. `settings` is a number that differs if
/// the settings change the answer.
pub(in crate::worker) fn of(snapshot_hash: u128, kind: Kind, query_string: &str, settings: u64) -> Tag {
    tag(snapshot_hash, b'0' + kind.number(), xxh3_64_with_seed(query_string.as_bytes(), settings))
}

/// Returns the tag of one entity, at its own address.
pub(in crate::worker) fn of_entity(snapshot_hash: u128, kind: Kind, id: Uuid, query_string: &str) -> Tag {
    let (high, low) = id.as_u64_pair();
    tag(snapshot_hash, b'a' + kind.number(), xxh3_64_with_seed(query_string.as_bytes(), high ^ low))
}

fn tag(snapshot_hash: u128, resource: u8, question: u64) -> Tag {
    let mut tag = [b'-'; 50];
    tag[..32].copy_from_slice(&hex::hash(snapshot_hash));
    tag[33] = resource;
    tag[34..].copy_from_slice(&hex::digits(question));
    tag
}

/// Returns the strong entity tag of one representation, which has `len` bytes before it is coded.
pub(in crate::worker) fn value(tag: &Tag, len: u64, coding: Option<Coding>) -> HeaderValue {
    let mut text = Vec::with_capacity(80);
    text.push(b'"');
    text.extend_from_slice(tag);
    text.push(b'-');
    let digits = hex::digits(len);
    let zeros = digits.iter().take_while(|digit| **digit == b'0').count();
    text.extend_from_slice(&digits[zeros..]);
    if let Some(coding) = coding {
        text.push(b'-');
        text.extend_from_slice(coding.name().as_bytes());
    }
    text.push(b'"');
    // Hexadecimal digits and letters are always a valid header value.
    HeaderValue::from_maybe_shared(Bytes::from(text)).unwrap_or(HeaderValue::from_static("\"\""))
}

/// Returns the tag of the representation that a client would get, if `If-None-Match` says that the
/// client has it. The coding is one that the request accepts, because a cache asks for clients that
/// accept others.
pub(in crate::worker) fn known(
    headers: &HeaderMap,
    tag: &Tag,
    accepted: Option<Acceptable>,
) -> Option<HeaderValue> {
    candidates(headers, &IF_NONE_MATCH).find_map(|candidate| {
        // The comparison is weak.
        let strong = candidate.strip_prefix(b"W/").unwrap_or(candidate);
        let rest =
            strong.strip_prefix(b"\"")?.strip_suffix(b"\"")?.strip_prefix(&tag[..])?.strip_prefix(b"-")?;
        let digits = rest.split(|byte| *byte == b'-').next()?;
        let len = u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
        let selected = value(tag, len, accepted.and_then(|accepted| accepted.for_body_of(len)));
        (selected.as_bytes() == strong).then_some(selected)
    })
}

/// Reports whether `If-None-Match` names this representation, or any.
pub(in crate::worker) fn knows(headers: &HeaderMap, selected: &HeaderValue) -> bool {
    candidates(headers, &IF_NONE_MATCH).any(|candidate| {
        candidate == b"*" || candidate.strip_prefix(b"W/").unwrap_or(candidate) == selected.as_bytes()
    })
}

/// Reports whether a precondition fails: `If-Match` without the strong tag of the present
/// representation.
pub(in crate::worker) fn is_unmatched(headers: &HeaderMap, selected: Option<&HeaderValue>) -> bool {
    let names_it = |candidate: &[u8]| {
        candidate == b"*" || selected.is_some_and(|selected| selected.as_bytes() == candidate)
    };
    headers.contains_key(IF_MATCH) && !candidates(headers, &IF_MATCH).any(names_it)
}

/// Returns the members of a list of tags. This server's tags hold no comma.
fn candidates<'h>(headers: &'h HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    let values = headers.get_all(name).iter();
    values.flat_map(|value| value.as_bytes().split(|byte| *byte == b',').map(<[u8]>::trim_ascii))
}

#[cfg(test)]
mod tests {
    use hyper::header::ACCEPT_ENCODING;
    use xxhash_rust::xxh3::xxh3_64;

    use super::*;
    use crate::snapshot::Owner;

    const LEAST: u64 = 1000;

    fn headers(name: &HeaderName, text: &str) -> HeaderMap {
        HeaderMap::from_iter([(name.clone(), HeaderValue::from_str(text).unwrap())])
    }

    fn accepted(text: &str) -> Option<Acceptable> {
        Acceptable::of(&headers(&ACCEPT_ENCODING, text), LEAST)
    }

    #[test]
    fn tags_tell_snapshot_question_length_and_coding() {
        let of = |hash, kind, query_string| of(hash, kind, query_string, 0);
        let ours = of(0xabc, Kind::Song, "limit=1");
        let request = xxh3_64(b"limit=1");
        let text = format!("\"{:032x}-{}{request:016x}-3e8-gzip\"", 0xabc, Kind::Song.number());
        assert_eq!(value(&ours, 1000, Some(Coding::Gzip)), text);
        assert_ne!(ours, of(0xabc, Kind::Song, "limit=2"));
        assert_ne!(ours, of(0xabc, Kind::Of(Owner::Album), "limit=1"));
        assert_ne!(ours, of(0xabd, Kind::Song, "limit=1"));
        assert_ne!(ours, super::of(0xabc, Kind::Song, "limit=1", 1));
        let entity = of_entity(0xabc, Kind::Song, Uuid::from_u128(7), "");
        assert_ne!(entity, of(0xabc, Kind::Song, ""));
        assert_ne!(entity, of_entity(0xabc, Kind::Song, Uuid::from_u128(8), ""));
        assert_ne!(value(&ours, 16, None), value(&ours, 1, None));
    }

    #[test]
    fn tags_are_compared_weakly_with_the_answer_to_be_sent() {
        let ours = of(0xabc, Kind::Song, "limit=1", 0);
        for (accepts, len, coding) in [
            ("gzip", 999, None),
            ("gzip", 1000, Some(Coding::Gzip)),
            ("zstd, gzip", 1000, Some(Coding::Zstd)),
            ("identity", 1000, None),
            ("", 1, None),
        ] {
            let selected = value(&ours, len, coding);
            let text = selected.to_str().unwrap();
            for candidate in
                [text.to_owned(), format!("W/{text}"), format!("\"x\" , {text}"), format!("*,{text}")]
            {
                let known = known(&headers(&IF_NONE_MATCH, &candidate), &ours, accepted(accepts));
                assert_eq!(known.as_ref(), Some(&selected), "{candidate} {accepts}");
            }
            for other in
                [None, Some(Coding::Gzip), Some(Coding::Zstd)].into_iter().filter(|other| *other != coding)
            {
                let candidate = value(&ours, len, other);
                let known =
                    known(&HeaderMap::from_iter([(IF_NONE_MATCH, candidate)]), &ours, accepted(accepts));
                assert_eq!(known, None, "{other:?} {accepts}");
            }
        }
        let text = String::from_utf8_lossy(&ours);
        for candidate in [
            "",
            "*",
            "\"\"",
            "\"x\"",
            &text,
            &format!("\"{text}\""),
            &format!("\"{text}-\""),
            &format!("\"{text}-x\""),
            &format!("\"{text}-0001\""),
            &format!("\"{text}-A\""),
            &format!("\"{text}-1-br\""),
            &format!("\"{text}-1-\""),
        ] {
            assert_eq!(known(&headers(&IF_NONE_MATCH, candidate), &ours, None), None, "{candidate}");
        }
        let knows = |text| knows(&headers(&IF_NONE_MATCH, text), &HeaderValue::from_static("\"a\""));
        for (text, known) in
            [("\"x\", *", true), ("\"*\"", false), ("\"a\"", true), ("W/\"a\"", true), ("a", false)]
        {
            assert_eq!(knows(text), known, "{text}");
        }
    }

    #[test]
    fn preconditions_are_compared_strongly() {
        let selected = value(&of(1, Kind::Of(Owner::Genre), "", 0), 9, None);
        let text = selected.to_str().unwrap();
        for (condition, unmatched) in [
            ("*", false),
            (text, false),
            (&format!("\"x\", {text}"), false),
            (&format!("W/{text}"), true),
            ("\"x\"", true),
            ("", true),
        ] {
            assert_eq!(
                is_unmatched(&headers(&IF_MATCH, condition), Some(&selected)),
                unmatched,
                "{condition}"
            );
        }
        assert!(!is_unmatched(&HeaderMap::new(), Some(&selected)) && !is_unmatched(&HeaderMap::new(), None));
        assert!(
            is_unmatched(&headers(&IF_MATCH, text), None) && !is_unmatched(&headers(&IF_MATCH, "*"), None)
        );
    }
}
