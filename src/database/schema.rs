//! The schema, word for word as avalonms (through SQLAlchemy) creates it, including the blanks at the ends of
//! lines, because SQLite stores the text of the statements.

/// Names of the tables, in an order in which their foreign keys permit their creation.
pub(super) const TABLES: [&str; 4] = ["albums", "artists", "genres", "tracks"];

/// The owners: a song has one of each.
const KINDS: [&str; 3] = ["album", "artist", "genre"];

/// The columns of a song, in the order in which both backends read and write them.
pub(super) const TRACK_COLUMNS: [&str; 8] =
    ["id", "name", "length", "track", "year", "album_id", "artist_id", "genre_id"];

/// The columns of an album, an artist or a genre.
pub(super) const NAME_COLUMNS: [&str; 2] = ["id", "name"];

/// The columns of one of [`TABLES`].
pub(super) fn columns(table: &str) -> &'static [&'static str] {
    if table == "tracks" { &TRACK_COLUMNS } else { &NAME_COLUMNS }
}

/// The statements that create one of [`TABLES`] and its indexes; `id_type` is the type of ids in the backend.
pub(super) fn statements(table: &str, id_type: &str) -> Vec<String> {
    std::iter::once(statement(table, id_type)).chain(indexes(table)).collect()
}

/// The statement that creates one of [`TABLES`].
pub(super) fn statement(table: &str, id_type: &str) -> String {
    let mut columns = columns_of(table, id_type);
    columns.extend(references(table));
    format!("CREATE TABLE {table} (\n\t{}\n)", columns.join(", \n\t"))
}

/// The statement without the foreign keys, each of which costs a query for each row.
pub(super) fn bare_statement(table: &str, id_type: &str) -> String {
    format!("CREATE TABLE {table} (\n\t{}\n)", columns_of(table, id_type).join(", \n\t"))
}

/// The statements that add the foreign keys and indexes which [`bare_statement`] leaves out.
pub(super) fn completing_statements(table: &str) -> Vec<String> {
    let keys = references(table).into_iter().map(|key| format!("ALTER TABLE {table} ADD {key}"));
    keys.chain(indexes(table)).collect()
}

fn columns_of(table: &str, id_type: &str) -> Vec<String> {
    let mut columns = vec![format!("id {id_type} NOT NULL"), "name VARCHAR".to_owned()];
    if table == "tracks" {
        columns.extend(["length", "track", "year"].map(|number| format!("{number} INTEGER")));
        columns.extend(KINDS.map(|kind| format!("{kind}_id {id_type}")));
    }
    columns.push("PRIMARY KEY (id)".to_owned());
    columns
}

fn references(table: &str) -> Vec<String> {
    let kinds: &[&str] = if table == "tracks" { &KINDS } else { &[] };
    kinds.iter().map(|kind| format!("FOREIGN KEY({kind}_id) REFERENCES {kind}s (id)")).collect()
}

/// The statements that create the indexes of one of [`TABLES`].
pub(super) fn indexes(table: &str) -> Vec<String> {
    let kinds: &[&str] = if table == "tracks" { &KINDS } else { &[] };
    kinds.iter().map(|kind| format!("CREATE INDEX ix_tracks_{kind}_id ON tracks ({kind}_id)")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(id_type: &str, recorded: &str) {
        let is_statement = |line: &&str| !line.starts_with("--") && !line.is_empty();
        let recorded: Vec<&str> = recorded.lines().filter(is_statement).collect();
        let ours: String = TABLES
            .iter()
            .flat_map(|table| statements(table, id_type))
            .map(|statement| statement + ";\n")
            .collect();
        assert_eq!(ours, recorded.join("\n") + "\n");
    }

    #[test]
    fn statements_are_those_of_avalonms() {
        check("CHAR(32)", include_str!("../../tests/fixtures/conformance/schema_sqlite.sql"));
        check("UUID", include_str!("../../tests/fixtures/conformance/schema_postgres_emitted.sql"));
    }
}
