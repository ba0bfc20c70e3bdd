//! Statsd over UDP: the timers of the original and counters, timers and gauges of our own. Never blocks, never
//! fails.
//!
//! Metrics are gathered into datagrams below the MTU, so whoever owns a [`Statsd`] calls [`Statsd::flush`] from
//! time to time. Made after the fork: a buffer that crosses one would be sent twice. What is gathered before
//! the host is known, or cannot be sent, is lost and counted.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, ToSocketAddrs, UdpSocket};
use std::panic::RefUnwindSafe;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::thread;
use std::time::Duration;

use cadence::{Counted, Gauged, MetricSink, StatsdClient, Timed};
use slog::{Logger, info};

/// The most bytes in a datagram: what fits an Ethernet frame with IPv6 headers and some tunnel's.
const DATAGRAM_MAX: usize = 1400;
/// How long the address of a host is used before it is looked up again.
const RESOLVE_EVERY: Duration = Duration::from_secs(60);
/// One more than the highest status that is counted by itself.
const STATUSES: usize = 600;

/// A sender of metrics, or nothing where none are wanted.
pub struct Statsd {
    client: Option<StatsdClient>,
    lost: Arc<AtomicU64>,
    /// Answers by status since the last flush: a counter costs a request less than a line of text.
    answers: Box<[AtomicU64; STATUSES]>,
}

impl Statsd {
    /// A sender for a worker, which may start a thread: a host that is no address is looked up there, now and
    /// every minute. An empty host means that no metrics are wanted.
    pub fn start(host: &str, port: u16, prefix: &str, log: &Logger) -> Statsd {
        let address = Arc::new(RwLock::new(literal(host, port)));
        let known = address.read().unwrap_or_else(PoisonError::into_inner).is_some();
        if !host.is_empty() && !known {
            let (host, log, address) = (host.to_owned(), log.clone(), Arc::clone(&address));
            let looking = thread::Builder::new().name("statsd-host".to_owned());
            // Without the thread no metrics are sent, which is counted.
            let _ = looking.spawn(move || keep_resolved(&host, port, &address, &log));
        }
        Statsd::over(host, prefix, address)
    }

    /// A sender for the master, which starts no thread and looks nothing up: to a host that is no address it
    /// sends as soon as somebody has told `found`, the answer of [`resolve`].
    pub fn start_single(host: &str, port: u16, prefix: &str, found: Option<SocketAddr>) -> Statsd {
        Statsd::over(host, prefix, Arc::new(RwLock::new(literal(host, port).or(found))))
    }

    fn over(host: &str, prefix: &str, address: Address) -> Statsd {
        let lost = Arc::new(AtomicU64::new(0));
        let sink = (!host.is_empty()).then(|| Datagrams::new(address, Arc::clone(&lost)));
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

    /// Records how long something took.
    pub fn time(&self, name: &str, elapsed: Duration) {
        if let Some(client) = &self.client {
            let _ = client.time(name, elapsed);
        }
    }

    /// Sends what was gathered.
    pub fn flush(&self) {
        let Some(client) = &self.client else { return };
        for (status, count) in self.answers.iter().enumerate() {
            // Read first: nearly all are zero for ever, and a swap writes.
            if count.load(Ordering::Relaxed) > 0 {
                self.count(&format!("response.{status}"), count.swap(0, Ordering::Relaxed));
            }
        }
        let _ = client.flush();
    }

    /// How many datagrams could not be sent.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for Statsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Statsd").field("sends", &self.client.is_some()).field("lost", &self.lost).finish()
    }
}

/// Looks a host up, which may take as long as name servers take.
///
/// A host with both kinds of address is sent to by IPv4, as the original does.
///
/// # Errors
/// What the system says, or that the host has no address.
pub fn resolve(host: &str, port: u16) -> io::Result<SocketAddr> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let wanted = addresses.iter().find(|address| address.is_ipv4()).or(addresses.first());
    wanted.copied().ok_or_else(|| io::Error::other("the host has no address"))
}

/// The address that is written in the configuration: `localhost` is one too (RFC 6761, 6.3), and on the
/// machine itself statsd listens on IPv4 unless told otherwise.
pub fn literal(host: &str, port: u16) -> Option<SocketAddr> {
    if host.eq_ignore_ascii_case("localhost") {
        return Some((Ipv4Addr::LOCALHOST, port).into());
    }
    // An IPv6 address may be written in brackets, as in URLs.
    let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    bare.parse::<IpAddr>().ok().map(|address| (address, port).into())
}

/// Where to send, once that is known.
type Address = Arc<RwLock<Option<SocketAddr>>>;

/// Looks the host up for ever. The last address stays in use while name servers fail.
fn keep_resolved(host: &str, port: u16, address: &Address, log: &Logger) {
    let mut told = false;
    loop {
        match resolve(host, port) {
            Ok(found) => *address.write().unwrap_or_else(PoisonError::into_inner) = Some(found),
            Err(error) if !told => {
                told = true;
                info!(log, "no metrics are sent until statsd's host is found"; "host" => host, "error" => %error);
            }
            Err(_) => {}
        }
        thread::sleep(RESOLVE_EVERY);
    }
}

/// The sink: lines gathered into datagrams, sent without waiting.
struct Datagrams {
    address: Address,
    lines: Mutex<String>,
    sockets: [Option<UdpSocket>; 2],
    lost: Arc<AtomicU64>,
}

/// A panic leaves nothing half done here.
impl RefUnwindSafe for Datagrams {}

impl Datagrams {
    fn new(address: Address, lost: Arc<AtomicU64>) -> Datagrams {
        let unspecified: [IpAddr; 2] = [Ipv4Addr::UNSPECIFIED.into(), Ipv6Addr::UNSPECIFIED.into()];
        let sockets = unspecified.map(|address| {
            // One of the two kinds of address may not be there at all.
            let socket = UdpSocket::bind((address, 0)).ok()?;
            socket.set_nonblocking(true).ok().map(|()| socket)
        });
        Datagrams { address, lines: Mutex::default(), sockets, lost }
    }

    fn send(&self, lines: &mut MutexGuard<'_, String>) {
        if lines.is_empty() {
            return;
        }
        let address = *self.address.read().unwrap_or_else(PoisonError::into_inner);
        let sent = address.and_then(|address| {
            let socket = self.sockets[usize::from(address.is_ipv6())].as_ref()?;
            // A full queue or a network that is down loses it, as UDP has it.
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

    fn start(host: &str, port: u16, prefix: &str) -> Statsd {
        Statsd::start(host, port, prefix, &Logger::root(slog::Discard, slog::o!()))
    }

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
        let statsd = start("localhost", port, "avalon");
        statsd.request("songs", Duration::from_micros(12_900));
        statsd.request("albums", Duration::ZERO);
        statsd.flush();
        assert_eq!(datagram(&socket), "avalon.request.songs:12|ms\navalon.request.albums:0|ms\n");
    }

    #[test]
    fn datagrams_stay_below_the_mtu_and_leave_when_full() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = start("127.0.0.1", port, "avalon");
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
        let statsd = start("127.0.0.1", port, "");
        statsd.request("songs", Duration::from_millis(1));
        statsd.flush();
        assert_eq!(datagram(&socket), "request.songs:1|ms\n");
    }

    #[test]
    fn answers_are_counted_by_status_and_sent_once() {
        let (socket, port) = receiver("127.0.0.1");
        let statsd = start("127.0.0.1", port, "avalon");
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
    fn nobody_listening_costs_nothing() {
        let (socket, port) = receiver("127.0.0.1");
        drop(socket);
        let statsd = start("127.0.0.1", port, "avalon");
        for _ in 0..1000 {
            statsd.request("songs", Duration::from_millis(1));
            statsd.flush();
        }
        assert_eq!(statsd.lost(), 0);
    }

    #[test]
    fn a_host_is_sent_to_once_it_is_found() {
        let (socket, port) = receiver("127.0.0.1");
        let address = Arc::new(RwLock::new(None));
        let statsd = Statsd::over("statsd.example", "avalon", Arc::clone(&address));
        statsd.count("early", 1);
        statsd.flush();
        assert_eq!(statsd.lost(), 1);
        *address.write().unwrap() = Some(resolve("127.0.0.1", port).unwrap());
        statsd.count("late", 1);
        statsd.flush();
        assert_eq!((datagram(&socket), statsd.lost()), ("avalon.late:1|c\n".to_owned(), 1));
    }

    #[test]
    fn a_host_that_is_none_is_looked_up_beside_the_caller_and_loses_what_is_sent() {
        let statsd = start("no host has blanks", 8125, "avalon");
        statsd.request("songs", Duration::from_millis(1));
        statsd.flush();
        assert_eq!(statsd.lost(), 1);
        assert!(resolve("no host has blanks", 8125).is_err());
    }

    #[test]
    fn addresses_need_no_looking_up() {
        for (host, expected) in [
            ("localhost", "127.0.0.1:8125"),
            ("10.1.2.3", "10.1.2.3:8125"),
            ("::1", "[::1]:8125"),
            ("[::1]", "[::1]:8125"),
        ] {
            assert_eq!(literal(host, 8125).map(|address| address.to_string()).as_deref(), Some(expected));
        }
        assert_eq!(literal("statsd.example", 8125), None);
    }

    #[test]
    fn without_a_host_nothing_is_sent_or_lost() {
        let statsd = start("", 8125, "avalon");
        statsd.answered(200);
        statsd.flush();
        assert_eq!(statsd.lost(), 0);
    }
}
