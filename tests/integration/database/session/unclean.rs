//! Rows that something else has written, so that no difference to them can be made.

use super::*;

#[test]
fn rows_that_nothing_can_be_compared_with_are_replaced() {
    let tables = "CREATE TABLE albums (id VARCHAR, name VARCHAR);
        CREATE TABLE artists (id VARCHAR, name VARCHAR); CREATE TABLE genres (id VARCHAR, name VARCHAR);
        CREATE TABLE tracks (id VARCHAR, name VARCHAR, length INTEGER, track INTEGER, year INTEGER,
            album_id VARCHAR, artist_id VARCHAR, genre_id VARCHAR);";
    let album = "INSERT INTO albums VALUES ('00000000000000000000000000000001', 'Dookie');";
    for odd in [
        "INSERT INTO albums VALUES ('00000000000000000000000000000001', 'again')",
        "INSERT INTO albums VALUES ('00000000000000000000000000000002', NULL)",
        "INSERT INTO albums VALUES (NULL, 'x')",
        "INSERT INTO genres VALUES ('no id', 'x')",
        "INSERT INTO artists VALUES ('00000000-0000-0000-0000-000000000001', 'hyphens')",
        "INSERT INTO artists VALUES ('0000000000000000000000000000000A', 'upper case')",
        "INSERT INTO tracks VALUES ('00000000000000000000000000000001', 'x', 1, 1, 1, NULL, NULL, NULL)",
    ] {
        for place in Place::both() {
            place.execute(&format!("{tables}{album}{odd}"));
            let mut session = open(&place.url);
            assert!(!previous(&mut session).0.is_clean, "{odd}");
            let rows = collection(3);
            session.store(changes(0, super::differences::replace(&rows), StateChanges::default())).unwrap();
            assert_eq!(load_all(&place.url), rows);
        }
    }
}

#[test]
fn state_that_makes_no_file_is_told() {
    for place in Place::both() {
        store(&place.url, &collection(1), &files()).unwrap();
        place.execute("UPDATE avalon_files SET outcome = 99 WHERE folder = 2");
        let (before, seen) = previous(&mut open(&place.url));
        assert_eq!(before.state, State::Damaged);
        assert_eq!(seen.files, files()[..2]);
    }
}
