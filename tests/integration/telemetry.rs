//! What leaves the processes beside answers: metrics, errors, log lines.

mod ingest;
mod log;
mod sentry;

use std::net::UdpSocket;

use crate::harness::DEADLINE;
use crate::harness::server::{Setup, collection};

#[test]
fn requests_are_timed_to_statsd() {
    let statsd = UdpSocket::bind("127.0.0.1:0").expect("a socket");
    statsd.set_read_timeout(Some(DEADLINE)).expect("a timeout");
    let port = statsd.local_addr().expect("an address").port();
    let server = Setup::with(&collection(1))
        .variable("AVALON_STATSD_HOST", "127.0.0.1")
        .variable("AVALON_STATSD_PORT", &port.to_string())
        .variable("AVALON_STATSD_PREFIX", "music")
        .start();
    for endpoint in ["songs", "albums", "artists", "genres"] {
        server.get(&format!("/avalon/{endpoint}"));
    }
    let mut lines = Vec::new();
    while lines.len() < 4 {
        let mut datagram = [0; 2048];
        let len = statsd.recv(&mut datagram).expect("a datagram");
        lines.extend(String::from_utf8_lossy(&datagram[..len]).lines().map(str::to_owned));
    }
    for endpoint in ["songs", "albums", "artists", "genres"] {
        let timer =
            |line: &&String| line.starts_with(&format!("music.request.{endpoint}:")) && line.ends_with("|ms");
        assert_eq!(lines.iter().filter(timer).count(), 1, "{lines:?}");
    }
}
