//! All plans lead to the same page.

use proptest::prelude::*;

use crate::model::Kind;
use crate::snapshot::open::{Snapshot, Verify};
use crate::snapshot::query::Selection;
use crate::snapshot::query::counts::WordLookup;
use crate::snapshot::query::matching::Matching;
use crate::snapshot::query::plan::{Listing, Walk};
use crate::snapshot::tests::model::collection;
use crate::snapshot::tests::questions::{Question, model_answer, query_of, question};
use crate::snapshot::tests::{shown, snapshot_bytes};

const LOOKUPS: [WordLookup; 3] =
    [WordLookup::Set, WordLookup::Names { own_set: true }, WordLookup::Names { own_set: false }];

proptest! {
    #![proptest_config(crate::chance::cases(300))]

    /// The costs decide which way the planner takes, so this test takes each.
    #[test]
    fn every_way_leads_to_the_same_page(
        collection in collection(),
        questions in prop::collection::vec(question(), 1..12),
        most in 0..150_usize,
    ) {
        let bytes = snapshot_bytes(&collection);
        let snapshot = Snapshot::open(&bytes, Verify::Full).unwrap();
        for question in questions.into_iter().filter(|question| question.kind == Kind::Song) {
            // Ways lead to all songs that match; an id picks one of them before.
            let question = &Question { id: None, ..question };
            // No way leads to an empty page.
            let Some(page) = question.page.filter(|page| page.limit > 0) else { continue };
            let query = query_of(&collection, question);
            let Some(matching) = Matching::of(&snapshot, &query) else { continue };
            let model = model_answer(&collection, question);
            let order = snapshot.songs_sorted(question.order);
            let shown = |page| shown(&snapshot, Kind::Song, Selection::List(page));
            if let Some(page) = snapshot.sieved(&query) {
                prop_assert_eq!(shown(page), model.clone(), "{:?} by stored sets", question);
            }
            for source in matching.counts().sources() {
                let in_order = order.is_default() && matching.counts().is_ascending(source);
                for words in LOOKUPS.map(Some) {
                    for in_order in [false, in_order] {
                        let listing = Listing { source, words, in_order };
                        if order.is_default() {
                            let test = matching.test(Some(source), words, most);
                            let windows = matching.list_windows(listing, page, &test, most / 8);
                            prop_assert_eq!(shown(windows), model.clone(), "{:?} by {:?}", question, listing);
                        }
                        let page_listed = matching.list(listing, &order, page);
                        prop_assert_eq!(shown(page_listed), model.clone(), "{:?} by {:?}", question, listing);
                    }
                    for walked in LOOKUPS.map(Some) {
                        let otherwise = Listing { source, words, in_order };
                        let walk = Walk { most, words: walked, otherwise };
                        let walked = matching.walk(walk, &order, page);
                        prop_assert_eq!(shown(walked), model.clone(), "{:?} by {:?}", question, walk);
                    }
                }
            }
            for words in LOOKUPS.map(Some) {
                let test = matching.test(None, words, most);
                let walked = matching.walk_within(usize::MAX, &order, page, &test);
                prop_assert_eq!(walked.map(shown), Some(model.clone()), "{:?} by {:?}", question, words);
            }
        }
    }
}
