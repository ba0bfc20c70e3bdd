//! Links from one page of a list to others (RFC 8288), as references relative to the request's own
//! address: so they stay right if a proxy has changed its path or host.

use hyper::header::HeaderValue;
use percent_encoding::{AsciiSet, CONTROLS, utf8_percent_encode};

use crate::api::Parameter;
use crate::snapshot::Page;

/// Bytes of the longest field: proxies refuse answers whose heads are larger than their buffers, of 4 KB as a rule.
const LEN_MAX: usize = 2048;

/// Bytes that hyper allows in a target and RFC 3986 forbids in a reference.
pub(super) const NO_REFERENCE: &AsciiSet = &CONTROLS
    .add(b' ')
    .add(b'"')
    .add(b'#')
    .add(b'<')
    .add(b'>')
    .add(b'[')
    .add(b'\\')
    .add(b']')
    .add(b'^')
    .add(b'`')
    .add(b'{')
    .add(b'|')
    .add(b'}');

/// Returns the field `Link` of the page of a list of `total` entities that `query_string` asks for:
/// the first page, the previous, the next and the last, as far as they exist. `None` if pages are
/// empty, or if the question is too long for the field.
pub(in crate::worker) fn links(query_string: &str, page: Page, total: usize) -> Option<HeaderValue> {
    let Page { limit, offset } = page;
    if limit == 0 {
        return None;
    }
    let last = total.saturating_sub(1) / limit * limit;
    let before = (offset > 0).then(|| offset.saturating_sub(limit).min(last));
    let next = offset.checked_add(limit).filter(|next| *next < total);
    let kept = others(query_string);
    let mut text = String::new();
    for (relation, offset) in [("first", Some(0)), ("prev", before), ("next", next), ("last", Some(last))] {
        let Some(offset) = offset else { continue };
        let comma = if text.is_empty() { "" } else { ", " };
        let (limit_name, offset_name) = (Parameter::Limit.name(), Parameter::Offset.name());
        text.push_str(&format!(
            "{comma}<?{kept}{limit_name}={limit}&{offset_name}={offset}>; rel=\"{relation}\""
        ));
        if text.len() > LEN_MAX {
            return None;
        }
    }
    HeaderValue::try_from(text).ok()
}

/// Returns all parameters but limit and offset, as the client wrote them, each followed by `&`.
fn others(query_string: &str) -> String {
    let mut kept = String::with_capacity(query_string.len());
    for pair in query_string.split('&').filter(|pair| !pair.is_empty()) {
        let name = form_urlencoded::parse(pair.as_bytes()).next().map(|(name, _)| name);
        let parameter = name.and_then(|name| Parameter::parse(&name));
        if !matches!(parameter, Some(Parameter::Limit | Parameter::Offset)) {
            kept.extend(utf8_percent_encode(pair, NO_REFERENCE));
            kept.push('&');
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Returns relation and offset of each link.
    fn of(limit: usize, offset: usize, total: usize) -> Vec<(String, usize)> {
        let Some(links) = links("", Page { limit, offset }, total) else { return Vec::new() };
        let of = |link: &str| {
            let (reference, relation) = link.split_once(">; rel=\"").unwrap();
            let begin = format!("<?limit={limit}&offset=");
            (
                relation.trim_end_matches('"').to_owned(),
                reference.strip_prefix(&begin).unwrap().parse().unwrap(),
            )
        };
        links.to_str().unwrap().split(", ").map(of).collect()
    }

    #[test]
    fn pages_lead_to_the_others_that_there_are() {
        let named = |list: &[(&str, usize)]| -> Vec<(String, usize)> {
            list.iter().map(|(relation, offset)| ((*relation).to_owned(), *offset)).collect()
        };
        assert_eq!(of(10, 0, 0), named(&[("first", 0), ("last", 0)]));
        assert_eq!(of(10, 0, 10), named(&[("first", 0), ("last", 0)]));
        assert_eq!(of(10, 0, 11), named(&[("first", 0), ("next", 10), ("last", 10)]));
        assert_eq!(of(10, 10, 30), named(&[("first", 0), ("prev", 0), ("next", 20), ("last", 20)]));
        assert_eq!(of(10, 5, 12), named(&[("first", 0), ("prev", 0), ("last", 10)]));
        assert_eq!(of(10, 500, 12), named(&[("first", 0), ("prev", 10), ("last", 10)]));
        assert_eq!(of(usize::MAX, usize::MAX, 7), named(&[("first", 0), ("prev", 0), ("last", 0)]));
        assert_eq!(of(0, 0, 7), []);
    }

    /// A client that follows them sees each entity once.
    #[test]
    fn next_leads_from_the_first_page_to_the_last() {
        for (limit, total) in [(1, 1), (1, 5), (3, 9), (3, 10), (4, 11), (100, 7)] {
            let (mut offset, mut seen) = (0, 0);
            loop {
                let links = of(limit, offset, total);
                let to = |relation: &str| links.iter().find(|(name, _)| name == relation).map(|(_, to)| *to);
                seen += limit.min(total - offset);
                match to("next") {
                    Some(next) => offset = next,
                    None => break assert_eq!(to("last"), Some(offset), "{limit} of {total}"),
                }
            }
            assert_eq!(seen, total);
        }
    }

    #[test]
    fn other_parameters_are_kept_as_they_are() {
        for (query_string, kept) in [
            ("", ""),
            ("total=true&query=a+b%20%C3%A9&limit=3&offset=4&&x", "total=true&query=a+b%20%C3%A9&x&"),
            ("%6cimit=1&of%66set=2&Limit=3", "Limit=3&"),
            ("query=\"a\"|\u{e9}", "query=%22a%22%7C%C3%A9&"),
        ] {
            assert_eq!(others(query_string), kept, "{query_string}");
        }
        let long = format!("query={}", "x".repeat(LEN_MAX));
        assert!(links(&long, Page { limit: 1, offset: 0 }, 2).is_none());
    }
}
