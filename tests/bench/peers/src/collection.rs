//! Reads the rows of a collection, one by one.

use std::path::Path;

use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};

use crate::Failed;

/// A song, and the values that peers index.
pub struct Song {
    pub id: String,
    /// The row as the API has it.
    pub json: String,
    /// Its own name and those of its album, artist and genre, in which peers search words.
    pub text: String,
    pub year: i64,
    /// In lower case, as `artist=` takes any case.
    pub artist: String,
    /// In lower case, as `genre=` takes any case.
    pub genre: String,
}

impl Song {
    /// From a row of the API.
    pub fn new(row: &Value) -> Self {
        let text = |key| row[key].as_str().unwrap_or_default();
        Self {
            id: text("id").to_owned(),
            json: row.to_string(),
            text: [text("name"), text("album"), text("artist"), text("genre")].join(" "),
            year: row["year"].as_i64().unwrap_or_default(),
            artist: text("artist").to_lowercase(),
            genre: text("genre").to_lowercase(),
        }
    }
}

const SONGS: &str = "SELECT t.id, t.name, t.length, t.track, t.year, al.name, t.album_id, ar.name, t.artist_id,
    g.name, t.genre_id FROM tracks t JOIN albums al ON al.id = t.album_id JOIN artists ar ON ar.id = t.artist_id
    JOIN genres g ON g.id = t.genre_id";

/// Calls `take` with each song.
pub fn songs(database: &Path, mut take: impl FnMut(Song) -> Result<(), Failed>) -> Result<(), Failed> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare(SONGS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let text = |at| row.get::<_, String>(at);
        let number = |at| row.get::<_, i64>(at);
        take(Song::new(&json!({
            "id": hyphens(&text(0)?), "name": text(1)?, "length": number(2)?, "track": number(3)?, "year": number(4)?,
            "album": text(5)?, "album_id": hyphens(&text(6)?), "artist": text(7)?, "artist_id": hyphens(&text(8)?),
            "genre": text(9)?, "genre_id": hyphens(&text(10)?),
        })))?;
    }
    Ok(())
}

/// Calls `take` with the JSON of each album.
pub fn albums(database: &Path, mut take: impl FnMut(&str) -> Result<(), Failed>) -> Result<(), Failed> {
    let connection = Connection::open_with_flags(database, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = connection.prepare("SELECT id, name FROM albums")?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let album = json!({"id": hyphens(&row.get::<_, String>(0)?), "name": row.get::<_, String>(1)?});
        take(&album.to_string())?;
    }
    Ok(())
}

/// A UUID as the API writes it; databases have 32 digits.
fn hyphens(id: &str) -> String {
    match [id.get(..8), id.get(8..12), id.get(12..16), id.get(16..20), id.get(20..)] {
        [Some(a), Some(b), Some(c), Some(d), Some(e)] => [a, b, c, d, e].join("-"),
        _ => id.to_owned(),
    }
}
