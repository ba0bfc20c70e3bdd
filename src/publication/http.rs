//! Requests to a server that holds snapshots.

use std::io;
use std::time::Duration;

use rustls::CertificateError;
use ureq::http::{HeaderMap, StatusCode, header};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::error::StoreError;
use super::store::{Reading, Small, Tag};

/// Longest silence of a server.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Most bytes of the text of an error, or of a list.
const TEXT_LEN_MAX: u64 = 8 << 20;
/// Most characters of a server's own words in a message.
const WORDS_MAX: usize = 300;

/// A client that trusts the authorities of this machine, or those of `SSL_CERT_FILE` and `SSL_CERT_DIR`, and
/// that limits its wait for a server.
pub(super) fn agent() -> Agent {
    let found = rustls_native_certs::load_native_certs().certs;
    let certificates: Vec<Certificate<'static>> =
        found.iter().map(|certificate| Certificate::from_der(certificate.as_ref()).to_owned()).collect();
    let tls = TlsConfig::builder();
    let tls = match certificates.is_empty() {
        true => tls,
        false => tls.root_certs(RootCerts::new_with_certs(&certificates)),
    };
    let config = Agent::config_builder()
        .tls_config(tls.build())
        .http_status_as_error(false)
        .timeout_resolve(Some(SILENCE_MAX))
        .timeout_connect(Some(SILENCE_MAX))
        .timeout_recv_response(Some(SILENCE_MAX * 2))
        .timeout_per_read(Some(SILENCE_MAX))
        .timeout_per_write(Some(SILENCE_MAX));
    config.build().new_agent()
}

/// The error of a request without an answer. Its text never holds the URL, which may be signed.
pub(super) fn unanswered(error: &ureq::Error) -> StoreError {
    if let Some(cause) = certificate(error) {
        return StoreError::Certificate(cause);
    }
    match error {
        ureq::Error::Tls(_) | ureq::Error::BadUri(_) | ureq::Error::InvalidProxyUrl => {
            StoreError::Refused(error.to_string())
        }
        _ => StoreError::Unreachable(error.to_string()),
    }
}

/// The fault of a server's certificate, if that is why the connection failed.
fn certificate(error: &ureq::Error) -> Option<String> {
    let rustls = match error {
        ureq::Error::Rustls(error) => Some(error),
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref::<rustls::Error>(),
        _ => None,
    };
    let Some(rustls::Error::InvalidCertificate(fault)) = rustls else { return None };
    Some(match fault {
        CertificateError::UnknownIssuer => {
            "no authority that this machine trusts vouches for it; add that of the \
             store to the system's, or name a file of authorities in SSL_CERT_FILE"
                .to_owned()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("it is not for this host ({fault})")
        }
        other => other.to_string(),
    })
}

/// The answer to a request for an object from byte `from` on; `None` if there is no such object.
pub(super) fn reading(
    response: ureq::http::Response<Body>,
    from: u64,
) -> Result<Option<Reading>, StoreError> {
    let (status, tag) = (response.status(), tag(response.headers()));
    if status == StatusCode::NOT_FOUND {
        return Ok(None);
    }
    let len = match status {
        StatusCode::OK => response.body().content_length(),
        StatusCode::PARTIAL_CONTENT => whole_len(response.headers()),
        _ => return Err(refusal(response)),
    };
    let len =
        len.ok_or_else(|| StoreError::Refused("it does not report the length of an object".to_owned()))?;
    let mut body: Box<dyn io::Read> =
        Box::new(response.into_body().into_with_config().limit(u64::MAX).reader());
    if status == StatusCode::OK && from > 0 {
        // A server that does not support ranges sends the whole object.
        let skipped = io::copy(&mut io::Read::take(&mut body, from), &mut io::sink());
        skipped.map_err(|error| StoreError::Unreachable(error.to_string()))?;
    }
    Ok(Some(Reading { tag, len, body }))
}

/// The state of the object in this answer.
pub(super) fn tag(headers: &HeaderMap) -> Option<Tag> {
    headers.get(header::ETAG)?.to_str().ok().map(|tag| Tag(tag.to_owned()))
}

/// The length of the whole object, from `Content-Range: bytes 0-9/LENGTH`.
fn whole_len(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_RANGE)?.to_str().ok()?.rsplit('/').next()?.parse().ok()
}

/// The error for an answer without the requested object.
pub(super) fn refusal(response: ureq::http::Response<Body>) -> StoreError {
    let status = response.status();
    let passes = status.is_server_error()
        || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    let words = text(response.into_body()).unwrap_or_default();
    // S3 puts the reason into these elements; other servers send pages.
    let element = |name: &str| {
        let (_, rest) = words.split_once(&format!("<{name}>"))?;
        rest.split_once("</").map(|(words, _)| words.chars().take(WORDS_MAX).collect::<String>())
    };
    let said = [element("Code"), element("Message")];
    let said: Vec<String> = said.into_iter().flatten().collect();
    let said = if said.is_empty() { String::new() } else { format!(" ({})", said.join(": ")) };
    match passes {
        true => StoreError::Unreachable(format!("it answers {status}{said}")),
        false => StoreError::Refused(format!("it answers {status}{said}")),
    }
}

/// Reads a body as text.
pub(super) fn text(body: Body) -> Result<String, StoreError> {
    let text = body.into_with_config().limit(TEXT_LEN_MAX).lossy_utf8(true).read_to_string();
    text.map_err(|error| unanswered(&error))
}

/// Reads the bytes of a small object.
pub(super) fn small(found: Option<Reading>, len_max: u64) -> Result<Option<Small>, StoreError> {
    let Some(Reading { tag, body, .. }) = found else { return Ok(None) };
    let mut bytes = Vec::new();
    let read = io::Read::read_to_end(&mut io::Read::take(body, len_max), &mut bytes);
    read.map_err(|error| StoreError::Unreachable(error.to_string()))?;
    Ok(Some((bytes, tag)))
}
