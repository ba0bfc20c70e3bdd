//! A request in, an answer out. Touches nothing but the snapshot and counters.

use std::net::IpAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::{Duration, Instant};

use hyper::body::{Body, Incoming};
use hyper::header::{CACHE_CONTROL, CONNECTION, DATE, ETAG, HOST, HeaderName, HeaderValue, IF_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use slog::{Logger, debug, error};

use super::body::Payload;
use super::compression::Accepted;
use super::connection::{Activity, Refusal};
use super::date::Date;
use super::error::ApiError;
use super::exchange::Exchange;
use super::request_id::RequestIds;
use super::routes::{self, Endpoint};
use super::status::{self, Peer};
use super::{Role, VERSION, canned, entity_tag, forwarded, host, metrics, params, response, trace_context};
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

/// What answers are made from: the snapshot of the worker's generation, and while it drains that of the last
/// one it was told of. Whoever waits for a reload finds the new rows also on a connection that was there before.
pub(super) struct Snapshots {
    own: &'static Snapshot<'static>,
    newer: RwLock<Option<&'static Snapshot<'static>>>,
}

impl Snapshots {
    pub(super) fn of(own: &'static Snapshot<'static>) -> Self {
        Snapshots { own, newer: RwLock::new(None) }
    }

    /// Another generation serves from this one now.
    pub(super) fn succeed(&self, newer: &'static Snapshot<'static>) {
        *self.newer.write().unwrap_or_else(PoisonError::into_inner) = Some(newer);
    }

    fn newest(&self) -> &'static Snapshot<'static> {
        self.newer.read().unwrap_or_else(PoisonError::into_inner).unwrap_or(self.own)
    }
}

impl Service {
    fn snapshot(&self) -> &'static Snapshot<'static> {
        match self.draining.load(Ordering::Relaxed) {
            true => self.snapshots.newest(),
            false => self.snapshots.own,
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
        if !request.body().is_end_stream() {
            activity.refuses_body();
        }
        match &self.keep_alive {
            Some(keep_alive) if self.keeps(request) && !response.headers().contains_key(CONNECTION) => {
                response.headers_mut().insert(KEEP_ALIVE, keep_alive.clone());
            }
            Some(_) if !self.draining.load(Ordering::Relaxed) && !has_long_body(request) => {}
            _ => response::close(&mut response),
        }
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

    /// Whether the connection is kept after the answer to this request, if nothing else ends it.
    fn keeps(&self, request: &Request<Incoming>) -> bool {
        !self.draining.load(Ordering::Relaxed)
            && !has_long_body(request)
            && match request.version() {
                Version::HTTP_11 => !names_option(request.headers(), "close"),
                _ => names_option(request.headers(), "keep-alive"),
            }
    }

    /// An id for what is no request, and the fields that answers to it have, as lines.
    pub(super) fn refusal_fields(&self) -> (Option<HeaderValue>, String) {
        let id = self.request_ids.as_ref().map(|ids| (ids.header(), ids.make()));
        let (date, no_store) = (self.date.now(), NO_STORE);
        let fields = [(&CACHE_CONTROL, &no_store), (&DATE, &date)].into_iter();
        let fields = fields.chain(id.as_ref().map(|(name, id)| (*name, id)));
        let line = |(name, value): (&HeaderName, &HeaderValue)| {
            format!("{name}: {}\r\n", String::from_utf8_lossy(value.as_bytes()))
        };
        let lines = fields.map(line).collect();
        (id.map(|(_, id)| id), lines)
    }

    /// Counts and logs what hyper has answered by itself; `head` is what could not be read as a request.
    pub(super) fn refused_by_hyper(&self, refusal: &Refusal, head: &[u8], peer: Peer, reason: &hyper::Error) {
        let text = reason.to_string();
        // hyper has read the head by then: what is left is the body that it cannot measure.
        let is_past = ["content-length", "transfer-encoding"].iter().any(|field| text.contains(field));
        let (method, target, protocol) = canned::request_line(if is_past { b"" } else { head });
        let (status, id) = (refusal.status.as_u16(), refusal.request_id.as_ref());
        self.slot.begin_request(&method, &target);
        self.slot.end_request(routes::number(None), status, Duration::ZERO);
        self.slot.sent(refusal.len as u64);
        self.statsd.answered(status);
        let client = peer.map(|peer| peer.to_canonical());
        if let Some(log) = &self.access_log {
            let line = log.begin(&AccessRecord {
                client,
                scheme: "http",
                method: &method,
                target: &target,
                protocol,
                status,
                request_id: id.map(HeaderValue::as_bytes).unwrap_or_default(),
                trace: None,
                request_header: &|_| None,
                response_header: &|_| None,
            });
            log.finish(line, refusal.len as u64, Duration::ZERO);
        }
        debug!(self.log, "a request is refused: {}", text; "status" => status,
            "client" => client.map(|client| client.to_string()), "request_id" => id.and_then(|id| id.to_str().ok()));
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

/// Whether a request has a body that is too long to be read only to be thrown away.
fn has_long_body(request: &Request<Incoming>) -> bool {
    !request.body().is_end_stream() && request.body().size_hint().upper().is_none_or(|len| len > SHORT_BODY)
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
const NO_STORE: HeaderValue = HeaderValue::from_static("no-store");
/// Bytes of a body after which the connection is still kept, if they have arrived with the head.
const SHORT_BODY: u64 = 4096;

const BODY: ApiError = refused(StatusCode::PAYLOAD_TOO_LARGE, "A request to this server has no body");

const fn refused(status: StatusCode, message: &'static str) -> ApiError {
    ApiError::Refused { status, message }
}
