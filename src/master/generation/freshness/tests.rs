//! Freshness against a naive model: a list of all that has happened, looked through for each question.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn reason(outlook: Outlook) -> Reason {
    Reason::new(format!("{outlook:?}")).with(outlook)
}

fn fails(freshness: &mut Freshness, generation: u64, outlook: Outlook, now: Instant, share: f64) {
    freshness.load_begun(generation);
    freshness.reload_ended(generation, Err(&reason(outlook)), false, now, share);
}

/// The longest waits before the next tries, of `count` failures in a row that each follow a retry.
fn waits(outlook: Outlook, count: u64) -> Vec<u64> {
    let (mut freshness, mut now) = (Freshness::new(), Instant::now());
    (2..2 + count)
        .map(|generation| {
            fails(&mut freshness, generation, outlook, now, 1.0);
            let due = freshness.due().unwrap();
            let wait = due - now;
            assert!(!freshness.asks(generation + 1, due - Duration::from_nanos(1)));
            assert!(freshness.asks(generation + 1, due) && !freshness.asks(generation + 1, due));
            now = due;
            wait.as_secs()
        })
        .collect()
}

#[test]
fn waits_double_up_to_the_longest_of_their_cause() {
    assert_eq!(waits(Outlook::Unreachable, 9), [1, 2, 4, 8, 16, 32, 60, 60, 60]);
    assert_eq!(waits(Outlook::Interrupted, 6), [1, 2, 4, 8, 8, 8]);
}

#[test]
fn wait_is_any_part_of_the_longest() {
    let now = Instant::now();
    for (share, wait) in [(0.0, 0), (0.25, 250), (0.999, 999), (1.0, 1000), (7.0, 1000), (-1.0, 0)] {
        let mut freshness = Freshness::new();
        fails(&mut freshness, 2, Outlook::Unreachable, now, share);
        assert_eq!(freshness.due(), Some(now + Duration::from_millis(wait)), "{share}");
    }
}

#[test]
fn lasting_cause_is_not_tried_again_and_the_data_are_stale() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    fails(&mut freshness, 2, Outlook::Unreachable, now, 1.0);
    fails(&mut freshness, 3, Outlook::Lasting, now, 1.0);
    assert_eq!(
        (freshness.due(), freshness.is_stale(), freshness.reason().as_deref()),
        (None, true, Some("Lasting"))
    );
    assert!(!freshness.asks(4, now + 3600 * SECOND));
}

#[test]
fn reload_that_was_wished_begins_the_waits_again() {
    let (mut freshness, mut now) = (Freshness::new(), Instant::now());
    for generation in 2..9 {
        fails(&mut freshness, generation, Outlook::Unreachable, now, 1.0);
        now = freshness.due().unwrap();
        assert!(freshness.asks(generation + 1, now));
    }
    // The generation after the next, not the one that asks.
    fails(&mut freshness, 20, Outlook::Unreachable, now, 1.0);
    assert_eq!(freshness.due(), Some(now + SECOND));
}

#[test]
fn kept_snapshot_is_stale_and_asked_about_at_once_and_again() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    freshness.reload_ended(1, Ok(()), true, now, 1.0);
    assert_eq!((freshness.is_stale(), freshness.due(), freshness.is_up()), (true, Some(now), None));
    assert!(freshness.reason().is_some_and(|reason| reason.contains("former start")));
    assert!(freshness.asks(2, now) && freshness.only_asks(2) && !freshness.only_asks(3));
    freshness.load_begun(2);
    freshness.reload_ended(2, Err(&reason(Outlook::Unreachable)), true, now, 1.0);
    assert_eq!((freshness.due(), freshness.is_up()), (Some(now + SECOND), Some(false)));
    assert!(freshness.asks(3, now + SECOND) && freshness.only_asks(3));
    let when = SystemTime::now();
    freshness.load_begun(3);
    freshness.source_read(3, when);
    freshness.reload_ended(3, Ok(()), false, now, 1.0);
    assert_eq!((freshness.is_stale(), freshness.due(), freshness.confirmed()), (false, None, Some(when)));
    assert_eq!((freshness.is_up(), freshness.reason()), (Some(true), None));
}

#[test]
fn wish_that_has_failed_owes_a_generation() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    freshness.reload_ended(1, Ok(()), true, now, 1.0);
    assert!(freshness.asks(2, now));
    // The operator was first.
    freshness.reload_ended(3, Err(&reason(Outlook::Unreachable)), true, now, 0.0);
    assert!(freshness.asks(4, now) && !freshness.only_asks(4));
    freshness.reload_ended(4, Err(&reason(Outlook::Unreachable)), true, now, 0.0);
    assert!(freshness.asks(5, now) && !freshness.only_asks(5), "it is still owed");
    freshness.reload_ended(5, Ok(()), true, now, 0.0);
    assert!(freshness.asks(6, now) && freshness.only_asks(6));
}

#[test]
fn failure_before_the_source_was_asked_says_nothing_of_it() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    freshness.load_begun(1);
    freshness.source_read(1, SystemTime::now());
    freshness.reload_ended(1, Ok(()), false, now, 1.0);
    freshness.reload_ended(2, Err(&reason(Outlook::Lasting)), false, now, 1.0);
    assert_eq!((freshness.is_up(), freshness.is_stale()), (Some(true), true));
    // Its rows were read, and could not be stored.
    freshness.load_begun(3);
    freshness.source_read(3, SystemTime::now());
    freshness.reload_ended(3, Err(&reason(Outlook::Unreachable)), false, now, 1.0);
    assert_eq!((freshness.is_up(), freshness.is_stale()), (Some(true), true));
}

/// The fate of a reload.
#[derive(Debug, Clone, Copy)]
enum Happening {
    Served,
    Failed(Outlook, bool),
}

fn happening() -> impl Strategy<Value = Happening> {
    let outlook = prop_oneof![Just(Outlook::Lasting), Just(Outlook::Interrupted), Just(Outlook::Unreachable)];
    prop_oneof![
        1 => Just(Happening::Served),
        4 => (outlook, any::<bool>()).prop_map(|(outlook, asked)| Happening::Failed(outlook, asked)),
    ]
}

proptest! {
    #[test]
    fn whatever_happens_it_is_as_the_list_of_all_says(
        happenings in prop::collection::vec((happening(), any::<bool>(), 0.0..=1.0_f64, 0..90_u64), 1..60)
    ) {
        let (mut freshness, mut now, begin) = (Freshness::new(), Instant::now(), SystemTime::now());
        // Of each reload: whether it was a retry, and its fate.
        let mut past: Vec<(bool, Happening)> = Vec::new();
        for (number, (happening, wished, share, later)) in happenings.into_iter().enumerate() {
            let generation = number as u64 + 1;
            let retry = !wished && freshness.due().is_some_and(|due| {
                now = now.max(due);
                freshness.asks(generation, now)
            });
            let when = begin + number as u32 * SECOND;
            match happening {
                Happening::Served => {
                    freshness.load_begun(generation);
                    freshness.source_read(generation, when);
                    freshness.reload_ended(generation, Ok(()), false, now, share);
                }
                Happening::Failed(outlook, asked) => {
                    if asked { freshness.load_begun(generation); }
                    freshness.reload_ended(generation, Err(&reason(outlook)), false, now, share);
                }
            }
            past.push((retry, happening));

            let served = past.iter().rposition(|(_, what)| matches!(what, Happening::Served));
            prop_assert_eq!(freshness.confirmed(), served.map(|at| begin + at as u32 * SECOND));
            prop_assert_eq!(freshness.is_stale(), matches!(happening, Happening::Failed(..)));
            let asked = past.iter().rev().find_map(|(_, what)| match what {
                Happening::Served => Some(true),
                Happening::Failed(_, asked) => asked.then_some(false),
            });
            prop_assert_eq!(freshness.is_up(), asked);
            // Failures since the last success, and since the last wish.
            let mut row = 0;
            for (retry, what) in past.iter().rev() {
                if matches!(what, Happening::Served) { break; }
                row += 1;
                if !retry { break; }
            }
            let max = match happening {
                Happening::Served | Happening::Failed(Outlook::Lasting, _) => None,
                Happening::Failed(Outlook::Interrupted, _) => Some(8),
                Happening::Failed(Outlook::Unreachable, _) => Some(60),
            };
            let longest = max.map(|max: u64| SECOND * 2_u32.pow((row - 1).min(10)).min(max as u32));
            prop_assert_eq!(freshness.due(), longest.map(|longest| now + longest.mul_f64(share)));
            now += Duration::from_secs(later);
        }
    }
}

#[test]
fn patience_is_over_once_nothing_new_was_named_for_so_long_and_begins_again_then() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    assert!(!freshness.is_patience_over(now + 3600 * SECOND) && freshness.due().is_none());
    freshness.be_patient(Some(60 * SECOND), now);
    freshness.be_patient(Some(60 * SECOND), now + 59 * SECOND);
    assert_eq!(freshness.due(), Some(now + 60 * SECOND));
    assert!(!freshness.is_patience_over(now + 59 * SECOND) && freshness.is_patience_over(now + 60 * SECOND));
    // Nothing was newer: it is asked again after the same time, and any load before may ask as well.
    assert!(freshness.asks(2, now + 60 * SECOND) && freshness.only_asks(2));
    assert_eq!(freshness.due(), Some(now + 120 * SECOND));
    assert!(freshness.is_patience_over(now + 61 * SECOND));
    // The store names something new.
    let version = |revision| Version { revision: Some(revision), mark: String::new() };
    freshness.serves(version(7), now + 70 * SECOND);
    freshness.serves(version(7), now + 80 * SECOND);
    assert!(
        !freshness.is_patience_over(now + 129 * SECOND) && freshness.is_patience_over(now + 130 * SECOND)
    );
    freshness.be_patient(None, now + 130 * SECOND);
    assert!(!freshness.is_patience_over(now + 3600 * SECOND) && freshness.due().is_none());
}

#[test]
fn substitute_is_stale_and_not_confirmed_by_what_it_stands_for() {
    let (mut freshness, now) = (Freshness::new(), Instant::now());
    freshness.name_source("store");
    freshness.watch(Some(SECOND), None, now);
    let version = Version { revision: Some(7), mark: String::new() };
    freshness.serves(version.clone(), now);
    freshness.substitutes(true);
    freshness.reload_ended(2, Ok(()), true, now, 1.0);
    assert!(!freshness.seen(version.clone(), SystemTime::now(), now, Some(SECOND)));
    assert_eq!(freshness.confirmed(), None);
    assert!(freshness.reason().is_some_and(|reason| reason.contains("rows of the database are served")));
    freshness.substitutes(false);
    assert!(freshness.seen(version, SystemTime::now(), now, Some(SECOND)));
}
