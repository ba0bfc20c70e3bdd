//! SQLite with FTS5: a table of songs with the JSON of each, and an index of words without content.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, ToSql, params};
use serde_json::Value;

use crate::Failed;
use crate::collection::{self, Song};
use crate::question::{Answer, Engine, Question};

const SCHEMA: &str = "
    PRAGMA journal_mode = OFF;
    PRAGMA synchronous = OFF;
    CREATE TABLE songs (number INTEGER PRIMARY KEY, id TEXT, json TEXT, year INTEGER, artist TEXT, genre TEXT);
    CREATE TABLE albums (number INTEGER PRIMARY KEY, json TEXT);
    CREATE VIRTUAL TABLE words USING fts5(
        text, content = '', prefix = '1 2 3', tokenize = 'unicode61 remove_diacritics 2');
    BEGIN;";

const FINISH: &str = "
    CREATE INDEX songs_id ON songs (id);
    CREATE INDEX songs_year ON songs (year);
    CREATE INDEX songs_artist ON songs (artist);
    CREATE INDEX songs_genre ON songs (genre);
    INSERT INTO words (words) VALUES ('optimize');
    COMMIT;
    ANALYZE;
    PRAGMA journal_mode = WAL;";

/// The file in the folder of the index. Datasette serves it as well.
const FILE: &str = "songs.sqlite";

pub fn build(database: &Path, index: &Path) -> Result<(), Failed> {
    let connection = Connection::open(index.join(FILE))?;
    connection.execute_batch(SCHEMA)?;
    let mut song = connection.prepare("INSERT INTO songs VALUES (?, ?, ?, ?, ?, ?)")?;
    let mut words = connection.prepare("INSERT INTO words (rowid, text) VALUES (?, ?)")?;
    let mut number = 0_i64;
    collection::songs(database, |row| {
        number += 1;
        song.execute(params![number, row.id, row.json, row.year, row.artist, row.genre])?;
        words.execute(params![number, row.text])?;
        Ok(())
    })?;
    let mut album = connection.prepare("INSERT INTO albums (json) VALUES (?)")?;
    collection::albums(database, |json| {
        album.execute([json])?;
        Ok(())
    })?;
    Ok(connection.execute_batch(FINISH)?)
}

/// The file; each thread has a connection of its own.
pub struct Fts5 {
    file: PathBuf,
}

thread_local! {
    static CONNECTION: RefCell<Option<Connection>> = const { RefCell::new(None) };
}

impl Fts5 {
    pub fn new(index: &Path) -> Self {
        Self { file: index.join(FILE) }
    }

    fn with<T>(&self, work: impl FnOnce(&mut Connection) -> Result<T, Failed>) -> Result<T, Failed> {
        CONNECTION.with_borrow_mut(|kept| {
            if kept.is_none() {
                let connection = Connection::open(&self.file)?;
                connection.execute_batch("PRAGMA mmap_size = 8000000000; PRAGMA synchronous = NORMAL;")?;
                *kept = Some(connection);
            }
            kept.as_mut().map_or_else(|| Err("no connection".into()), work)
        })
    }
}

impl Engine for Fts5 {
    fn find(&self, question: &Question, answer: &mut Answer) -> Result<(), Failed> {
        let (sql, values) = select(question);
        let values: Vec<&dyn ToSql> = values.iter().map(|value| value as &dyn ToSql).collect();
        self.with(|connection| {
            let mut statement = connection.prepare_cached(&sql)?;
            let mut rows = statement.query(&*values)?;
            while let Some(row) = rows.next()? {
                answer.push(row.get_ref(0)?.as_str()?);
            }
            Ok(())
        })
    }

    fn change(&self, row: &Value) -> Result<(), Failed> {
        let new = Song::new(row);
        self.with(|connection| {
            let change = connection.transaction()?;
            let find = "SELECT number, json FROM songs WHERE id = ?";
            let (number, json): (i64, String) =
                change.query_row(find, [&new.id], |row| Ok((row.get(0)?, row.get(1)?)))?;
            let old = Song::new(&serde_json::from_str(&json)?);
            let forget = "INSERT INTO words (words, rowid, text) VALUES ('delete', ?, ?)";
            change.execute(forget, params![number, old.text])?;
            change.execute("INSERT INTO words (rowid, text) VALUES (?, ?)", params![number, new.text])?;
            let set = "UPDATE songs SET json = ?, year = ?, artist = ?, genre = ? WHERE number = ?";
            change.execute(set, params![new.json, new.year, new.artist, new.genre, number])?;
            Ok(change.commit()?)
        })
    }
}

/// The SQL for a question, and its values. `tests/bench/datasette.py` asks the same.
fn select(question: &Question) -> (String, Vec<String>) {
    if question.albums {
        return ("SELECT json FROM albums".to_owned(), Vec::new());
    }
    let mut sql = "SELECT json FROM songs".to_owned();
    let (mut conditions, mut values) = (Vec::new(), Vec::new());
    if !question.words.is_empty() {
        sql += " JOIN words ON words.rowid = number";
        conditions.push("words MATCH ?");
        let quoted = question.words.iter().map(|word| format!("\"{}\"*", word.replace('"', "")));
        values.push(quoted.collect::<Vec<_>>().join(" "));
    }
    for (condition, value) in [("artist = ?", &question.artist), ("genre = ?", &question.genre)] {
        if let Some(value) = value {
            conditions.push(condition);
            values.push(value.clone());
        }
    }
    if !conditions.is_empty() {
        sql = format!("{sql} WHERE {}", conditions.join(" AND "));
    }
    if question.by_year {
        sql += " ORDER BY year";
    }
    if let Some(limit) = question.limit {
        sql = format!("{sql} LIMIT {limit} OFFSET {}", question.offset);
    }
    (sql, values)
}
