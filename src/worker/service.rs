//! A request in, an answer out. Touches nothing but the snapshot and counters.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use hyper::body::{Body, Incoming};
use hyper::header::{HOST, HeaderValue, IF_NONE_MATCH};
use hyper::{HeaderMap, Method, Request, Response, StatusCode, Version};
use slog::{Logger, error};

use super::body::Payload;
use super::compression::Accepted;
use super::connection::Activity;
use super::error::ApiError;
use super::exchange::Exchange;
use super::request_id::RequestIds;
use super::routes::{self, Endpoint};
use super::status::{self, Peer};
use super::{Role, VERSION, forwarded, metrics, params, response, trace_context};
use crate::config::{Limits, Proxies};
use crate::scoreboard::{Scoreboard, Slot};
use crate::snapshot::{Kind, Snapshot};
use crate::telemetry::{AccessLine, AccessLog, AccessRecord, Statsd, sentry};

/// What all connections of a worker share.
pub(super) struct Service {
    pub(super) snapshot: &'static Snapshot<'static>,
    pub(super) request_path: String,
    pub(super) limits: Limits,
    /// Bytes from which on bodies are compressed for clients that accept it.
    pub(super) compress_from: Option<u64>,
    /// Whether lists tell how long their making took.
    pub(super) debug_headers: bool,
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
        if request.method() == Method::HEAD {
            response = response::without_body(response);
        }
        if self.limits.keepalive.is_zero() || self.draining.load(Ordering::Relaxed) {
            response::close(&mut response);
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
        if request.method() == Method::OPTIONS && request.uri().path() == "*" {
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
            Method::GET | Method::HEAD => self.endpoint(endpoint, request),
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
        // RFC 9112 3.2. There is one or none in HTTP/1.0.
        let hosts = request.headers().get_all(HOST).iter().count();
        if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
            return Some(refused(StatusCode::BAD_REQUEST, "The request must name one Host"));
        }
        let field_max = self.limits.request_field_size;
        let too_large = |(name, value): (&hyper::header::HeaderName, &hyper::header::HeaderValue)| {
            name.as_str().len() + value.len() + ": ".len() > field_max
        };
        request.headers().iter().any(too_large).then(|| {
            refused(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "A header field of the request is too large")
        })
    }

    fn endpoint(&self, endpoint: Endpoint, request: &Request<Incoming>) -> Response<Payload> {
        match endpoint {
            Endpoint::Version => response::text(VERSION),
            Endpoint::Heartbeat => response::text("OKOKOK"),
            Endpoint::Status => response::json(status::status(&self.scoreboard, self.snapshot).to_string()),
            Endpoint::Metrics => response::metrics(metrics::render(&self.scoreboard)),
            Endpoint::List(kind) => self.list(kind, request).unwrap_or_else(|error| response::error(&error)),
        }
    }

    fn list(&self, kind: Kind, request: &Request<Incoming>) -> Result<Response<Payload>, ApiError> {
        let query_string = request.uri().query().unwrap_or_default();
        let begin = self.debug_headers.then(Instant::now);
        let question = params::parse(kind, query_string)?;
        let tag = response::tag(self.snapshot.hash(), kind, query_string);
        let known = request.headers().get_all(IF_NONE_MATCH);
        let mut response = match known.iter().find_map(|known| response::known_tag(known, &tag)) {
            Some(tag) => response::not_modified(tag),
            None => {
                let coding = self.compress_from.and_then(|least| Accepted::of(request.headers(), least));
                let selection = self.snapshot.select(kind, &question.query());
                let selected = begin.map(|begin| begin.elapsed());
                let mut response = response::list(self.snapshot, kind, selection, &tag, coding);
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

const BODY: ApiError = refused(StatusCode::PAYLOAD_TOO_LARGE, "A request to this server has no body");

const fn refused(status: StatusCode, message: &'static str) -> ApiError {
    ApiError::Refused { status, message }
}
