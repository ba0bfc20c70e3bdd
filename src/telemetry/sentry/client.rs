//! The client of Sentry, with the feature `sentry`. It does nothing without a DSN.
//!
//! A worker or another child starts the client after the fork, as the client has a thread that sends. Only
//! the end of the process waits for the network, for at most [`FLUSH_MAX`].

mod report;

use std::borrow::Cow;
use std::fmt;
use std::sync::atomic::Ordering;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Once};
use std::thread;
use std::time::Duration;

use sentry::integrations::backtrace::ProcessStacktraceIntegration;
use sentry::integrations::contexts::ContextIntegration;
use sentry::transports::{UreqHttpTransport, UreqHttpTransportOptions};
use sentry::types::{Dsn, ParseDsnError};
use sentry::{Client, ClientOptions, Envelope, Hub, Transport, TransportFactory, TransportOptions};
use ureq::http::Uri;
use ureq::unversioned::resolver::{ResolvedSocketAddrs, Resolver};
use ureq::unversioned::transport::{DefaultConnector, NextTimeout};

pub(in crate::telemetry) use self::report::capture_record;
pub use self::report::{Description, Laid, catch, take_laid};
use self::report::{ENABLED, capture_panic, lay_aside};
use super::settings::{Lookup, SentryDsnError, SentrySettings};
use crate::telemetry::names::HostName;

/// Longest wait of an ending process for the last events.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Longest time to send one event; then the next one has its turn.
const SEND_MAX: Duration = Duration::from_secs(10);

/// Longest wait of an event for the address of its host.
const LOOK_UP_MAX: Duration = Duration::from_secs(6);
/// Most addresses of a host that ureq tries.
const ADDRESSES_MAX: usize = 16;

/// Checks a DSN. The error does not repeat it.
///
/// # Errors
/// The text is not a URL of the form `https://KEY@HOST/PROJECT`.
pub fn check_dsn(dsn: &str) -> Result<(), SentryDsnError> {
    parse_dsn(dsn).map(|_| ())
}

/// The hosts to which events go: that of the DSN, and the proxy that the environment names. Their addresses
/// must be known before a process that starts with [`Lookup::Known`] can send an event.
pub fn hosts(settings: &SentrySettings) -> Vec<HostName> {
    let Some(dsn) = settings.dsn.as_deref().and_then(|dsn| parse_dsn(dsn).ok()) else { return Vec::new() };
    let proxy = ureq::Proxy::try_from_env().map(|proxy| HostName::new(proxy.host(), proxy.port()));
    [HostName::new(dsn.host(), dsn.port())].into_iter().chain(proxy).collect()
}

/// Starts reporting from this process, unless there is no DSN. Events carry the process's role and, if there
/// is one, its generation and its worker number as tags. Events that the master has stored before the fork
/// stay with the master.
///
/// A DSN that [`check_dsn`] refuses counts as none.
pub fn start(
    settings: &SentrySettings,
    process: &'static str,
    generation: Option<u64>,
    worker: Option<usize>,
    lookup: Lookup,
) -> SentryGuard {
    lay_aside(false);
    let Some(dsn) = settings.dsn.as_deref().and_then(|dsn| parse_dsn(dsn).ok()) else {
        return SentryGuard { client: None };
    };
    let client = Arc::new(Client::with_options(options(dsn, &settings.environment, lookup)));
    let hub = Hub::main();
    hub.bind_client(Some(Arc::clone(&client)));
    hub.configure_scope(|scope| {
        scope.set_tag("process", process);
        if let Some(generation) = generation {
            scope.set_tag("generation", generation);
        }
        if let Some(worker) = worker {
            scope.set_tag("worker", worker);
        }
    });
    report_panics();
    ENABLED.store(true, Ordering::Release);
    SentryGuard { client: Some(client) }
}

/// Makes this process, which must not have a thread, store events, if there is a DSN: [`take_laid`] gives
/// them to a child that sends them.
pub fn start_aside(settings: &SentrySettings) {
    lay_aside(settings.dsn.is_some());
    if settings.dsn.is_some() {
        report_panics();
    }
}

/// Keeps reporting alive. Dropping it sends the remaining events, for at most two seconds, and ends
/// reporting; a process that leaves through `_exit` has to drop it before.
#[must_use = "events are lost unless the guard lives as long as the process"]
pub struct SentryGuard {
    client: Option<Arc<Client>>,
}

impl Drop for SentryGuard {
    fn drop(&mut self) {
        if let Some(client) = &self.client {
            ENABLED.store(false, Ordering::Release);
            client.close(Some(FLUSH_MAX));
        }
    }
}

impl fmt::Debug for SentryGuard {
    // The client would print the DSN.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SentryGuard").field("enabled", &self.client.is_some()).finish()
    }
}

/// The crate's defaults read the environment, which only the configuration may do, and its panic hook waits
/// for the network inside the panicking request. So this sets every option.
fn options(dsn: Dsn, environment: &str, lookup: Lookup) -> ClientOptions {
    let mut options = ClientOptions::default();
    options.dsn = Some(dsn);
    options.release = Some(Cow::Borrowed(concat!(env!("CARGO_PKG_NAME"), "@", env!("CARGO_PKG_VERSION"))));
    options.environment = Some(Cow::Owned(environment.to_owned()));
    options.default_integrations = false;
    // The contexts also set the server's name.
    options.integrations =
        vec![Arc::new(ContextIntegration::default()), Arc::new(ProcessStacktraceIntegration)];
    options.transport = Some(Arc::new(Courier(lookup)));
    options
}

/// Makes every panic an event, before the former hook runs.
fn report_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let next = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            // This does not wait: a caught panic must not delay the other requests, and one that nothing
            // catches ends the process, which drops the guard.
            capture_panic(info);
            next(info);
        }));
    });
}

/// Makes the transport: HTTP in a separate thread, with a time limit for every request.
struct Courier(Lookup);

impl TransportFactory for Courier {
    fn create_transport_with_options(&self, options: TransportOptions) -> Arc<dyn Transport> {
        let config = ureq::Agent::config_builder().timeout_global(Some(SEND_MAX)).build();
        let agent = match self.0 {
            Lookup::Own => config.new_agent(),
            Lookup::Known => ureq::Agent::with_parts(config, DefaultConnector::new(), KnownHosts),
        };
        let http = UreqHttpTransportOptions::from(options).with_agent(agent).build();
        Arc::new(BoundedTransport { http: Box::leak(Box::new(http)) })
    }
}

/// Finds hosts among those that the master has looked up.
#[derive(Debug)]
struct KnownHosts;

impl Resolver for KnownHosts {
    fn resolve(
        &self,
        uri: &Uri,
        _: &ureq::config::Config,
        _: NextTimeout,
    ) -> Result<ResolvedSocketAddrs, ureq::Error> {
        let default = if uri.scheme_str() == Some("http") { 80 } else { 443 };
        let host = uri.host().map(|host| HostName::new(host, uri.port_u16().unwrap_or(default)));
        // The first look-up may be under way.
        let known = host.map(|host| host.addresses_within(LOOK_UP_MAX)).unwrap_or_default();
        let mut addresses = self.empty();
        known.into_iter().take(ADDRESSES_MAX).for_each(|address| addresses.push(address));
        if addresses.is_empty() { Err(ureq::Error::HostNotFound) } else { Ok(addresses) }
    }
}

/// The crate's HTTP transport, with a limit for every wait. It is leaked, because dropping it waits for the
/// running request, and a process has only one client in its life.
struct BoundedTransport {
    http: &'static UreqHttpTransport,
}

impl Transport for BoundedTransport {
    fn send_envelope(&self, envelope: Envelope) {
        // This does not block: the transport drops an event when its queue is full.
        self.http.send_envelope(envelope);
    }

    fn flush(&self, timeout: Duration) -> bool {
        // A request to flush blocks without limit while the queue of the transport is full, so another thread
        // makes it.
        let http = self.http;
        let (done, flushed) = sync_channel(1);
        let asking = thread::Builder::new().name("sentry-flush".to_owned()).spawn(move || {
            // After the time-out the receiver has gone.
            let _ = done.send(http.flush(timeout));
        });
        asking.is_ok() && flushed.recv_timeout(timeout).unwrap_or(false)
    }
}

fn parse_dsn(dsn: &str) -> Result<Dsn, SentryDsnError> {
    dsn.parse().map_err(|error| match error {
        ParseDsnError::InvalidUrl => SentryDsnError::Url,
        ParseDsnError::InvalidScheme => SentryDsnError::Scheme,
        ParseDsnError::NoUsername => SentryDsnError::Key,
        ParseDsnError::NoProjectId | ParseDsnError::InvalidProjectId(_) => SentryDsnError::Project,
    })
}

#[cfg(test)]
mod tests;
