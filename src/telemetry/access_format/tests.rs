use proptest::prelude::*;
use serde_json::Value as Json;

use super::*;

const DEFAULT: &str = "%(h)s %(l)s %(u)s %(t)s \"%(r)s\" %(s)s %(b)s \"%(f)s\" \"%(a)s\"";
const TIME: &str = "[24/Nov/2026:05:46:00 +0000]";

/// Lines that Gunicorn's own `Logger.access` wrote; `generate.py` beside the file recorded them.
#[test]
fn lines_look_as_gunicorn_writes_them() {
    let lines = include_str!("../../../tests/fixtures/logging/access.jsonl").lines();
    let mut count = 0;
    for line in lines {
        let case: Json = serde_json::from_str(line).unwrap();
        let text = |name: &str| case[name].as_str().unwrap();
        let pairs = |name: &str| case[name].as_object().unwrap();
        let (request, response) = (pairs("request_headers"), pairs("response_headers"));
        let record = AccessRecord {
            client: case["client"].as_str().map(|client| client.parse().unwrap()),
            scheme: "http",
            method: text("method"),
            target: text("target"),
            protocol: "HTTP/1.1",
            status: u16::try_from(case["status"].as_u64().unwrap()).unwrap(),
            request_id: b"",
            trace: None,
            request_header: &|name| request.get(name).map(|value| value.as_str().unwrap().as_bytes()),
            response_header: &|name| response.get(name).map(|value| value.as_str().unwrap().as_bytes()),
        };
        let format = AccessFormat::parse(text("format")).unwrap();
        let took = Duration::from_micros(case["microseconds"].as_u64().unwrap());
        let mut out = String::new();
        let line_begun = format.begin(&record, &TIME, AccessLine::default());
        line_begun.finish(case["bytes"].as_u64().unwrap(), took, &mut out);
        let expected = text("line").replace("<PID>", &format!("<{}>", std::process::id()));
        assert_eq!(out, format!("{expected}\n"), "{line}");
        count += 1;
    }
    assert!(count > 100, "{count}");
}

fn record<'a>(target: &'a str, header: &'a dyn Fn(&str) -> Option<&'a [u8]>) -> AccessRecord<'a> {
    AccessRecord {
        client: Some("192.0.2.1".parse().unwrap()),
        scheme: "https",
        method: "GET",
        target,
        protocol: "HTTP/1.1",
        status: 200,
        request_id: b"r-7",
        trace: Some(("0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331")),
        request_header: header,
        response_header: &|_| None,
    }
}

fn line(format: &str, record: &AccessRecord<'_>) -> String {
    let format = AccessFormat::parse(format).unwrap();
    let mut out = String::new();
    let begun = format.begin(record, &TIME, AccessLine::default());
    let begun = begun.finish(1234, Duration::from_micros(1_000_250), &mut out);
    assert!(begun.text.is_empty() && begun.gaps.is_empty());
    out
}

#[test]
fn nothing_in_a_request_ends_a_line_or_a_quoted_field() {
    let hostile: &[u8] = b"a\"b\\c\nd\x1b[31m\xff\xc3\xa9\xe2\x80\xa8";
    let header = |name: &str| (name == "user-agent").then_some(hostile);
    let line = line("\"%(a)s\" \"%(f)s\" %(U)s", &record("/a%0Ab%22", &header));
    assert_eq!(line, "\"a\\\"b\\\\c\\x0ad\\x1b[31m\\xffé\\u2028\" \"-\" /a\\x0ab\\\"\n");
}

#[test]
fn json_lines_are_objects_without_missing_values() {
    let header = |name: &str| (name == "user-agent").then_some(&b"curl \"x\"\n\xff"[..]);
    let parsed: Json =
        serde_json::from_str(&line("json", &record("/avalon/songs?query=a", &header))).unwrap();
    let expected = serde_json::json!({
        "ts": TIME, "client": "192.0.2.1", "scheme": "https", "method": "GET", "path": "/avalon/songs",
        "query": "query=a", "protocol": "HTTP/1.1", "status": 200, "user_agent": "curl \"x\"\n\u{fffd}",
        "request_id": "r-7", "trace_id": "0af7651916cd43dd8448eb211c80319c", "parent_id": "b7ad6b7169203331",
        "process": std::process::id(), "bytes": 1234, "duration": 1.00025,
    });
    assert_eq!(parsed, expected);
    let bare = AccessRecord { client: None, request_id: b"", trace: None, ..record("/", &|_| None) };
    let parsed: Json = serde_json::from_str(&line("JSON", &bare)).unwrap();
    let keys: Vec<&String> = parsed.as_object().unwrap().keys().collect();
    assert_eq!(keys.len(), 9, "{keys:?}");
}

#[test]
fn wrong_formats_are_refused_with_where_they_are_wrong() {
    for (format, message) in [
        ("%(h)s %(x)s", "unknown attribute \"x\" at column 7, expected one of h l u t r"),
        ("%(b)d", "is text"),
        ("%(h)", "without a conversion type"),
        ("%h", "column 1 without a name"),
        ("%({x}e)s", "unknown attribute \"{x}e\""),
    ] {
        let error = AccessFormat::parse(format).unwrap_err().to_string();
        assert!(error.contains(message), "{format}: {error}");
    }
    assert_eq!(line("a\0b %(B)d", &record("/", &|_| None)), "a\\x00b 1234\n");
    // Gunicorn takes a format without atoms as well.
    assert_eq!(line("100%%", &record("/", &|_| None)), "100%\n");
}

proptest! {
    #[test]
    fn a_line_is_one_line_and_a_json_one_an_object(
        target in "/[^\\s#]{0,40}",
        agent in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let header = |name: &str| (name == "user-agent").then_some(&agent[..]);
        let record = record(&target, &header);
        for format in [DEFAULT, "json"] {
            let line = line(format, &record);
            prop_assert_eq!(line.chars().filter(|character| is_unsafe(*character)).count(), 1, "{}", line);
        }
        let parsed: Json = serde_json::from_str(&line("json", &record)).unwrap();
        prop_assert_eq!(parsed["user_agent"].as_str().unwrap(), String::from_utf8_lossy(&agent));
    }
}
