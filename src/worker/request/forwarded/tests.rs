use proptest::prelude::*;

use super::*;
use crate::config::ForwardedHeaders::{Forwarded, XForwarded};

fn proxies(kind: ForwardedHeaders, trusted: &[&str]) -> Proxies {
    let networks = trusted.iter().map(|text| text.parse::<IpAddr>().unwrap().into()).collect();
    let forwarded_by = if trusted.is_empty() { Trusted::All } else { Trusted::Networks(networks) };
    Proxies { forwarded_by, forwarded_headers: kind, proxy_protocol: None }
}

fn ask(peer: &str, fields: &[(&'static str, &str)], proxies: &Proxies) -> (String, &'static str) {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, value.parse().unwrap());
    }
    let peer = (!peer.is_empty()).then(|| peer.parse().unwrap());
    let client = client(peer, &headers, proxies);
    (client.address.map_or("-".to_owned(), |address| address.to_string()), client.scheme)
}

#[test]
fn only_trusted_proxies_are_believed() {
    let proxies = proxies(XForwarded, &["127.0.0.1", "10.0.0.1"]);
    let fields = [("x-forwarded-for", "192.0.2.7"), ("x-forwarded-proto", "https")];
    assert_eq!(ask("127.0.0.1", &fields, &proxies), ("192.0.2.7".to_owned(), "https"));
    assert_eq!(ask("::ffff:127.0.0.1", &fields, &proxies), ("192.0.2.7".to_owned(), "https"));
    // A Unix socket has no address, and is trusted.
    assert_eq!(ask("", &fields, &proxies), ("192.0.2.7".to_owned(), "https"));
    for stranger in ["198.51.100.1", "127.0.0.2", "::1"] {
        assert_eq!(ask(stranger, &fields, &proxies), (stranger.to_owned(), "http"));
    }
}

#[test]
fn the_last_address_that_is_no_trusted_proxy_counts() {
    let some = proxies(XForwarded, &["127.0.0.1", "10.0.0.1"]);
    for (sent, client) in [
        // The entries that the client has invented precede those of the proxy.
        ("1.1.1.1, 192.0.2.7", "192.0.2.7"),
        ("127.0.0.1, 192.0.2.7", "192.0.2.7"),
        ("1.1.1.1, 192.0.2.7, 10.0.0.1", "192.0.2.7"),
        ("192.0.2.7,10.0.0.1,10.0.0.1", "192.0.2.7"),
        ("10.0.0.1", "10.0.0.1"),
        ("192.0.2.7:4711", "192.0.2.7"),
        ("[2001:db8::7]:4711", "2001:db8::7"),
        ("2001:db8::7", "2001:db8::7"),
        ("1.1.1.1, unknown, 10.0.0.1", "10.0.0.1"),
        ("1.1.1.1, ", "127.0.0.1"),
        ("", "127.0.0.1"),
        ("rubbish", "127.0.0.1"),
    ] {
        let (address, _) = ask("127.0.0.1", &[("x-forwarded-for", sent)], &some);
        assert_eq!(address, client, "{sent}");
    }
    // Several fields are one list.
    let fields = [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-for", "192.0.2.7, 10.0.0.1")];
    assert_eq!(ask("127.0.0.1", &fields, &some).0, "192.0.2.7");
    // A server that trusts all addresses believes the first entry.
    assert_eq!(ask("9.9.9.9", &fields, &proxies(XForwarded, &[])).0, "1.1.1.1");
}

#[test]
fn the_other_kind_of_field_is_ignored() {
    let fields =
        [("x-forwarded-for", "1.1.1.1"), ("x-forwarded-proto", "https"), ("forwarded", "for=2.2.2.2")];
    assert_eq!(
        ask("127.0.0.1", &fields, &proxies(Forwarded, &["127.0.0.1"])),
        ("2.2.2.2".to_owned(), "http")
    );
    assert_eq!(
        ask("127.0.0.1", &fields, &proxies(XForwarded, &["127.0.0.1"])),
        ("1.1.1.1".to_owned(), "https")
    );
    assert_eq!(ask("127.0.0.1", &fields[2..], &proxies(XForwarded, &["127.0.0.1"])).0, "127.0.0.1");
}

#[test]
fn forwarded_is_read_as_rfc_7239_says() {
    let proxies = proxies(Forwarded, &["127.0.0.1", "10.0.0.1"]);
    for (sent, client) in [
        ("for=192.0.2.43", ("192.0.2.43", "http")),
        ("For=\"[2001:db8:cafe::17]:4711\"", ("2001:db8:cafe::17", "http")),
        ("for=192.0.2.60;proto=HTTPS;by=203.0.113.43", ("192.0.2.60", "https")),
        ("for=1.1.1.1, for=198.51.100.17;proto=https", ("198.51.100.17", "https")),
        ("for=198.51.100.17;proto=https, for=10.0.0.1;proto=http", ("198.51.100.17", "https")),
        ("by=\"a, for=1.1.1.1\";for=\"192.0.2.4\\3\"", ("192.0.2.43", "http")),
        ("for=_hidden", ("127.0.0.1", "http")),
        ("for=1.1.1.1, for=unknown", ("127.0.0.1", "http")),
        ("proto=https", ("127.0.0.1", "http")),
        ("\"", ("127.0.0.1", "http")),
    ] {
        let (address, scheme) = ask("127.0.0.1", &[("forwarded", sent)], &proxies);
        assert_eq!((address.as_str(), scheme), client, "{sent}");
    }
}

/// A quoted name may hold separators and quotes. An open quote of the client does not reach the
/// proxy's element.
#[test]
fn quotes_are_matched_from_the_end() {
    let proxies = proxies(Forwarded, &["127.0.0.1", "10.0.0.1"]);
    for (sent, client) in [
        ("for=1.1.1.1;x=\", for=203.0.113.7", "203.0.113.7"),
        ("for=1.1.1.1;x=\"\\, for=203.0.113.7", "203.0.113.7"),
        ("for=\"1.1.1.1, for=\"203.0.113.7\"", "203.0.113.7"),
        ("for=1.1.1.1, x=\"a, for=2.2.2.2; \\\"b\";for=203.0.113.7;by=\"_c;d\"", "203.0.113.7"),
        ("\", for=203.0.113.7, for=10.0.0.1;by=\"x, y\"", "203.0.113.7"),
    ] {
        assert_eq!(ask("127.0.0.1", &[("forwarded", sent)], &proxies).0, client, "{sent}");
    }
}

/// An element that a proxy may append, and the client that it names.
fn appended() -> impl Strategy<Value = (String, String)> {
    let address = prop::sample::select(vec!["203.0.113.7", "2001:db8::7", "192.0.2.1"]);
    let extra =
        prop::sample::select(vec!["", ";proto=https", ";by=\"_a, b\"", ";host=\"x\\\"; for=1.1.1.1, y\""]);
    (address, any::<bool>(), extra).prop_map(|(address, quoted, extra)| {
        let node = match address.contains(':') {
            true => format!("\"[{address}]:4711\""),
            false if quoted => format!("\"{address}:80\""),
            false => address.to_owned(),
        };
        (format!("for={node}{extra}"), address.to_owned())
    })
}

proptest! {
    /// For all bytes of a client, the element of its proxy counts: in the same field, or in another
    /// one.
    #[test]
    fn any_bytes_before_a_trusted_suffix_change_nothing(
        sent in prop::collection::vec(prop_oneof![
            prop::collection::vec(any::<u8>(), 0..40),
            "[0-9a-f.:, =\";\\\\forunkw_]{0,40}".prop_map(String::into_bytes),
        ], 0..3),
        (element, address) in appended(),
        joined in any::<bool>(),
    ) {
        for (kind, field, suffix) in [(XForwarded, X_FORWARDED_FOR, &address), (Forwarded, FORWARDED, &element)] {
            let mut values: Vec<Vec<u8>> = sent.clone();
            match values.last_mut().filter(|_| joined) {
                Some(last) => last.extend([b", ", suffix.as_bytes()].concat()),
                None => values.push(suffix.as_bytes().to_vec()),
            }
            let mut headers = HeaderMap::new();
            for value in values {
                // hyper rejects bytes that are not allowed in a field value.
                let value: Vec<u8> = value.into_iter().filter(|byte| *byte == b'\t' || *byte >= b' ' && *byte != 127).collect();
                headers.append(field.clone(), value.as_slice().try_into().unwrap());
            }
            let peer = Some("127.0.0.1".parse().unwrap());
            let found = client(peer, &headers, &proxies(kind, &["127.0.0.1"]));
            prop_assert_eq!(found.address, Some(address.parse::<IpAddr>().unwrap()));
        }
    }
}
