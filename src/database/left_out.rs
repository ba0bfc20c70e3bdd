//! The rows of a database that are not served, counted by reason and reported in one line.

use std::fmt;

/// The numbers of rows that could not be served, by reason; a row counts once, for the first reason that
/// applies. `Display` names the reasons that occurred, on one line.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct LeftOut {
    /// Rows of the albums table.
    pub albums: NamesLeftOut,
    /// Rows of the artists table.
    pub artists: NamesLeftOut,
    /// Rows of the genres table.
    pub genres: NamesLeftOut,
    /// Songs whose id is NULL or no UUID.
    pub songs_bad_id: u64,
    /// Songs with the id of another song.
    pub songs_duplicate: u64,
    /// Songs whose album is NULL, missing, or left out itself.
    pub songs_without_album: u64,
    /// Songs whose artist is NULL, missing, or left out itself.
    pub songs_without_artist: u64,
    /// Songs whose genre is NULL, missing, or left out itself.
    pub songs_without_genre: u64,
    /// Lengths, track numbers and years that are not whole numbers. They count as NULL; their songs are
    /// served.
    pub numbers_unreadable: u64,
}

/// Rows of the albums, artists or genres table that could not be served.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamesLeftOut {
    /// The id is NULL or no UUID.
    pub bad_id: u64,
    /// The name is NULL.
    pub without_name: u64,
    /// Another row has the same id.
    pub duplicate: u64,
}

impl LeftOut {
    /// Whether the whole database is served unchanged.
    pub fn is_empty(&self) -> bool {
        *self == LeftOut::default()
    }

    /// Each reason with its count, and its words for one row and for several.
    fn reasons(&self) -> Vec<(u64, String, String)> {
        let same =
            |count: u64, noun: &str, rest: &str| (count, format!("{noun} {rest}"), format!("{noun}s {rest}"));
        let mut reasons = vec![
            same(self.songs_without_album, "song", "without album"),
            same(self.songs_without_artist, "song", "without artist"),
            same(self.songs_without_genre, "song", "without genre"),
            same(self.songs_bad_id, "song", "whose id is no UUID"),
            same(self.songs_duplicate, "song", "with the id of another"),
        ];
        for (noun, names) in [("album", &self.albums), ("artist", &self.artists), ("genre", &self.genres)] {
            reasons.push(same(names.without_name, noun, "without name"));
            reasons.push(same(names.bad_id, noun, "whose id is no UUID"));
            reasons.push(same(names.duplicate, noun, "with the id of another"));
        }
        reasons.push((
            self.numbers_unreadable,
            "length, track or year that is no whole number (null instead)".to_owned(),
            "lengths, tracks or years that are no whole numbers (null instead)".to_owned(),
        ));
        reasons
    }
}

impl fmt::Display for LeftOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        for (count, one, several) in self.reasons() {
            if count > 0 {
                write!(f, "{separator}{count} {}", if count == 1 { one } else { several })?;
                separator = ", ";
            }
        }
        if separator.is_empty() { f.write_str("nothing") } else { Ok(()) }
    }
}
