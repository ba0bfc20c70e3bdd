//! The plans for given counts. Each test has a case on both sides of a boundary.

use crate::model::Owner;
use crate::snapshot::query::Page;
use crate::snapshot::query::counts::{Counts, OwnerCounts, Source, WordCounts, WordLookup};
use crate::snapshot::query::plan::{COSTS, Costs, Listing, Plan, Walk, plan};

const SONGS: usize = 100_000;
const ALBUM: Source = Source::Owners(Owner::Album);
const ARTIST: Source = Source::Owners(Owner::Artist);
const GENRE: Source = Source::Owners(Owner::Genre);
const SET: Option<WordLookup> = Some(WordLookup::Set);
const OWN_SET: Option<WordLookup> = Some(WordLookup::Names { own_set: true });
const OWN_NAME: Option<WordLookup> = Some(WordLookup::Names { own_set: false });

fn counts() -> Counts {
    Counts { songs: SONGS, ..Counts::default() }
}

impl Counts {
    /// A question with a filter that leaves one owner of `songs` songs.
    fn by(self, owner: Owner, songs: usize) -> Counts {
        self.by_several(owner, 1, songs)
    }

    fn by_several(mut self, owner: Owner, owners: usize, songs: usize) -> Counts {
        self.owners[owner] = Some(OwnerCounts { owners, songs });
        self
    }

    /// A question with words that match `songs` songs, of which the snapshot has a set.
    fn stored(self, songs: usize) -> Counts {
        Counts {
            words: Some(WordCounts { is_stored_set: true, songs, own: 0, owners: 0, kinds: 0, sieve: None }),
            ..self
        }
    }

    /// A question with words that match the names of `own` songs and of `owners` owners, and `songs` in
    /// total.
    fn words(self, songs: usize, own: usize, owners: usize) -> Counts {
        Counts {
            words: Some(WordCounts { is_stored_set: false, songs, own, owners, kinds: 3, sieve: None }),
            ..self
        }
    }

    /// The same words, whose stored beginning has this share of the songs.
    fn sieved(mut self, share: f64) -> Counts {
        self.words.iter_mut().for_each(|words| words.sieve = Some(share));
        self
    }

    fn in_default_order(self, limit: usize, offset: usize) -> Plan {
        plan(&COSTS, &self, true, Some(Page { limit, offset }))
    }

    fn in_another_order(self, limit: usize, offset: usize) -> Plan {
        plan(&COSTS, &self, false, Some(Page { limit, offset }))
    }

    fn all(self) -> Plan {
        plan(&COSTS, &self, true, None)
    }
}

fn page(limit: usize) -> Page {
    Page { limit, offset: 0 }
}

fn listing(source: Source, words: Option<WordLookup>) -> Listing {
    Listing { source, words, in_order: false }
}

fn in_order(source: Source, words: Option<WordLookup>) -> Listing {
    Listing { source, words, in_order: true }
}

#[test]
fn an_empty_page_needs_nothing() {
    assert_eq!(counts().in_default_order(0, 7), Plan::Nothing);
    assert_eq!(counts().by(Owner::Genre, 10).stored(50).in_another_order(0, 0), Plan::Nothing);
}

#[test]
fn without_words_and_filters_all_songs_match() {
    assert_eq!(counts().all(), Plan::All);
    assert_eq!(counts().in_default_order(1, 0), Plan::All);
    assert_eq!(counts().in_another_order(20, SONGS / 2), Plan::All);
    assert_eq!(Counts::default().in_another_order(20, 0), Plan::All);
}

#[test]
fn songs_without_a_page_come_from_the_smallest_part() {
    assert_eq!(counts().by(Owner::Album, 12).all(), Plan::Whole(listing(ALBUM, None)));
    let genre = |genre| counts().by(Owner::Artist, 50).by(Owner::Genre, genre).all();
    assert_eq!(genre(49), Plan::Whole(listing(GENRE, None)));
    assert_eq!(genre(51), Plan::Whole(listing(ARTIST, None)));
    // Words out of order cost 4 each. Testing a genre's songs for them costs a set of them, and asking it.
    let words = |songs| counts().by(Owner::Genre, 400).words(songs, songs, 0).all();
    assert_eq!(words(399), Plan::Whole(listing(Source::Words, None)));
    assert_eq!(words(401), Plan::Whole(listing(GENRE, SET)));
}

/// Putting a song or a name into a set costs 2; asking the sets of names costs 24 for each test, and
/// looking at a song's own name another 24.
#[test]
fn words_are_tested_the_cheapest_way() {
    let genre = |words: Counts| words.by(Owner::Genre, 100).all();
    assert_eq!(genre(counts().words(1161, 10, 1)), Plan::Whole(listing(GENRE, SET)));
    assert_eq!(genre(counts().words(1162, 10, 1)), Plan::Whole(listing(GENRE, OWN_SET)));
    assert_eq!(genre(counts().words(9999, 1200, 1)), Plan::Whole(listing(GENRE, OWN_SET)));
    assert_eq!(genre(counts().words(9999, 1201, 1)), Plan::Whole(listing(GENRE, OWN_NAME)));
    assert_eq!(genre(counts().stored(9999)), Plan::Whole(listing(GENRE, SET)));
}

#[test]
fn songs_that_the_snapshot_has_in_order_are_cut() {
    assert_eq!(counts().by(Owner::Artist, 5000).in_default_order(20, 0), Plan::Whole(listing(ARTIST, None)));
    assert_eq!(counts().stored(5000).in_default_order(20, 0), Plan::Whole(listing(Source::Words, None)));
    // In another order, or with another part, the plan is a different one.
    assert_ne!(counts().by(Owner::Artist, 5000).in_another_order(20, 0), Plan::Whole(listing(ARTIST, None)));
    let both = counts().by(Owner::Artist, 5000).stored(20_000).in_default_order(20, 0);
    assert_eq!(both, Plan::List(in_order(ARTIST, SET), page(20)));
}

#[test]
fn more_than_a_quarter_of_the_matches_is_the_whole() {
    let year = |limit, offset| counts().by(Owner::Genre, 1000).in_another_order(limit, offset);
    assert_eq!(year(100, 150), Plan::List(listing(GENRE, None), Page { limit: 100, offset: 150 }));
    assert_eq!(year(100, 151), Plan::Whole(listing(GENRE, None)));
    assert_eq!(year(usize::MAX, usize::MAX), Plan::Whole(listing(GENRE, None)));
    // Half of the genre's songs match the words, so 125 are a quarter of the matches.
    let half = counts().by(Owner::Genre, 1000).stored(SONGS / 2);
    assert_eq!(half.in_another_order(125, 0), Plan::List(listing(GENRE, SET), page(125)));
    assert_eq!(half.in_another_order(126, 0), Plan::Whole(listing(GENRE, SET)));
}

#[test]
fn a_listing_in_order_ends_with_the_page() {
    let genre = counts().by(Owner::Genre, 5000);
    assert_eq!(genre.in_default_order(20, 0), Plan::List(in_order(GENRE, None), page(20)));
    assert_eq!(genre.stored(20_000).in_default_order(20, 0), Plan::List(in_order(GENRE, SET), page(20)));
    // Several genres are listed one after the other, as far as the first window of songs goes.
    let genres = counts().by_several(Owner::Genre, 2, 5000).in_default_order(20, 0);
    assert_eq!(genres, Plan::List(listing(GENRE, None), page(20)));
    // Several artists are in order, too.
    let artists = counts().by_several(Owner::Artist, 2, 5000).by(Owner::Genre, 6000);
    assert_eq!(artists.in_default_order(20, 0), Plan::List(in_order(ARTIST, None), page(20)));
}

/// A walk to 20 songs of `g` takes 20 * 100,000 / g steps of 4; a listing costs `g`, and 4 for the rank of
/// each. The walk may cost as much.
#[test]
fn a_walk_is_for_frequent_songs() {
    let year = |songs| counts().by(Owner::Genre, songs).in_another_order(20, 0);
    assert_eq!(year(1264), Plan::List(listing(GENRE, None), page(20)));
    let walk = |most| Plan::Walk(Walk { most, words: None, otherwise: listing(GENRE, None) }, page(20));
    assert_eq!(year(1265), walk(1581));
    // The plan expects 200 steps of the walk, and allows as many as cost as much as the listing.
    assert_eq!(year(10_000), walk(12_500));
    // An offset makes it longer.
    assert_eq!(
        counts().by(Owner::Genre, 1265).in_another_order(20, 1),
        Plan::List(listing(GENRE, None), Page { limit: 20, offset: 1 })
    );
}

#[test]
fn a_listing_after_a_walk_takes_over_a_set() {
    let plan = counts().by(Owner::Genre, 30_000).stored(90_000).in_another_order(20, 0);
    let Plan::Walk(walk, _) = plan else { panic!("{plan:?}") };
    assert_eq!((walk.words, walk.otherwise), (SET, listing(GENRE, SET)));
    // Listing costs 30,000, as many tests, and 4 for each of 27,000 matches; a step and its test cost 5.
    assert!((33_599..=33_600).contains(&walk.most), "{}", walk.most);
    // By names for few tests, by a set for many.
    let plan = counts().by(Owner::Genre, 30_000).words(40_000, 300, 5).in_another_order(20, 0);
    let Plan::Walk(walk, _) = plan else { panic!("{plan:?}") };
    assert_eq!((walk.words, walk.otherwise), (OWN_SET, listing(GENRE, SET)));
}

#[test]
fn plans_are_shown_in_words() {
    let shown = |plan: Plan| plan.to_string();
    assert_eq!(shown(counts().in_default_order(0, 0)), "nothing");
    assert_eq!(shown(counts().all()), "all");
    assert_eq!(shown(counts().by(Owner::Artist, 9).all()), "whole by artist");
    assert_eq!(shown(counts().by(Owner::Genre, 900).in_another_order(20, 0)), "list genre");
    assert_eq!(shown(counts().by(Owner::Genre, 900).in_default_order(9, 0)), "list genre in order");
    assert_eq!(
        shown(counts().by(Owner::Genre, 10_000).in_another_order(20, 0)),
        "walk 12500, else list genre"
    );
}

/// Words that must all match: the rarest ones, and others.
fn several(rarest: WordCounts, other: WordCounts) -> Counts {
    Counts { words: Some(rarest), others: [Some(other), None, None, None], ..counts() }
}

/// A window has twice as many matches as the page needs, where parts of the question are independent.
#[test]
fn pages_in_default_order_come_from_the_first_songs() {
    let words =
        |songs| WordCounts { is_stored_set: false, songs, own: songs, owners: 0, kinds: 0, sieve: None };
    let counts = several(words(SONGS / 10), words(SONGS / 5));
    assert_eq!(counts.window(page(20)), SONGS / 50);
    assert_eq!(counts.window(Page { limit: 20, offset: 20 }), SONGS / 25);
    // A window of a quarter would save too little.
    assert!((24_000..25_000).contains(&counts.window(page(249))));
    assert_eq!(counts.window(page(251)), SONGS);
    // The rarest words list their songs; the others test these.
    let few = several(words(2000), words(50_000));
    assert_eq!(few.in_default_order(20, 0), Plan::List(listing(Source::Words, None), page(20)));
    assert_eq!(few.all(), Plan::Whole(listing(Source::Words, None)));
}

#[test]
fn of_several_words_the_later_ones_test_what_the_first_ones_leave() {
    let words =
        |songs| WordCounts { is_stored_set: false, songs, own: songs, owners: 0, kinds: 0, sieve: None };
    let counts = several(words(SONGS / 10), words(SONGS / 5));
    let tests = |listed| counts.others_tested(listed, 1000.0).map(|(_, tests)| tests).collect::<Vec<_>>();
    assert_eq!(tests(None), [100.0]);
    assert_eq!(tests(Some(Source::Words)), [1000.0]);
    // A test by the name of a song that stands apart costs as much as 50 songs cost in a set; in a walk, 12.
    let lookup = |listed, songs| COSTS.of(&counts, listed).word_lookup(&words(songs), 100.0).0;
    assert_eq!(lookup(Some(Source::Words), 5100), WordLookup::Names { own_set: false });
    assert_eq!(lookup(Some(Source::Words), 4900), WordLookup::Names { own_set: true });
    assert_eq!(lookup(None, 1300), WordLookup::Names { own_set: false });
    assert_eq!(lookup(None, 1100), WordLookup::Names { own_set: true });
}

#[test]
fn songs_outside_of_a_sieve_are_not_tested_by_names() {
    let words =
        |songs, sieve| WordCounts { is_stored_set: false, songs, own: songs, owners: 1, kinds: 1, sieve };
    let cost = |sieve| COSTS.word_lookup(&words(50_000, sieve), 1000.0);
    // All songs into a set cost more than the names of a tenth, and less than those of all.
    assert_eq!(cost(Some(0.1)).0, WordLookup::Names { own_set: false });
    assert!(cost(Some(0.1)).1 < cost(Some(0.5)).1 && cost(Some(0.5)).1 < cost(None).1);
    let set = WordCounts { is_stored_set: true, songs: 2000, ..words(0, Some(0.02)) };
    let tests = |rarest, listed| {
        let counts = several(rarest, words(10_000, Some(0.2)));
        counts.others_tested(listed, 1000.0).map(|(words, tests)| (words.sieve, tests)).collect::<Vec<_>>()
    };
    // A stored set lists only songs of the sieve; suffixes list all.
    assert_eq!(tests(set, Some(Source::Words)), [(None, 200.0)]);
    assert_eq!(tests(words(2000, None), Some(Source::Words)), [(Some(0.2), 1000.0)]);
}

/// The rarest words would list 1,000 songs at 4 each, and test all of them for the others at 100 each. Of the genre's
/// 3,000 songs, they leave 30 to test.
#[test]
fn a_part_that_leaves_little_to_test_lists_songs() {
    let words =
        |songs| WordCounts { is_stored_set: false, songs, own: songs, owners: 0, kinds: 0, sieve: None };
    let counts = several(words(1000), words(50_000)).by(Owner::Genre, 3000);
    assert_eq!(counts.all(), Plan::Whole(listing(GENRE, OWN_SET)));
    // Without others, the words cost less.
    assert_eq!(Counts { others: [None; 4], ..counts }.all(), Plan::Whole(listing(Source::Words, None)));
}

/// A hundred songs of the genre are tested until the page ends, not the two hundred of a window.
#[test]
fn a_listing_in_order_tests_up_to_the_end_of_the_page() {
    let plan = |own| counts().by(Owner::Genre, 10_000).words(20_000, own, 1000).in_default_order(20, 0);
    assert_eq!(plan(1199), Plan::List(in_order(GENRE, OWN_SET), page(20)));
    assert_eq!(plan(1201), Plan::List(in_order(GENRE, OWN_NAME), page(20)));
}

/// Songs that stand apart are tested for one of several words by their names, those of a walk by a set. Once the walk
/// has made that, the listing behind it asks it as well.
#[test]
fn a_set_that_a_walk_has_made_is_asked_where_names_would_have_been() {
    let rarest =
        WordCounts { is_stored_set: false, songs: 60_000, own: 15_000, owners: 5, kinds: 3, sieve: None };
    let other = WordCounts { is_stored_set: true, songs: 60_000, ..WordCounts::default() };
    let counts = several(rarest, other).by(Owner::Genre, 8000);
    assert_eq!(counts.all(), Plan::Whole(listing(GENRE, OWN_SET)));
    let plan = counts.in_another_order(115, 0);
    let Plan::Walk(walk, _) = plan else { panic!("{plan:?}") };
    assert_eq!((walk.words, walk.otherwise), (SET, listing(GENRE, SET)));
    // The listing costs 150,330, and the 3,993 steps that are expected cost 142,361.
    assert_eq!(walk.most, 4216);
}

/// In default order, words list 400 songs at 4 each, and pass over all that they match, at 0.75 for a song and 10 for an
/// owner. The genre lists 100 songs, and tests them for the words.
#[test]
fn words_that_match_much_leave_the_listing_to_a_genre() {
    let plan =
        |own, owners| counts().by(Owner::Genre, 10_000).words(20_000, own, owners).in_default_order(20, 0);
    let words = Plan::List(listing(Source::Words, None), page(20));
    assert_eq!(plan(4399, 0), words);
    assert_eq!(plan(4401, 0), Plan::List(in_order(GENRE, OWN_NAME), page(20)));
    assert_eq!(plan(0, 112), words);
    assert_eq!(plan(0, 113), Plan::List(in_order(GENRE, OWN_SET), page(20)));
}

/// The songs that the words list are 800 tests for the others; those of the genre that pass the words are 40.
#[test]
fn tests_for_other_words_count_in_default_order() {
    let other = WordCounts { is_stored_set: true, songs: 50_000, ..WordCounts::default() };
    let plan = |own| {
        let rarest =
            WordCounts { is_stored_set: false, songs: 20_000, own, owners: 0, kinds: 0, sieve: None };
        several(rarest, other).by(Owner::Genre, 10_000).in_default_order(20, 0)
    };
    assert_eq!(plan(3000), Plan::List(in_order(GENRE, OWN_SET), page(20)));
    assert_eq!(plan(3010), Plan::List(listing(Source::Words, None), page(20)));
}

#[test]
fn a_set_of_owners_costs_as_much_as_one_of_songs() {
    let genre = |songs| counts().words(songs, 10, 500).by(Owner::Genre, 100).all();
    assert_eq!(genre(1660), Plan::Whole(listing(GENRE, SET)));
    assert_eq!(genre(1661), Plan::Whole(listing(GENRE, OWN_SET)));
}

#[test]
fn tests_cost_otherwise_for_songs_that_stand_apart() {
    let one = counts().words(100, 10, 1);
    let other = one.words.expect("words");
    let two = several(other, other);
    let apart = Costs { names: COSTS.names_apart, own: COSTS.own_apart, ..COSTS };
    assert_eq!(COSTS.of(&two, Some(Source::Words)), apart);
    assert_eq!((COSTS.of(&two, None), COSTS.of(&one, Some(Source::Words))), (COSTS, COSTS));
}

#[test]
fn frequent_words_are_listed_by_their_sieve_in_order() {
    let words = |own| Counts { songs: 1_000_000, ..counts() }.words(own, own, 0);
    let by_sieve = Plan::List(in_order(Source::Sieves, OWN_NAME), page(20));
    assert_eq!(words(20_000).sieved(0.03).in_default_order(20, 0), by_sieve);
    let by_words = Plan::List(listing(Source::Words, None), page(20));
    // Few songs cost less to list, and a coarse sieve has too many to test.
    assert_eq!(words(1_000).sieved(0.03).in_default_order(20, 0), by_words);
    assert_eq!(words(20_000).sieved(0.9).in_default_order(20, 0), by_words);
    assert_eq!(words(20_000).in_default_order(20, 0), by_words);
}
