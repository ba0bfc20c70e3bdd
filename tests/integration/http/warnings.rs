//! The warnings of lists: a cut list, and ignored parameters.

use serde_json::{Value, json};

use super::{LISTS, assert_good_manners};
use crate::harness::http::Answer;
use crate::harness::server::{Setup, collection};

/// Code, key and payload of each warning.
fn warnings(answer: &Answer) -> Vec<(u64, String, Value)> {
    let warnings = answer.json()["warnings"].as_array().expect("warnings").clone();
    let warnings = warnings.into_iter().map(|warning| {
        let key = warning["message_key"].as_str().and_then(|key| key.strip_prefix("avalon.service.warning."));
        let code = warning["code"].as_u64().expect("a code");
        (code, key.expect("a key").to_owned(), warning["payload"].clone())
    });
    warnings.collect()
}

#[test]
fn lists_are_cut_at_the_maximum_and_say_so() {
    let rows = collection(10);
    let (whole, server) =
        (Setup::with(&rows).start(), Setup::with(&rows).variable("AVALON_LIST_MAX", "5").start());
    let cut = vec![(201, "list_cut".to_owned(), json!({"field": "limit", "value": 5}))];
    for (question, is_cut) in [
        ("", true),
        ("limit=6", true),
        ("limit=1000000000000", true),
        ("order=name&direction=desc", true),
        ("order=id&limit=9&offset=2", true),
        ("query=song", true),
        ("words=song", true),
        ("artist=artist+0001", true),
        ("limit=5", false),
        ("limit=3&offset=1", false),
        ("limit=6&offset=95", false),
        ("limit=6&offset=100", false),
        ("query=song+00001", false),
        ("offset=3", true),
    ] {
        let target = format!("/avalon/songs?{question}");
        let answer = server.get(&target);
        let mut expected = whole.get(&target).success();
        assert_eq!(expected.len() > 5, is_cut, "{question}");
        expected.truncate(5);
        assert_eq!(
            (answer.success(), warnings(&answer)),
            (expected, if is_cut { cut.clone() } else { vec![] }),
            "{question}"
        );
        assert_good_manners(&answer);
    }
    let counted = server.get("/avalon/songs?total=true");
    assert_eq!(counted.header("x-total-count"), Some("100"));
    assert!(counted.header("link").expect("links").contains("<?total=true&limit=5&offset=95>; rel=\"last\""));
    let (artists, genres) = (server.get("/avalon/artists?counts=true"), server.get("/avalon/genres"));
    assert_eq!((artists.success().len(), warnings(&artists)), (5, cut));
    assert_eq!((genres.text(), genres.success().len()), (whole.get("/avalon/genres").text(), 2));
    // A cache that has the whole list has another one.
    assert_ne!(server.get("/avalon/songs").header("etag"), whole.get("/avalon/songs").header("etag"));
}

#[test]
fn strict_lists_name_ignored_parameters() {
    let rows = collection(3);
    let server = Setup::with(&rows).variable("AVALON_STRICT_PARAMETERS", "true").start();
    let unknown = |name: &str, nearest: Option<&str>| {
        (202, "unknown_parameter".to_owned(), json!({"field": name, "nearest": nearest}))
    };
    let ignored =
        |name: &str, value: &str| (203, "ignored_value".to_owned(), json!({"field": name, "value": value}));
    for (target, expected) in [
        ("songs?artst=x", vec![unknown("artst", Some("artist"))]),
        ("songs?Query=x", vec![unknown("Query", Some("query"))]),
        ("songs?ofset=1&limit=2", vec![unknown("ofset", Some("offset"))]),
        ("albums?artist=x&q=1", vec![unknown("artist", Some("artist_id")), unknown("q", None)]),
        ("songs?zzz=1&zzz=2&=", vec![unknown("zzz", None), unknown("", None)]),
        ("songs?id=7", vec![ignored("id", "7")]),
        ("albums?genre_id=7", vec![ignored("genre_id", "7")]),
        ("songs?query=song&words=s&limit=1&offset=0&total=true&order=name&direction=asc", vec![]),
        ("genres?counts=true&song_words=a&song_query=b", vec![]),
    ] {
        let answer = server.get(&format!("/avalon/{target}"));
        assert_eq!((answer.status, warnings(&answer)), (200, expected), "{target}");
        assert_good_manners(&answer);
    }
    let many: String = (0..100).map(|at| format!("&x{at}=1")).collect();
    assert_eq!(warnings(&server.get(&format!("/avalon/songs?{many}"))).len(), 16);
    let lax = Setup::with(&rows).start();
    for list in LISTS {
        assert_eq!(lax.get(&format!("{list}?artst=x")).text(), lax.get(list).text());
        assert_eq!(server.get(list).text(), lax.get(list).text());
    }
}
