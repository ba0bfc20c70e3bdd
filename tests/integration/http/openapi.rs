//! The description of the API matches the answers of the server.

use std::collections::HashMap;
use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::{LISTS, assert_error, assert_good_manners};
use crate::conformance::{recorded, recorded_sqlite};
use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Setup, collection};

const TARGET: &str = "/avalon/openapi.json";

/// Answers longer than this are no other than shorter ones, and take Python long.
const BYTES_MAX: usize = 64 * 1024;

/// The document comes first, then for each answer a line with the reference of its schema.
const VALIDATOR: &str = "
import json, sys, jsonschema
document = json.loads(sys.stdin.readline())
validators, errors, count = {}, [], 0
for line in sys.stdin:
    line = json.loads(line)
    reference = line['schema']
    if reference not in validators:
        schema = {'$ref': reference, 'components': document['components']}
        jsonschema.Draft202012Validator.check_schema(document['components']['schemas'][reference.split('/')[-1]])
        validators[reference] = jsonschema.Draft202012Validator(schema, format_checker=jsonschema.FormatChecker())
    count += 1
    errors += [f\"{line['target']}: {list(error.path)}: {error.message}\"
               for error in validators[reference].iter_errors(line['answer'])]
print(count)
if errors:
    sys.exit('\\n'.join(errors[:20]))
";

/// Validates with Debian's python3-jsonschema; scripts/install-test-deps brings it.
fn validate(document: &Value, lines: &[Value]) -> Result<usize, String> {
    let mut child = Command::new("/usr/bin/python3")
        .args(["-c", VALIDATOR])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("Debian's python3");
    let text: String = [document].into_iter().chain(lines).map(|line| format!("{line}\n")).collect();
    child.stdin.take().expect("a pipe").write_all(text.as_bytes()).expect("python3 reads");
    let output = child.wait_with_output().expect("an end");
    match output.status.success() {
        true => Ok(String::from_utf8_lossy(&output.stdout).trim().parse().expect("a number")),
        false => Err(String::from_utf8_lossy(&output.stderr).into_owned()),
    }
}

/// The schema that the document has for this answer; `None` for an answer without JSON.
fn schema(document: &Value, target: &str, answer: &Answer) -> Option<String> {
    let path = percent_encoding::percent_decode_str(target.split('?').next()?).decode_utf8_lossy();
    let path = path.strip_prefix("/avalon")?;
    let parts: Vec<&str> = path.split('/').collect();
    let path = match parts[..] {
        ["", list, id] if !id.is_empty() && answer.text().contains("\"payload\":{\"field\":\"id\"") => {
            format!("/{list}/{{id}}")
        }
        ["", list, id] if !id.is_empty() && answer.status == 200 => format!("/{list}/{{id}}"),
        _ => path.to_owned(),
    };
    let Some(operation) = document["paths"].get(&path) else {
        // A missing entity has the common error.
        assert_eq!(answer.status, 404, "{target} is not described");
        return Some("#/components/schemas/Failure".to_owned());
    };
    let described = &operation["get"]["responses"][answer.status.to_string()];
    assert!(!described.is_null(), "{target}: status {} is not described", answer.status);
    let described = match described["$ref"].as_str() {
        Some(reference) => document.pointer(reference.trim_start_matches('#')).expect("a response"),
        None => described,
    };
    let (media_type, content) = described["content"].as_object()?.iter().next().expect("a media type");
    let got = answer.header("content-type").expect("a type");
    assert!(got.starts_with(media_type), "{target}: {got}");
    content["schema"]["$ref"].as_str().map(str::to_owned)
}

#[test]
fn all_recorded_questions_get_the_answers_that_the_document_describes() {
    let server = recorded_sqlite().flag("--page=false").start();
    let document = server.get(TARGET).json();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut targets: Vec<String> = Vec::new();
    for file in ["public_cases.jsonl.gz", "quirk_kept.jsonl.gz", "quirk_changed.jsonl.gz"] {
        let cases = String::from_utf8(recorded(file)).expect("UTF-8");
        let cases = cases.lines().map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
        let ours = cases.filter(|case| case["method"] == "GET" && case["request_path"] == "/avalon");
        targets.extend(ours.map(|case| case["target"].as_str().expect("a target").to_owned()));
    }
    let genre = avalon::ids::genre("Ska");
    for list in LISTS {
        let id = connection.get(&format!("{list}?limit=1")).expect("an answer").success()[0]["id"].clone();
        let id = id.as_str().expect("an id");
        targets.extend(
            ["?total=x", "?counts=true&limit=50", "?snapshot=0", "?words=a+b&total=true"]
                .map(|of| format!("{list}{of}")),
        );
        targets.extend([
            format!("{list}/{id}"),
            format!("{list}/{id}?counts=true"),
            format!("{list}/{}", uuid::Uuid::nil()),
        ]);
        targets.extend([format!("{list}?genre_id={genre}"), format!("{list}?snapshot={}", "0".repeat(32))]);
    }
    let (mut lines, mut by_schema) = (Vec::new(), HashMap::<String, usize>::new());
    for target in targets {
        let answer = connection.get(&target).unwrap_or_else(|error| panic!("{target}: {error}"));
        if answer.closes() {
            connection = Connection::open(&server.address).expect("a connection");
        }
        // A head or a line that is no HTTP has answers of any endpoint.
        if answer.body.len() > BYTES_MAX
            || !target.starts_with("/avalon/")
            || [413, 414, 431].contains(&answer.status)
        {
            continue;
        }
        if let Some(schema) = schema(&document, &target, &answer) {
            *by_schema.entry(schema.clone()).or_default() += 1;
            lines.push(json!({"schema": schema, "target": target, "answer": answer.json()}));
        }
    }
    assert_eq!(by_schema.len(), 9, "{by_schema:?}");
    assert_eq!(validate(&document, &lines), Ok(lines.len()));
    assert!(lines.len() > 700, "{}", lines.len());
    // A field more, or one of another type, would be found.
    for (pointer, wrong) in
        [("/success/0/name", json!(7)), ("/success/0/more", json!(1)), ("/warnings", json!([1]))]
    {
        let mut answer = server.get("/avalon/songs?limit=1").json();
        match answer.pointer_mut(pointer) {
            Some(value) => *value = wrong,
            None => answer["success"][0]["more"] = wrong,
        }
        let line = json!({"schema": "#/components/schemas/SongList", "target": pointer, "answer": answer});
        assert!(validate(&document, &[line]).is_err(), "{pointer}");
    }
}

#[test]
fn warnings_are_described() {
    let rows = collection(3);
    let server = Setup::with(&rows)
        .variable("AVALON_LIST_MAX", "1")
        .variable("AVALON_STRICT_PARAMETERS", "true")
        .start();
    let document = server.get(TARGET).json();
    let target = "/avalon/songs?artst=1&id=7";
    let answer = server.get(target).json();
    assert_eq!(answer["warnings"].as_array().map(Vec::len), Some(3));
    let line = json!({"schema": "#/components/schemas/SongList", "target": target, "answer": answer});
    assert_eq!(validate(&document, &[line]), Ok(1));
}

/// A browser shows it, and loads nothing for it.
#[test]
fn the_page_for_people_has_all_that_the_document_has() {
    let server = Setup::with(&collection(1)).start();
    let document = server.get(TARGET).json();
    let page = server.get("/avalon/docs");
    assert_good_manners(&page);
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
    assert!(page.header("content-security-policy").expect("a policy").starts_with("default-src 'none'"));
    assert_eq!(page.header("x-content-type-options"), Some("nosniff"));
    let text = page.text();
    for (path, operation) in document["paths"].as_object().expect("paths") {
        assert!(text.contains(&format!("<code>GET /avalon{path}</code>")), "{path}");
        for parameter in operation["get"]["parameters"].as_array().expect("parameters") {
            let name = parameter["name"].as_str().expect("a name");
            assert!(text.contains(&format!("<code>{name}</code>")), "{name}");
        }
    }
    for name in document["components"]["schemas"].as_object().expect("schemas").keys() {
        assert!(text.contains(&format!("<h3 id=\"{name}\">")), "{name}");
    }
    for link in text.split("href=\"").skip(1).map(|rest| rest.split('"').next().unwrap_or_default()) {
        match link.strip_prefix('#') {
            Some(name) => assert!(text.contains(&format!("id=\"{name}\"")), "{name}"),
            None => assert_eq!(server.get(&format!("/avalon/{link}")).status, 200, "{link}"),
        }
    }
    assert!(!["<script", "<style", "style=", "src=", "//"].iter().any(|outside| text.contains(outside)));
    let tag = format!("If-None-Match: {}", page.header("etag").expect("a tag"));
    let mut connection = Connection::open(&server.address).expect("a connection");
    assert_eq!(connection.request("GET", "/avalon/docs", &[&tag]).expect("an answer").status, 304);
}

#[test]
fn caches_keep_the_document() {
    let server = Setup::with(&collection(1)).flag("--request-path").flag("/a/b").start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let target = "/a/b/openapi.json";
    let answer = connection.get(target).expect("an answer");
    assert_good_manners(&answer);
    assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-cache")));
    assert_eq!(answer.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(answer.json()["servers"][0]["url"], "/a/b");
    let tag = answer.header("etag").expect("a tag");
    let known = connection.request("GET", target, &[&format!("If-None-Match: {tag}")]).expect("an answer");
    assert_eq!((known.status, known.header("etag")), (304, Some(tag)));
    let other = connection.request("GET", target, &["If-Match: \"x\""]).expect("an answer");
    assert_error(&other, 412, 6, "precondition_failed");
    let head = connection.request("HEAD", target, &[]).expect("an answer");
    assert_eq!((head.status, head.len(), head.body.len()), (200, answer.len(), 0));
}
