//! The table of errors: for each kind of bad request its HTTP status, code, message and payload.
//!
//! Codes and messages are avalonms' own, as recorded from 0.6.0; 4 to 7 are new. No error reveals
//! the inside of the server.

use hyper::StatusCode;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::api::{Field, Parameter};
use crate::model::Kind;

/// Methods that every endpoint takes.
pub(in crate::worker) const ALLOW: &str = "GET, HEAD, OPTIONS";

/// A request that is answered with an error.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum ApiError {
    /// A panic in the service.
    Unknown,
    /// No such endpoint.
    NotFound,
    /// An endpoint that exists, but not for this method.
    MethodNotAllowed,
    /// `order` by a field that the kind lacks.
    InvalidOrder(String),
    /// `direction` that is neither `asc` nor `desc`.
    InvalidDirection(String),
    /// Text where an id must stand.
    InvalidId { field: &'static str, value: String },
    /// Text where an integer must stand.
    InvalidInteger { field: &'static str, value: String },
    /// Text where `true` or `false` must stand.
    InvalidTruth { field: &'static str, value: String },
    /// No entity of a kind has this id.
    UnknownId { kind: Kind, id: Uuid },
    /// An integer below zero, by its decimal digits.
    Negative { field: &'static str, digits: String },
    /// Text where the hash of a collection must stand.
    InvalidHash(String),
    /// A request for the collection with one hash, on a server that serves another, with this hash.
    CollectionChanged { asked: u128, served: u128 },
    /// A precondition of the request (`If-Match`) that does not hold.
    PreconditionFailed,
    /// A request that HTTP itself refuses.
    Refused { status: StatusCode, message: &'static str },
}

impl ApiError {
    pub(in crate::worker) fn status(&self) -> StatusCode {
        match self {
            ApiError::Unknown => StatusCode::INTERNAL_SERVER_ERROR,
            ApiError::NotFound | ApiError::UnknownId { .. } => StatusCode::NOT_FOUND,
            ApiError::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            ApiError::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
            ApiError::CollectionChanged { .. } => StatusCode::CONFLICT,
            ApiError::Refused { status, .. } => *status,
            _ => StatusCode::BAD_REQUEST,
        }
    }

    /// The code and the key of each kind of error.
    pub(in crate::worker) const CODES: [(u16, &'static str); 8] = [
        (1, "unknown"),
        (4, "not_found"),
        (5, "method_not_allowed"),
        (6, "precondition_failed"),
        (7, "collection_changed"),
        (100, "invalid_input_name"),
        (101, "invalid_input_type"),
        (102, "invalid_input_value"),
    ];

    fn code(&self) -> (u16, &'static str) {
        match self {
            ApiError::Unknown => ApiError::CODES[0],
            ApiError::NotFound | ApiError::UnknownId { .. } => ApiError::CODES[1],
            ApiError::MethodNotAllowed => ApiError::CODES[2],
            ApiError::PreconditionFailed => ApiError::CODES[3],
            ApiError::CollectionChanged { .. } => ApiError::CODES[4],
            ApiError::InvalidOrder(_) => ApiError::CODES[5],
            ApiError::InvalidId { .. }
            | ApiError::InvalidInteger { .. }
            | ApiError::InvalidTruth { .. }
            | ApiError::InvalidHash(_) => ApiError::CODES[6],
            ApiError::InvalidDirection(_) | ApiError::Negative { .. } | ApiError::Refused { .. } => {
                ApiError::CODES[7]
            }
        }
    }

    fn message(&self) -> String {
        match self {
            ApiError::Unknown => "An unexpected error occurred; the server's log has the details".to_owned(),
            ApiError::NotFound => "There is no such endpoint".to_owned(),
            ApiError::MethodNotAllowed => format!("Only {ALLOW} are allowed"),
            ApiError::PreconditionFailed => {
                "The collection or the question is another one than If-Match says".to_owned()
            }
            ApiError::InvalidOrder(field) => format!("Invalid order-by field '{field}'"),
            ApiError::InvalidDirection(direction) => format!("Invalid sort direction '{direction}'"),
            ApiError::InvalidId { field, value } => {
                format!("Invalid field value for UUID field {field}: '{value}'")
            }
            ApiError::InvalidInteger { field, value } => {
                format!("Invalid field value for integer field {field}: '{value}'")
            }
            ApiError::InvalidTruth { field, value } => {
                format!("Invalid field value for boolean field {field}: '{value}'")
            }
            ApiError::UnknownId { kind, .. } => {
                format!("None of the {} of this collection has this id", kind.plural())
            }
            ApiError::InvalidHash(value) => {
                format!("Invalid field value for hash field {}: '{value}'", Parameter::Snapshot.name())
            }
            ApiError::CollectionChanged { .. } => {
                "This server does not have the collection that was asked for; begin again with its first page"
                    .to_owned()
            }
            ApiError::Negative { field, .. } => format!("The value of {field} may not be negative"),
            ApiError::Refused { message, .. } => (*message).to_owned(),
        }
    }

    /// Returns the payload as JSON text: a number in it may be larger than any Rust integer.
    fn payload(&self) -> String {
        match self {
            ApiError::InvalidOrder(field) => json!({ "field": field }).to_string(),
            ApiError::InvalidDirection(direction) => json!({ "direction": direction }).to_string(),
            ApiError::InvalidId { field, value }
            | ApiError::InvalidInteger { field, value }
            | ApiError::InvalidTruth { field, value } => {
                json!({ "field": field, "value": value }).to_string()
            }
            ApiError::UnknownId { id, .. } => {
                json!({ "field": Field::Id.name(), "value": id.to_string() }).to_string()
            }
            ApiError::InvalidHash(value) => {
                json!({ "field": Parameter::Snapshot.name(), "value": value }).to_string()
            }
            ApiError::CollectionChanged { asked, served } => {
                let [asked, served] = [asked, served].map(|hash| format!("{hash:032x}"));
                json!({ "field": Parameter::Snapshot.name(), "value": asked, "served": served }).to_string()
            }
            ApiError::Negative { field, digits } => format!("{{\"field\":\"{field}\",\"value\":{digits}}}"),
            _ => "{}".to_owned(),
        }
    }

    /// Returns the whole body.
    pub(in crate::worker) fn envelope(&self) -> String {
        let (code, key) = self.code();
        let (message, payload) = (Value::from(self.message()), self.payload());
        format!(
            "{{\"errors\":[{{\"code\":{code},\"message\":{message},\
             \"message_key\":\"avalon.service.error.{key}\",\"payload\":{payload}}}],\
             \"success\":null,\"warnings\":[]}}"
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn envelopes_are_json_and_those_of_avalonms() {
        let negative = ApiError::Negative { field: "limit", digits: "-100000000000000000000000".into() };
        assert_eq!(
            negative.envelope(),
            "{\"errors\":[{\"code\":102,\"message\":\"The value of limit may not be negative\",\
             \"message_key\":\"avalon.service.error.invalid_input_value\",\
             \"payload\":{\"field\":\"limit\",\"value\":-100000000000000000000000}}],\
             \"success\":null,\"warnings\":[]}"
        );
        for error in [
            ApiError::Unknown,
            ApiError::NotFound,
            ApiError::MethodNotAllowed,
            ApiError::PreconditionFailed,
            ApiError::InvalidHash("\u{0}".into()),
            ApiError::CollectionChanged { asked: 0, served: u128::MAX },
            ApiError::InvalidTruth { field: "total", value: "\u{7f}'".into() },
            ApiError::UnknownId { kind: Kind::Song, id: Uuid::nil() },
            ApiError::InvalidOrder("a\"\n'".into()),
            ApiError::InvalidDirection("\u{fffd}".into()),
            ApiError::InvalidId { field: "album_id", value: "\\".into() },
        ] {
            let parsed: Value = serde_json::from_str(&error.envelope()).unwrap();
            assert_eq!(parsed["success"], Value::Null);
            assert!(parsed["errors"][0]["code"].is_u64());
        }
    }
}
