//! Addresses to serve on, in Gunicorn's notation.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Gunicorn's port where an address names none.
const DEFAULT_PORT: u16 = 8000;

/// One address of `BIND`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BindAddress {
    /// A host name or IP address, and a port; port 0 lets the kernel choose.
    Tcp {
        /// Name or address, IPv6 without brackets.
        host: String,
        /// Port.
        port: u16,
    },
    /// A Unix socket at this path.
    Unix(PathBuf),
}

impl FromStr for BindAddress {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(path) = text.strip_prefix("unix:") {
            // Gunicorn takes unix:///path as well.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(BindAddress::Unix(path.into()))
            } else {
                Err("the path after unix: must be absolute".to_owned())
            };
        }
        // Gunicorn takes tcp://host:port as well.
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(match scheme {
                "fd" => "descriptors are taken from systemd (LISTEN_FDS), which needs no address".to_owned(),
                _ => format!("an address has no scheme; did you mean {:?}?", rest.trim_end_matches('/')),
            });
        }
        let (host, port) = split_port(text)?;
        if port.is_none() && host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("{host:?} is no host; did you mean \":{host}\"?"));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().map_err(|_| format!("{digits:?} is no port (0 to 65535)"))?,
        };
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        if host.chars().any(|c| c.is_whitespace() || c == '/') {
            return Err(format!("{host:?} is no host"));
        }
        Ok(BindAddress::Tcp { host: host.to_owned(), port })
    }
}

/// Host without brackets, and what stands after the last colon.
fn split_port(text: &str) -> Result<(&str, Option<&str>), String> {
    if text.is_empty() {
        return Err("the address is empty".to_owned());
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or("a ] is missing")?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| format!("{host:?} is no IPv6 address"))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(format!("{after:?} after the ]")),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err("an IPv6 address stands in brackets".to_owned()),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Which address of a host is meant: its first IPv4 address, if it has one, as with Gunicorn. So where
/// `localhost` is `::1` as well, callers of 127.0.0.1 are served.
pub fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

impl BindAddress {
    /// The port of an IPv4 address, or of a name, which is one where it can be.
    pub fn ipv4_port(&self) -> Option<u16> {
        match self {
            BindAddress::Tcp { host, port } if !host.contains(':') => Some(*port),
            _ => None,
        }
    }
}

impl fmt::Display for BindAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BindAddress::Tcp { host, port } if host.contains(':') => write!(f, "[{host}]:{port}"),
            BindAddress::Tcp { host, port } => write!(f, "{host}:{port}"),
            BindAddress::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_gunicorns() {
        for (text, shown) in [
            ("127.0.0.1:80", "127.0.0.1:80"),
            ("localhost", "localhost:8000"),
            (":9000", "0.0.0.0:9000"),
            ("[::1]:0", "[::1]:0"),
            ("[::1]", "[::1]:8000"),
            ("unix:/run/a.sock", "unix:/run/a.sock"),
            ("unix:///run/a.sock", "unix:/run/a.sock"),
            ("tcp://[::1]:80", "[::1]:80"),
        ] {
            assert_eq!(text.parse::<BindAddress>().unwrap().to_string(), shown);
        }
    }

    #[test]
    fn ipv4_is_preferred() {
        let of = |texts: &[&str]| {
            let addresses: Vec<SocketAddr> = texts.iter().map(|text| text.parse().unwrap()).collect();
            preferred(&addresses).map(|address| address.to_string())
        };
        assert_eq!(of(&["[::1]:80", "127.0.0.1:80", "127.0.0.2:80"]).as_deref(), Some("127.0.0.1:80"));
        assert_eq!(of(&["[::1]:80", "[::2]:80"]).as_deref(), Some("[::1]:80"));
        assert_eq!(of(&[]), None);
    }

    #[test]
    fn what_is_no_address_is_refused() {
        for text in [
            "",
            "::1",
            "::1:80",
            "host:http",
            "host:65536",
            "[::1",
            "[x]:1",
            "[::1]x",
            "unix:a",
            "a b:1",
            "fd://3",
        ] {
            assert!(text.parse::<BindAddress>().is_err(), "{text:?}");
        }
    }

    #[test]
    fn what_was_probably_meant_is_said() {
        for (text, meant) in [
            ("http://127.0.0.1:8000", "\"127.0.0.1:8000\""),
            ("https://music.example/", "\"music.example\""),
            ("8000", "\":8000\""),
        ] {
            let message = text.parse::<BindAddress>().unwrap_err();
            assert!(message.contains(&format!("did you mean {meant}?")), "{message}");
        }
    }
}
