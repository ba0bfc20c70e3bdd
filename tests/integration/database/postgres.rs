//! PostgreSQL servers.

use std::net::TcpListener;
use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

use super::{awkward, collection, fixture, load, load_all, replace};
use crate::harness::postgres::{Database, Postgres};
use avalon::model::Collection;

/// Everything in the catalog that a schema is made of, as text.
fn schema(database: &Database<'_>) -> Vec<String> {
    let mut client = database.client();
    let queries = [
        "SELECT format('%s.%s %s %s %s', c.relname, a.attname, a.attnum, format_type(a.atttypid, a.atttypmod), a.attnotnull)
           FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid
          WHERE c.relnamespace = 'public'::regnamespace AND a.attnum > 0",
        "SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid))
           FROM pg_constraint WHERE connamespace = 'public'::regnamespace",
        "SELECT indexdef FROM pg_indexes WHERE schemaname = 'public'",
    ];
    let rows = queries.iter().flat_map(|query| client.query(&format!("{query} ORDER BY 1"), &[]).unwrap());
    rows.map(|row| row.get(0)).collect()
}

fn create_as_avalonms(database: &Database<'_>) {
    database.execute(&std::fs::read_to_string(fixture("schema_postgres_emitted.sql")).unwrap());
}

/// A role that may log in and read, and nothing else.
fn reader_of(database: &Database<'_>) -> String {
    let role = format!("reader_of_{}", database.name);
    database
        .execute(&format!("CREATE ROLE {role} LOGIN; GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}"));
    role
}

/// Waits until a statement like `pattern` is under way in the database, and answers its process.
fn wait_for_statement(database: &Database<'_>, pattern: &str) -> i32 {
    let mut client = database.client();
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        let found = client.query_opt(
            "SELECT pid FROM pg_stat_activity
              WHERE datname = current_database() AND state = 'active' AND pid <> pg_backend_pid() AND query LIKE $1",
            &[&pattern],
        );
        if let Some(row) = found.unwrap() {
            return row.get(0);
        }
        thread::yield_now();
    }
    panic!("no statement like {pattern}");
}

#[test]
fn both_verbs_create_the_schema_of_avalonms() {
    let theirs = Postgres::shared().create_database();
    create_as_avalonms(&theirs);
    let expected = schema(&theirs);
    assert!(expected.len() > 20, "{expected:?}");

    let loaded = Postgres::shared().create_database();
    assert!(load_all(&loaded.url()).songs.is_empty());
    assert_eq!(schema(&loaded), expected);

    let replaced = Postgres::shared().create_database();
    replace(&replaced.url(), &collection(1)).unwrap();
    assert_eq!(schema(&replaced), expected);
}

#[test]
fn several_processes_may_create_the_schema_at_once() {
    let database = Postgres::shared().create_database();
    let barrier = Barrier::new(6);
    thread::scope(|scope| {
        for number in 0..6 {
            let (database, barrier) = (&database, &barrier);
            scope.spawn(move || {
                barrier.wait();
                match number % 2 {
                    0 => drop(load(&database.url()).unwrap()),
                    _ => replace(&database.url(), &collection(10)).unwrap(),
                }
            });
        }
    });
    assert_eq!(load_all(&database.url()), collection(10));
}

#[test]
fn replacing_twice_leaves_the_second() {
    let database = Postgres::shared().create_database();
    create_as_avalonms(&database);
    replace(&database.url(), &collection(5000)).unwrap();
    assert_eq!(load_all(&database.url()), collection(5000));
    replace(&database.socket_url(), &awkward()).unwrap();
    assert_eq!(load_all(&database.socket_url()), awkward());
}

#[test]
fn nul_in_a_name_becomes_a_replacement_character() {
    let database = Postgres::shared().create_database();
    let mut odd = collection(1);
    odd.songs[0].name = Some("a\0b".to_owned());
    replace(&database.url(), &odd).unwrap();
    assert_eq!(load_all(&database.url()).songs[0].name.as_deref(), Some("a\u{fffd}b"));
}

#[test]
fn a_replace_that_fails_leaves_the_old_rows() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    let mut huge = collection(5000);
    huge.songs[4711].year = Some(i64::from(i32::MAX) + 1);
    let error = replace(&database.url(), &huge).unwrap_err();
    let message = error.to_string();
    assert!(message.contains("value \"2147483648\" is out of range for type integer"), "{message}");
    assert!(message.contains("column year"), "{message}");
    assert!(!error.is_unreachable());
    assert_eq!(load_all(&database.url()), collection(3));
}

#[test]
fn readers_see_all_old_or_all_new_rows() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(100)).unwrap();
    thread::scope(|scope| {
        // Two scans at once wait for each other.
        let writers = [0, 1].map(|_| {
            scope.spawn(|| {
                for count in (100..1500).step_by(100) {
                    replace(&database.url(), &collection(count)).unwrap();
                }
            })
        });
        while !writers.iter().all(|writer| writer.is_finished()) {
            let seen = load_all(&database.url());
            assert_eq!(seen, collection(seen.songs.len() as u128));
            assert_eq!(seen.songs.len() % 100, 0);
        }
    });
}

#[test]
fn a_load_sees_one_moment() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    // The load stops between the albums and the songs until this lock goes.
    let mut blocker = database.client();
    let mut blocked = blocker.transaction().unwrap();
    blocked.batch_execute("LOCK TABLE genres IN ACCESS EXCLUSIVE MODE").unwrap();
    thread::scope(|scope| {
        let load = scope.spawn(|| load_all(&database.url()));
        wait_for_statement(&database, "%FROM genres%");
        database.execute("DELETE FROM tracks; DELETE FROM artists; DELETE FROM albums");
        blocked.rollback().unwrap();
        assert_eq!(load.join().unwrap(), collection(3));
    });
}

#[test]
fn read_access_is_enough_to_load() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    let reader = reader_of(&database);
    let url = database.url_of(&reader, "");
    assert_eq!(load_all(&url), collection(3));
    let error = replace(&url, &collection(1)).unwrap_err().to_string();
    assert!(error.contains("permission denied for table"), "{error}");
    assert_eq!(load_all(&url), collection(3));
}

#[test]
fn missing_tables_that_may_not_be_created_are_named() {
    let database = Postgres::shared().create_database();
    database.execute("CREATE TABLE albums (id uuid, name text)");
    let reader = reader_of(&database);
    let error = load(&database.url_of(&reader, "")).unwrap_err().to_string();
    let expected =
        "cannot create the missing tables (artists, genres, tracks): permission denied for schema public";
    assert!(error.contains(expected), "{error}");
}

#[test]
fn replica_that_no_scan_has_reached_is_an_empty_collection() {
    let database = Postgres::shared().create_database();
    let read_only = database.url_of("avalon", "options=-c%20default_transaction_read_only%3Don");
    assert_eq!(load_all(&read_only), Collection::default());
    let error = replace(&read_only, &collection(1)).unwrap_err().to_string();
    assert!(error.contains("cannot execute CREATE TABLE in a read-only transaction"), "{error}");
    // Some of the tables without the others are no collection.
    database.execute("CREATE TABLE albums (id uuid, name text)");
    let error = load(&read_only).unwrap_err().to_string();
    assert!(error.contains("cannot create the missing tables (artists, genres, tracks)"), "{error}");
    database.execute("DROP TABLE albums");
    replace(&database.url(), &collection(3)).unwrap();
    assert_eq!(load_all(&read_only), collection(3));
}

/// More rows than are asked for at once.
#[test]
fn all_portions_of_a_table_arrive() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(1)).unwrap();
    for songs in [9_999, 10_000, 10_001, 30_000] {
        database.execute(&format!(
            "DELETE FROM tracks; INSERT INTO tracks SELECT md5(n::text)::uuid, 'Song ' || n, 1, n, 2000, \
             (SELECT id FROM albums LIMIT 1), (SELECT id FROM artists LIMIT 1), (SELECT id FROM genres LIMIT 1) \
             FROM generate_series(1, {songs}) AS numbers (n)"
        ));
        let loaded = load_all(&database.url());
        let numbers: std::collections::HashSet<_> = loaded.songs.iter().map(|song| song.track).collect();
        assert_eq!((loaded.songs.len(), numbers.len()), (songs, songs));
    }
}

#[test]
fn the_search_path_is_respected() {
    let database = Postgres::shared().create_database();
    database.execute("CREATE SCHEMA music");
    let url = database.url_of("avalon", "options=-c%20search_path%3Dmusic");
    replace(&url, &collection(3)).unwrap();
    assert_eq!(load_all(&url), collection(3));
    assert!(load_all(&database.url()).songs.is_empty());
}

#[test]
fn nothing_in_the_rows_fails_a_load() {
    let database = Postgres::shared().create_database();
    database.execute(
        "CREATE TABLE albums (id char(40), name integer);
        CREATE TABLE artists (id text, name bytea);
        CREATE TABLE genres (id uuid, name varchar);
        CREATE VIEW tracks AS SELECT * FROM (VALUES
            ('00000000-0000-0000-0000-00000000000A', 'good', '180', 3.0, 1994::float8,
                '0000000000000000000000000000000A', '00000000000000000000000000000001', '00000000-0000-0000-0000-000000000001'),
            ('00000000000000000000000000000002', NULL, 'long', 0.5, 'NaN'::float8,
                '0000000000000000000000000000000A', '00000000000000000000000000000001', '00000000-0000-0000-0000-000000000001'),
            ('x', '', '', 0, 0, '', '', NULL),
            ('00000000000000000000000000000003', '', '', 0, 0, '', '', NULL),
            ('00000000000000000000000000000003', '', '', 0, 0, '0000000000000000000000000000000A', NULL, NULL),
            ('00000000000000000000000000000003', '', '', 0, 0,
                '0000000000000000000000000000000A', '00000000000000000000000000000001', NULL)
        ) AS v (id, name, length, track, year, album_id, artist_id, genre_id);
        INSERT INTO albums VALUES ('0000000000000000000000000000000A', 1984), ('7', 7), (NULL, 7),
            ('0000000000000000000000000000000B', NULL);
        INSERT INTO artists VALUES ('00000000000000000000000000000001', 'x');
        INSERT INTO genres VALUES ('00000000000000000000000000000001', 'b'),
            ('00000000000000000000000000000001', 'a'), (NULL, 'b')",
    );
    let loaded = load(&database.url()).unwrap();
    let collection = loaded.rows.collection();
    assert_eq!(collection.albums[0].name, "1984");
    assert_eq!(collection.artists[0].name, "\\x78");
    assert_eq!(collection.genres[0].name, "a");
    let [odd, good] = collection.songs.as_slice() else { panic!("{:?}", collection.songs) };
    assert_eq!((good.name.as_deref(), good.length, good.track), (Some("good"), Some(180), Some(3)));
    assert_eq!(good.year, Some(1994));
    assert_eq!((&odd.name, odd.length, odd.track, odd.year), (&None, None, None, None));
    assert_eq!(
        loaded.left_out.to_string(),
        "1 song without album, 1 song without artist, 1 song without genre, 1 song whose id is no UUID, \
         1 album without name, 2 albums whose id is no UUID, 1 genre whose id is no UUID, \
         1 genre with the id of another, \
         3 lengths, tracks or years that are no whole numbers (null instead)"
    );
}

#[test]
fn bytes_that_are_no_utf8_are_replaced() {
    let options = "ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0";
    let database = Postgres::shared().create_database_with(options);
    create_as_avalonms(&database);
    database.execute(
        "INSERT INTO albums VALUES ('00000000-0000-0000-0000-000000000001', convert_from('\\x61ff', 'SQL_ASCII'))",
    );
    assert_eq!(load_all(&database.url()).albums[0].name, "a\u{fffd}");
}

#[test]
fn a_table_of_something_else_is_an_error() {
    let database = Postgres::shared().create_database();
    database.execute("CREATE TABLE tracks (id uuid, title text)");
    let error = load(&database.url()).unwrap_err().to_string();
    assert!(error.contains("column \"name\" does not exist"), "{error}");
}

#[test]
fn an_absent_database_is_named() {
    let database = Postgres::shared().create_database();
    let url = database.url().replace(&database.name, "absent");
    let error = load(&url).unwrap_err();
    let port = Postgres::shared().port();
    let expected = format!(
        "cannot use PostgreSQL database absent at 127.0.0.1:{port}: database \"absent\" does not exist"
    );
    assert_eq!(error.to_string(), expected);
    assert!(!error.is_unreachable());
}

#[test]
fn passwords_are_sent_and_never_said() {
    let database = Postgres::shared().create_database();
    replace(&database.url(), &collection(3)).unwrap();
    database.execute("GRANT SELECT ON ALL TABLES IN SCHEMA public TO scram");
    let right = format!("scram:{}", Postgres::PASSWORD);
    for mode in ["disable", "prefer", "require"] {
        let query = format!("sslmode={mode}");
        assert_eq!(load_all(&database.url_of(&right, &query)), collection(3), "{mode}");
        let error = load(&database.url_of("scram:hidden", &query)).unwrap_err();
        let message = format!("{error} {error:?}");
        assert!(message.contains("password authentication failed for user \"scram\""), "{message}");
        assert!(!message.contains("hidden"), "{message}");
        assert!(!error.is_unreachable());
    }
}

#[test]
fn a_port_without_a_listener_is_unreachable() {
    // Bound but not listening: connections are refused, and no other process takes the port.
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    let port = socket.local_addr().unwrap().as_socket().unwrap().port();

    let error = load(&format!("postgresql://u:hidden@127.0.0.1:{port}/music")).unwrap_err();
    let message = error.to_string();
    assert!(
        message.starts_with(&format!("cannot reach PostgreSQL database music at 127.0.0.1:{port}: ")),
        "{message}"
    );
    assert!(message.contains("refused"), "{message}");
    assert!(!format!("{message} {error:?}").contains("hidden"));
    assert!(error.is_unreachable());

    let folder = tempfile::tempdir().unwrap();
    let error = load(&format!("postgresql:///music?host={}", folder.path().display())).unwrap_err();
    assert!(error.to_string().contains("/.s.PGSQL.5432: No such file"), "{error}");
    assert!(error.is_unreachable());
}

#[test]
fn a_server_that_never_answers_is_given_up() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    let error = load(&format!("postgresql://u@127.0.0.1:{port}/d?connect_timeout=1")).unwrap_err();
    assert!(error.to_string().ends_with("no answer within 1 s"), "{error}");
    assert!(error.is_unreachable());
}

/// Songs that never end, so that a load is surely under way.
fn make_endless(database: &Database<'_>) {
    create_as_avalonms(database);
    database.execute(
        "DROP TABLE tracks;
        CREATE VIEW tracks AS SELECT gen_random_uuid() AS id, ''::varchar AS name, 1 AS length, 1 AS track, 1 AS year,
            NULL::uuid AS album_id, NULL::uuid AS artist_id, NULL::uuid AS genre_id
            FROM generate_series(1, 1000000000000)",
    );
}

#[test]
fn a_session_that_is_ended_during_a_load_is_an_outage() {
    let database = Postgres::shared().create_database();
    make_endless(&database);
    thread::scope(|scope| {
        let load = scope.spawn(|| load(&database.url()));
        let pid = wait_for_statement(&database, "%FROM tracks%");
        database.client().execute("SELECT pg_terminate_backend($1)", &[&pid]).unwrap();
        let error = load.join().unwrap().unwrap_err();
        assert!(error.to_string().contains("terminating connection due to administrator command"), "{error}");
        assert!(error.is_unreachable());
    });
}

#[test]
fn a_server_that_is_killed_during_a_load_is_an_outage() {
    let server = Postgres::start();
    let database = server.create_database();
    make_endless(&database);
    thread::scope(|scope| {
        let load = scope.spawn(|| load(&database.url()));
        wait_for_statement(&database, "%FROM tracks%");
        server.kill();
        let error = load.join().unwrap().unwrap_err();
        assert!(error.is_unreachable(), "{error}");
    });
}
