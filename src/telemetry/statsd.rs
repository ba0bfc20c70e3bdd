//! Statsd over UDP: the timers of avalonms, and counters, timers and gauges of this program. Never
//! blocks, never fails.
//!
//! Metrics are gathered into datagrams below the MTU, so the owner of a [`Statsd`] calls
//! [`Statsd::flush`] regularly. Create it after the fork: a buffer that crosses a fork would be
//! sent twice. Metrics that are gathered before the host is known, or that cannot be sent, are lost
//! and counted.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, UdpSocket};
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use cadence::{Counted, Gauged, MetricSink, StatsdClient, Timed};

use super::names::HostName;

/// Most bytes in a datagram: it fits an Ethernet frame with IPv6 headers and some tunnel's.
const DATAGRAM_MAX: usize = 1400;
/// One more than the highest status that has its own counter.
const STATUSES: usize = 600;

/// A sender of metrics, or a silent one without a host.
pub struct Statsd {
    client: Option<StatsdClient>,
    lost: Arc<AtomicU64>,
    /// Answers by status since the last flush: a counter costs a request less than a line of text.
    answers: Box<[AtomicU64; STATUSES]>,
}

impl Statsd {
    /// Creates a sender to this host. The address of a named host must be known
    /// ([`names`](super::names)) before metrics arrive there. An empty host turns metrics off.
    pub fn start(host: &str, port: u16, prefix: &str) -> Statsd {
        let lost = Arc::new(AtomicU64::new(0));
        let sink = (!host.is_empty()).then(|| Datagrams::new(HostName::new(host, port), Arc::clone(&lost)));
        Statsd {
            client: sink.map(|sink| StatsdClient::from_sink(prefix, sink)),
            lost,
            answers: Box::new([const { AtomicU64::new(0) }; STATUSES]),
        }
    }

    /// Counts a request to an endpoint such as `songs`, as the timer `<prefix>.request.songs` in whole
    /// milliseconds.
    pub fn request(&self, endpoint: &'static str, elapsed: Duration) {
        if let Some(client) = &self.client {
            let _ = client.time(&format!("request.{endpoint}"), elapsed);
        }
    }

    /// Counts an answer, for the counter `<prefix>.response.<status>`.
    pub fn answered(&self, status: u16) {
        if let Some(count) = self.answers.get(usize::from(status)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Adds to a counter.
    pub fn count(&self, name: &str, count: u64) {
        if let Some(client) = &self.client {
            let _ = client.count(name, i64::try_from(count).unwrap_or(i64::MAX));
        }
    }

    /// Sets a gauge.
    pub fn gauge(&self, name: &str, value: u64) {
        if let Some(client) = &self.client {
            let _ = client.gauge(name, value);
        }
    }

    /// Records a duration.
    pub fn time(&self, name: &str, elapsed: Duration) {
        if let Some(client) = &self.client {
            let _ = client.time(name, elapsed);
        }
    }

    /// Sends the gathered metrics.
    pub fn flush(&self) {
        let Some(client) = &self.client else { return };
        for (status, count) in self.answers.iter().enumerate() {
            // The load comes first: nearly all counters stay zero, and a swap writes.
            if count.load(Ordering::Relaxed) > 0 {
                self.count(&format!("response.{status}"), count.swap(0, Ordering::Relaxed));
            }
        }
        let _ = client.flush();
    }

    /// Returns the number of datagrams that could not be sent.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Statsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statsd").field("sends", &self.client.is_some()).field("lost", &self.lost).finish()
    }
}

/// The sink: lines gathered into datagrams, sent without waiting.
struct Datagrams {
    host: HostName,
    lines: Mutex<String>,
    sockets: [Option<UdpSocket>; 2],
    lost: Arc<AtomicU64>,
}

/// A panic leaves no partial state here.
impl RefUnwindSafe for Datagrams {}

impl Datagrams {
    fn new(host: HostName, lost: Arc<AtomicU64>) -> Datagrams {
        let unspecified: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let sockets = unspecified.map(|address| {
            // The machine may lack one of the two kinds of address.
            let socket = UdpSocket::bind((address, 0)).ok()?;
            socket.set_nonblocking(true).ok().map(|()| socket)
        });
        Datagrams { host, lines: Mutex::default(), sockets, lost }
    }

    fn send(&self, lines: &mut MutexGuard<'_, String>) {
        if lines.is_empty() {
            return;
        }
        let sent = self.host.address().and_then(|address| {
            let socket = self.sockets[usize::from(address.is_ipv6())].as_ref()?;
            // A full queue or a network that is down loses the datagram, as usual with UDP.
            socket.send_to(lines.as_bytes(), address).ok()
        });
        if sent.is_none() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        lines.clear();
    }
}

impl MetricSink for Datagrams {
    fn emit(&self, metric: &str) -> io::Result<usize> {
        let mut lines = self.lines.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() + metric.len() + 1 > DATAGRAM_MAX {
            self.send(&mut lines);
        }
        lines.push_str(metric);
        lines.push('\n');
        Ok(0)
    }

    fn flush(&self) -> io::Result<()> {
        self.send(&mut self.lines.lock().unwrap_or_else(PoisonError::into_inner));
        Ok(())
    }
}

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
    fn answers_are_counted_by_status_and_sent_once() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = Statsd::start("127.0.0.1", port, "avalon");
        for status in [200, 404, 200, 599, 600, 1000] {
            statsd.answered(status);
        }
        statsd.gauge("workers", 3);
        statsd.count("worker.restart.died", 2);
        statsd.time("reload.duration", Duration::from_millis(1500));
        statsd.flush();
        assert_eq!(
            datagram(&socket),
            "avalon.workers:3|g\navalon.worker.restart.died:2|c\navalon.reload.duration:1500|ms\n\
             avalon.response.200:2|c\navalon.response.404:1|c\navalon.response.599:1|c\n"
        );
        statsd.flush();
        statsd.answered(304);
        statsd.flush();
        assert_eq!(datagram(&socket), "avalon.response.304:1|c\n");
    }

    #[test]
    fn a_missing_listener_costs_nothing() {
        let (socket, port) = receiver("127.0.0.1");
        drop(socket);
        let statsd = Statsd::start("127.0.0.1", port, "avalon");
        for _ in 0..1000 {
            statsd.request("songs", Duration::from_millis(1));
            statsd.flush();
        }
        assert_eq!(statsd.lost(), 0);
    }

    #[test]
    fn a_host_is_sent_to_once_it_is_known() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = Statsd::start("statsd.example", port, "avalon");
        statsd.count("early", 1);
        statsd.flush();
        assert_eq!(statsd.lost(), 1);
        HostName::new("statsd.example", port).learn(vec![([127, 0, 0, 1], port).into()]);
        statsd.count("late", 1);
        statsd.flush();
        assert_eq!((datagram(&socket), statsd.lost()), ("avalon.late:1|c\n".to_owned(), 1));
    }

    #[test]
    fn without_a_host_nothing_is_sent_or_lost() {
        let statsd = Statsd::start("", 8125, "avalon");
        statsd.answered(200);
        statsd.flush();
        assert_eq!(statsd.lost(), 0);
    }
}
