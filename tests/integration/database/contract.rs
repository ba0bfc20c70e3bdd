//! docs/database.md: the scripts and statements for programs that fill the tables themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

use avalon::ids;
use rusqlite::Connection;
use serde_json::{Value, json};

use super::replace;
use crate::harness::eventually;
use crate::harness::postgres::{Database, Postgres};
use crate::harness::server::{Server, Setup, collection, run};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A file of the project.
fn text(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}

/// The block of the page that begins so.
fn documented(beginning: &str) -> String {
    let page = text("docs/database.md");
    let (_, block) = page.split_once(&format!("```{beginning}")).expect("a block");
    beginning.split_once('\n').map_or("", |(_, line)| line).to_owned() + block.split_once("```").unwrap().0
}

fn count() -> String {
    documented("sql\nUPDATE avalon_revision")
}

/// The servers over the database that the scripts have made, and a function that runs statements in it.
fn rows_appear_and_changes_are_served(url: &str, execute: &dyn Fn(&str)) -> Server {
    execute(&text("examples/database/songs.sql"));
    let server = Setup::new(url)
        .variable("AVALON_RELOAD_ON_CHANGE", "true")
        .variable("AVALON_RELOAD_JITTER", "0")
        .start();
    let songs = server.get("/avalon/songs?words=koln+jarrett").success();
    let names: Vec<&Value> = songs.iter().map(|song| &song["name"]).collect();
    assert_eq!(names, ["Part I", "Part II a", "Part II b", "Part II c"]);
    let path = Path::new("/srv/music/Keith Jarrett/The K\u{f6}ln Concert/01 Part I.flac");
    let expected = json!({
        "id": ids::song(path), "name": "Part I", "length": 1561, "track": 1, "year": 1975,
        "album": "The K\u{f6}ln Concert", "album_id": ids::album("The K\u{f6}ln Concert"),
        "artist": "Keith Jarrett", "artist_id": ids::artist("Keith Jarrett"),
        "genre": "Jazz", "genre_id": ids::genre("Jazz"),
    });
    assert_eq!(songs[0], expected);
    assert_eq!(server.status()["snapshot"]["revision"], 1);
    // A song whose album is not there is left out, and the others are served.
    let nothing = uuid::Uuid::nil().simple();
    execute(&format!(
        "BEGIN; UPDATE artists SET name = 'K. Jarrett';
         INSERT INTO tracks SELECT '{nothing}', 'Lost', 1, 1, 1, NULL, id, NULL FROM artists; {} COMMIT",
        count()
    ));
    eventually("the change", || (server.status()["snapshot"]["revision"] == 2).then_some(()));
    let songs = server.get("/avalon/songs").success();
    assert_eq!((songs.len(), &songs[0]["artist"]), (4, &json!("K. Jarrett")));
    server.wait_log("rows were left out: 1 song without album");
    // The script makes the names again; of a song that it does not know it takes nothing away.
    execute(&format!("BEGIN; DELETE FROM tracks WHERE album_id IS NULL; {} COMMIT", count()));
    execute(&text("examples/database/songs.sql"));
    eventually("the script's rows", || (server.status()["snapshot"]["revision"] == 4).then_some(()));
    assert_eq!(server.get("/avalon/songs").success()[0], expected);
    server
}

#[test]
fn scripts_fill_sqlite_and_changes_are_served() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("avalon.sqlite");
    let url = format!("sqlite:///{}", file.display());
    let execute = |sql: &str| Connection::open(&file).unwrap().execute_batch(sql).expect(sql);
    execute(&text("examples/database/sqlite.sql"));
    // Again, it changes nothing.
    execute(&text("examples/database/sqlite.sql"));
    assert_eq!(columns(&file), columns_of_our_own());
    rows_appear_and_changes_are_served(&url, &execute).assert_clean_shutdown();

    // A scan owns only its own rows: it refuses to treat these as its own.
    let music = Path::new(ROOT).join("scripts/sample-music");
    let scan = |flags: &[&str]| {
        let arguments = [&["--database", &url, music.to_str().unwrap()], flags].concat();
        run(env!("CARGO_BIN_EXE_avalon-scan"), &arguments, &[])
    };
    let (code, _, told) = scan(&[]);
    assert_eq!(code, 4, "{told}");
    let songs =
        || Connection::open(&file).unwrap().query_row("SELECT count(*) FROM tracks", [], |row| row.get(0));
    assert_eq!(songs(), Ok(4));
    let (code, _, told) = scan(&["--force"]);
    assert_eq!((code, songs()), (0, Ok(24)), "{told}");
}

/// Name, type and key of each column of the tables that a server reads.
fn columns(file: &Path) -> Vec<(String, String, String, bool, bool)> {
    let tables = "'albums', 'artists', 'genres', 'tracks', 'avalon_revision'";
    let sql = format!(
        "SELECT m.name, c.name, c.type, c.\"notnull\", c.pk FROM sqlite_master m, pragma_table_info(m.name) c
          WHERE m.type = 'table' AND m.name IN ({tables}) ORDER BY m.name, c.cid"
    );
    let connection = Connection::open(file).unwrap();
    let mut statement = connection.prepare(&sql).unwrap();
    let row = |row: &rusqlite::Row<'_>| Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?, row.get(4)?));
    statement.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
}

/// Those of a file that a scan has made.
fn columns_of_our_own() -> Vec<(String, String, String, bool, bool)> {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ours.sqlite");
    let url = format!("sqlite:///{}", file.display());
    let music = Path::new(ROOT).join("scripts/sample-music");
    let arguments = ["--quiet", "--database", &url, music.to_str().unwrap()];
    assert_eq!(run(env!("CARGO_BIN_EXE_avalon-scan"), &arguments, &[]).0, 0);
    columns(&file)
}

#[test]
fn scripts_fill_postgresql_and_changes_are_served_to_a_role_that_only_reads() {
    let cluster = Postgres::start();
    let database = cluster.create_database();
    database.execute(&text("examples/database/postgresql.sql"));
    database.execute(&text("examples/database/postgresql.sql"));
    database.execute(&documented("sql\n-- PostgreSQL"));
    let ours = cluster.create_database();
    replace(&ours.url(), &collection(1)).unwrap();
    assert_eq!(columns_in(&database, "name <> 'avalon_revision'"), columns_in(&ours, "true"));
    let url = database.url_of("reader", "");
    let execute = |sql: &str| database.execute(sql);
    rows_appear_and_changes_are_served(&url, &execute).assert_clean_shutdown();
    let refused = database.client().batch_execute("SET ROLE reader; DELETE FROM tracks");
    assert!(refused.is_err());
}

fn columns_in(database: &Database<'_>, tables: &str) -> Vec<(String, String, String, String)> {
    let sql = format!(
        "SELECT name, column_name, data_type, is_nullable FROM
          (SELECT table_name::text AS name, column_name::text, data_type::text, is_nullable::text, ordinal_position
             FROM information_schema.columns WHERE table_schema = 'public') AS columns
          WHERE {tables} ORDER BY name, ordinal_position"
    );
    let rows = database.client().query(&sql, &[]).unwrap();
    rows.iter().map(|row| (row.get(0), row.get(1), row.get(2), row.get(3))).collect()
}

#[test]
fn ids_are_made_as_the_page_says() {
    let output = Command::new("/usr/bin/python3").args(["-c", &documented("python")]).output().unwrap();
    let expected = format!("{}\n", ids::artist("Keith Jarrett").simple());
    assert_eq!(String::from_utf8_lossy(&output.stdout), expected, "{output:?}");
}
