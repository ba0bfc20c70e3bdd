//! Warnings in the envelope of a list: notes for the client about a valid answer.

use std::borrow::Cow;

use serde_json::{Value, json};

use crate::api::Parameter;
use crate::snapshot::LIST_TAIL;

/// The end of a list while the collection has not been scanned yet: it tells an empty collection
/// from a question without matches.
pub(in crate::worker) const EMPTY_TAIL: &[u8] =
    b"],\"warnings\":[{\"code\":200,\"message\":\"The collection is empty; \
    nothing has been scanned yet\",\"message_key\":\"avalon.service.warning.empty_collection\",\
    \"payload\":{}}]}";

/// One warning.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::worker) enum Warning {
    /// The collection has not been scanned yet.
    EmptyCollection,
    /// More entities match than the server puts into one list.
    ListCut {
        /// Limit of entities in one list.
        most: usize,
    },
    /// The list has no parameter of this name.
    UnknownParameter {
        /// The name.
        name: String,
        /// The likely intended parameter.
        nearest: Option<&'static str>,
    },
    /// The value of a parameter is not an id, and is ignored.
    NoId {
        /// The parameter.
        field: &'static str,
        /// The value.
        value: String,
    },
}

impl Warning {
    /// The code and the key of each kind of warning.
    pub(in crate::worker) const CODES: [(u16, &'static str); 4] =
        [(200, "empty_collection"), (201, "list_cut"), (202, "unknown_parameter"), (203, "ignored_value")];

    fn code(&self) -> (u16, &'static str) {
        Warning::CODES[match self {
            Warning::EmptyCollection => 0,
            Warning::ListCut { .. } => 1,
            Warning::UnknownParameter { .. } => 2,
            Warning::NoId { .. } => 3,
        }]
    }

    fn message(&self) -> String {
        match self {
            Warning::EmptyCollection => "The collection is empty; nothing has been scanned yet".to_owned(),
            Warning::ListCut { most } => format!(
                "This server puts {most} entities into a list at most; ask for the others with {} and {}",
                Parameter::Limit.name(),
                Parameter::Offset.name()
            ),
            Warning::UnknownParameter { name, nearest: None } => {
                format!("This list has no parameter '{name}'; it is ignored")
            }
            Warning::UnknownParameter { name, nearest: Some(nearest) } => {
                format!("This list has no parameter '{name}'; it is ignored; did you mean '{nearest}'?")
            }
            Warning::NoId { field, value } => {
                format!("The value of {field} is no UUID; it is ignored: '{value}'")
            }
        }
    }

    fn payload(&self) -> Value {
        match self {
            Warning::EmptyCollection => json!({}),
            Warning::ListCut { most } => json!({ "field": Parameter::Limit.name(), "value": most }),
            Warning::UnknownParameter { name, nearest } => json!({ "field": name, "nearest": nearest }),
            Warning::NoId { field, value } => json!({ "field": field, "value": value }),
        }
    }

    /// Appends JSON, with the same order of keys as errors.
    fn append(&self, text: &mut String) {
        let ((code, key), message, payload) = (self.code(), Value::from(self.message()), self.payload());
        text.push_str(&format!(
            "{{\"code\":{code},\"message\":{message},\"message_key\":\"avalon.service.warning.{key}\",\
             \"payload\":{payload}}}"
        ));
    }
}

/// Returns the end of a list with these warnings, after the warning of an empty collection. The
/// common ones are constants.
pub(in crate::worker) fn tail(is_empty: bool, warnings: &[Warning]) -> Cow<'static, [u8]> {
    if warnings.is_empty() {
        return Cow::Borrowed(if is_empty { EMPTY_TAIL } else { LIST_TAIL });
    }
    let mut text = "],\"warnings\":[".to_owned();
    let all = is_empty.then_some(&Warning::EmptyCollection).into_iter().chain(warnings);
    for (place, warning) in all.enumerate() {
        if place > 0 {
            text.push(',');
        }
        warning.append(&mut text);
    }
    text.push_str("]}");
    Cow::Owned(text.into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_hold_each_warning_and_the_constant_ones_are_the_same() {
        assert_eq!(tail(false, &[]), LIST_TAIL);
        assert_eq!(tail(true, &[]), EMPTY_TAIL);
        let empty = tail(false, &[Warning::EmptyCollection]);
        assert_eq!(empty, EMPTY_TAIL, "{}", String::from_utf8_lossy(&empty));
        let name = "a\"\u{0}b".to_owned();
        let warnings = [
            Warning::ListCut { most: 5 },
            Warning::UnknownParameter { name: name.clone(), nearest: Some("artist") },
            Warning::UnknownParameter { name: name.clone(), nearest: None },
            Warning::NoId { field: "id", value: name.clone() },
        ];
        let list = ["{\"success\":[".as_bytes(), &tail(true, &warnings)].concat();
        let list: Value = serde_json::from_slice(&list).unwrap();
        let codes: Vec<_> =
            list["warnings"].as_array().unwrap().iter().map(|it| it["code"].clone()).collect();
        assert_eq!(codes, [200, 201, 202, 202, 203]);
        assert_eq!(list["warnings"][1]["payload"], json!({"field": "limit", "value": 5}));
        assert_eq!(list["warnings"][2]["payload"], json!({"field": name, "nearest": "artist"}));
        assert!(list["warnings"][2]["message"].as_str().unwrap().ends_with("did you mean 'artist'?"));
    }
}
