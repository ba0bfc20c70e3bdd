//! Addresses of named hosts, which the master has looked up. A worker must not ask name servers
//! itself: the files that it would need, such as `/etc/hosts`, are replaced while it runs, and its
//! sandbox keeps the old ones.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, ToSocketAddrs};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use std::{fmt, io};

/// A host as the configuration names it, and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostName {
    /// The host to look up.
    pub host: String,
    /// Its port.
    pub port: u16,
}

/// The known addresses: those of the master at the time of the fork, and later updates.
static KNOWN: Mutex<BTreeMap<HostName, Vec<SocketAddr>>> = Mutex::new(BTreeMap::new());
static NEWS: Condvar = Condvar::new();

impl HostName {
    /// Creates a name of a host and a port.
    pub fn new(host: &str, port: u16) -> HostName {
        HostName { host: host.to_owned(), port }
    }

    /// Returns the address that the configuration holds. `localhost` is one too (RFC 6761, 6.3),
    /// and on the machine itself servers listen on IPv4 by default.
    pub fn literal(&self) -> Option<SocketAddr> {
        if self.host.eq_ignore_ascii_case("localhost") {
            return Some((Ipv4Addr::LOCALHOST, self.port).into());
        }
        // An IPv6 address may be written in brackets, as in URLs.
        let bare = self.host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let address = bare.unwrap_or(&self.host).parse::<IpAddr>().ok()?;
        Some((address, self.port).into())
    }

    /// Returns its address, if known; of several an IPv4 address, as in avalonms.
    pub fn address(&self) -> Option<SocketAddr> {
        self.literal().or_else(|| {
            let known = known();
            let addresses = known.get(self)?;
            addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()).copied()
        })
    }

    /// Returns all its addresses; waits up to `patience` until they are known.
    pub fn addresses_within(&self, patience: Duration) -> Vec<SocketAddr> {
        if let Some(literal) = self.literal() {
            return vec![literal];
        }
        let waited = NEWS.wait_timeout_while(known(), patience, |known| !known.contains_key(self));
        waited.unwrap_or_else(PoisonError::into_inner).0.get(self).cloned().unwrap_or_default()
    }

    /// Sets its addresses in this process, and returns whether they have changed. An empty list has
    /// no effect: the last addresses are better than none.
    pub fn learn(self, addresses: Vec<SocketAddr>) -> bool {
        if addresses.is_empty() {
            return false;
        }
        let before = known().insert(self, addresses.clone());
        NEWS.notify_all();
        before != Some(addresses)
    }

    /// Looks it up, which may take as long as name servers take.
    ///
    /// # Errors
    /// The system's error.
    pub fn look_up(&self) -> io::Result<Vec<SocketAddr>> {
        Ok((self.host.as_str(), self.port).to_socket_addrs()?.collect())
    }
}

impl fmt::Display for HostName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.host, self.port)
    }
}

/// Formats a name with its addresses as a line, without the newline, for [`parse`] in another
/// process.
pub fn line(name: &HostName, addresses: &[SocketAddr]) -> String {
    let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
    format!("{} {} {}", name.port, addresses.join(","), name.host)
}

/// Parses a line of [`line()`].
pub fn parse(line: &str) -> Option<(HostName, Vec<SocketAddr>)> {
    let mut words = line.splitn(3, ' ');
    let port = words.next()?.parse().ok()?;
    let addresses = words.next()?.split(',').map(str::parse).collect::<Result<_, _>>().ok()?;
    Some((HostName::new(words.next()?, port), addresses))
}

/// Returns all known names.
pub fn all() -> Vec<(HostName, Vec<SocketAddr>)> {
    known().iter().map(|(name, addresses)| (name.clone(), addresses.clone())).collect()
}

fn known() -> MutexGuard<'static, BTreeMap<HostName, Vec<SocketAddr>>> {
    KNOWN.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_need_no_looking_up() {
        for (host, expected) in [
            ("localhost", "127.0.0.1:8125"),
            ("LocalHost", "127.0.0.1:8125"),
            ("10.1.2.3", "10.1.2.3:8125"),
            ("::1", "[::1]:8125"),
            ("[::1]", "[::1]:8125"),
        ] {
            assert_eq!(
                HostName::new(host, 8125).address().map(|address| address.to_string()).as_deref(),
                Some(expected)
            );
        }
        assert_eq!(HostName::new("statsd.example", 8125).address(), None);
        assert!(HostName::new("no host has blanks", 8125).look_up().is_err());
    }

    #[test]
    fn learned_addresses_reach_waiting_callers() {
        let name = HostName::new("learned.example", 1);
        let addresses: Vec<SocketAddr> =
            ["[2001:db8::1]:1", "192.0.2.1:1"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(name.addresses_within(Duration::ZERO), []);
        let waits = std::thread::spawn({
            let name = name.clone();
            move || name.addresses_within(Duration::from_secs(60))
        });
        assert!(!name.clone().learn(Vec::new()));
        assert!(name.clone().learn(addresses.clone()) && !name.clone().learn(addresses.clone()));
        assert_eq!(waits.join().unwrap(), addresses);
        assert_eq!(name.address(), Some(addresses[1]));
        assert!(all().contains(&(name.clone(), addresses.clone())));
        assert!(name.clone().learn(addresses[..1].to_vec()));
        assert_eq!(name.address(), Some(addresses[0]));
    }

    #[test]
    fn lines_hold_the_known_addresses() {
        let name = HostName::new("a host of words", 65535);
        let addresses: Vec<SocketAddr> =
            ["[2001:db8::1]:1", "192.0.2.1:1"].map(|text| text.parse().unwrap()).to_vec();
        assert_eq!(parse(&line(&name, &addresses)), Some((name, addresses)));
        for wrong in ["", "1", "1 192.0.2.1:1", "x 192.0.2.1:1 host", "1 192.0.2.1 host", "1  host"] {
            assert_eq!(parse(wrong), None, "{wrong:?}");
        }
    }
}
