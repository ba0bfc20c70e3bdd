//! Sessions through PgBouncer, which gives each transaction another session of the server.

use super::*;
use crate::harness::postgres::Pooler;

/// A pooler that answers, and the URL of the place's database through it.
fn before(place: &Place) -> (Pooler, String) {
    let pooler = Postgres::shared().start_pooler();
    let url = pooler.url(&place.database.as_ref().unwrap().name);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = open_telling(&url).0 {
        assert!(error.is_unreachable() && Instant::now() < deadline, "{error}");
    }
    (pooler, url)
}

/// The driver looks up types that are no built-in ones by statements that outlive the transaction: in the
/// next session of the server their names may be taken.
#[test]
fn columns_of_other_types_are_read_through_a_pooler() {
    let place = Place::postgres();
    let (_pooler, url) = before(&place);
    store(&url, &collection(3), &files()).unwrap();
    place.execute(
        "CREATE EXTENSION citext; CREATE TYPE mood AS ENUM ('happy');
         ALTER TABLE tracks ALTER name TYPE citext; ALTER TABLE albums ALTER name TYPE citext;
         ALTER TABLE artists ALTER name TYPE citext; ALTER TABLE tracks ADD mood mood DEFAULT 'happy'",
    );
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| (0..5).for_each(|_| assert_eq!(load_all(&url), collection(3))));
        }
    });
    for songs in [4, 2] {
        assert!(store(&url, &collection(songs), &files()).unwrap().is_some());
        assert_eq!(load_all(&url), collection(songs));
    }
}

#[test]
fn parameter_that_the_pooler_does_not_take_is_a_refusal() {
    let place = Place::postgres();
    let (_pooler, url) = before(&place);
    let error = super::super::load(&format!("{url}?options=-c%20search_path%3Dmusic")).unwrap_err();
    assert!(!error.is_unreachable(), "{error}");
    let text = error.to_string();
    assert!(text.contains("cannot use") && text.contains("ignore_startup_parameters"), "{text}");
}

#[test]
fn the_lock_and_the_rows_survive_a_pooler() {
    let place = Place::postgres();
    let (_pooler, url) = before(&place);
    // Each scan finds the lock free, whichever session of the server it gets.
    for number in 1..6 {
        let rows = collection(number);
        let numbered = Ok(Some(number as i64));
        assert_eq!(store(&url, &rows, &files()), numbered);
        assert_eq!(store(&url, &rows, &files()), Ok(None));
        assert_eq!(load_all(&url), rows);
        assert_eq!(super::super::load(&url).unwrap().revision, Some(number as u64));
    }
    let mut first = open(&url);
    // Other clients of the pooler take sessions and give them back.
    for _ in 0..5 {
        load_all(&url);
        assert!(matches!(refusal(&url), DatabaseError::ScanRunning { pid: 4711, .. }));
    }
    first.check().unwrap();
    let (before, seen) = previous(&mut first);
    place.execute("INSERT INTO avalon_scans VALUES (99, 1, 1, 'h', 1, '{}')");
    let rows = collection(7);
    let rows = seen.known.compare(&rows);
    let error = first.store(changes(before.last_scan, rows, StateChanges::default())).unwrap_err();
    assert!(matches!(error, DatabaseError::Overtaken { .. }), "{error}");
    assert_eq!(load_all(&url), collection(5));
    open(&url);
}
