//! From settings to an open session on one of the servers in a URL. The choice follows libpq's rules.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::ops::ControlFlow;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use ::postgres::Client;

use super::DatabaseError;
pub(super) use super::attempt::ask;
use super::attempt::{Attempt, Outcome};
use super::place;
pub(super) use super::place::Place;
use crate::config::database_url::{Host, Server, Target};

/// An open session, and the place with the answering server alone: another connection to that place finds the
/// same rows and locks. Dropping the client ends the session.
pub(super) type Opened = (Client, Place);

/// Opens a session.
///
/// # Errors
/// All servers have failed, with the reason of each, or one has refused, for example a password.
pub(super) fn connect(place: &Place) -> Result<Opened, DatabaseError> {
    connect_as(place, &place.settings.application_name)
}

/// Opens a session under another name in `pg_stat_activity`, of at most 63 bytes.
///
/// # Errors
/// As for [`connect`].
pub(super) fn connect_as(place: &Place, application_name: &str) -> Result<Opened, DatabaseError> {
    let mut servers = place.settings.servers.clone();
    if place.settings.random_order {
        shuffle(&mut servers);
    }
    let mut search = Search { place, application_name, failures: Vec::new(), spare: None };
    for server in servers {
        if let Some(opened) = search.try_server(&server)? {
            return Ok(opened);
        }
    }
    match search.spare.take() {
        Some(opened) => Ok(opened),
        None => Err(place.unreachable(search.reasons())),
    }
}

/// The servers, which the search tries one after the other.
struct Search<'a> {
    place: &'a Place,
    application_name: &'a str,
    /// Names of the servers that have failed, and the reasons.
    failures: Vec<(String, String)>,
    /// The session to use if no preferred server answers.
    spare: Option<Opened>,
}

impl Search<'_> {
    /// Tries each address of a server. `None` makes the caller try the next server.
    fn try_server(&mut self, server: &Server) -> Result<Option<Opened>, DatabaseError> {
        let settings = &self.place.settings;
        let is_only_server = settings.servers.len() == 1;
        let began = Instant::now();
        let limit = settings.connect_timeout.limit(is_only_server);
        let mut addresses = match look_up(server, limit) {
            Ok(addresses) => addresses,
            Err(error) => {
                self.failures.push((place::name(server), error.to_string()));
                return Ok(None);
            }
        };
        if settings.random_order {
            shuffle(&mut addresses);
        }
        let is_only_one = is_only_server && addresses.len() == 1;
        // The look-up of a single address counts as a part of connecting to it.
        let used = if is_only_one { began.elapsed() } else { Duration::ZERO };
        let limit = settings.connect_timeout.limit(is_only_one);
        for address in &addresses {
            let name = match address {
                Some(address) if addresses.len() > 1 => format!("{} ({address})", place::name(server)),
                _ => place::name(server),
            };
            let at = Server { address: *address, ..server.clone() };
            let left = limit.map(|limit| limit.saturating_sub(used));
            if let ControlFlow::Break(outcome) = self.try_address(name, at, left)? {
                return Ok(outcome);
            }
        }
        Ok(None)
    }

    /// Tries one address. After `Continue` the caller tries the next address, after `Break(None)` the next
    /// server.
    fn try_address(
        &mut self,
        name: String,
        at: Server,
        limit: Option<Duration>,
    ) -> Result<ControlFlow<Option<Opened>>, DatabaseError> {
        let attempt = Attempt::new(self.place, &at, self.application_name)?;
        match within(limit, move || attempt.run()) {
            Ok(Outcome::Open(client)) => return Ok(ControlFlow::Break(Some((client, self.place.at(at))))),
            Ok(Outcome::OtherKind(client, found)) => {
                self.keep(client, at);
                let reason = format!("the server is not what target_session_attrs asks for: {found}");
                self.failures.push((name, reason));
                // Another address leads to the same server.
                return Ok(ControlFlow::Break(None));
            }
            Ok(Outcome::Failed { reason, may_go_on: true, .. }) => self.failures.push((name, reason)),
            Ok(Outcome::Failed { reason, is_outage, .. }) => {
                self.failures.push((name, reason));
                let (place, reasons) = (self.place, self.reasons());
                return Err(if is_outage { place.unreachable(reasons) } else { place.failed(reasons) });
            }
            Err(error) => self.failures.push((name, error.to_string())),
        }
        Ok(ControlFlow::Continue(()))
    }

    fn keep(&mut self, client: Client, server: Server) {
        if self.place.settings.target == Target::PreferStandby && self.spare.is_none() {
            self.spare = Some((client, self.place.at(server)));
        }
    }

    /// The reasons in one line. With a single server, which the message names already, it is the reason
    /// alone.
    fn reasons(&self) -> String {
        match &self.failures[..] {
            [(_, reason)] if self.place.settings.servers.len() == 1 => reason.clone(),
            several => {
                let named = several.iter().map(|(name, reason)| format!("{name}: {reason}"));
                named.collect::<Vec<_>>().join("; ")
            }
        }
    }
}

/// The reason why an attempt, or the look-up of its address, has no outcome.
#[derive(Debug)]
enum Unfinished {
    NoAnswer(Duration),
    LookUp(io::Error),
    NoThread(io::Error),
    Panic,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Unfinished::NoAnswer(limit) => {
                write!(f, "no answer within {} s", limit.as_millis().div_ceil(1000))
            }
            Unfinished::LookUp(error) => error.fmt(f),
            Unfinished::NoThread(error) => write!(f, "no thread can be started: {error}"),
            Unfinished::Panic => f.write_str("the thread that connects has panicked"),
        }
    }
}

/// The addresses of a server. `None` in the list stands for an address that the driver finds by itself.
fn look_up(server: &Server, limit: Option<Duration>) -> Result<Vec<Option<IpAddr>>, Unfinished> {
    let host = match &server.host {
        Host::Tcp(host) if server.address.is_none() => host.clone(),
        _ => return Ok(vec![server.address]),
    };
    if let Ok(address) = host.parse() {
        return Ok(vec![Some(address)]);
    }
    let port = server.port;
    let find = move || (host.as_str(), port).to_socket_addrs().map(Iterator::collect::<Vec<_>>);
    let found = within(limit, find)?.map_err(Unfinished::LookUp)?;
    if found.is_empty() {
        return Err(Unfinished::LookUp(io::Error::new(io::ErrorKind::NotFound, "the name has no address")));
    }
    Ok(found.iter().map(plain_address).collect())
}

/// Does `work` within a limit. The client can limit the time for a TCP connection, but not the time for the
/// server's greeting, encryption and authentication, and a look-up has no limit at all. So a thread does the
/// work, and this leaves it behind when the time is over: the scan and the loader end soon, and the thread
/// with them.
fn within<T: Send + 'static>(
    limit: Option<Duration>,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, Unfinished> {
    let (sender, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("connect".to_owned())
        // If the receiver has stopped waiting, the session is closed at once.
        .spawn(move || drop(sender.send(work())))
        .map_err(Unfinished::NoThread)?;
    match limit {
        None => outcome.recv().map_err(|_| Unfinished::Panic),
        Some(limit) => outcome.recv_timeout(limit).map_err(|error| match error {
            RecvTimeoutError::Timeout => Unfinished::NoAnswer(limit),
            RecvTimeoutError::Disconnected => Unfinished::Panic,
        }),
    }
}

/// Returns the address without a scope: the driver accepts no address that is valid only on one network
/// interface.
fn plain_address(address: &SocketAddr) -> Option<IpAddr> {
    match address {
        SocketAddr::V6(address) if address.scope_id() != 0 => None,
        address => Some(address.ip()),
    }
}

/// Shuffles with fresh randomness: loaders are forks of one master, so their hash tables all begin with the
/// same numbers.
fn shuffle<T>(items: &mut Vec<T>) {
    let random = RandomState::new();
    let seed = (std::process::id(), SystemTime::now());
    let mut numbered: Vec<(usize, T)> = items.drain(..).enumerate().collect();
    numbered.sort_by_cached_key(|(index, _)| random.hash_one((seed, *index)));
    items.extend(numbered.into_iter().map(|(_, item)| item));
}
