//! A request in, an answer out. Touches nothing but the snapshot and counters.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, DATE, ETAG, HOST, HeaderName, HeaderValue, IF_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use slog::{Logger, error};

use super::body::Payload;
use super::compression::Accepted;
use super::connection::Activity;
use super::date::Date;
use super::error::ApiError;
use super::exchange::Exchange;
use super::request_id::RequestIds;
use super::routes;
use super::snapshots::Snapshots;
use super::status::{self, Peer};
use super::{Role, VERSION, entity_tag, forwarded, host, metrics, params, response, trace_context};
use crate::api::Endpoint;
use crate::config::{Limits, Proxies};
use crate::scoreboard::{Scoreboard, Slot};
use crate::snapshot::{Kind, Snapshot};
use crate::telemetry::{AccessLine, AccessLog, AccessRecord, Statsd, sentry};

/// What all connections of a worker share.
pub(super) struct Service {
    pub(super) snapshots: Snapshots,
    pub(super) request_path: String,
    pub(super) limits: Limits,
    /// Bytes from which on bodies are compressed for clients that accept it.
    pub(super) compress_from: Option<u64>,
    /// Whether lists tell how long their making took.
    pub(super) debug_headers: bool,
    pub(super) date: Date,
    /// What caches are told of lists, if anything.
    pub(super) cache_control: Option<HeaderValue>,
    /// How long connections are kept, for clients; `None` if they are not.
    pub(super) keep_alive: Option<HeaderValue>,
    pub(super) request_ids: Option<RequestIds>,
    pub(super) proxies: Proxies,
    pub(super) access_log: Option<Arc<AccessLog>>,
    pub(super) draining: AtomicBool,
    pub(super) scoreboard: Scoreboard,
    pub(super) status_allow: Vec<IpAddr>,
    /// At which addresses there are metrics: among the other endpoints only for those who may see
    /// the status.
    pub(super) metrics: Option<Role>,
    pub(super) slot: &'static Slot,
    pub(super) statsd: Statsd,
    pub(super) log: Logger,
}

impl Service {
    fn snapshot(&self) -> &'static Snapshot<'static> {
        match self.draining.load(Ordering::Relaxed) {
            true => self.snapshots.newest(),
            false => self.snapshots.own(),
        }
    }

    /// Answers one request of the connection that `activity` watches.
    pub(super) fn answer(
        &self,
        request: &Request<Incoming>,
        peer: Peer,
        role: Role,
        activity: &Arc<Activity>,
    ) -> Response<Payload> {
        activity.asked();
        let begin = Instant::now();
        self.slot.begin_request(request.method().as_str(), target(request));
        let id = self.request_ids.as_ref().map(|ids| ids.of(request.headers()));
        let caught = sentry::catch(|| self.route(request, peer, role), || describe(request, id.as_ref()));
        let (mut response, endpoint) = caught.unwrap_or_else(|_| (self.panicked(request, id.as_ref()), None));
        if let (Some(ids), Some(id)) = (&self.request_ids, &id) {
            response.headers_mut().insert(ids.header(), id.clone());
        }
        self.add_common_fields(&mut response, request.method(), endpoint);
        if request.method() == Method::HEAD {
            response = response::without_body(response);
        }
        self.keep_or_end(request, &mut response, activity);
        let took = begin.elapsed();
        self.slot.end_request(routes::number(endpoint), response.status().as_u16(), took);
        self.statsd.answered(response.status().as_u16());
        if let Some(endpoint @ Endpoint::List(_)) = endpoint {
            self.statsd.request(endpoint.name(), took);
        }
        let line = self
            .access_log
            .as_ref()
            .map(|log| (Arc::clone(log), self.begin_line(log, request, peer, &response, id.as_ref())));
        response.map(|body| body.ending(Exchange::new(Arc::clone(activity), self.slot, begin, line)))
    }

    /// Tells the client whether the connection goes on, and how long.
    fn keep_or_end(
        &self,
        request: &Request<Incoming>,
        response: &mut Response<Payload>,
        activity: &Activity,
    ) {
        // Nobody reads a body.
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

    /// What all answers have: when they were made, and for how long.
    fn add_common_fields(
        &self,
        response: &mut Response<Payload>,
        method: &Method,
        endpoint: Option<Endpoint>,
    ) {
        let is_list = matches!(endpoint, Some(Endpoint::List(_)))
            && *method != Method::OPTIONS
            && matches!(response.status(), StatusCode::OK | StatusCode::NOT_MODIFIED);
        let headers = response.headers_mut();
        headers.insert(DATE, self.date.now());
        if is_list {
            self.cache_control.iter().for_each(|value| drop(headers.insert(CACHE_CONTROL, value.clone())));
        } else {
            headers.insert(CACHE_CONTROL, NO_STORE);
        }
    }

    /// The answer to a request that has panicked, which Sentry has been told of.
    fn panicked(&self, request: &Request<Incoming>, id: Option<&HeaderValue>) -> Response<Payload> {
        let trace = trace_context::parent(request.headers()).map(|(trace, _)| trace);
        error!(self.log, #sentry::REPORTED, "a request panicked"; "method" => %request.method(),
            "target" => %request.uri(), "request_id" => id.and_then(|id| id.to_str().ok()), "trace_id" => trace);
        response::error(&ApiError::Unknown)
    }

    /// The line of a request in the access log, as far as it can be written before the body is sent.
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

    fn route(
        &self,
        request: &Request<Incoming>,
        peer: Peer,
        role: Role,
    ) -> (Response<Payload>, Option<Endpoint>) {
        if let Some(refused) = self.refuse(request) {
            return (response::error(&refused), None);
        }
        if request.uri().path() == "*" {
            return (response::options(), None);
        }
        let endpoint = match role {
            Role::Metrics => routes::find_metrics(&self.request_path, request.uri().path())
                .filter(|_| self.metrics == Some(Role::Metrics)),
            Role::Api => routes::find(&self.request_path, request.uri().path())
                .filter(|endpoint| self.exists(*endpoint, peer, request)),
        };
        let Some(endpoint) = endpoint else {
            return (response::error(&ApiError::NotFound), None);
        };
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

    /// To those who may not see it, an endpoint is not there.
    fn exists(&self, endpoint: Endpoint, peer: Peer, request: &Request<Incoming>) -> bool {
        let may_see = || status::may_see(peer, request.headers(), &self.status_allow);
        match endpoint {
            Endpoint::Status => may_see(),
            Endpoint::Metrics => self.metrics == Some(Role::Api) && may_see(),
            _ => true,
        }
    }

    /// Limits on heads that hyper leaves to us.
    fn refuse(&self, request: &Request<Incoming>) -> Option<ApiError> {
        let target = request.uri();
        let target_len = target.path_and_query().map_or(0, |target| target.as_str().len())
            + target.authority().map_or(0, |authority| authority.as_str().len() + "http://".len());
        if request.method().as_str().len() + target_len + " HTTP/1.1".len() + 1 > self.limits.request_line {
            return Some(refused(StatusCode::URI_TOO_LONG, "The request line is too long"));
        }
        if request.headers().len() > self.limits.request_fields {
            return Some(refused(
                StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
                "The request has too many header fields",
            ));
        }
        // RFC 9112 3.2.3 and 3.2.4.
        let is_authority = target.scheme().is_none() && target.authority().is_some();
        let odd = (is_authority && request.method() != Method::CONNECT)
            || (target.path() == "*" && request.method() != Method::OPTIONS);
        if odd {
            return Some(refused(StatusCode::BAD_REQUEST, "The target of the request is no path"));
        }
        // RFC 9112 3.2. There is one or none in HTTP/1.0.
        let mut hosts = request.headers().get_all(HOST).iter();
        let host = match (hosts.next(), hosts.next()) {
            (Some(host), None) => host::is_valid(host.as_bytes()),
            (None, _) => request.version() == Version::HTTP_10,
            (Some(_), Some(_)) => false,
        };
        if !host {
            return Some(refused(StatusCode::BAD_REQUEST, "The request must name one valid Host"));
        }
        let field_max = self.limits.request_field_size;
        let too_large = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            name.as_str().len() + value.len() + ": ".len() > field_max
        };
        request.headers().iter().any(too_large).then(|| {
            refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field of the request is too large")
        })
    }

    fn endpoint(
        &self,
        endpoint: Endpoint,
        request: &Request<Incoming>,
    ) -> Result<Response<Payload>, ApiError> {
        let response = match endpoint {
            Endpoint::List(kind) => return self.list(kind, request),
            Endpoint::Version => response::text(VERSION),
            Endpoint::Heartbeat => response::text("OKOKOK"),
            Endpoint::Status => response::json(status::status(&self.scoreboard, self.snapshot()).to_string()),
            Endpoint::Metrics => response::metrics(metrics::render(&self.scoreboard)),
        };
        // These have no tag.
        match entity_tag::is_unmatched(request.headers(), None) {
            true => Err(ApiError::PreconditionFailed),
            false => Ok(response),
        }
    }

    fn list(&self, kind: Kind, request: &Request<Incoming>) -> Result<Response<Payload>, ApiError> {
        let query_string = request.uri().query().unwrap_or_default();
        let begin = self.debug_headers.then(Instant::now);
        let question = params::parse(kind, query_string)?;
        let headers = request.headers();
        let snapshot = self.snapshot();
        let tag = entity_tag::of(snapshot.hash(), kind, query_string);
        let coding = self.compress_from.and_then(|least| Accepted::of(headers, least));
        // The tag of a client tells whether it has what it would get: nothing need be selected then.
        let known = entity_tag::known(headers, &tag, coding).filter(|_| !headers.contains_key(IF_MATCH));
        let mut response = match known {
            Some(known) => response::not_modified(known),
            None => {
                let selection = snapshot.select(kind, &question.query());
                let selected = begin.map(|begin| begin.elapsed());
                let response = response::list(snapshot, kind, selection, &tag, coding);
                let mut response = conditional(response, headers)?;
                if let (Some(begin), Some(selected)) = (begin, selected) {
                    response::timing(&mut response, selected, begin.elapsed() - selected);
                }
                response
            }
        };
        if self.compress_from.is_some() {
            response::vary(&mut response);
        }
        Ok(response)
    }
}

/// A list under the conditions of a request (RFC 9110 13.2.2).
fn conditional(response: Response<Payload>, headers: &HeaderMap) -> Result<Response<Payload>, ApiError> {
    let selected = response.headers().get(ETAG);
    if entity_tag::is_unmatched(headers, selected) {
        return Err(ApiError::PreconditionFailed);
    }
    match selected.cloned() {
        Some(selected) if entity_tag::knows(headers, &selected) => Ok(response::not_modified(selected)),
        _ => Ok(response),
    }
}

/// Whether the client wants to go on with its connection.
fn keeps(request: &Request<Incoming>) -> bool {
    match request.version() {
        Version::HTTP_11 => !names_option(request.headers(), "close"),
        _ => names_option(request.headers(), "keep-alive"),
    }
}

/// Whether the field `Connection` names this option.
fn names_option(headers: &HeaderMap, option: &str) -> bool {
    let options =
        headers.get_all(CONNECTION).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    options.map(<[u8]>::trim_ascii).any(|named| named.eq_ignore_ascii_case(option.as_bytes()))
}

/// Path and query string.
fn target(request: &Request<Incoming>) -> &str {
    request.uri().path_and_query().map_or("", |target| target.as_str())
}

fn describe(request: &Request<Incoming>, id: Option<&HeaderValue>) -> sentry::Description {
    let id = id.and_then(|id| id.to_str().ok()).map(|id| ("request_id", id.to_owned()));
    let trace = trace_context::parent(request.headers()).map(|(trace, _)| ("trace_id", trace.to_owned()));
    sentry::Description {
        request: sentry::request(request.method().as_str(), target(request), request.headers()),
        tags: id.into_iter().chain(trace).collect(),
    }
}

/// The value that counts of a field that is given several times, as in Gunicorn's access log.
fn last_value<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h [u8]> {
    headers.get_all(name).iter().next_back().map(HeaderValue::as_bytes)
}

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
pub(super) const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");

const BODY: ApiError = refused(StatusCode::PAYLOAD_TOO_LARGE, "A request to this server has no body");

const fn refused(status: StatusCode, message: &'static str) -> ApiError {
    ApiError::Refused { status, message }
}
