use super::*;

fn page_of(query_string: &str) -> Result<Option<Page>, ApiError> {
    parse(Kind::Song, query_string).map(|question| question.query().page)
}

#[test]
fn integers_are_pythons() {
    let cases = [
        ("5", 5),
        ("%2B5", 5),
        ("+5", 5),
        ("5+", 5),
        ("%C2%A05", 5),
        ("007", 7),
        ("0", 0),
        ("18446744073709551616", usize::MAX),
    ];
    for (text, limit) in cases {
        let page = page_of(&format!("limit={text}")).unwrap();
        assert_eq!(page, Some(Page { limit, offset: 0 }), "{text}");
    }
    for text in ["", "-", "+", "1.0", "1_0", "%D9%A5", "%1F5", "5%00", "0x5", "--5", "%2B-5", "-0", "-00"] {
        assert!(matches!(page_of(&format!("limit={text}")), Err(ApiError::InvalidInteger { .. })), "{text}");
    }
}

#[test]
fn offset_counts_only_with_limit_but_is_always_checked() {
    assert_eq!(page_of("offset=-1"), Ok(None));
    assert!(matches!(page_of("offset=x"), Err(ApiError::InvalidInteger { field: "offset", .. })));
    assert!(matches!(page_of("limit=1&offset=-1"), Err(ApiError::Negative { field: "offset", .. })));
}

#[test]
fn first_error_is_the_originals() {
    let all = "snapshot=x&offset=x&limit=x&order=x&direction=x&genre_id=x&artist_id=x&album_id=x";
    let mut left = all.to_owned();
    for (parameter, found) in
        [("&album_id=x", "album_id"), ("&artist_id=x", "artist_id"), ("&genre_id=x", "genre_id")]
    {
        assert!(matches!(parse(Kind::Song, &left), Err(ApiError::InvalidId { field, .. }) if field == found));
        left = left.replace(parameter, "");
    }
    assert!(matches!(parse(Kind::Song, &left), Err(ApiError::InvalidDirection(_))));
    left = left.replace("&direction=x", "");
    assert!(matches!(parse(Kind::Song, &left), Err(ApiError::InvalidOrder(_))));
}

#[test]
fn hashes_have_exactly_their_digits() {
    let parsed = |text: &str| parse(Kind::Song, text).map(|question| question.snapshot);
    let hash = "00ff56789abcdef00123456789abcdef";
    let value = 0x00ff_5678_9abc_def0_0123_4567_89ab_cdef;
    for text in [hash, &hash.to_uppercase(), &format!("{hash}&snapshot=x")] {
        assert_eq!(parsed(&format!("snapshot={text}")), Ok(Some(value)), "{text}");
    }
    assert_eq!(parsed("limit=1"), Ok(None));
    let signed = format!("%2B{}", &hash[1..]);
    let hyphenated = "00ff5678-9abc-def0-0123-456789abcdef";
    for text in ["", "x", &hash[1..], &format!("{hash}0"), &format!("%20{hash}"), &signed, hyphenated] {
        assert!(matches!(parsed(&format!("snapshot={text}")), Err(ApiError::InvalidHash(_))), "{text}");
    }
    assert!(matches!(parsed("snapshot=x&limit=-1"), Err(ApiError::Negative { .. })));
}

#[test]
fn ids_are_hyphenated_plain_braced_or_urns() {
    let id = "b048612e-1207-59f4-bebb-a0bc9a48cd1a";
    for text in
        [id.to_owned(), id.replace('-', ""), id.to_uppercase(), format!("{{{id}}}"), format!("urn:uuid:{id}")]
    {
        assert!(parse_id(&text).is_some(), "{text}");
    }
    for text in [
        "",
        "x",
        &id[1..],
        &format!("{{{id}"),
        &format!(" {id}"),
        &format!("0x{}", &id.replace('-', "")[2..]),
    ] {
        assert!(parse_id(text).is_none(), "{text}");
    }
}

const ID: &str = "b048612e-1207-59f4-bebb-a0bc9a48cd1a";

fn query(kind: Kind, query_string: &str) -> Query {
    parse(kind, query_string).expect("a question").query()
}

fn id() -> Filter {
    Filter::Id(parse_id(ID).expect("an id"))
}

#[test]
fn songs_are_filtered_by_ids_and_names_of_their_owners() {
    let asked = query(Kind::Song, &format!("genre=ROCK&artist_id={ID}&artist=ABBA&song_query=x"));
    let name = |name: &str| Filter::LowerName(name.to_owned());
    let filters = [(Owner::Artist, id()), (Owner::Artist, name("abba")), (Owner::Genre, name("rock"))];
    assert_eq!(asked.filters, filters);
    assert!(asked.with_songs.is_none());
}

#[test]
fn other_lists_ask_for_entities_with_songs() {
    let of = |query_string: &str| query(Kind::Of(Owner::Album), query_string);
    assert!(of("").with_songs.is_none() && of("query=a&artist=b&genre_id=x").with_songs.is_none());
    let by_id = of(&format!("artist_id={ID}&genre_id=x"));
    assert_eq!(by_id.with_songs.expect("a question about songs").filters, [(Owner::Artist, id())]);
    assert_eq!(by_id.filters, []);
    let by_query = of("song_query=Lim\u{f3}n").with_songs.expect("a question about songs");
    assert_eq!((by_query.words.as_deref(), by_query.beginnings), (Some("limon"), None));
    let by_words = of("song_words=b+A").with_songs.expect("a question about songs");
    assert_eq!((by_words.words, by_words.beginnings), (None, Some(vec!["a".to_owned(), "b".to_owned()])));
}

#[test]
fn words_are_compared_in_search_form_and_an_id_may_be_malformed() {
    let asked = query(Kind::Song, &format!("query=BEYONC\u{c9}&words=x+Y&id={ID}"));
    assert_eq!(asked.words.as_deref(), Some("beyonce"));
    assert_eq!(asked.beginnings, Some(vec!["x".to_owned(), "y".to_owned()]));
    assert_eq!(asked.id, parse_id(ID));
    assert_eq!(query(Kind::Song, "id=x").id, None);
}

#[test]
fn orders_are_ascending_unless_asked_otherwise() {
    let order = |query_string: &str| query(Kind::Song, query_string).order;
    assert_eq!(order("direction=desc"), None);
    assert_eq!(order("order=year"), Some((Field::Year, Direction::Ascending)));
    assert_eq!(order("order=year&direction=desc"), Some((Field::Year, Direction::Descending)));
    assert!(matches!(parse(Kind::Of(Owner::Genre), "order=year"), Err(ApiError::InvalidOrder(_))));
}

#[test]
fn truths_are_true_or_false_in_any_case() {
    let albums = Kind::Of(Owner::Album);
    let truths =
        |query_string: &str| parse(albums, query_string).map(|question| (question.counts, question.total));
    assert_eq!(truths(""), Ok((false, false)));
    assert_eq!(truths("counts=TRUE&total=false"), Ok((true, false)));
    assert_eq!(truths("counts=False&total=True"), Ok((false, true)));
    for (text, field) in [("counts=", "counts"), ("counts=1", "counts"), ("total=yes", "total")] {
        let error = truths(text).expect_err("a fault");
        assert!(matches!(error, ApiError::InvalidTruth { field: of, .. } if of == field), "{text}");
    }
    // Songs have no counts.
    assert!(!parse(Kind::Song, "counts=true").expect("a question").counts);
    assert!(parse(Kind::Song, "counts=x").is_ok());
}

#[test]
fn an_entity_is_asked_for_with_its_counts_and_a_snapshot() {
    let hash = "00ff56789abcdef00123456789abcdef";
    let text = format!("counts=true&total=x&query=x&snapshot={hash}");
    let asked = parse_entity(Kind::Of(Owner::Album), &text).expect("a question");
    assert_eq!(
        (asked.counts, asked.total, asked.snapshot),
        (true, false, u128::from_str_radix(hash, 16).ok())
    );
    assert_eq!(asked.query().words, None);
    assert!(!parse_entity(Kind::Song, "counts=true").expect("a question").counts);
    assert!(matches!(parse_entity(Kind::Song, "snapshot=x"), Err(ApiError::InvalidHash(_))));
    assert!(matches!(parse_entity(Kind::Of(Owner::Album), "counts=x"), Err(ApiError::InvalidTruth { .. })));
}

#[test]
fn parameters_that_a_list_ignores_are_told_once() {
    let unknown = |name: &str, nearest: Option<&'static str>| Warning::UnknownParameter {
        name: name.to_owned(),
        nearest,
    };
    let no_id = |field: &'static str| Warning::NoId { field, value: "x".to_owned() };
    let albums = Kind::Of(Owner::Album);
    let all = "limt=1&zzz&limt=2&limit=1&artist_id=x&id=x&query=x&artist_id=y";
    assert_eq!(
        ignored(albums, all),
        [unknown("limt", Some("limit")), unknown("zzz", None), no_id("artist_id"), no_id("id")]
    );
    // In a list of songs, a malformed id of an owner is an error.
    assert_eq!(ignored(Kind::Song, all), [unknown("limt", Some("limit")), unknown("zzz", None), no_id("id")]);
    // The first value counts, as it does for the answer.
    assert_eq!(ignored(albums, &format!("id={ID}&id=x&artist_id={ID}")), []);
    // A parameter of other lists is unknown here.
    assert_eq!(ignored(Kind::Song, "counts=true").len(), 1);
    let many = (0..40).map(|at| format!("z{at}=1&")).collect::<String>();
    assert_eq!(ignored(albums, &many).len(), WARNINGS_MAX);
}

#[test]
fn a_page_begins_at_its_offset_or_at_the_first_entity() {
    assert_eq!(page_of("limit=3&offset=%2B007"), Ok(Some(Page { limit: 3, offset: 7 })));
    assert_eq!(page_of("limit=0"), Ok(Some(Page { limit: 0, offset: 0 })));
    assert_eq!(page_of("limit=-007"), Err(ApiError::Negative { field: "limit", digits: "-7".to_owned() }));
}
