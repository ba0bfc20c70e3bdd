//! Proxies that are trusted to name the client, as Gunicorn's `forwarded_allow_ips` lists them.

use std::net::IpAddr;

use ipnet::IpNet;

use super::error::ConfigError;
use super::layers::Layers;
use super::problem::{Expected, Problem};

/// The trusted proxies, and the kinds of trust.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proxies {
    /// The proxies whose header fields are trusted.
    pub forwarded_by: Trusted,
    /// The kind of header field that is trusted.
    pub forwarded_headers: ForwardedHeaders,
    /// The proxies that must begin connections with a PROXY header; `None` without the protocol.
    pub proxy_protocol: Option<Trusted>,
}

/// Header fields that name the client of a proxy. Only one kind is trusted: a proxy that
/// sets one kind passes the other on as its client has sent it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ForwardedHeaders {
    /// `X-Forwarded-For` and `X-Forwarded-Proto`.
    XForwarded,
    /// `Forwarded` (RFC 7239).
    Forwarded,
}

pub(super) fn proxies(layers: &Layers) -> Result<Proxies, ConfigError> {
    let trusted = |key| layers.list(key, TrustedItem::parse).map(Trusted::parse);
    let headers = |text: &str| match text.to_ascii_lowercase().as_str() {
        "x-forwarded" => Ok(ForwardedHeaders::XForwarded),
        "forwarded" => Ok(ForwardedHeaders::Forwarded),
        _ => Err(Problem::not(Expected::ForwardedHeaders, text)),
    };
    let proxy_allow = trusted("PROXY_ALLOW_IPS")?;
    Ok(Proxies {
        forwarded_by: trusted("FORWARDED_ALLOW_IPS")?,
        forwarded_headers: layers.text("FORWARDED_HEADERS", headers)?,
        proxy_protocol: layers.truth("PROXY_PROTOCOL")?.then_some(proxy_allow),
    })
}

/// A set of addresses.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trusted {
    /// `*`.
    All,
    /// Addresses, as networks of one, and networks.
    Networks(Vec<IpNet>),
}

impl Trusted {
    /// Parses a list of addresses and networks, or one `*`; empty texts are ignored.
    fn parse(items: Vec<TrustedItem>) -> Trusted {
        if items.contains(&TrustedItem::All) {
            return Trusted::All;
        }
        Trusted::Networks(items.into_iter().filter_map(TrustedItem::network).collect())
    }

    /// Reports whether the set holds a peer. It holds all clients of a Unix socket, as in Gunicorn.
    pub fn contains(&self, peer: Option<IpAddr>) -> bool {
        match (self, peer) {
            (Trusted::All, _) | (_, None) => true,
            (Trusted::Networks(networks), Some(peer)) => {
                networks.iter().any(|network| network.contains(&peer.to_canonical()))
            }
        }
    }
}

/// One text of such a list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum TrustedItem {
    Nothing,
    All,
    Network(IpNet),
}

impl TrustedItem {
    fn parse(text: &str) -> Result<TrustedItem, Problem> {
        if let "" | "*" = text {
            return Ok(if text.is_empty() { TrustedItem::Nothing } else { TrustedItem::All });
        }
        let network = text.parse().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        network.map(TrustedItem::Network).map_err(|_| Problem::no(Expected::Proxy))
    }

    fn network(self) -> Option<IpNet> {
        match self {
            TrustedItem::Network(network) => Some(network),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_networks_and_all_peers_are_trusted() {
        let of = |items: &[&str]| {
            Trusted::parse(items.iter().map(|item| TrustedItem::parse(item).unwrap()).collect())
        };
        let peer = |text: &str| Some(text.parse().unwrap());
        let some = of(&["127.0.0.1", "::1", "10.0.0.0/8", "2001:db8::/32", ""]);
        for trusted in ["127.0.0.1", "::1", "10.255.0.1", "2001:db8:1::1", "::ffff:10.1.1.1"] {
            assert!(some.contains(peer(trusted)), "{trusted}");
        }
        for other in ["127.0.0.2", "11.0.0.1", "2001:db9::1", "::ffff:11.1.1.1", "::"] {
            assert!(!some.contains(peer(other)), "{other}");
        }
        assert!(some.contains(None));
        assert!(of(&["*"]).contains(peer("192.0.2.1")) && of(&["::1", "*"]).contains(None));
        assert!(!of(&[""]).contains(peer("127.0.0.1")));
        for wrong in ["x", "10.0.0.0/33", "10.0.0", "127.0.0.1:80", "*.*"] {
            assert!(TrustedItem::parse(wrong).is_err(), "{wrong}");
        }
    }
}
