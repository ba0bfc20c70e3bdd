//! A comparator that lets everything pass would be worse than none.

use super::*;

const ID: [&str; 2] = ["00000000-0000-0000-0000-00000000000a", "00000000-0000-0000-0000-00000000000b"];

fn rows() -> Rows {
    let song = |id: &str, name: &str| {
        format!(
            "{{\"id\":\"{id}\",\"path\":\"/x\",\"name\":\"{name}\",\"album\":\"A\",\"album_id\":\"{id}\",\
             \"artist\":\"B\",\"artist_id\":\"{id}\",\"genre\":\"C\",\"genre_id\":\"{id}\"}}\n"
        )
    };
    Rows::read(&(song(ID[0], "x") + &song(ID[1], "y")))
}

fn answer(status: u16, body: &str) -> Answer {
    let headers = [("content-type", "application/json; charset=utf-8"), ("allow", "GET, HEAD")];
    let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Answer { status, headers: headers.to_vec(), body: body.as_bytes().to_vec() }
}

/// Whether an answer with this body passes a case that says `case` besides its status.
fn passes(case: &str, body: &str) -> bool {
    let case = format!("{{\"status\":200,\"target\":\"/avalon/genres?x=/\",{case}}}");
    let case = Json::parse(case.as_bytes()).unwrap();
    differences(&case, &answer(200, body), &rows()).is_empty()
}

fn genre(id: &str) -> String {
    format!("{{\"id\":\"{id}\",\"name\":\"C\"}}")
}

fn list(members: &[String]) -> String {
    format!("{{\"success\":[{}],\"errors\":[],\"warnings\":[]}}", members.join(","))
}

#[test]
fn heads_are_compared() {
    assert!(passes("\"content_type\":\"Application/JSON\",\"allow\":\"HEAD,GET\"", ""));
    for case in
        ["\"content_type\":\"text/html\"", "\"allow\":\"GET\"", "\"allow\":\"GET, HEAD, OPTIONS\"", "\"x\":1"]
    {
        assert!(!passes(case, ""), "{case}");
    }
    let case = Json::parse(b"{\"status\":200}").unwrap();
    assert!(differences(&case, &answer(200, ""), &rows()).is_empty());
    assert!(!differences(&case, &answer(404, ""), &rows()).is_empty());
}

#[test]
fn texts_are_compared_by_byte() {
    assert!(passes("\"body_text\":\"OKOKOK\"", "OKOKOK"));
    assert!(!passes("\"body_text\":\"OKOKOK\"", "OKOKOK\n"));
}

#[test]
fn patterns_match_the_whole_body() {
    let version = r#""body_match":"[0-9]+\\.[0-9]+(\\.[0-9]+)?([-+.][0-9A-Za-z.+-]+)?\\n?""#;
    for good in ["1.0", "0.6.0", "1.0.0-rc1", "1.2\n"] {
        assert!(passes(version, good), "{good}");
    }
    for bad in ["", "1", "1.", "a1.0", "1.0\n\n", "1.0 "] {
        assert!(!passes(version, bad), "{bad}");
    }
    let error =
        r#""body_match":"(?s)(?=.*\"code\":\\s*4\\b)(?=.*\"avalon\\.service\\.error\\.not_found\").*""#;
    let key = "\"message_key\":\"avalon.service.error.not_found\"";
    assert!(passes(error, &format!("{{\"code\": 4,{key}}}")));
    assert!(passes(error, &format!("{{{key},\"code\":4}}")));
    for bad in [format!("{{\"code\":40,{key}}}"), format!("{{\"code\":1,{key}}}"), "{\"code\":4}".to_owned()]
    {
        assert!(!passes(error, &bad), "{bad}");
    }
}

#[test]
fn json_is_compared_by_value() {
    let case = "\"body_json\":{\"success\":null,\"n\":-9223372036854775809,\"s\":\"\\u00e9\"}";
    assert!(passes(case, "{ \"n\": -9223372036854775809, \"s\": \"\u{e9}\", \"success\": null }"));
    for bad in [
        "{\"n\":-9223372036854775808,\"s\":\"\u{e9}\",\"success\":null}",
        "{\"n\":-9223372036854775809.0,\"s\":\"\u{e9}\",\"success\":null}",
        "{\"n\":-9223372036854775809,\"s\":\"e\u{301}\",\"success\":null}",
        "{\"n\":-9223372036854775809,\"s\":\"\u{e9}\",\"success\":null,\"more\":0}",
        "{\"n\":-9223372036854775809,\"s\":\"\u{e9}\",\"success\":null,\"success\":null}",
        "{\"n\":-9223372036854775809,\"s\":\"\u{e9}\"}",
        "",
    ] {
        assert!(!passes(case, bad), "{bad}");
    }
}

#[test]
fn lists_are_compared_as_sets_unless_they_are_ordered() {
    let (one, other) = (genre(ID[0]), genre(ID[1]));
    let recorded = list(&[one.clone(), other.clone()]);
    let free = format!("\"count\":2,\"ordered\":false,\"body_json\":{recorded}");
    let ordered = format!("\"count\":2,\"ordered\":true,\"body_json\":{recorded}");
    let reversed = list(&[other.clone(), one.clone()]);
    assert!(passes(&free, &recorded) && passes(&ordered, &recorded));
    assert!(passes(&free, &reversed) && !passes(&ordered, &reversed));
    for bad in [
        list(std::slice::from_ref(&one)),
        list(&[one.clone(), one.clone()]),
        list(&[one.clone(), genre("00000000-0000-0000-0000-00000000000c")]),
        list(&[one.clone(), other.replace("\"C\"", "\"c\"")]),
        list(&[one.clone(), other.replace(ID[1], &ID[1].to_uppercase())]),
        list(&[one.clone(), other.replace("}", ",\"more\":1}")]),
        list(&[one.clone(), "{}".to_owned()]),
        recorded.replace("\"errors\":[]", "\"errors\":[1]"),
        recorded.replace("\"warnings\":[]", "\"warnings\":null"),
        recorded.replace("\"warnings\"", "\"more\""),
        "[]".to_owned(),
        "{\"errors\":[],\"success\":null,\"warnings\":[]}".to_owned(),
    ] {
        assert!(!passes(&free, &bad), "{bad}");
    }
}

#[test]
fn counts_fields_digests_and_candidates_are_compared() {
    let (one, other) = (genre(ID[0]), genre(ID[1]));
    let both = list(&[other.clone(), one.clone()]);
    let sorted_ids = digest(&ID);
    let ids = digest(&[ID[1], ID[0]]);
    let elements = digest(&[one.as_str(), other.as_str()]);
    for good in [
        "\"count\":2".to_owned(),
        "\"count\":2,\"fields\":[\"name\",\"id\"]".to_owned(),
        format!("\"count\":2,\"sha256_of_sorted_ids\":\"{sorted_ids}\""),
        format!("\"count\":2,\"sha256_of_ids_in_order\":\"{ids}\""),
        format!("\"count\":2,\"sha256_of_sorted_elements\":\"{elements}\""),
        format!("\"count\":2,\"candidate_ids\":[\"{}\",\"{}\",\"z\"]", ID[0], ID[1]),
    ] {
        assert!(passes(&good, &both), "{good}");
    }
    for bad in [
        "\"count\":3".to_owned(),
        "\"count\":2,\"fields\":[\"id\"]".to_owned(),
        "\"count\":2,\"fields\":[\"id\",\"name\",\"year\"]".to_owned(),
        format!("\"count\":2,\"sha256_of_sorted_ids\":\"{ids}\""),
        format!("\"count\":2,\"sha256_of_ids_in_order\":\"{sorted_ids}\""),
        format!("\"count\":2,\"sha256_of_sorted_elements\":\"{ids}\""),
        format!("\"count\":2,\"candidate_ids\":[\"{}\"]", ID[0]),
    ] {
        assert!(!passes(&bad, &both), "{bad}");
    }
    assert_eq!(digest(&["abc"]), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
}

#[test]
fn order_is_compared_by_code_point_and_by_value() {
    // A target that is no endpoint: these members are no rows.
    let passes = |case: &str, names: [&str; 2]| {
        let member = |at: usize| format!("{{\"id\":\"{}\",\"name\":{}}}", ID[at], names[at]);
        let case = format!("{{\"status\":200,\"target\":\"/x\",\"count\":2,\"ordered_by\":\"name\",{case}}}");
        let case = Json::parse(case.as_bytes()).unwrap();
        differences(&case, &answer(200, &list(&[member(0), member(1)])), &rows()).is_empty()
    };
    let (ascending, descending) = ("\"direction\":\"asc\"", "\"direction\":\"desc\"");
    for names in [["\"Z\"", "\"a\""], ["9", "10"], ["-1", "0"], ["\"\u{ffff}\"", "\"\u{10000}\""]] {
        assert!(passes(ascending, names) && !passes(descending, names), "{names:?}");
        let [first, second] = names;
        assert!(passes(descending, [second, first]) && !passes(ascending, [second, first]), "{names:?}");
    }
    assert!(passes(ascending, ["1", "1"]) && passes(descending, ["\"a\"", "\"a\""]));
    assert!(!passes(ascending, ["1", "\"a\""]));
    assert!(passes("\"order_values\":[1,2]", ["1", "2"]));
    assert!(!passes("\"order_values\":[1,2]", ["1", "3"]));
    assert!(!passes("\"order_values\":[1]", ["1", "2"]));
}
