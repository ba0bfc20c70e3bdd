//! `LOG_FORMAT = "json"`: a record as one line of JSON, with the key-values of slog as keys.

use std::fmt::Write;

use jiff::Timestamp;
use serde_json::Value as Json;

use super::format::LogRecord;
use super::values::{Values, is_unsafe};

/// The keys of every record. A key-value with one of these names gets an underscore.
const OWN: [&str; 9] =
    ["ts", "level", "msg", "name", "process", "processName", "threadName", "module", "lineno"];

/// Appends a record as an object, without a newline; its `message` is the message alone.
pub(super) fn write(time: Timestamp, record: &LogRecord<'_>, values: &Values, out: &mut String) {
    // Writing to a String cannot fail.
    let _ = write!(out, "{{\"ts\":\"{time:.6}\"");
    for (key, text) in [("level", record.levelname), ("msg", record.message), ("name", record.name)] {
        push_text(key, text, out);
    }
    let _ = write!(out, ",\"process\":{}", record.process);
    push_text("processName", record.process_name, out);
    push_text("threadName", record.thread_name, out);
    push_text("module", record.module, out);
    let _ = write!(out, ",\"lineno\":{}", record.lineno);
    for (at, (key, value, literal)) in values.typed().enumerate() {
        // Of a repeated key, as from a logger and its record, the last value counts.
        if values.typed().skip(at + 1).any(|(other, ..)| other == key) {
            continue;
        }
        out.push(',');
        if OWN.contains(&key) {
            push_string(&format!("{key}_"), out);
        } else {
            push_string(key, out);
        }
        out.push(':');
        match literal {
            true => out.push_str(value),
            false => push_string(value, out),
        }
    }
    out.push('}');
}

fn push_text(key: &str, text: &str, out: &mut String) {
    out.push_str(",\"");
    out.push_str(key);
    out.push_str("\":");
    push_string(text, out);
}

/// Appends a JSON string. It also escapes characters that JSON allows and terminals obey.
pub(super) fn push_string(text: &str, out: &mut String) {
    for character in Json::from(text).to_string().chars() {
        if is_unsafe(character) {
            let _ = write!(out, "\\u{:04x}", u32::from(character));
        } else {
            out.push(character);
        }
    }
}
