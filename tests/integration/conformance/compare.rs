//! Whether an answer is the recorded one, by the rules of the recording's own checker
//! (`check.py`): only the fields that a case has are looked at.

use std::collections::{BTreeSet, HashMap, HashSet};

use sha2::{Digest, Sha256};

use super::json::Json;
use crate::harness::http::Answer;

/// Everything a case may say. A field that is not compared would make a test that tests nothing.
const FIELDS: [&str; 25] = [
    "allow",
    "body_json",
    "body_match",
    "body_text",
    "candidate_ids",
    "careful",
    "content_type",
    "count",
    "direction",
    "fields",
    "group",
    "id",
    "limited",
    "method",
    "note",
    "order_values",
    "ordered",
    "ordered_by",
    "quirk",
    "request_path",
    "sha256_of_ids_in_order",
    "sha256_of_sorted_elements",
    "sha256_of_sorted_ids",
    "status",
    "target",
];

/// The rows behind the answers: by endpoint, then by id, in canonical JSON.
pub(super) struct Rows(HashMap<&'static str, HashMap<String, String>>);

impl Rows {
    /// Reads `collection.jsonl`.
    pub(super) fn read(lines: &str) -> Rows {
        let mut rows =
            HashMap::from(["songs", "albums", "artists", "genres"].map(|kind| (kind, HashMap::new())));
        let mut put = |kind, id: &Json, row: Json| {
            let id = id.text().expect("an id").to_owned();
            rows.get_mut(kind).expect("a kind").insert(id, row.canonical());
        };
        for line in lines.lines() {
            let Ok(Json::Object(mut song)) = Json::parse(line.as_bytes()) else {
                panic!("no object: {line}")
            };
            song.remove("path");
            for (kind, name) in [("albums", "album"), ("artists", "artist"), ("genres", "genre")] {
                let id = song[&format!("{name}_id")].clone();
                let row = [("id".to_owned(), id.clone()), ("name".to_owned(), song[name].clone())];
                put(kind, &id, Json::Object(row.into()));
            }
            let id = song["id"].clone();
            put("songs", &id, Json::Object(song));
        }
        Rows(rows)
    }
}

/// Returns the differences; none if the answer is the recorded one.
pub(super) fn differences(case: &Json, answer: &Answer, rows: &Rows) -> Vec<String> {
    let Json::Object(members) = case else { return vec!["the case is no object".to_owned()] };
    let mut found = Found(Vec::new());
    for field in members.keys() {
        found.unless(FIELDS.contains(&field.as_str()), || format!("{field} is not compared"));
    }
    let status = case.get("status").and_then(Json::number);
    found.unless(status == Some(answer.status.into()), || format!("status {}", answer.status));
    if let Some(recorded) = text_of(case, "content_type") {
        let got = answer.header("content-type").map(media_type);
        found.unless(got == Some(media_type(recorded)), || format!("content type {got:?}"));
    }
    if let Some(recorded) = text_of(case, "allow") {
        let got = answer.header("allow").unwrap_or_default();
        found.unless(methods(got) == methods(recorded), || format!("Allow {got}"));
    }
    compare_body(case, answer, rows, &mut found);
    found.0
}

struct Found(Vec<String>);

impl Found {
    fn unless(&mut self, equal: bool, difference: impl FnOnce() -> String) {
        if !equal {
            self.0.push(difference());
        }
    }
}

fn text_of<'j>(case: &'j Json, field: &str) -> Option<&'j str> {
    case.get(field).and_then(Json::text)
}

fn media_type(value: &str) -> String {
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn methods(value: &str) -> BTreeSet<&str> {
    value.split(',').map(str::trim).filter(|method| !method.is_empty()).collect()
}

fn compare_body(case: &Json, answer: &Answer, rows: &Rows, found: &mut Found) {
    let shown = || format!("body {:.300}", String::from_utf8_lossy(&answer.body));
    if let Some(pattern) = text_of(case, "body_match") {
        let matches = std::str::from_utf8(&answer.body).is_ok_and(|body| full_match(pattern, body));
        return found.unless(matches, || format!("{} does not match {pattern}", shown()));
    }
    if let Some(text) = text_of(case, "body_text") {
        return found.unless(answer.body == text.as_bytes(), shown);
    }
    let (count, recorded) = (case.get("count").and_then(Json::number), case.get("body_json"));
    if count.is_none() && recorded.is_none() {
        return;
    }
    match Json::parse(&answer.body) {
        Err(error) => found.unless(false, || format!("{error}: {}", shown())),
        Ok(got) => match count {
            Some(count) => compare_list(case, count, &got, rows, found),
            None => found.unless(Some(&got) == recorded, shown),
        },
    }
}

/// The regular expressions that occur in the cases: a version number, and an error with a
/// code and a key.
///
/// # Panics
/// If the pattern is another one.
fn full_match(pattern: &str, body: &str) -> bool {
    if pattern.starts_with(r"[0-9]+\.[0-9]+(\.[0-9]+)?(") {
        let body = body.strip_suffix('\n').unwrap_or(body);
        let end = body.find(['-', '+']).unwrap_or(body.len());
        let numbers: Vec<&str> = body[..end].split('.').collect();
        let is_number =
            |number: &&str| !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        return (2..=3).contains(&numbers.len()) && numbers.iter().all(is_number);
    }
    let parts = pattern.strip_prefix(r#"(?s)(?=.*"code":\s*"#).and_then(|rest| {
        let (code, rest) = rest.split_once(r#"\b)(?=.*""#)?;
        Some((code, rest.strip_suffix(r#"").*"#)?.replace(r"\.", ".")))
    });
    let (code, key) = parts.unwrap_or_else(|| panic!("a pattern that this test does not know: {pattern}"));
    let has_code = body.split("\"code\":").skip(1).any(|rest| {
        let rest = rest.trim_start().strip_prefix(code);
        rest.is_some_and(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
    });
    has_code && body.contains(&format!("\"{key}\""))
}

fn compare_list(case: &Json, count: i128, got: &Json, rows: &Rows, found: &mut Found) {
    let keys = |json: &Json| match json {
        Json::Object(members) => members.keys().cloned().collect(),
        _ => Vec::new(),
    };
    found.unless(keys(got) == ["errors", "success", "warnings"], || format!("members {:?}", keys(got)));
    for list in ["errors", "warnings"] {
        found.unless(got.get(list) == Some(&Json::List(Vec::new())), || format!("{list} is not []"));
    }
    let members = got.get("success").and_then(Json::list);
    let ids =
        members.and_then(|list| list.iter().map(|member| text_of(member, "id")).collect::<Option<Vec<_>>>());
    let (Some(members), Some(ids)) = (members, ids) else {
        return found.unless(false, || "success is no list of objects with an id".to_owned());
    };
    found.unless(ids.iter().collect::<HashSet<_>>().len() == ids.len(), || "an id occurs twice".to_owned());
    found.unless(ids.iter().all(|id| is_id(id)), || "an id is not lower case and hyphenated".to_owned());
    found.unless(members.len() as i128 == count, || format!("count {}", members.len()));
    if let Some(fields) = case.get("fields").and_then(Json::list) {
        let fields: BTreeSet<&str> = fields.iter().filter_map(Json::text).collect();
        let same = |member: &Json| keys(member).iter().map(String::as_str).eq(fields.iter().copied());
        found.unless(members.iter().all(same), || "a member has other fields".to_owned());
    }
    let elements: Vec<String> = members.iter().map(Json::canonical).collect();
    compare_members(case, &elements, found);
    compare_digests(case, &ids, &elements, found);
    compare_order(case, members, found);
    if let Some(candidates) = case.get("candidate_ids").and_then(Json::list) {
        let candidates: HashSet<&str> = candidates.iter().filter_map(Json::text).collect();
        found.unless(ids.iter().all(|id| candidates.contains(id)), || {
            "a member that does not match".to_owned()
        });
    }
    if let Some(known) = rows.0.get(endpoint(text_of(case, "target").unwrap_or_default()).as_str()) {
        let is_row = |(id, element): (&&str, &String)| known.get(*id) == Some(element);
        let odd = ids.iter().zip(&elements).find(|(id, element)| !is_row((id, element)));
        found.unless(odd.is_none(), || format!("a member that is no row: {odd:?}"));
    }
}

fn is_id(id: &str) -> bool {
    let hyphens = [8, 13, 18, 23];
    id.len() == 36
        && id.bytes().enumerate().all(|(at, byte)| match hyphens.contains(&at) {
            true => byte == b'-',
            false => matches!(byte, b'0'..=b'9' | b'a'..=b'f'),
        })
}

fn sorted(elements: &[String]) -> Vec<&str> {
    let mut sorted: Vec<&str> = elements.iter().map(String::as_str).collect();
    sorted.sort_unstable();
    sorted
}

/// Against the recorded members: in order if that is part of the answer, else as a set.
fn compare_members(case: &Json, elements: &[String], found: &mut Found) {
    let recorded = case.get("body_json").and_then(|body| body.get("success")).and_then(Json::list);
    let Some(recorded) = recorded else { return };
    let recorded: Vec<String> = recorded.iter().map(Json::canonical).collect();
    if sorted(elements) != sorted(&recorded) {
        found.unless(false, || "other members".to_owned());
    } else if case.get("ordered") == Some(&Json::Bool(true)) {
        found.unless(elements == recorded, || "right members, wrong order".to_owned());
    }
}

fn compare_digests(case: &Json, ids: &[&str], elements: &[String], found: &mut Found) {
    let mut sorted_ids = ids.to_vec();
    sorted_ids.sort_unstable();
    for (field, lines) in [
        ("sha256_of_sorted_ids", &sorted_ids),
        ("sha256_of_sorted_elements", &sorted(elements)),
        ("sha256_of_ids_in_order", &ids.to_vec()),
    ] {
        if let Some(recorded) = text_of(case, field) {
            found.unless(digest(lines) == recorded, || format!("{field} differs"));
        }
    }
}

fn digest(lines: &[&str]) -> String {
    Sha256::digest(lines.join("\n")).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn compare_order(case: &Json, members: &[Json], found: &mut Found) {
    let Some(field) = text_of(case, "ordered_by") else { return };
    let values: Option<Vec<&Json>> = members.iter().map(|member| member.get(field)).collect();
    let Some(values) = values else { return found.unless(false, || format!("a member without {field}")) };
    let descending = text_of(case, "direction") == Some("desc");
    let in_order = |pair: &[&Json]| {
        let (first, second) = if descending { (pair[1], pair[0]) } else { (pair[0], pair[1]) };
        match (first, second) {
            (Json::Text(first), Json::Text(second)) => first <= second,
            _ => matches!((first.number(), second.number()), (Some(a), Some(b)) if a <= b),
        }
    };
    found.unless(values.windows(2).all(in_order), || format!("not sorted by {field}"));
    if let Some(recorded) = case.get("order_values").and_then(Json::list) {
        found.unless(values.into_iter().eq(recorded), || format!("other values of {field}"));
    }
}

/// The last segment of the path, decoded.
fn endpoint(target: &str) -> String {
    let path = target.split(['?', '#']).next().unwrap_or_default();
    let path = percent_encoding::percent_decode_str(path).decode_utf8_lossy();
    path.rsplit('/').next().unwrap_or_default().trim().to_owned()
}

#[cfg(test)]
mod tests;
