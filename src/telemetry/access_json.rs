//! `ACCESS_LOGFORMAT = "json"`: a request as one line of JSON.

use std::fmt::{Display, Write};
use std::time::Duration;

use super::access_record::AccessRecord;
use super::json::push_string;

/// Appends an object without its end, which is known only later. Keys without a value are left out.
pub(super) fn begin(record: &AccessRecord<'_>, time: &dyn Display, out: &mut String) {
    let (path, query) = match record.target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (record.target, None),
    };
    let header = |name| (record.request_header)(name).map(String::from_utf8_lossy);
    // Writing to a String cannot fail.
    let _ = write!(out, "{{\"ts\":\"{time}\"");
    if let Some(client) = record.client {
        let _ = write!(out, ",\"client\":\"{client}\"");
    }
    push("scheme", Some(record.scheme), out);
    push("method", Some(record.method), out);
    push("path", Some(path), out);
    push("query", query, out);
    push("protocol", Some(record.protocol), out);
    let _ = write!(out, ",\"status\":{}", record.status);
    push("referer", header("referer").as_deref(), out);
    push("user_agent", header("user-agent").as_deref(), out);
    let id = Some(record.request_id).filter(|id| !id.is_empty()).map(String::from_utf8_lossy);
    push("request_id", id.as_deref(), out);
    push("trace_id", record.trace.map(|(trace, _)| trace), out);
    push("parent_id", record.trace.map(|(_, parent)| parent), out);
    let _ = write!(out, ",\"process\":{}", std::process::id());
}

/// Ends the object: bytes of the body, and seconds.
pub(super) fn finish(bytes: u64, took: Duration, out: &mut String) {
    let _ = write!(out, ",\"bytes\":{bytes},\"duration\":{:.6}}}", took.as_secs_f64());
}

fn push(key: &str, text: Option<&str>, out: &mut String) {
    let Some(text) = text else { return };
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    // Nearly all texts consist of characters that JSON does not escape.
    if text.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'"' && byte != b'\\') {
        out.push('"');
        out.push_str(text);
        out.push('"');
    } else {
        push_string(text, out);
    }
}
