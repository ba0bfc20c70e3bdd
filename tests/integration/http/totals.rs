//! `total=true`: how many entities all pages have together, and links to the other pages.

use serde_json::Value;

use super::{LISTS, assert_error, assert_good_manners};
use crate::harness::http::{Answer, Connection};
use crate::harness::server::{Setup, collection};

fn total(answer: &Answer) -> usize {
    answer.header("x-total-count").expect("a total").parse().expect("a number")
}

/// The target of a link of an answer to a question for `list`.
fn link(answer: &Answer, list: &str, relation: &str) -> Option<String> {
    let end = format!(">; rel=\"{relation}\"");
    let link = answer.header("link")?.split(", ").find_map(|link| link.strip_suffix(&end))?;
    Some(format!("{list}{}", link.strip_prefix('<').expect("a reference")))
}

#[test]
fn totals_are_the_lengths_of_lists_without_pages() {
    let server = Setup::with(&collection(30)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let genre = avalon::ids::genre("Ska");
    let questions = [
        "",
        "query=ska",
        "query=song+0001",
        "query=nothing",
        "query=",
        "words=ska+000",
        "words=art+0001+roc",
        "words=+",
        "artist=artist+0003",
        "order=name&direction=desc",
        "query=rock&order=id",
        "id=x",
        &format!("genre_id={genre}&query=1"),
        &format!("id={genre}"),
    ];
    for list in LISTS {
        for question in questions {
            let whole = connection.get(&format!("{list}?{question}")).expect("an answer");
            assert_eq!((whole.header("x-total-count"), whole.header("link")), (None, None));
            let all = whole.success();
            for page in ["", "&limit=3&offset=2", "&limit=0", "&limit=7", "&limit=1&offset=5000"] {
                let target = format!("{list}?{question}{page}&total=true");
                let plain = connection.get(&format!("{list}?{question}{page}")).expect("an answer");
                let answer = connection.get(&target).expect("an answer");
                assert_eq!((total(&answer), answer.text()), (all.len(), plain.text()), "{target}");
                assert_good_manners(&answer);
                let head = connection.request("HEAD", &target, &[]).expect("an answer");
                assert_eq!((total(&head), head.header("link")), (all.len(), answer.header("link")));
            }
        }
    }
}

#[test]
fn links_lead_through_all_pages_and_keep_the_other_parameters() {
    let server = Setup::with(&collection(30)).start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    for (list, question) in [
        ("/avalon/songs", "query=ska&order=name&direction=desc&total=true"),
        ("/avalon/songs", "total=true&artist=artist%200003"),
        ("/avalon/artists", "total=True&words=artist+0"),
        ("/avalon/genres", "total=TRUE"),
    ] {
        let whole = connection.get(&format!("{list}?{question}")).expect("an answer");
        let mut target = format!("{list}?{question}&limit=7");
        let (mut seen, mut before): (Vec<Value>, Option<Answer>) = (Vec::new(), None);
        loop {
            let answer = connection.get(&target).expect("an answer");
            assert_eq!(total(&answer), whole.success().len(), "{target}");
            seen.extend(answer.success());
            if let Some(before) = &before {
                let back = link(&answer, list, "prev").expect("a link back");
                assert_eq!(connection.get(&back).expect("an answer").text(), before.text());
            }
            let Some(next) = link(&answer, list, "next") else {
                let last = link(&answer, list, "last").expect("a last page");
                assert_eq!(connection.get(&last).expect("an answer").text(), answer.text());
                break;
            };
            target = next;
            before = Some(answer);
        }
        assert_eq!(seen, whole.success(), "{list}?{question}");
    }
}

#[test]
fn a_value_that_is_no_truth_is_an_error() {
    let server = Setup::with(&collection(1)).start();
    for list in LISTS {
        for wrong in ["", "1", "yes", "tru%00e"] {
            assert_error(&server.get(&format!("{list}?total={wrong}")), 400, 101, "invalid_input_type");
        }
        let without = server.get(&format!("{list}?total=false&limit=1"));
        assert_eq!((without.status, without.header("x-total-count")), (200, None));
    }
}
