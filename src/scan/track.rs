//! The song row of a file: the values of its tags after the rules for years and track numbers.

use std::ops::Deref;
use std::path::Path;

use slog::{Logger, warn};
use uuid::Uuid;

use super::numbers;
use super::shown::shown;
use crate::database::difference::StoredSong;
use crate::model::PerOwner;
use crate::model::library::File;

/// A song. A value that its tags lack is empty or 0.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track<'a> {
    title: &'a str,
    /// Names of album, artist and genre.
    pub(super) names: PerOwner<&'a str>,
    number: i64,
    year: i64,
    /// Length in whole seconds.
    length: i64,
}

impl<'a> Track<'a> {
    /// Returns the song of `file`.
    pub(super) fn of<Text: Deref<Target = str>, Name>(file: &'a File<Text, Name>) -> Track<'a> {
        let number = |text: &Option<Text>, parse: fn(&str) -> Option<i64>| {
            text.as_deref().and_then(parse).unwrap_or(0)
        };
        Track {
            title: file.title.as_deref().unwrap_or_default(),
            names: [&file.album, &file.artist, &file.genre]
                .map(|name| name.as_deref().unwrap_or_default())
                .into(),
            number: number(&file.track, numbers::track),
            year: number(&file.date, numbers::year),
            length: length(file).unwrap_or(0),
        }
    }

    /// Returns its row, with its id and those of its names.
    pub(super) fn row(&self, id: Uuid, names: PerOwner<Uuid>) -> StoredSong<'a> {
        StoredSong {
            id,
            name: Some(self.title),
            length: Some(self.length),
            track: Some(self.number),
            year: Some(self.year),
            names,
        }
    }
}

/// Returns the length in whole seconds; `None` beyond the limit of both databases.
fn length<Text, Name>(file: &File<Text, Name>) -> Option<i64> {
    i32::try_from(file.length_ms.unwrap_or(0) / 1000).ok().map(i64::from)
}

/// Logs the values of a file that could not be understood. They never exclude a song.
pub(super) fn tell_odd_values(path: &Path, file: &File, log: &Logger) {
    for (field, text, number) in [
        ("track", &file.track, file.track.as_deref().and_then(numbers::track)),
        ("year", &file.date, file.date.as_deref().and_then(numbers::year)),
    ] {
        if let (Some(text), None) = (text, number) {
            warn!(log, "Could not read {field} of {} from {text:?}, stored 0", shown(path));
        }
    }
    if length(file).is_none() {
        let seconds = file.length_ms.unwrap_or(0) / 1000;
        warn!(log, "Could not believe length of {}, {seconds} seconds, stored 0", shown(path));
    }
}
