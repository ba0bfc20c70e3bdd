//! Statsd over UDP: the timers of the original. Never blocks, never fails, starts no thread.
//!
//! Timers are gathered into datagrams below the MTU, so whoever owns a [`Statsd`] calls [`Statsd::flush`]
//! from time to time. Made after the fork: a buffer that crosses one would be sent twice.

use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::Duration;

use cadence::{BufferedUdpMetricSink, StatsdClient, Timed};

/// The most bytes in a datagram: what fits an Ethernet frame with IPv6 headers and some tunnel's.
const DATAGRAM_MAX: usize = 1400;

/// A sender of timers, or nothing where the host is unknown.
pub struct Statsd {
    client: Option<StatsdClient>,
    error: Option<StatsdError>,
}

impl Statsd {
    /// Resolves the host, which may block, and makes a sender. An empty host means that none is wanted.
    ///
    /// A host with both kinds of address is sent to by IPv4, as the original does: `localhost` is such a host
    /// on most machines, and statsd listens on IPv4 unless told otherwise.
    pub fn start(host: &str, port: u16, prefix: &str) -> Statsd {
        if host.is_empty() {
            return Statsd { client: None, error: None };
        }
        match connect(host, port, prefix) {
            Ok(client) => Statsd { client: Some(client), error: None },
            Err(reason) => {
                let error = StatsdError { host: host.to_owned(), port, reason };
                Statsd { client: None, error: Some(error) }
            }
        }
    }

    /// Why nothing will be sent, for one warning at start.
    pub fn error(&self) -> Option<&StatsdError> {
        self.error.as_ref()
    }

    /// Counts a request to an endpoint such as `songs`, as the timer `<prefix>.request.songs` in whole
    /// milliseconds.
    pub fn request(&self, endpoint: &'static str, elapsed: Duration) {
        if let Some(client) = &self.client {
            // A datagram that cannot be sent is lost, as UDP has it.
            let _ = client.time(&format!("request.{endpoint}"), elapsed);
        }
    }

    /// Sends what was gathered.
    pub fn flush(&self) {
        if let Some(client) = &self.client {
            let _ = client.flush();
        }
    }
}

impl fmt::Debug for Statsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statsd").field("sends", &self.client.is_some()).field("error", &self.error).finish()
    }
}

fn connect(host: &str, port: u16, prefix: &str) -> io::Result<StatsdClient> {
    // An IPv6 address may be written in brackets, as in URLs.
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let Some(&address) = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first()) else {
        return Err(io::Error::other("the host has no address"));
    };
    let socket = match address {
        SocketAddr::V4(_) => UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?,
        SocketAddr::V6(_) => UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0))?,
    };
    socket.set_nonblocking(true)?;
    let sink =
        BufferedUdpMetricSink::with_capacity(address, socket, DATAGRAM_MAX).map_err(io::Error::other)?;
    Ok(StatsdClient::from_sink(prefix, sink))
}

/// Why nothing is sent to statsd.
#[derive(Debug)]
pub struct StatsdError {
    host: String,
    port: u16,
    reason: io::Error,
}

impl fmt::Display for StatsdError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let StatsdError { host, port, reason } = self;
        write!(f, "no metrics are sent, statsd at {host} port {port} cannot be addressed: {reason}")
    }
}

impl std::error::Error for StatsdError {}

#[cfg(test)]
mod tests {
    use super::*;

    /// A socket that plays statsd. Its time-out only ends a test that fails.
    fn receiver(host: &str) -> (UdpSocket, u16) {
        let socket = UdpSocket::bind((host, 0)).unwrap();
        socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let port = socket.local_addr().unwrap().port();
        (socket, port)
    }

    fn datagram(socket: &UdpSocket) -> String {
        let mut bytes = [0; 65536];
        let count = socket.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..count].to_vec()).unwrap()
    }

    #[test]
    fn requests_arrive_as_the_timers_of_the_original() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = Statsd::start("localhost", port, "avalon");
        assert!(statsd.error().is_none());
        statsd.request("songs", Duration::from_micros(12_900));
        statsd.request("albums", Duration::ZERO);
        statsd.flush();
        assert_eq!(datagram(&socket), "avalon.request.songs:12|ms\navalon.request.albums:0|ms\n");
    }

    #[test]
    fn datagrams_stay_below_the_mtu_and_leave_when_full() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = Statsd::start("127.0.0.1", port, "avalon");
        for _ in 0..100 {
            statsd.request("genres", Duration::from_millis(3));
        }
        let first = datagram(&socket);
        assert!(first.len() > 1000 && first.len() <= DATAGRAM_MAX, "{}", first.len());
        statsd.flush();
        let rest = datagram(&socket);
        assert_eq!(first.lines().count() + rest.lines().count(), 100);
    }

    #[test]
    fn an_empty_prefix_leaves_no_dot() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = Statsd::start("127.0.0.1", port, "");
        statsd.request("songs", Duration::from_millis(1));
        statsd.flush();
        assert_eq!(datagram(&socket), "request.songs:1|ms\n");
    }

    #[test]
    fn nobody_listening_is_no_error() {
        let (socket, port) = receiver("127.0.0.1");
        drop(socket);
        let statsd = Statsd::start("127.0.0.1", port, "avalon");
        for _ in 0..1000 {
            statsd.request("songs", Duration::from_millis(1));
            statsd.flush();
        }
        assert!(statsd.error().is_none());
    }

    #[test]
    fn an_unknown_host_is_said_once_and_sends_nothing() {
        let statsd = Statsd::start("no host has blanks", 8125, "avalon");
        statsd.request("songs", Duration::from_millis(1));
        statsd.flush();
        let error = statsd.error().unwrap().to_string();
        assert!(error.contains("statsd at no host has blanks port 8125"), "{error}");
    }

    #[test]
    fn no_host_is_no_error() {
        assert!(Statsd::start("", 8125, "avalon").error().is_none());
    }
}
