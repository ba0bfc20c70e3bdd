//! HAProxy's PROXY protocol: the proxy names its client before all other bytes.
//!
//! A trusted proxy must begin with it. Otherwise a client behind a proxy that forwards bytes could
//! send a header itself. From all other peers the header is not HTTP. (Gunicorn also accepts a
//! connection without it.)

use std::io;

use ppp::{PartialResult, v1, v2};
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::config::Trusted;
use crate::worker::watch::caller::Peer;

/// Bytes of the longest header of version 1, and the first bytes of every header.
const LINE_MAX: usize = 107;
const LINE_BEGIN: &[u8] = b"PROXY ";

/// Reads the header of a connection from `peer`, if it must have one. Returns the client that the
/// proxy names, or the peer if it speaks for itself, and the bytes that were read behind the
/// header.
///
/// # Errors
/// If there is no header, or the connection ends before the header does.
pub(in crate::worker) async fn client<S: AsyncRead + Unpin>(
    socket: &mut S,
    peer: Peer,
    proxies: Option<&Trusted>,
) -> io::Result<(Peer, Vec<u8>)> {
    if !proxies.is_some_and(|proxies| proxies.contains(peer)) {
        return Ok((peer, Vec::new()));
    }
    let mut read = Vec::new();
    loop {
        if socket.read_buf(&mut read).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        match parse(&read) {
            Parsed::Whole { len, client } => return Ok((client.unwrap_or(peer), read.split_off(len))),
            Parsed::Part => {}
            Parsed::Wrong => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "it begins with no PROXY header"));
            }
        }
    }
}

#[derive(Debug, PartialEq)]
enum Parsed {
    /// A header of this length; the client, unless the proxy speaks for itself or does not know it.
    Whole { len: usize, client: Option<Peer> },
    /// The begin of a header.
    Part,
    /// No header.
    Wrong,
}

/// Parses a header. One of version 2 announces its length, one of version 1 is a line.
fn parse(bytes: &[u8]) -> Parsed {
    let common = bytes.len().min(LINE_BEGIN.len());
    if bytes[..common] == LINE_BEGIN[..common] {
        return parse_line(bytes);
    }
    let header = v2::Header::try_from(bytes);
    if header.is_incomplete() {
        return Parsed::Part;
    }
    let Ok(header) = header else { return Parsed::Wrong };
    let client = match (header.command, header.addresses) {
        (v2::Command::Local, _) | (_, v2::Addresses::Unspecified) => None,
        (_, v2::Addresses::IPv4(of)) => Some(Some(of.source_address.into())),
        (_, v2::Addresses::IPv6(of)) => Some(Some(of.source_address.into())),
        (_, v2::Addresses::Unix(_)) => Some(None),
    };
    Parsed::Whole { len: header.header.len(), client }
}

fn parse_line(bytes: &[u8]) -> Parsed {
    let within = &bytes[..bytes.len().min(LINE_MAX)];
    let Some(end) = within.iter().position(|byte| *byte == b'\n') else {
        return if bytes.len() < LINE_MAX { Parsed::Part } else { Parsed::Wrong };
    };
    let Ok(header) = v1::Header::try_from(&bytes[..=end]) else { return Parsed::Wrong };
    let client = match header.addresses {
        v1::Addresses::Unknown => None,
        v1::Addresses::Tcp4(of) => Some(Some(of.source_address.into())),
        v1::Addresses::Tcp6(of) => Some(Some(of.source_address.into())),
    };
    Parsed::Whole { len: end + 1, client }
}

#[cfg(test)]
mod tests;
