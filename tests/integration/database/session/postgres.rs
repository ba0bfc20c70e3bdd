//! Sessions with PostgreSQL servers.

use std::thread;

use avalon::database::{DatabaseError, Notice, StateChanges};

use super::*;

fn database(place: &Place) -> &Database<'static> {
    place.database.as_ref().unwrap()
}

/// On a server of its own: other tests write into the log of the shared one.
#[test]
fn nothing_changed_writes_nothing() {
    let server = Postgres::start();
    let database = server.create_database();
    let count = 30_000;
    let all: Vec<File> = (0..300).map(|number| file(1, format!("{number:05}").as_bytes())).collect();
    store(&database.url(), &collection(count), &all).unwrap();
    let mut client = database.client();
    // Reading sets hints in rows that are new, and autovacuum writes when it likes.
    client.batch_execute("VACUUM (FREEZE, ANALYZE)").unwrap();
    let mut state = || -> (i64, i64) {
        let query =
            "SELECT (pg_current_wal_lsn() - '0/0')::bigint, (SELECT sum(pg_total_relation_size(oid))::bigint
                       FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace)";
        let row = client.query_one(query, &[]).unwrap();
        (row.get(0), row.get(1))
    };
    let (position, size) = state();
    assert_eq!(store(&database.url(), &collection(count), &all), Ok(None));
    let (position_after, size_after) = state();
    assert!(position_after - position <= 16 * 1024, "{} bytes of WAL", position_after - position);
    assert_eq!(size_after, size);

    let mut rows = collection(count);
    rows.songs.iter_mut().skip(7_000).take(10).for_each(|song| song.year = Some(2001));
    assert_eq!(store(&database.url(), &rows, &all), Ok(Some(2)));
    let (position_after_ten, _) = state();
    assert!(position_after_ten - position_after <= 200_000, "{}", position_after_ten - position_after);
}

/// A row that another client has locked keeps the table from being locked.
#[test]
fn a_row_lock_of_another_client_is_told_and_has_an_end() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    let mut other = database(&place).client();
    other.batch_execute("SET application_name = 'a careless client'").unwrap();
    let mut lock = other.transaction().unwrap();
    lock.batch_execute("SELECT * FROM tracks WHERE year = 1994 LIMIT 1 FOR UPDATE").unwrap();

    let (session, told) = open_telling(&place.url);
    let mut session = session.unwrap();
    let (before, seen) = previous(&mut session);
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    let error = session.store(changes(before.last_scan, rows, StateChanges::default())).unwrap_err();
    let DatabaseError::Locked { by, .. } = &error else { panic!("{error}") };
    assert!(by.contains("(a careless client, user avalon)"), "{by}");
    let [notice @ Notice::Waiting { .. }] = &told.lock().unwrap()[..] else { panic!("{told:?}") };
    assert!(notice.to_string().contains("is locked by server process "), "{notice}");
    assert!(notice.to_string().contains("(a careless client, user avalon)"), "{notice}");
    lock.rollback().unwrap();
    assert_eq!(load_all(&place.url), collection(3));
    assert_eq!(store(&place.url, &collection(5), &[]), Ok(Some(2)));
}

/// Lets go of `lock` when it has been announced.
fn release_when_told<T: Send>(
    lock: ::postgres::Transaction<'_>,
    told: &Told,
    work: impl FnOnce() -> T + Send,
) -> T {
    thread::scope(|scope| {
        let scan = scope.spawn(work);
        while told.lock().unwrap().is_empty() {
            assert!(!scan.is_finished(), "the scan did not wait");
            thread::yield_now();
        }
        lock.rollback().unwrap();
        scan.join().unwrap()
    })
}

#[test]
fn a_lock_that_goes_in_time_only_costs_time() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    let mut other = database(&place).client();
    let (session, told) = open_telling(&place.url);
    let mut session = session.unwrap();

    let mut lock = other.transaction().unwrap();
    lock.batch_execute("LOCK TABLE genres IN ACCESS EXCLUSIVE MODE").unwrap();
    let (before, seen) = release_when_told(lock, &told, || previous(&mut session));
    told.lock().unwrap().clear();

    let mut lock = other.transaction().unwrap();
    lock.batch_execute("LOCK TABLE albums IN SHARE MODE").unwrap();
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    let stored = release_when_told(lock, &told, move || {
        session.store(changes(before.last_scan, rows, StateChanges::default()))
    });
    assert_eq!(stored, Ok(Some(2)));
    assert_eq!(load_all(&place.url), collection(5));
}

#[test]
fn tables_that_cannot_be_written_are_told_first() {
    for (sql, expected) in [
        (
            "CREATE TABLE tracks (id uuid, title text)",
            "column \"name\" of relation \"tracks\" does not exist",
        ),
        ("CREATE VIEW albums AS SELECT 1 AS id, 'x' AS name", "cannot insert into view \"albums\""),
    ] {
        let place = Place::postgres();
        place.execute(sql);
        let error = refusal(&place.url).to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// The tables of one schema, the lock of one schema.
#[test]
fn scans_into_two_schemas_do_not_meet() {
    let place = Place::postgres();
    place.execute("CREATE SCHEMA music; CREATE SCHEMA books");
    let url =
        |schema: &str| database(&place).url_of("avalon", &format!("options=-c%20search_path%3D{schema}"));
    let first = open(&url("music"));
    store(&url("books"), &collection(2), &files()).unwrap();
    assert!(matches!(refusal(&url("music")), DatabaseError::ScanRunning { .. }));
    drop(first);
    store(&url("music"), &collection(3), &files()).unwrap();
    assert_eq!(load_all(&url("books")), collection(2));
    assert_eq!(place.number("SELECT count(*) FROM music.avalon_files"), 4);
}

#[test]
fn a_database_without_write_access_is_reported_first() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    let role = format!("guest_of_{}", database(&place).name);
    place.execute(&format!(
        "CREATE ROLE {role} LOGIN; GRANT SELECT ON albums, artists, genres, tracks TO {role}"
    ));
    let url = database(&place).url_of(&role, "");
    // Who holds the lock is told to every role.
    let holder = open(&place.url);
    let error = refusal(&url);
    assert!(matches!(&error, DatabaseError::ScanRunning { pid: 4711, .. }), "{error}");
    drop(holder);
    // The tables of a scan are none of the server's business.
    assert_eq!(load_all(&url), collection(3));
    let message = refusal(&url).to_string();
    let expected = "permission denied for table albums, artists, genres, tracks, avalon_folders, avalon_files, \
                    avalon_scans, avalon_moved, avalon_revision: a scan needs all of";
    assert!(message.contains(expected), "{message}");
    let (_, grant) = message.split_once("as the owner run ").unwrap();
    place.execute(grant);
    assert_eq!(store(&url, &collection(4), &[]), Ok(Some(2)));

    let empty = Place::postgres();
    let message = refusal(&database(&empty).url_of(&role, "")).to_string();
    let expected = "cannot create the missing tables (albums, artists, genres, tracks, avalon_folders, \
                    avalon_files, avalon_scans, avalon_moved): permission denied for schema public";
    assert!(message.contains(expected), "{message}");

    let url = database(&place).url_of("avalon", "options=-c%20default_transaction_read_only%3Don");
    assert!(refusal(&url).to_string().contains("the server refuses to write"));
    let wrong = refusal(&database(&place).url_of("scram:hidden", ""));
    assert!(wrong.to_string().contains("password authentication failed"), "{wrong}");
    assert!(!format!("{wrong} {wrong:?}").contains("hidden"));
    // Nothing is left of the trial.
    assert_eq!(empty.number("SELECT count(*) FROM pg_class WHERE relnamespace = 'public'::regnamespace"), 0);
}

#[test]
fn texts_that_an_encoding_cannot_hold_are_found_at_once() {
    for (encoding, narrow, good, bad) in [
        ("LATIN1", true, "Beyonc\u{e9}", '\u{416}'),
        ("WIN1251", true, "\u{416}\u{438}\u{437}\u{43d}\u{44c}", '\u{e9}'),
        ("EUC_JP", true, "\u{6771}\u{4eac}", '\u{1f3b8}'),
        ("SQL_ASCII", false, "\u{416}", ' '),
        ("UTF8", false, "\u{1f3b8}", ' '),
    ] {
        let options = format!("ENCODING '{encoding}' LOCALE 'C' TEMPLATE template0");
        let database = Postgres::shared().create_database_with(&options);
        let (session, told) = open_telling(&database.url());
        let session = session.unwrap();
        let texts = session.texts();
        for _ in 0..2 {
            assert_eq!(texts.can_hold("plain"), Ok(()));
            assert_eq!(texts.can_hold(good), Ok(()), "{encoding}");
        }
        let told = told.lock().unwrap();
        if narrow {
            let [notice] = &told[..] else { panic!("{told:?}") };
            let message = notice.to_string();
            assert!(
                message.contains(&format!("has the encoding {encoding}, which cannot hold")),
                "{message}"
            );
            assert!(message.contains("createdb --encoding=UTF8 --template=template0"), "{message}");
            let error = texts.can_hold(&format!("{good} and {bad}")).unwrap_err();
            assert_eq!((error.encoding.as_str(), error.character), (encoding, Some(bad)));
            assert!(error.to_string().contains(&format!("`{bad}` (U+{:04X})", u32::from(bad))), "{error}");
        } else {
            assert!(told.is_empty(), "{told:?}");
        }
        // A text that the database can hold is stored and read again.
        let mut rows = collection(2);
        rows.songs[1].name = Some(good.to_owned());
        let mut song = file(1, b"\xff");
        (song.title, song.genre) = (Some(good.to_owned()), None);
        drop(session);
        store(&database.url(), &rows, std::slice::from_ref(&song)).unwrap();
        assert_eq!(load_all(&database.url()), rows, "{encoding}");
        assert_eq!(store(&database.url(), &rows, &[song]), Ok(None), "{encoding}");
    }
}

#[test]
fn a_scan_that_lost_its_lock_stores_nothing() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &[]).unwrap();
    let mut session = open(&place.url);
    let (before, seen) = previous(&mut session);
    session.check().unwrap();
    database(&place)
        .client()
        .execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
              WHERE datname = current_database() AND application_name LIKE '%nas.example.org:4711%'",
            &[],
        )
        .unwrap();
    let error = session.check().unwrap_err();
    assert!(error.to_string().contains("the connection that keeps other scans out is lost"), "{error}");
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    let error = session.store(changes(before.last_scan, rows, StateChanges::default())).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert_eq!(load_all(&place.url), collection(3));
}

#[test]
fn a_connection_that_breaks_in_the_middle_leaves_the_old_rows() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &files()).unwrap();
    let mut session = open(&place.url);
    let (before, seen) = previous(&mut session);
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    let mut other = database(&place).client();
    let all = (0_i64..40_000).map(|number| {
        if number == 20_000 {
            let query = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
                          WHERE datname = current_database() AND application_name = 'avalon'";
            assert_eq!(other.execute(query, &[]).unwrap(), 1);
        }
        Ok(file(9, number.to_string().as_bytes()))
    });
    let state = StateChanges { files: Some(Box::new(all)), ..StateChanges::default() };
    let error = session.store(changes(before.last_scan, rows, state)).unwrap_err();
    assert!(error.is_unreachable(), "{error}");
    assert_eq!(load_all(&place.url), collection(3));
    assert_eq!(previous(&mut open(&place.url)).1.files, files());
}

/// A server may close idle connections; only the one that holds the lock must last.
#[test]
fn an_idle_connection_may_be_closed() {
    let options = "ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0";
    let database = Postgres::shared().create_database_with(options);
    store(&database.url(), &collection(3), &[]).unwrap();
    let mut session = open(&database.url());
    let texts = session.texts();
    let (before, seen) = previous(&mut session);
    let closed = database.client().execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
          WHERE datname = current_database() AND application_name = 'avalon'",
        &[],
    );
    assert_eq!(closed.unwrap(), 2);
    assert!(texts.can_hold("\u{416}").is_err());
    assert_eq!(texts.can_hold("\u{e9}"), Ok(()));
    let rows = collection(5);
    let rows = seen.known.compare(&rows);
    let stored = session.store(changes(before.last_scan, rows, StateChanges::default()));
    assert_eq!(stored, Ok(Some(2)));
}

#[test]
fn parameters_without_effect_are_told_quietly() {
    let place = Place::postgres();
    let (session, told) = open_telling(&database(&place).url_of("avalon", "sslcompression=0"));
    session.unwrap();
    let [notice] = &told.lock().unwrap()[..] else { panic!("{told:?}") };
    assert_eq!(notice.level(), slog::Level::Debug);
    assert!(notice.to_string().contains("`sslcompression` of the database URL is passed over"), "{notice}");
}

#[test]
fn a_number_that_does_not_fit_leaves_the_old_rows() {
    let place = Place::postgres();
    store(&place.url, &collection(3), &files()).unwrap();
    let mut huge = collection(4);
    huge.songs[3].year = Some(i64::from(i32::MAX) + 1);
    let error = store(&place.url, &huge, &[]).unwrap_err().to_string();
    assert!(error.contains("out of range for type integer") && error.contains("column year"), "{error}");
    assert_eq!(load_all(&place.url), collection(3));
    assert_eq!(previous(&mut open(&place.url)).1.files, files());
}
