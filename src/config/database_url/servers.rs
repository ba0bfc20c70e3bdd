//! The servers of a URL: lists of hosts, ports and addresses, separated by commas as in libpq.

use std::net::IpAddr;
use std::path::PathBuf;

use super::error::DatabaseUrlError;
use super::notation::parse_port;
use super::postgres::{Host, Server};

const DEFAULT_PORT: u16 = 5432;

/// Debian's folder; a URL names any other place.
const DEFAULT_FOLDER: &str = "/var/run/postgresql";

/// The lists as written. Each is a text with commas, so that a parameter replaces the whole list.
#[derive(Debug, Default)]
pub(super) struct Lists {
    pub(super) hosts: String,
    pub(super) ports: String,
    pub(super) addresses: String,
}

impl Lists {
    /// Parses `host:port,[::1]:port`.
    pub(super) fn of_authority(authority: &str) -> Result<Lists, DatabaseUrlError> {
        let (mut hosts, mut ports) = (Vec::new(), Vec::new());
        let mut rest = authority;
        loop {
            let (host, after) = match rest.strip_prefix('[') {
                Some(bracketed) => bracketed.split_once(']').ok_or(DatabaseUrlError::Host)?,
                None => rest.split_at(rest.find([':', ',']).unwrap_or(rest.len())),
            };
            let (port, more) = match after.split_once(',') {
                Some((port, more)) => (port, Some(more)),
                None => (after, None),
            };
            hosts.push(host);
            ports.push(match port.strip_prefix(':') {
                Some(port) => port,
                None if port.is_empty() => "",
                None => return Err(DatabaseUrlError::Host),
            });
            match more {
                Some(more) => rest = more,
                None => break,
            }
        }
        Ok(Lists { hosts: hosts.join(","), ports: ports.join(","), addresses: String::new() })
    }

    /// Combines the lists. One port is for all servers; an empty item means the default.
    pub(super) fn servers(&self) -> Result<Vec<Server>, DatabaseUrlError> {
        let hosts: Vec<&str> = self.hosts.split(',').collect();
        let ports: Vec<&str> = self.ports.split(',').collect();
        let addresses: Vec<&str> = self.addresses.split(',').collect();
        let count = if self.addresses.is_empty() { hosts.len() } else { addresses.len() };
        if !self.hosts.is_empty() && hosts.len() != count {
            return Err(DatabaseUrlError::Count("hosts", "addresses (hostaddr)"));
        }
        if ports.len() != 1 && ports.len() != count {
            return Err(DatabaseUrlError::Count("ports", "hosts"));
        }
        let item = |list: &[&str], index: usize| list.get(index).copied().unwrap_or_default().to_owned();
        let server = |index: usize| {
            let port = if ports.len() == 1 { ports[0].to_owned() } else { item(&ports, index) };
            server(&item(&hosts, index), &port, &item(&addresses, index))
        };
        (0..count).map(server).collect()
    }
}

fn server(host: &str, port: &str, address: &str) -> Result<Server, DatabaseUrlError> {
    let port = match port {
        "" => DEFAULT_PORT,
        port => parse_port(port).ok_or(DatabaseUrlError::Port)?,
    };
    let address: Option<IpAddr> = match address {
        "" => None,
        address => {
            let expected = DatabaseUrlError::Value("hostaddr", "one IP address for each host");
            Some(address.parse().map_err(|_| expected)?)
        }
    };
    let host = match (host, address) {
        // With an address libpq does not check whether the host is a folder.
        (host, Some(address)) if host.is_empty() || host.starts_with('/') => Host::Tcp(address.to_string()),
        ("", _) => Host::Unix(PathBuf::from(DEFAULT_FOLDER)),
        (host, _) if host.starts_with('/') => Host::Unix(PathBuf::from(host)),
        (host, _) => Host::Tcp(host.to_owned()),
    };
    Ok(Server { host, port, address })
}
