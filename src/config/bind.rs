//! Addresses to serve on, in Gunicorn's notation.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;

/// Gunicorn's port for an address without one.
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

/// The reason why a text is not an address to serve on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AddressError {
    /// There is no text.
    Empty,
    /// The path of a Unix socket is relative.
    RelativePath,
    /// A descriptor, which Gunicorn accepts.
    Descriptor,
    /// A scheme precedes an address, which is most likely this one.
    Scheme(String),
    /// A number takes the place of the host: most likely it is the port.
    PortAlone(String),
    /// This is not a number from 0 to 65535.
    Port(String),
    /// This is not a host.
    Host(String),
    /// A bracket opens and does not close.
    Bracket,
    /// The text in brackets is not an IPv6 address.
    Ipv6(String),
    /// The text behind the brackets is not a port.
    AfterBracket(String),
    /// An IPv6 address lacks its brackets.
    NoBrackets,
}

impl fmt::Display for AddressError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressError::Empty => f.write_str("the address is empty"),
            AddressError::RelativePath => f.write_str("the path after unix: must be absolute"),
            AddressError::Descriptor => {
                f.write_str("descriptors are taken from systemd (LISTEN_FDS), which needs no address")
            }
            AddressError::Scheme(meant) => write!(f, "an address has no scheme; did you mean {meant:?}?"),
            AddressError::PortAlone(port) => write!(f, "{port:?} is no host; did you mean \":{port}\"?"),
            AddressError::Port(text) => write!(f, "{text:?} is no port (0 to 65535)"),
            AddressError::Host(text) => write!(f, "{text:?} is no host"),
            AddressError::Bracket => f.write_str("a ] is missing"),
            AddressError::Ipv6(text) => write!(f, "{text:?} is no IPv6 address"),
            AddressError::AfterBracket(text) => write!(f, "{text:?} after the ]"),
            AddressError::NoBrackets => f.write_str("an IPv6 address stands in brackets"),
        }
    }
}

impl std::error::Error for AddressError {}

impl FromStr for BindAddress {
    type Err = AddressError;

    fn from_str(text: &str) -> Result<Self, AddressError> {
        if let Some(path) = text.strip_prefix("unix:") {
            // Gunicorn also accepts unix:///path.
            let path = path.strip_prefix("//").unwrap_or(path);
            return if path.starts_with('/') {
                Ok(BindAddress::Unix(path.into()))
            } else {
                Err(AddressError::RelativePath)
            };
        }
        // Gunicorn also accepts tcp://host:port.
        let text = text.strip_prefix("tcp://").unwrap_or(text);
        if let Some((scheme, rest)) = text.split_once("://") {
            return Err(match scheme {
                "fd" => AddressError::Descriptor,
                _ => AddressError::Scheme(rest.trim_end_matches('/').to_owned()),
            });
        }
        let (host, port) = split_port(text)?;
        if port.is_none() && host.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(AddressError::PortAlone(host.to_owned()));
        }
        let port = match port {
            None => DEFAULT_PORT,
            Some(digits) => digits.parse().map_err(|_| AddressError::Port(digits.to_owned()))?,
        };
        let host = if host.is_empty() { "0.0.0.0" } else { host };
        if host.chars().any(|c| c.is_whitespace() || c == '/') {
            return Err(AddressError::Host(host.to_owned()));
        }
        Ok(BindAddress::Tcp { host: host.to_owned(), port })
    }
}

/// Returns the host without brackets, and the text after the last colon.
fn split_port(text: &str) -> Result<(&str, Option<&str>), AddressError> {
    if text.is_empty() {
        return Err(AddressError::Empty);
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, after) = rest.split_once(']').ok_or(AddressError::Bracket)?;
        host.parse::<std::net::Ipv6Addr>().map_err(|_| AddressError::Ipv6(host.to_owned()))?;
        return match after.strip_prefix(':') {
            Some(port) => Ok((host, Some(port))),
            None if after.is_empty() => Ok((host, None)),
            None => Err(AddressError::AfterBracket(after.to_owned())),
        };
    }
    match text.rsplit_once(':') {
        Some((host, _)) if host.contains(':') => Err(AddressError::NoBrackets),
        Some((host, port)) => Ok((host, Some(port))),
        None => Ok((text, None)),
    }
}

/// Returns the preferred address of a host: its first IPv4 address, if it has one, as in Gunicorn.
/// So clients of 127.0.0.1 are served if `localhost` is `::1` as well.
pub fn preferred(addresses: &[SocketAddr]) -> Option<SocketAddr> {
    addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
}

impl BindAddress {
    /// Returns the port of an IPv4 address, or of a name, which becomes an IPv4 address if it has
    /// one.
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
    fn other_texts_are_refused() {
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
    fn likely_meaning_is_said() {
        for (text, meant) in [
            ("http://127.0.0.1:8000", "\"127.0.0.1:8000\""),
            ("https://music.example/", "\"music.example\""),
            ("8000", "\":8000\""),
        ] {
            let message = text.parse::<BindAddress>().unwrap_err().to_string();
            assert!(message.contains(&format!("did you mean {meant}?")), "{message}");
        }
    }
}
