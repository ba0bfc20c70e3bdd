//! `words`: the beginnings of words, in any order, over all names of a song.

use serde_json::Value;

use super::LISTS;
use crate::conformance::recorded_sqlite;
use crate::documents::sample_server;
use crate::harness::http::Connection;

#[test]
fn words_of_several_names_are_found_in_any_order() {
    let server = sample_server();
    let of_album = server.get("/avalon/songs?album=coraz%C3%B3n+de+lim%C3%B3n").success();
    assert!(!of_album.is_empty());
    for words in ["corazon+limon", "limon+corazon", "tres+limon", "LIM%C3%93N++cumb+nara", "limon+l+li"] {
        assert_eq!(server.get(&format!("/avalon/songs?words={words}")).success(), of_album, "{words}");
        assert_eq!(
            server.get(&format!("/avalon/songs?words={words}&query=limon")).success(),
            of_album,
            "{words}"
        );
    }
    let albums = |words: &str| server.get(&format!("/avalon/albums?{words}")).success();
    assert_eq!(albums("words=limon+corazon").len(), 1);
    // An album's name alone counts, but for its songs.
    assert_eq!(albums("words=tres+limon"), [] as [Value; 0]);
    assert_eq!(albums("song_words=tres+limon"), albums("words=limon+corazon"));
    for blank in ["", "+", "%1F"] {
        for list in LISTS {
            assert_eq!(server.get(&format!("{list}?words={blank}")).success(), [] as [Value; 0], "{list}");
        }
    }
}

/// One word is found where `query` finds it, and more words where each of them is.
#[test]
fn several_words_are_found_where_each_is() {
    let server = recorded_sqlite().start();
    let mut connection = Connection::open(&server.address).expect("a connection");
    let mut list = |target: String| connection.get(&target).expect("an answer").success();
    let words = ["a", "be", "the", "s", "%C3%A9", "pop", "1", "%3Cb"];
    for of in LISTS {
        let found = words.map(|word| list(format!("{of}?query={word}")));
        for (at, one) in words.iter().enumerate() {
            assert_eq!(list(format!("{of}?words={one}")), found[at], "{of} {one}");
            for (other_at, other) in words.iter().enumerate() {
                let expected: Vec<Value> =
                    found[at].iter().filter(|entity| found[other_at].contains(entity)).cloned().collect();
                assert_eq!(list(format!("{of}?words={other}+{one}")), expected, "{of} {other} {one}");
            }
        }
    }
}
