//! The revision of the rows: it grows with each change of them and with nothing else, and a load has the revision
//! of the rows that it reads.

use std::thread;

use super::super::load;
use super::*;

const ROW: &str =
    "SELECT counter FROM avalon_revision WHERE one AND scan IS NOT NULL AND changed IS NOT NULL";

fn revision(url: &str) -> Option<u64> {
    load(url).unwrap().revision
}

#[test]
fn it_grows_with_each_change_of_the_rows_and_with_nothing_else() {
    for place in Place::both() {
        assert_eq!(revision(&place.url), None);
        assert!(store(&place.url, &collection(3), &files()).unwrap().is_some());
        assert_eq!((revision(&place.url), place.number(ROW)), (Some(1), 1));
        assert_eq!(store(&place.url, &collection(3), &files()), Ok(None));
        // Only the recorded state of files differs.
        assert!(store(&place.url, &collection(3), &files()[..2]).unwrap().is_some());
        assert_eq!(revision(&place.url), Some(1));

        let mut session = open(&place.url);
        assert_eq!(session.revision(), None);
        let (before, seen) = previous(&mut session);
        assert_eq!(session.revision(), Some(1));
        let rows = seen.known.compare(&collection(2));
        session.save(changes(before.last_scan, rows, StateChanges::default())).unwrap();
        assert_eq!((session.revision(), revision(&place.url)), (Some(2), Some(2)));
        assert_eq!(place.number(ROW), 2);
    }
}

#[test]
fn differences_that_are_not_stored_do_not_count() {
    for place in Place::both() {
        store(&place.url, &collection(3), &[]).unwrap();
        let mut session = open(&place.url);
        let (_, seen) = previous(&mut session);
        let rows = seen.known.compare(&collection(2));
        let error = session.save(changes(99, rows, StateChanges::default())).unwrap_err();
        assert!(matches!(error, DatabaseError::Overtaken { .. }), "{error}");
        assert_eq!((session.revision(), revision(&place.url)), (Some(1), Some(1)));
    }
}

#[test]
fn a_load_has_the_revision_of_its_rows() {
    for place in Place::both() {
        store(&place.url, &collection(1), &[]).unwrap();
        thread::scope(|scope| {
            let scans = scope.spawn(|| {
                for songs in 2..=25 {
                    store(&place.url, &collection(songs), &[]).unwrap();
                }
            });
            while !scans.is_finished() {
                let loaded = load(&place.url).unwrap();
                assert_eq!(loaded.revision, Some(loaded.rows.collection().songs.len() as u64));
            }
        });
        assert_eq!(revision(&place.url), Some(25));
    }
}

#[test]
fn a_table_of_another_program_is_left_alone() {
    for place in Place::both() {
        place.execute(
            "CREATE TABLE avalon_revision (answer INTEGER); INSERT INTO avalon_revision VALUES (42)",
        );
        for songs in [3, 2] {
            assert!(store(&place.url, &collection(songs), &[]).unwrap().is_some());
            let loaded = load(&place.url).unwrap();
            assert_eq!((loaded.rows.collection(), loaded.revision), (collection(songs), None));
        }
        assert_eq!(place.number("SELECT CAST(answer AS BIGINT) FROM avalon_revision"), 42);
    }
}

#[test]
fn without_the_right_it_is_unknown_to_readers() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    place.execute("GRANT SELECT ON albums, artists, genres, tracks TO plain_only");
    let url = place.database.as_ref().unwrap().url_of("plain_only", "sslmode=disable");
    let loaded = load(&url).unwrap();
    assert_eq!((loaded.rows.collection(), loaded.revision), (collection(3), None));
    place.execute("GRANT SELECT ON avalon_revision TO plain_only");
    assert_eq!(revision(&url), Some(1));
    place.execute("DROP TABLE avalon_revision");
    assert_eq!(revision(&url), None);
}

/// The table is new in an old database, and its role may not create any.
#[test]
fn a_scan_that_may_not_create_the_table_stores_its_rows() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    let role = "CREATE ROLE writer LOGIN; GRANT ALL ON ALL TABLES IN SCHEMA public TO writer";
    place.execute(&format!("DROP TABLE avalon_revision; {role}; REVOKE CREATE ON SCHEMA public FROM PUBLIC"));
    let url = place.database.as_ref().unwrap().url_of("writer", "");
    let (session, told) = open_telling(&url);
    let mut session = session.unwrap();
    let (before, seen) = previous(&mut session);
    let rows = seen.known.compare(&collection(2));
    session.save(changes(before.last_scan, rows, StateChanges::default())).unwrap();
    assert_eq!(session.revision(), None);
    let told = told.lock().unwrap();
    let [Notice::NoRevision { reason }] = &told[..] else { panic!("{told:?}") };
    assert!(reason.contains("permission denied for schema public"), "{reason}");
    assert_eq!(load_all(&url), collection(2));
}

/// The statements that the documentation gives to other programs.
pub(super) fn documented(language: &str) -> String {
    let page = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/machines.md")).unwrap();
    let (_, block) = page.split_once(&format!("```sql\n-- {language}")).expect("a block of SQL");
    block.split_once('\n').unwrap().1.split_once("```").unwrap().0.to_owned()
}

#[test]
fn the_documented_trigger_counts_changes_of_other_programs() {
    let place = Place::postgres();
    load(&place.url).unwrap();
    place.execute(&documented("PostgreSQL"));
    for (statement, is_change) in [
        ("INSERT INTO albums VALUES (gen_random_uuid(), 'a')", true),
        ("UPDATE albums SET name = 'b'", true),
        ("SELECT * FROM albums", false),
        ("DELETE FROM albums", true),
    ] {
        let before = revision(&place.url).unwrap_or(0);
        place.execute(statement);
        assert_eq!(revision(&place.url).unwrap_or(0) > before, is_change, "{statement}");
    }
    // A scan's own changes are counted more than once, and are its own all the same.
    let before = revision(&place.url);
    assert!(store(&place.url, &collection(3), &files()).unwrap().is_some());
    assert!(revision(&place.url) > before);
    assert_eq!(place.number(ROW).cast_unsigned(), revision(&place.url).unwrap());
    let after = revision(&place.url);
    assert!(store(&place.url, &collection(3), &files()[..2]).unwrap().is_some());
    assert_eq!(revision(&place.url), after);
}

#[test]
fn the_documented_statement_counts_a_change_of_another_program() {
    let place = Place::sqlite();
    store(&place.url, &collection(3), &[]).unwrap();
    place.execute(&format!("BEGIN; UPDATE tracks SET year = 1995; {} COMMIT", documented("SQLite")));
    let loaded = load(&place.url).unwrap();
    assert_eq!((loaded.rows.collection().songs[0].year, loaded.revision), (Some(1995), Some(2)));
}
