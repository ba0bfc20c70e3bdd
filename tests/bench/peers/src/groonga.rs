//! The commands that make and fill a database of Groonga: words are the keys of a patricia trie, as prefixes are
//! looked for in one; artists and genres are references, with indexes from them.

use std::io::Write;
use std::path::Path;

use serde_json::json;

use crate::Failed;
use crate::collection;

const SCHEMA: &str = "\
table_create Artists TABLE_PAT_KEY ShortText
table_create Genres TABLE_PAT_KEY ShortText
table_create Albums TABLE_HASH_KEY ShortText
column_create Albums name COLUMN_SCALAR Text
table_create Songs TABLE_HASH_KEY ShortText
column_create Songs name COLUMN_SCALAR Text
column_create Songs length COLUMN_SCALAR Int32
column_create Songs track COLUMN_SCALAR Int32
column_create Songs year COLUMN_SCALAR Int32
column_create Songs album COLUMN_SCALAR Text
column_create Songs album_id COLUMN_SCALAR ShortText
column_create Songs artist COLUMN_SCALAR Artists
column_create Songs artist_id COLUMN_SCALAR ShortText
column_create Songs genre COLUMN_SCALAR Genres
column_create Songs genre_id COLUMN_SCALAR ShortText
column_create Songs text COLUMN_SCALAR Text
table_create Words TABLE_PAT_KEY ShortText --default_tokenizer TokenDelimit --normalizer NormalizerNFKC130
column_create Words songs COLUMN_INDEX Songs text
column_create Artists songs COLUMN_INDEX Songs artist
column_create Genres songs COLUMN_INDEX Songs genre
";

pub fn print(database: &Path, out: &mut impl Write) -> Result<(), Failed> {
    writeln!(out, "{SCHEMA}load --table Songs\n[")?;
    let mut between = "";
    collection::songs(database, |song| {
        writeln!(out, "{between}{{\"text\":{},{}", json!(song.text), keyed(&song.json))?;
        between = ",";
        Ok(())
    })?;
    writeln!(out, "]\nload --table Albums\n[")?;
    between = "";
    collection::albums(database, |album| {
        writeln!(out, "{between}{{{}", keyed(album))?;
        between = ",";
        Ok(())
    })?;
    writeln!(out, "]")?;
    Ok(out.flush()?)
}

/// A row behind its brace, with the id under the name that Groonga has for keys.
fn keyed(json: &str) -> String {
    json.replacen("{\"id\":", "\"_key\":", 1)
}
