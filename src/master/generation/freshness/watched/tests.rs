use std::time::SystemTime;

use super::*;
use crate::master::error::{Outlook, Reason};
use crate::master::generation::freshness::Freshness;

const SECOND: Duration = Duration::from_secs(1);
const AFTER: Option<Duration> = Some(Duration::from_millis(300));
const MINUTE: Duration = Duration::from_secs(60);

fn version(revision: u64) -> Version {
    Version { revision: Some(revision), mark: format!("scan{revision}") }
}

/// A source that is watched and whose revision 5 serves.
fn watched(now: Instant) -> Freshness {
    let mut freshness = Freshness::new();
    freshness.watch(Some(SECOND), Some(10 * MINUTE), now);
    freshness.reload_ended(1, Ok(()), false, now, 1.0);
    freshness.serves(version(5), Instant::now());
    freshness
}

fn sees(freshness: &mut Freshness, version: Version, now: Instant) -> bool {
    freshness.seen(version, SystemTime::now(), now, AFTER)
}

/// A load that was due, and that has this version.
fn loads(freshness: &mut Freshness, generation: u64, loaded: Version, now: Instant) {
    assert!(freshness.asks(generation, now) && freshness.due().is_none());
    assert_eq!(freshness.refusal(&loaded, generation, now), None);
    freshness.serves(loaded, Instant::now());
    freshness.reload_ended(generation, Ok(()), false, now, 1.0);
}

#[test]
fn same_revision_confirms_and_another_is_loaded_after_the_jitter() {
    let now = Instant::now();
    let mut freshness = watched(now);
    assert_eq!(freshness.confirmed(), None);
    assert!(sees(&mut freshness, version(5), now) && freshness.confirmed().is_some());
    assert_eq!((freshness.due(), freshness.is_stale(), freshness.is_up()), (None, false, Some(true)));
    assert!(!sees(&mut freshness, version(6), now));
    assert_eq!(
        (freshness.source_revision(), freshness.due()),
        (Some(6), Some(now + Duration::from_millis(300)))
    );
    assert_eq!(freshness.reason().as_deref(), Some("the database has revision 6, and revision 5 is served"));
    // The next poll neither puts it off nor draws again; only a client that waits is served at once.
    let draws = |delay| Some(Duration::from_millis(delay));
    freshness.seen(version(6), SystemTime::now(), now, draws(700));
    freshness.seen(version(7), SystemTime::now(), now, draws(100));
    assert_eq!(freshness.due(), Some(now + Duration::from_millis(300)));
    freshness.seen(version(6), SystemTime::now(), now + SECOND, draws(0));
    assert_eq!(freshness.due(), Some(now + SECOND));
    loads(&mut freshness, 2, version(6), now + SECOND);
    assert_eq!((freshness.due(), freshness.is_stale()), (None, false));
}

#[test]
fn same_number_of_another_scan_or_file_is_another_version() {
    let now = Instant::now();
    for mark in ["another", "8:1 scan5"] {
        let mut freshness = watched(now);
        sees(&mut freshness, Version { revision: Some(5), mark: mark.to_owned() }, now);
        assert!(freshness.due().is_some() && freshness.is_stale() && !freshness.is_behind());
    }
    // Another file has its own numbers.
    let mut freshness = watched(now);
    sees(&mut freshness, Version { revision: Some(2), mark: "8:1 scan2".to_owned() }, now);
    assert!(freshness.due().is_some() && !freshness.is_behind());
}

#[test]
fn change_during_a_load_is_loaded_after_it() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(6), now);
    assert!(freshness.asks(2, now + SECOND));
    sees(&mut freshness, version(7), now + SECOND);
    freshness.serves(version(6), Instant::now());
    freshness.reload_ended(2, Ok(()), false, now + 2 * SECOND, 1.0);
    loads(&mut freshness, 3, version(7), now + 2 * SECOND);
    assert_eq!(freshness.due(), None);
}

#[test]
fn load_that_finds_old_rows_is_repeated_with_longer_waits() {
    let mut now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(6), now);
    now += SECOND;
    for (generation, wait) in (2..).zip([1, 2, 4, 8, 16, 32, 60, 60]) {
        // A lagging replica has answered the loader.
        loads(&mut freshness, generation, version(5), now);
        sees(&mut freshness, version(6), now);
        assert_eq!(freshness.due(), Some(now + wait * SECOND));
        now += wait * SECOND;
    }
    // A client that waits is not put off.
    freshness.forget_tries();
    freshness.seen(version(6), SystemTime::now(), now - 2 * SECOND, Some(Duration::ZERO));
    assert_eq!(freshness.due(), Some(now - 2 * SECOND));
}

#[test]
fn older_revision_is_refused_until_it_has_been_there_for_long() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(4), now);
    let told = freshness.news_of_behind().unwrap();
    assert!(
        told.contains("has revision 4, and revision 5 is served") && told.contains("after 600 s"),
        "{told}"
    );
    assert_eq!((freshness.news_of_behind(), freshness.is_behind()), (None, true));
    assert_eq!(freshness.reason().as_deref(), Some(told.as_str()));
    // Another load, as of SIGHUP, does not get them in.
    let refusal = freshness.refusal(&version(4), 2, now + MINUTE).unwrap();
    assert_eq!((refusal.as_str(), refusal.outlook()), (told.as_str(), Outlook::Unreachable));
    freshness.reload_ended(2, Err(&refusal), false, now + MINUTE, 0.0);
    sees(&mut freshness, version(4), now + MINUTE);
    assert_eq!(freshness.due(), Some(now + 10 * MINUTE));
    // A load that fails then is repeated as others are, and not at each poll.
    assert!(freshness.asks(3, now + 10 * MINUTE));
    let gone = Reason::new("gone").with(Outlook::Interrupted);
    freshness.reload_ended(3, Err(&gone), false, now + 10 * MINUTE, 1.0);
    sees(&mut freshness, version(4), now + 10 * MINUTE);
    let due = freshness.due().unwrap();
    assert!(due > now + 10 * MINUTE);
    let now = due - 10 * MINUTE;
    loads(&mut freshness, 3, version(4), now + 10 * MINUTE);
    sees(&mut freshness, version(4), now + 10 * MINUTE);
    assert_eq!((freshness.is_behind(), freshness.is_stale(), freshness.due()), (false, false, None));
}

#[test]
fn newer_rows_end_the_time_of_an_older_revision() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(4), now);
    sees(&mut freshness, version(5), now + MINUTE);
    assert!(!freshness.is_behind() && !freshness.is_stale());
    sees(&mut freshness, version(4), now + MINUTE);
    sees(&mut freshness, version(6), now + MINUTE);
    assert_eq!(freshness.due(), Some(now + MINUTE + Duration::from_millis(300)));
    sees(&mut freshness, version(4), now + 2 * MINUTE);
    assert_eq!(freshness.due(), Some(now + 12 * MINUTE));
    assert!(freshness.news_of_behind().is_some());
    // Another server of the source has the served rows: that is no reason to tell of this one again.
    sees(&mut freshness, version(5), now + 3 * MINUTE);
    sees(&mut freshness, version(4), now + 3 * MINUTE);
    assert_eq!(freshness.news_of_behind(), None);
    sees(&mut freshness, version(3), now + 3 * MINUTE);
    assert!(freshness.news_of_behind().is_some_and(|told| told.contains("has revision 3")));
}

#[test]
fn operator_accepts_an_older_revision_once() {
    let now = Instant::now();
    let mut freshness = watched(now);
    freshness.accept_older(3);
    assert!(freshness.refusal(&version(4), 2, now).is_some(), "a load that had begun before");
    assert_eq!(freshness.refusal(&version(4), 3, now), None);
    freshness.serves(version(4), Instant::now());
    freshness.reload_ended(3, Ok(()), false, now, 0.0);
    assert!(!freshness.is_behind());
    assert!(freshness.refusal(&version(3), 4, now).is_some());
}

#[test]
fn unknown_revisions_block_nothing() {
    let now = Instant::now();
    let unknown = Version::default;
    let mut freshness = watched(now);
    assert_eq!(freshness.refusal(&unknown(), 2, now), None);
    sees(&mut freshness, unknown(), now);
    assert_eq!((freshness.due(), freshness.is_stale(), freshness.confirmed()), (None, false, None));
    // The first scan makes the table.
    freshness.serves(unknown(), Instant::now());
    assert_eq!(freshness.refusal(&version(1), 2, now), None);
    sees(&mut freshness, version(1), now);
    assert!(freshness.due().is_some());
}

#[test]
fn another_database_is_compared_with_nothing() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(4), now);
    freshness.forget_source(now);
    assert_eq!((freshness.is_stale(), freshness.due(), freshness.source_revision()), (false, None, None));
    assert_eq!(freshness.refusal(&version(1), 2, now), None);
}

#[test]
fn source_that_is_silent_for_three_polls_is_stale_and_down() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(5), now);
    freshness.missed("no answer within 3 s");
    assert_eq!((freshness.is_up(), freshness.is_stale()), (Some(false), false));
    assert!(!freshness.tick(now + 3 * SECOND) && freshness.tick(now + 4 * SECOND));
    assert!(!freshness.tick(now + 5 * SECOND), "said once");
    assert_eq!(freshness.reason().as_deref(), Some("no answer within 3 s"));
    sees(&mut freshness, version(5), now + 5 * SECOND);
    assert_eq!((freshness.is_up(), freshness.is_stale()), (Some(true), false));
    // A watcher that says nothing at all.
    assert!(freshness.tick(now + 10 * SECOND) && freshness.is_up() == Some(false));
    assert_eq!(freshness.reason().as_deref(), Some("the database has given no answer for 4 s"));
    freshness.watch(None, None, now + 11 * SECOND);
    assert!(!freshness.is_stale());
}

#[test]
fn source_that_comes_back_ends_the_wait_after_a_failed_load() {
    let now = Instant::now();
    let mut freshness = watched(now);
    sees(&mut freshness, version(6), now);
    let reason = Reason::new("gone").with(Outlook::Unreachable);
    for generation in 2..9 {
        let due = freshness.due().unwrap();
        assert!(freshness.asks(generation, due));
        freshness.load_begun(generation);
        freshness.reload_ended(generation, Err(&reason), false, now, 1.0);
    }
    assert_eq!(freshness.due(), Some(now + MINUTE));
    // The same version is no news; that there is an answer again is.
    sees(&mut freshness, version(6), now);
    assert_eq!(freshness.due(), Some(now + MINUTE));
    freshness.missed("gone");
    sees(&mut freshness, version(6), now);
    assert_eq!(freshness.due(), Some(now + Duration::from_millis(300)));
    assert!(freshness.why_not(6).contains("gone") && freshness.why_not(7).contains("has revision 6"));
}
