//! Whom a proxy asks for: `X-Forwarded-For` and `-Proto`, or `Forwarded` (RFC 7239), believed of those
//! that are trusted.
//!
//! Each proxy appends the address that it was asked from. So the list is read from its end, as long as who
//! has written an entry is trusted: what stands before that may be anybody's invention.

use std::net::{IpAddr, SocketAddr};

use hyper::HeaderMap;
use hyper::header::{FORWARDED, HeaderName};

use super::status::Peer;
use crate::config::{ForwardedHeaders, Proxies, Trusted};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// Who asks in the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Client {
    /// Its address, as far as it is known.
    pub(super) address: Peer,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
}

/// The client of a request that has come from `peer`.
pub(super) fn client(peer: Peer, headers: &HeaderMap, proxies: &Proxies) -> Client {
    let itself = Client { address: peer.map(|peer| peer.to_canonical()), scheme: "http" };
    if !proxies.forwarded_by.contains(peer) {
        return itself;
    }
    match proxies.forwarded_headers {
        ForwardedHeaders::XForwarded => {
            let texts = values(headers, &X_FORWARDED_FOR);
            let hops = texts.iter().rev().flat_map(|text| text.rsplit(',')).map(|hop| node(hop.trim()));
            let address = walk(itself.address, hops.map(|hop| (hop, ())), &proxies.forwarded_by);
            let protocols = values(headers, &X_FORWARDED_PROTO);
            let last = protocols.last().and_then(|text| text.rsplit(',').next());
            Client {
                address: address.map_or(itself.address, |(address, ())| Some(address)),
                scheme: last.map_or("http", |text| scheme(text.trim())),
            }
        }
        ForwardedHeaders::Forwarded => {
            let texts = values(headers, &FORWARDED);
            let hops = texts.iter().rev().flat_map(|text| split_quoted(text, ',').into_iter().rev());
            let hops = hops.map(|element| {
                let (mut client, mut protocol) = (None, "http");
                for (name, value) in
                    split_quoted(element, ';').into_iter().filter_map(|pair| pair.split_once('='))
                {
                    let value = unquoted(value.trim());
                    match name.trim() {
                        name if name.eq_ignore_ascii_case("for") => client = node(&value),
                        name if name.eq_ignore_ascii_case("proto") => protocol = scheme(&value),
                        _ => {}
                    }
                }
                (client, protocol)
            });
            let found = walk(itself.address, hops, &proxies.forwarded_by);
            found.map_or(itself, |(address, scheme)| Client { address: Some(address), scheme })
        }
    }
}

/// The last hop, of those that were written by somebody who is trusted, with what belongs to it.
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
        // Who hides an address is as far as it goes.
        let Some(address) = hop else { break };
        found = Some((address, with));
        writer = Some(address);
    }
    found
}

fn values<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Vec<&'h str> {
    headers.get_all(name).iter().filter_map(|value| value.to_str().ok()).collect()
}

/// An address, with or without a port, IPv6 in brackets or not.
fn node(text: &str) -> Option<IpAddr> {
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok();
    let address = address.or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()));
    address.map(|address| address.to_canonical())
}

fn scheme(text: &str) -> &'static str {
    if text.eq_ignore_ascii_case("https") { "https" } else { "http" }
}

/// Parts between separators that stand outside of quotes.
fn split_quoted(text: &str, separator: char) -> Vec<&str> {
    let (mut quoted, mut escaped) = (false, false);
    text.split(|character: char| {
        let separates = character == separator && !quoted;
        match character {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            _ => {}
        }
        separates
    })
    .collect()
}

/// The text of a token or of a quoted string.
fn unquoted(text: &str) -> String {
    let Some(inner) = text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) else {
        return text.to_owned();
    };
    let mut escaped = false;
    let keep = |character: &char| {
        escaped = !escaped && *character == '\\';
        !escaped
    };
    inner.chars().filter(keep).collect()
}

#[cfg(test)]
mod tests;
