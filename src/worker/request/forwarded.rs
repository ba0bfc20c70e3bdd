//! The client behind a proxy: `X-Forwarded-For` and `-Proto`, or `Forwarded` (RFC 7239), from trusted proxies.
//!
//! Each proxy appends the address of its own client. So the worker reads the list from its end, as long as it
//! trusts the writer of an entry. A client may have invented the entries before that.

use std::borrow::Cow;
use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};

use crate::config::{ForwardedHeaders, Proxies, Trusted};
use crate::worker::watch::caller::Peer;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The original client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::worker) struct Client {
    /// Its address, if known.
    pub(in crate::worker) address: Peer,
    /// `http` or `https`.
    pub(in crate::worker) scheme: &'static str,
}

/// Returns the client of a request from `peer`.
pub(in crate::worker) fn client(peer: Peer, headers: &HeaderMap, proxies: &Proxies) -> Client {
    let itself = Client { address: peer.map(|peer| peer.to_canonical()), scheme: "http" };
    if !proxies.forwarded_by.contains(peer) {
        return itself;
    }
    match proxies.forwarded_headers {
        ForwardedHeaders::XForwarded => {
            let hops = from_the_end(headers, &X_FORWARDED_FOR, last_part);
            let hops = hops.map(|hop| (node(hop.trim_ascii()), ()));
            let address = walk(itself.address, hops, &proxies.forwarded_by);
            let protocol = from_the_end(headers, &X_FORWARDED_PROTO, last_part).next();
            Client {
                address: address.map_or(itself.address, |(address, ())| Some(address)),
                scheme: protocol.map_or("http", |text| scheme(text.trim_ascii())),
            }
        }
        ForwardedHeaders::Forwarded => {
            let hops = from_the_end(headers, &FORWARDED, last_element).map(element);
            let found = walk(itself.address, hops, &proxies.forwarded_by);
            found.map_or(itself, |(address, scheme)| Client { address: Some(address), scheme })
        }
    }
}

/// Returns the last hop that a trusted proxy has written, with its data.
fn walk<T>(
    peer: Peer,
    hops: impl Iterator<Item = (Option<IpAddr>, T)>,
    trusted: &Trusted,
) -> Option<(IpAddr, T)> {
    let mut writer = peer;
    let mut found = None;
    for (hop, with) in hops {
        if !trusted.contains(writer) {
            break;
        }
        // A hidden address ends the chain.
        let Some(address) = hop else { break };
        found = Some((address, with));
        writer = Some(address);
    }
    found
}

/// A function that splits a text at its last separator: the text before it, if there is one, and
/// the part behind it.
type Split = fn(&[u8], u8) -> (Option<&[u8]>, &[u8]);

/// Returns the parts of a list in fields of this name, the last one first. The iterator is lazy,
/// because the writers of earlier parts are unknown.
fn from_the_end<'h>(
    headers: &'h HeaderMap,
    name: &HeaderName,
    split: Split,
) -> impl Iterator<Item = &'h [u8]> + use<'h> {
    headers.get_all(name).iter().rev().flat_map(move |value| {
        let mut rest = Some(value.as_bytes());
        std::iter::from_fn(move || {
            let (before, last) = split(rest?, b',');
            rest = before;
            Some(last)
        })
    })
}

/// Returns the text before the last separator, if there is one, and the part behind it.
fn last_part(text: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    match text.iter().rposition(|byte| *byte == separator) {
        Some(at) => (Some(&text[..at]), &text[at + 1..]),
        None => (None, text),
    }
}

/// Does the same as `last_part`, but ignores separators in quoted strings. Quotes are matched from the end:
/// an open quote before the last part must not reach into it.
fn last_element(text: &[u8], separator: u8) -> (Option<&[u8]>, &[u8]) {
    let mut end = text.len();
    while let Some(at) = text[..end].iter().rposition(|byte| *byte == separator || *byte == b'"') {
        if text[at] == separator {
            return (Some(&text[..at]), &text[at + 1..]);
        }
        // Up to the opening quote; without one only this part is left.
        let Some(opening) = opening_quote(&text[..at]) else { break };
        end = opening;
    }
    (None, text)
}

/// Returns the offset of the quoted string whose content ends with `text`. Quotes within are
/// escaped.
fn opening_quote(text: &[u8]) -> Option<usize> {
    let is_escaped = |at: usize| text[..at].iter().rev().take_while(|byte| **byte == b'\\').count() % 2 == 1;
    let mut quotes = text.iter().enumerate().rev().filter(|(_, byte)| **byte == b'"');
    quotes.find(|(at, _)| !is_escaped(*at)).map(|(at, _)| at)
}

/// Returns address and scheme of an element of `Forwarded`.
fn element(element: &[u8]) -> (Option<IpAddr>, &'static str) {
    let (mut client, mut protocol) = (None, "http");
    let mut rest = Some(element);
    while let Some(text) = rest {
        let (before, pair) = last_element(text, b';');
        rest = before;
        let Some(at) = pair.iter().position(|byte| *byte == b'=') else { continue };
        let (name, value) = (pair[..at].trim_ascii(), unquoted(pair[at + 1..].trim_ascii()));
        if name.eq_ignore_ascii_case(b"for") {
            client = node(&value);
        } else if name.eq_ignore_ascii_case(b"proto") {
            protocol = scheme(&value);
        }
    }
    (client, protocol)
}

/// Returns an address, with or without a port, IPv6 in brackets or not.
fn node(text: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(text).ok()?;
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

fn scheme(text: &[u8]) -> &'static str {
    if text.eq_ignore_ascii_case(b"https") { "https" } else { "http" }
}

/// Returns the text of a token or of a quoted string.
fn unquoted(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(inner) = text.strip_prefix(b"\"").and_then(|text| text.strip_suffix(b"\"")) else {
        return text.into();
    };
    let mut escaped = false;
    let keep = |byte: &u8| {
        escaped = !escaped && *byte == b'\\';
        !escaped
    };
    inner.iter().copied().filter(keep).collect::<Vec<u8>>().into()
}

#[cfg(test)]
mod tests;
