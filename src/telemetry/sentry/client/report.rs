//! Reports to Sentry: events of log records and panics, with the lines before them and the request
//! they belong to. A process with a client sends them; the master, which has none, stores them for
//! a child.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use hyper::header::{ACCEPT, ACCEPT_ENCODING, HOST, HeaderMap, IF_NONE_MATCH, USER_AGENT};
use sentry::integrations::panic::PanicIntegration;
use sentry::protocol::{Event, Request};
use sentry::{Breadcrumb, Hub};
use slog::Record;

use crate::api::Parameter;
use crate::telemetry::sentry::settings::REPORTED;
use crate::telemetry::values::Values;

/// Most stored events, and most lines with one event.
const EVENTS_MAX: usize = 16;
const BREADCRUMBS_MAX: usize = 50;

/// Whether a client was started. It is checked before any use of the `sentry` crate.
pub(super) static ENABLED: AtomicBool = AtomicBool::new(false);

/// The events that the master has stored; `None` in a process that stores none. The master has one
/// thread, so the lock is free whenever it forks.
static ASIDE: Mutex<Option<Aside>> = Mutex::new(None);

#[derive(Debug, Default)]
struct Aside {
    breadcrumbs: VecDeque<Breadcrumb>,
    events: Vec<Event<'static>>,
    dropped: u64,
}

/// Stored events, for another process to send.
#[derive(Debug, Default)]
pub struct Laid {
    events: Vec<Event<'static>>,
    /// The number of further events, which were dropped.
    pub dropped: u64,
}

impl Laid {
    /// Sends the events from this process, which has started a client.
    pub fn send(self) {
        for event in self.events {
            Hub::main().capture_event(event);
        }
    }

    /// Returns the number of events.
    pub fn count(&self) -> usize {
        self.events.len()
    }
}

/// Begins to store events, or stops.
pub(super) fn lay_aside(wanted: bool) {
    let mut aside = aside();
    if wanted != aside.is_some() {
        *aside = wanted.then(Aside::default);
    }
}

/// Takes the events that were stored since the last call.
pub fn take_laid() -> Laid {
    let mut aside = aside();
    let Some(aside) = aside.as_mut() else { return Laid::default() };
    Laid { events: std::mem::take(&mut aside.events), dropped: std::mem::take(&mut aside.dropped) }
}

fn aside() -> MutexGuard<'static, Option<Aside>> {
    ASIDE.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_enabled() -> bool {
    ENABLED.load(Ordering::Acquire)
}

/// Sends an event, or stores it, or does neither.
fn capture(mut event: Event<'static>) {
    if is_enabled() {
        Hub::main().capture_event(event);
    } else if let Some(aside) = aside().as_mut() {
        if aside.events.len() == EVENTS_MAX {
            aside.dropped += 1;
            return;
        }
        event.breadcrumbs.values = aside.breadcrumbs.iter().cloned().collect();
        aside.events.push(event);
    }
}

fn remember(breadcrumb: Breadcrumb) {
    if is_enabled() {
        Hub::main().add_breadcrumb(breadcrumb);
    } else if let Some(aside) = aside().as_mut() {
        if aside.breadcrumbs.len() == BREADCRUMBS_MAX {
            aside.breadcrumbs.pop_front();
        }
        aside.breadcrumbs.push_back(breadcrumb);
    }
}

/// Turns a log record of ERROR or above into an event, and any other record into a breadcrumb of the next
/// event. The message stays free of the values, because Sentry groups events by it.
pub(in crate::telemetry) fn capture_record(record: &Record<'_>, values: &Values) {
    if record.tag() == REPORTED || !(is_enabled() || aside().is_some()) {
        return;
    }
    let message = Some(record.msg().to_string());
    let level = level(record.level());
    if record.level().is_at_least(slog::Level::Error) {
        let logger = Some(record.module().to_owned());
        let mut event = Event { level, message, logger, ..Event::default() };
        values.iter().for_each(|(key, value)| add(key, value, &mut event));
        capture(event);
    } else {
        let category = Some(record.module().to_owned());
        let data = values.iter().map(|(key, value)| (key.to_owned(), value.into())).collect();
        remember(Breadcrumb { level, message, category, data, ..Breadcrumb::default() });
    }
}

/// Adds a key-value in Sentry's form: worker and generation as tags, a request as a request.
fn add(key: &str, value: &str, event: &mut Event<'static>) {
    match key {
        "worker" => drop(event.tags.insert("worker".to_owned(), value.to_owned())),
        "gen" => drop(event.tags.insert("generation".to_owned(), value.to_owned())),
        "request" if value.contains(' ') => {
            let (method, target) = value.split_once(' ').unwrap_or_default();
            event.request = Some(request(method, target, &HeaderMap::new()));
        }
        _ => drop(event.extra.insert(key.to_owned(), value.into())),
    }
}

fn level(level: slog::Level) -> sentry::Level {
    match level {
        slog::Level::Critical => sentry::Level::Fatal,
        slog::Level::Error => sentry::Level::Error,
        slog::Level::Warning => sentry::Level::Warning,
        slog::Level::Info => sentry::Level::Info,
        slog::Level::Debug | slog::Level::Trace => sentry::Level::Debug,
    }
}

thread_local! {
    /// Whether this thread answers a request whose panics [`catch`] reports.
    static CATCHES: Cell<bool> = const { Cell::new(false) };
    /// The caught panic.
    static CAUGHT: RefCell<Option<Event<'static>>> = const { RefCell::new(None) };
}

/// The description of a request in its events.
pub struct Description {
    request: Request,
    /// Tags by which its events can be found.
    tags: Vec<(&'static str, String)>,
}

impl Description {
    /// Describes a request for `target`, without likely secrets; the tags help to find its events.
    pub fn new(method: &str, target: &str, headers: &HeaderMap, tags: Vec<(&'static str, String)>) -> Self {
        Description { request: request(method, target, headers), tags }
    }
}

/// Runs `work` for a request. A panic in it becomes an event with the request.
///
/// # Errors
/// The value of the panic.
pub fn catch<T>(
    work: impl FnOnce() -> T,
    describe: impl FnOnce() -> Description,
) -> Result<T, Box<dyn Any + Send>> {
    CATCHES.set(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    CATCHES.set(false);
    if done.is_err()
        && let Some(mut event) = CAUGHT.take()
    {
        let Description { request, tags } = describe();
        event.request = Some(request);
        event.tags.extend(tags.into_iter().map(|(name, value)| (name.to_owned(), value)));
        capture(event);
    }
    done
}

/// Captures a panic; a part of the panic hook.
pub(super) fn capture_panic(info: &PanicHookInfo<'_>) {
    if !is_enabled() && aside().is_none() {
        return;
    }
    let event = PanicIntegration::new().event_from_panic_info(info);
    if CATCHES.get() {
        CAUGHT.set(Some(event));
    } else {
        capture(event);
    }
}

/// A request as Sentry shows it, without likely secrets: the client's identity, and values of parameters that
/// do not belong to the API.
fn request(method: &str, target: &str, headers: &HeaderMap) -> Request {
    let header = |name| headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()).into_owned());
    let (path, query) = target.split_once('?').map_or((target, None), |(path, query)| (path, Some(query)));
    // A target may be a whole URL, with a password in it.
    let path = match path.split_once("://") {
        Some((_, rest)) => rest.find('/').map_or("/", |begin| &rest[begin..]),
        None => path,
    };
    let query = query.map(without_secrets);
    let host = header(HOST).unwrap_or_else(|| "localhost".to_owned());
    let whole = query.as_ref().map_or(path.to_owned(), |query| format!("{path}?{query}"));
    let shown = [HOST, USER_AGENT, ACCEPT, ACCEPT_ENCODING, IF_NONE_MATCH];
    Request {
        url: format!("http://{host}{whole}").parse().ok(),
        method: Some(method.to_owned()),
        query_string: query,
        headers: shown
            .into_iter()
            .filter_map(|name| Some((name.as_str().to_owned(), header(name)?)))
            .collect(),
        ..Request::default()
    }
}

/// Removes values. Those of the API's parameters are no secrets; all others may be.
fn without_secrets(query: &str) -> String {
    let pairs = query.split('&').map(|pair| match pair.split_once('=') {
        Some((name, _)) if Parameter::parse(name).is_none() => format!("{name}=[Filtered]"),
        _ => pair.to_owned(),
    });
    pairs.collect::<Vec<_>>().join("&")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_shown_without_secrets() {
        let mut headers = HeaderMap::new();
        for (name, value) in
            [("host", "music:8000"), ("user-agent", "curl"), ("authorization", "Basic c2VjcmV0")]
        {
            headers.insert(name, value.parse().unwrap());
        }
        let shown = request("GET", "http://me:secret@other/avalon/songs?query=a+b&token=secret&x", &headers);
        let expected = "query=a+b&token=[Filtered]&x";
        assert_eq!(shown.url.unwrap().as_str(), format!("http://music:8000/avalon/songs?{expected}"));
        assert_eq!(shown.query_string.as_deref(), Some(expected));
        assert_eq!(shown.headers.len(), 2);
        assert_eq!(request("OPTIONS", "*", &HeaderMap::new()).method.as_deref(), Some("OPTIONS"));
    }
}
