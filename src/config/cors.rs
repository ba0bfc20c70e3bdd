//! The origins whose pages may read answers in a browser.

use std::net::Ipv6Addr;

use super::error::ConfigError;
use super::layers::Layers;
use super::problem::Problem;
use super::typed;

/// Ports that a browser leaves out of an origin.
const DEFAULT_PORTS: [(&str, u16); 2] = [("http", 80), ("https", 443)];

/// The origins whose pages may read answers, besides those of the server's own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AllowedOrigins {
    /// All origins.
    All,
    /// These, as browsers write them; perhaps none.
    Named(Vec<String>),
}

/// Returns the origins that `CORS_ALLOW_ORIGINS` names.
pub(super) fn allowed(layers: &Layers) -> Result<AllowedOrigins, ConfigError> {
    const KEY: &str = "CORS_ALLOW_ORIGINS";
    let convert = |text: &str| match text {
        "" => Ok(None),
        "*" => Ok(Some(text.to_owned())),
        text => origin(text).map(Some),
    };
    let mut origins: Vec<String> = layers.list(KEY, convert)?.into_iter().flatten().collect();
    if !origins.iter().any(|origin| origin == "*") {
        origins.sort_unstable();
        origins.dedup();
        return Ok(AllowedOrigins::Named(origins));
    }
    match origins.len() {
        1 => Ok(AllowedOrigins::All),
        _ => {
            let problem =
                Problem::must("be \"*\" alone, which allows all origins, or name each", &origins.join(","));
            Err(typed::wrong(KEY, layers.get(KEY), problem))
        }
    }
}

/// Returns an origin as browsers write it (RFC 6454 6.2): in lower case, without the usual port.
fn origin(text: &str) -> Result<String, Problem> {
    let must = |rule| Problem::must(rule, text);
    let lower = text.to_ascii_lowercase();
    let (scheme, authority) = lower
        .split_once("://")
        .ok_or_else(|| must("begin with a scheme, as in \"https://music.example.org\""))?;
    let is_scheme = scheme.starts_with(|c: char| c.is_ascii_lowercase())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !is_scheme {
        return Err(must("begin with a scheme, as in \"https://music.example.org\""));
    }
    if authority.contains(['/', '?', '#']) {
        return Err(must("end after the host and the port: an origin has no path, and no \"/\" at its end"));
    }
    if authority.contains('@') {
        return Err(must("name no user"));
    }
    if authority.contains('*') {
        return Err(must("name one host: patterns are not taken; name each origin, or \"*\" for all"));
    }
    let (host, port) = match authority.rfind(':').filter(|colon| !authority[*colon..].contains(']')) {
        Some(colon) => (&authority[..colon], Some(&authority[colon + 1..])),
        None => (authority, None),
    };
    let host = host_of(host).ok_or_else(|| {
        must("have a host in ASCII: a name (xn--... for others), an IPv4 address, or an IPv6 address in brackets")
    })?;
    let Some(port) = port else { return Ok(format!("{scheme}://{host}")) };
    let port = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
    let port: u16 = port
        .and_then(|port| port.parse().ok())
        .ok_or_else(|| must("have a port from 0 to 65535 after the colon, or none"))?;
    match DEFAULT_PORTS.contains(&(scheme, port)) {
        true => Ok(format!("{scheme}://{host}")),
        false => Ok(format!("{scheme}://{host}:{port}")),
    }
}

fn host_of(host: &str) -> Option<String> {
    if let Some(address) = host.strip_prefix('[') {
        let address: Ipv6Addr = address.strip_suffix(']')?.parse().ok()?;
        return Some(format!("[{address}]"));
    }
    let is_host = !host.is_empty() && host.chars().all(|c| c.is_ascii_alphanumeric() || "-._".contains(c));
    is_host.then(|| host.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_become_those_that_browsers_send() {
        for (text, sent) in [
            ("https://music.example.org", "https://music.example.org"),
            ("HTTPS://Music.Example.ORG:443", "https://music.example.org"),
            ("http://localhost:5173", "http://localhost:5173"),
            ("http://a:80", "http://a"),
            ("https://a:80", "https://a:80"),
            ("http://127.0.0.1:08000", "http://127.0.0.1:8000"),
            ("http://[0:0::1]:8000", "http://[::1]:8000"),
            ("http://[::1]", "http://[::1]"),
            ("capacitor://localhost", "capacitor://localhost"),
            ("http://xn--mller-kva.example", "http://xn--mller-kva.example"),
        ] {
            assert_eq!(origin(text).unwrap(), sent, "{text}");
        }
    }

    #[test]
    fn origins_that_no_browser_sends_are_refused_with_the_reason() {
        for (text, reason) in [
            ("music.example.org", "a scheme"),
            ("null", "a scheme"),
            ("://a", "a scheme"),
            ("1http://a", "a scheme"),
            ("https://a/", "no path"),
            ("https://a/avalon", "no path"),
            ("https://a?b", "no path"),
            ("https://u:p@a", "no user"),
            ("https://*.example.org", "patterns"),
            ("https://", "a host"),
            ("https://:80", "a host"),
            ("https://m\u{fc}ller.example", "in ASCII"),
            ("https://a b", "a host"),
            ("https://[::1", "a host"),
            ("https://[::1]x", "a host"),
            ("https://::1", "a host"),
            ("https://a:", "a port"),
            ("https://a:+1", "a port"),
            ("https://a:65536", "a port"),
        ] {
            let problem = origin(text).unwrap_err().to_string();
            assert!(problem.contains(reason), "{text}: {problem}");
        }
    }
}
