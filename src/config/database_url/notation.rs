//! Hosts, ports and names as they stand in a URL and in its parameters.

use std::path::PathBuf;

use super::error::DatabaseUrlError;
use super::postgres::Host;

/// A name that a message may repeat. Text that does not look like a name becomes `...`, so that no
/// part of a password in a wrong place gets into a log.
pub(super) fn printable_name(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    if text.len() <= 30 && text.chars().all(is_name) { text.to_owned() } else { "...".to_owned() }
}

pub(super) fn parse_host(host: &str) -> Result<Host, DatabaseUrlError> {
    match host {
        _ if host.starts_with('/') => Ok(Host::Unix(PathBuf::from(host))),
        _ if host.contains(',') => Err(DatabaseUrlError::Host),
        _ => Ok(Host::Tcp(host.to_owned())),
    }
}

pub(super) fn parse_port(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port != 0)
}
