//! The log of changes, as a scan writes it.

use super::*;

const IDS: &str = "SELECT count(*) FROM avalon_changes WHERE kind BETWEEN 1 AND 4 AND counter =";

/// Entries that vouch for a revision.
fn vouching(place: &Place, counter: i64, kind: i64) -> i64 {
    place.number(&format!(
        "SELECT count(*) FROM avalon_changes JOIN avalon_revision ON one
          WHERE avalon_changes.counter = {counter} AND kind = {kind}"
    ))
}

#[test]
fn each_scan_logs_the_rows_that_it_changes() {
    for place in Place::both() {
        // The tables were not there: any row may have changed.
        store(&place.url, &collection(3), &files()).unwrap();
        assert_eq!((vouching(&place, 1, 0), place.number("SELECT count(*) FROM avalon_changes")), (1, 1));
        // Only the recorded state of files differs.
        store(&place.url, &collection(3), &files()[..2]).unwrap();
        assert_eq!(place.number("SELECT count(*) FROM avalon_changes"), 1);

        let mut session = open(&place.url);
        let (before, seen) = previous(&mut session);
        let mut rows = seen.known.compare(&collection(4));
        let removed = previous(&mut session).1.known.compare(&collection(2)).removed_songs;
        rows.removed_songs.extend_from_slice(&removed[..1]);
        let count = 1 + rows.names.values().map(Vec::len).sum::<usize>() as i64;
        session.store(changes(before.last_scan, rows, StateChanges::default())).unwrap();
        let songs = "SELECT count(*) FROM avalon_changes WHERE kind = 4 AND counter = 2";
        assert_eq!(place.number(songs), 2, "one that comes and one that goes");
        assert_eq!((place.number(&format!("{IDS} 2")), vouching(&place, 2, 5)), (count + 1, 1));
        let vouches = "SELECT count(*) FROM avalon_changes JOIN avalon_revision ON avalon_revision.counter
            = avalon_changes.counter WHERE kind = 5 AND replace(CAST(scan AS text), '-', '')
            = replace(CAST(id AS text), '-', '')";
        assert_eq!(place.number(vouches), 1);

        // In place of everything there is.
        let mut session = open(&place.url);
        let (before, _) = previous(&mut session);
        let rows = RowChanges { replace: true, ..Known::default().compare(&collection(5)) };
        session.store(changes(before.last_scan, rows, StateChanges::default())).unwrap();
        assert_eq!((vouching(&place, 3, 0), place.number(&format!("{IDS} 3"))), (1, 0));
    }
}

#[test]
fn old_revisions_and_those_of_a_former_life_are_forgotten() {
    for place in Place::both() {
        store(&place.url, &collection(3), &[]).unwrap();
        place.execute("UPDATE avalon_revision SET counter = 199");
        let id = "0123456789abcdef0123456789abcdef";
        for counter in [1, 100, 101, 199, 200, 201, 5000] {
            place.execute(&format!("INSERT INTO avalon_changes VALUES ({counter}, 4, '{id}')"));
        }
        store(&place.url, &collection(4), &[]).unwrap();
        let kept = "SELECT count(*) FROM avalon_changes WHERE kind = 4 AND counter IN (101, 199)";
        assert_eq!(place.number(kept), 2);
        assert_eq!(place.number("SELECT min(counter) FROM avalon_changes"), 101);
        assert_eq!(place.number("SELECT max(counter) FROM avalon_changes"), 200);
        assert_eq!(place.number("SELECT count(*) FROM avalon_changes WHERE kind = 4 AND counter = 200"), 1);
        // Revision 201 leaves 101, which is one too many: old revisions go fifty at a time.
        store(&place.url, &collection(3), &[]).unwrap();
        assert_eq!(place.number("SELECT min(counter) FROM avalon_changes"), 101);

        // Too many entries: whole revisions go.
        place.execute(
            "WITH RECURSIVE numbers (n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM numbers WHERE n < 199999)
             INSERT INTO avalon_changes SELECT 150 + n % 2, n + 10, '0123456789abcdef0123456789abcdef' FROM numbers",
        );
        store(&place.url, &collection(5), &[]).unwrap();
        assert_eq!(place.number("SELECT min(counter) FROM avalon_changes"), 151);
        assert_eq!((vouching(&place, 201, 5), vouching(&place, 202, 5)), (1, 1));
        assert!(place.number("SELECT count(*) FROM avalon_changes") > 99_000);
    }
}

/// It may not have the columns, or refuse the rows.
#[test]
fn table_of_another_program_is_left_alone_and_the_rows_are_stored() {
    for place in Place::both() {
        store(&place.url, &collection(3), &[]).unwrap();
        for (songs, table) in (4..).zip([
            "(answer BIGINT)",
            "(counter BIGINT, kind BIGINT, id VARCHAR, answer BIGINT NOT NULL)",
            "(counter BIGINT, kind BIGINT CHECK (kind > 5), id VARCHAR(40), answer BIGINT)",
        ]) {
            place.execute(&format!("DROP TABLE avalon_changes; CREATE TABLE avalon_changes {table}"));
            let (session, told) = open_telling(&place.url);
            let mut session = session.unwrap();
            let (before, seen) = previous(&mut session);
            let rows = seen.known.compare(&collection(songs));
            session.save(changes(before.last_scan, rows, StateChanges::default())).unwrap();
            assert_eq!(session.revision(), Some(songs as u64 - 2));
            assert_eq!(place.number("SELECT count(*) FROM avalon_changes"), 0, "{table}");
            assert_eq!(load_all(&place.url), collection(songs));
            let told = told.lock().unwrap();
            let is_told = matches!(&told[..], [Notice::NoLog { .. }]);
            assert_eq!(is_told, place.database.is_some(), "{told:?}");
        }
    }
}

/// Triggers count each statement, and all of these revisions are of the scan.
#[test]
fn revisions_that_triggers_have_counted_are_vouched_for() {
    let place = Place::postgres();
    load_all(&place.url);
    place.execute(&super::revision::documented("PostgreSQL"));
    for songs in [3, 5, 4] {
        store(&place.url, &collection(songs), &[]).unwrap();
    }
    let first = "SELECT min(counter) FROM avalon_changes WHERE kind = 5";
    let gaps = format!(
        "SELECT count(*) FROM generate_series(({first}), (SELECT counter FROM avalon_revision)) AS counter
          WHERE counter NOT IN (SELECT counter FROM avalon_changes WHERE kind = 5)"
    );
    assert_eq!(place.number(&gaps), 0);
    assert!(place.number("SELECT count(*) FROM avalon_changes WHERE kind = 5") > 3);
}
