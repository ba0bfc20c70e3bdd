//! The service of a worker: it turns a request into an answer, and uses only the snapshot and
//! counters.
//!
//! `answer` shows the whole way: the request gets its id, the head is checked, the path leads to an
//! endpoint, the endpoint makes the response, and the response gets the common fields.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, DATE, HeaderName, HeaderValue};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use slog::{Logger, error};

use super::listing::{Lists, conditional};
use super::request_id::RequestIds;
use super::routes;
use super::snapshots::{Served, Snapshots};
use super::{forwarded, head, trace_context};
use crate::api::Endpoint;
use crate::config::{Limits, Proxies};
use crate::scoreboard::{Scoreboard, Slot, endpoint_number};
use crate::telemetry::{AccessLine, AccessLog, AccessRecord, Statsd, sentry};
use crate::worker::answer::body::Payload;
use crate::worker::answer::compression::Acceptable;
use crate::worker::answer::cors::Cors;
use crate::worker::answer::date::Date;
use crate::worker::answer::error::ApiError;
use crate::worker::answer::openapi::{Description, Document};
use crate::worker::answer::{entity_tag, response};
use crate::worker::page;
use crate::worker::shown::{PROGRAM_VERSION, metrics, status};
use crate::worker::watch::activity::Activity;
use crate::worker::watch::caller::{Caller, Peer, Role};
use crate::worker::watch::exchange::Exchange;

/// The state that all connections of a worker share.
pub(in crate::worker) struct Service {
    pub(in crate::worker) snapshots: Snapshots,
    pub(in crate::worker) request_path: String,
    pub(in crate::worker) limits: Limits,
    pub(in crate::worker) lists: Lists,
    /// The description of the API.
    pub(in crate::worker) description: Description,
    pub(in crate::worker) date: Date,
    /// The field `Cache-Control` of lists, if set.
    pub(in crate::worker) cache_control: Option<HeaderValue>,
    /// The pages of other origins that may read answers, if any.
    pub(in crate::worker) cors: Option<Cors>,
    /// The field that tells clients how long connections are kept; `None` if they are not.
    pub(in crate::worker) keep_alive: Option<HeaderValue>,
    pub(in crate::worker) request_ids: Option<RequestIds>,
    pub(in crate::worker) proxies: Proxies,
    pub(in crate::worker) access_log: Option<Arc<AccessLog>>,
    pub(in crate::worker) draining: AtomicBool,
    pub(in crate::worker) scoreboard: Scoreboard,
    pub(in crate::worker) status_allow: Vec<IpAddr>,
    /// The addresses that serve metrics. Among the other endpoints only peers that may see the
    /// status get them.
    pub(in crate::worker) metrics: Option<Role>,
    /// Whether the page is served.
    pub(in crate::worker) has_page: bool,
    pub(in crate::worker) slot: &'static Slot,
    pub(in crate::worker) statsd: Statsd,
    pub(in crate::worker) log: Logger,
}

impl Service {
    /// Returns the snapshot for new answers.
    fn snapshot(&self) -> Served {
        self.snapshots.newest()
    }

    /// Answers one request of the connection that `activity` watches.
    pub(in crate::worker) fn answer(
        &self,
        request: &Request<Incoming>,
        caller: Caller,
        activity: &Arc<Activity>,
    ) -> Response<Payload> {
        activity.asked();
        let begin = Instant::now();
        self.slot.begin_request(request.method().as_str(), target(request));
        let id = self.request_ids.as_ref().map(|ids| ids.of(request.headers()));
        let caught = sentry::catch(|| self.route(request, caller), || describe(request, id.as_ref()));
        let (mut response, endpoint) = caught.unwrap_or_else(|_| (self.panicked(request, id.as_ref()), None));
        if let (Some(ids), Some(id)) = (&self.request_ids, &id) {
            response.headers_mut().insert(ids.header(), id.clone());
        }
        self.add_common_fields(&mut response, request.method(), endpoint);
        if let Some(cors) = self.cors.as_ref().filter(|_| is_public(caller, endpoint)) {
            cors.add(request.method(), request.headers(), response.headers_mut());
        }
        if request.method() == Method::HEAD {
            response = response::without_body(response);
        }
        self.keep_or_end(request, &mut response, activity);
        let took = begin.elapsed();
        self.slot.end_request(endpoint_number(endpoint), response.status().as_u16(), took);
        self.statsd.answered(response.status().as_u16());
        if let Some(endpoint @ Endpoint::List(_)) = endpoint {
            self.statsd.request(endpoint.name(), took);
        }
        let line = self
            .access_log
            .as_ref()
            .map(|log| (Arc::clone(log), self.begin_line(log, request, caller.peer, &response, id.as_ref())));
        response.map(|body| body.ending(Exchange::new(Arc::clone(activity), self.slot, begin, line)))
    }

    fn route(&self, request: &Request<Incoming>, caller: Caller) -> (Response<Payload>, Option<Endpoint>) {
        if let Some(refused) = head::refusal(request, &self.limits) {
            return (response::error(&refused), None);
        }
        if request.uri().path() == "*" {
            return (response::options(), None);
        }
        let endpoint = match caller.role {
            Role::Metrics => routes::find_metrics(&self.request_path, request.uri().path())
                .filter(|_| self.metrics == Some(Role::Metrics)),
            Role::Api => routes::find(&self.request_path, request.uri().path())
                .filter(|endpoint| self.exists(*endpoint, caller.peer, request)),
        };
        let Some(endpoint) = endpoint else { return self.beside_the_endpoints(request, caller) };
        let response = match *request.method() {
            Method::GET | Method::HEAD if !request.body().is_end_stream() => response::error(&BODY),
            Method::GET | Method::HEAD => {
                self.endpoint(endpoint, request).unwrap_or_else(|error| response::error(&error))
            }
            Method::OPTIONS => response::options(),
            _ => response::error(&ApiError::MethodNotAllowed),
        };
        (response, Some(endpoint))
    }

    /// Returns the answer at a path without an endpoint: some lead to the page.
    fn beside_the_endpoints(
        &self,
        request: &Request<Incoming>,
        caller: Caller,
    ) -> (Response<Payload>, Option<Endpoint>) {
        let uri = request.uri();
        let is_possible = self.has_page && caller.role == Role::Api;
        let page = || routes::page_from(&self.request_path, uri.path(), uri.query());
        let Some(page) = is_possible.then(page).flatten() else {
            return (response::error(&ApiError::NotFound), None);
        };
        let response = match *request.method() {
            Method::GET | Method::HEAD if !request.body().is_end_stream() => response::error(&BODY),
            Method::GET | Method::HEAD => response::moved(page),
            Method::OPTIONS => response::options(),
            _ => response::error(&ApiError::MethodNotAllowed),
        };
        (response, Some(Endpoint::Page))
    }

    /// Reports whether an endpoint exists for this peer. A hidden endpoint counts as missing.
    fn exists(&self, endpoint: Endpoint, peer: Peer, request: &Request<Incoming>) -> bool {
        let may_see = || status::may_see(peer, request.headers(), &self.status_allow);
        match endpoint {
            Endpoint::Status => may_see(),
            Endpoint::Metrics => self.metrics == Some(Role::Api) && may_see(),
            Endpoint::Page => self.has_page,
            _ => true,
        }
    }

    fn endpoint(
        &self,
        endpoint: Endpoint,
        request: &Request<Incoming>,
    ) -> Result<Response<Payload>, ApiError> {
        let response = match endpoint {
            Endpoint::List(kind) => return self.lists.answer(self.snapshot(), kind, request),
            Endpoint::Entity(kind) => {
                let id = routes::id(request.uri().path()).ok_or(ApiError::NotFound)?;
                return self.lists.entity(self.snapshot(), kind, id, request);
            }
            Endpoint::OpenApi => {
                let Document { body, tag } = self.description.openapi();
                return conditional(response::tagged(body.clone(), tag.clone()), request.headers());
            }
            Endpoint::Docs => {
                let Document { body, tag } = self.description.page();
                return conditional(response::page(body.clone(), tag.clone()), request.headers());
            }
            Endpoint::Page => return self.page(request.headers()),
            Endpoint::Version => response::text(PROGRAM_VERSION),
            Endpoint::Heartbeat => response::text("OKOKOK"),
            Endpoint::Status => {
                // JSON can represent all values of its types.
                let status =
                    serde_json::to_string(&status::status(&self.scoreboard, self.snapshot().snapshot));
                response::json(status.map_err(|_| ApiError::Unknown)?)
            }
            Endpoint::Metrics => response::metrics(metrics::render(&self.scoreboard)),
        };
        // These have no tag.
        match entity_tag::is_unmatched(request.headers(), None) {
            true => Err(ApiError::PreconditionFailed),
            false => Ok(response),
        }
    }

    /// Returns the page, which names its collection: so an open page learns of a newer one.
    fn page(&self, headers: &HeaderMap) -> Result<Response<Payload>, ApiError> {
        let compress_from = self.lists.compress_from;
        let accepted = compress_from.and_then(|least| Acceptable::of(headers, least));
        let mut response = page::answer(headers, accepted, self.scoreboard.header().source.stale.get() > 0)?;
        response::name_snapshot(&mut response, self.snapshot().name);
        if compress_from.is_some() {
            response::vary(&mut response);
        }
        Ok(response)
    }

    /// Tells the client whether the connection continues, and how long.
    fn keep_or_end(
        &self,
        request: &Request<Incoming>,
        response: &mut Response<Payload>,
        activity: &Activity,
    ) {
        // The worker does not read bodies.
        let has_body = !request.body().is_end_stream();
        if has_body {
            activity.refuses_body();
        }
        let ends = has_body || self.draining.load(Ordering::Relaxed);
        match &self.keep_alive {
            Some(_) if response.headers().contains_key(CONNECTION) => {}
            Some(keep_alive) if !ends => {
                if keeps(request) {
                    response.headers_mut().insert(KEEP_ALIVE, keep_alive.clone());
                }
            }
            _ => response::close(response),
        }
    }

    /// Adds the fields that all answers have: their date, and how long the connection is kept.
    fn add_common_fields(
        &self,
        response: &mut Response<Payload>,
        method: &Method,
        endpoint: Option<Endpoint>,
    ) {
        let is_shown = *method != Method::OPTIONS
            && matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED);
        let cache_control = match endpoint {
            Some(Endpoint::List(_) | Endpoint::Entity(_) | Endpoint::OpenApi | Endpoint::Docs)
                if is_shown =>
            {
                self.cache_control.clone()
            }
            Some(Endpoint::Page) if is_shown => Some(NO_CACHE),
            _ => Some(NO_STORE),
        };
        let headers = response.headers_mut();
        headers.insert(DATE, self.date.now());
        cache_control.into_iter().for_each(|value| drop(headers.insert(CACHE_CONTROL, value)));
    }

    /// Returns the answer to a request that has panicked. Sentry has the report already.
    fn panicked(&self, request: &Request<Incoming>, id: Option<&HeaderValue>) -> Response<Payload> {
        let trace = trace_context::parent(request.headers()).map(|(trace, _)| trace);
        error!(self.log, #sentry::REPORTED, "a request panicked"; "method" => %request.method(),
            "target" => %request.uri(), "request_id" => id.and_then(|id| id.to_str().ok()), "trace_id" => trace);
        response::error(&ApiError::Unknown)
    }

    /// Begins the line of a request in the access log, as far as it can be written before the body
    /// is sent.
    fn begin_line(
        &self,
        log: &AccessLog,
        request: &Request<Incoming>,
        peer: Peer,
        response: &Response<Payload>,
        request_id: Option<&HeaderValue>,
    ) -> AccessLine {
        let client = forwarded::client(peer, request.headers(), &self.proxies);
        log.begin(&AccessRecord {
            client: client.address,
            scheme: client.scheme,
            method: request.method().as_str(),
            target: target(request),
            protocol: if request.version() == Version::HTTP_10 { "HTTP/1.0" } else { "HTTP/1.1" },
            status: response.status().as_u16(),
            request_id: request_id.map(HeaderValue::as_bytes).unwrap_or_default(),
            trace: trace_context::parent(request.headers()),
            request_header: &|name| last_value(request.headers(), name),
            response_header: &|name| last_value(response.headers(), name),
        })
    }
}

/// Reports whether pages of other origins may read the answers. Endpoints for this machine's own
/// users are closed to the pages that they visit.
fn is_public(caller: Caller, endpoint: Option<Endpoint>) -> bool {
    caller.role == Role::Api && !matches!(endpoint, Some(Endpoint::Status | Endpoint::Metrics))
}

/// Reports whether the client wants to keep its connection.
fn keeps(request: &Request<Incoming>) -> bool {
    match request.version() {
        Version::HTTP_11 => !names_option(request.headers(), "close"),
        _ => names_option(request.headers(), "keep-alive"),
    }
}

/// Reports whether the field `Connection` names this option.
fn names_option(headers: &HeaderMap, option: &str) -> bool {
    let options =
        headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).any(|named| named.eq_ignore_ascii_case(option.as_bytes()))
}

/// Returns path and query string.
fn target(request: &Request<Incoming>) -> &str {
    request.uri().path_and_query().map_or("", |target| target.as_str())
}

fn describe(request: &Request<Incoming>, id: Option<&HeaderValue>) -> sentry::Description {
    let id = id.and_then(|id| id.to_str().ok()).map(|id| ("request_id", id.to_owned()));
    let trace = trace_context::parent(request.headers()).map(|(trace, _)| ("trace_id", trace.to_owned()));
    let tags = id.into_iter().chain(trace).collect();
    sentry::Description::new(request.method().as_str(), target(request), request.headers(), tags)
}

/// Returns the last value of a repeated field, as Gunicorn's access log does.
fn last_value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get_all(name).iter().next_back().map(HeaderValue::as_bytes)
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(in crate::worker) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
const NO_CACHE: HeaderValue = HeaderValue::from_static("no-cache");

const BODY: ApiError = ApiError::Refused {
    status: StatusCode::PAYLOAD_TOO_LARGE,
    message: "A request to this server has no body",
};
