//! The result of reading a file: its record, and its log lines.

use std::path::Path;

use slog::{Logger, debug, warn};

use super::{Plan, Survey};
use crate::database::Texts;
use crate::database::difference::hash_of_song;
use crate::ids;
use crate::model::library::{File, Outcome, Stamps};
use crate::scan::error::ScanError;
use crate::scan::facts;
use crate::scan::previous::{Index, Mark, Previous, content};
use crate::scan::read::tags::{Field, Reading, Unread};
use crate::scan::read::{Look, READER};
use crate::scan::shown::shown;
use crate::scan::skipped::Reason;
use crate::scan::track::{self, Track};
use crate::scan::walk::Kind;

impl Survey<'_> {
    /// Takes in the result of reading a file. Returns the record to store, and the number of the
    /// file in the last scan.
    pub(super) fn add_file(
        &mut self,
        path: &Path,
        look: Look,
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Result<Option<(File, Option<Index>)>, ScanError> {
        let log = plan.log;
        let bytes = u64::try_from(look.stamps.size).unwrap_or(0);
        self.read += 1;
        self.bytes = self.bytes.saturating_add(bytes);
        plan.progress.read(bytes);
        let (outcome, note, reading) = match look.result {
            Ok(reading) => {
                check_texts(&reading, path, plan.texts)?;
                (Outcome::Song, tell_losses(&reading, path, log), reading)
            }
            Err(Unread::NotAudio) => {
                self.skip_quietly(Reason::NotAudio, path, plan);
                (Outcome::NotAudio, String::new(), Reading::default())
            }
            Err(Unread::Unsupported(format)) => {
                self.skips.add(Reason::Unsupported, path, Some(format));
                warn!(log, "Skipped {}: unsupported format, {format}", shown(path));
                (Outcome::Unsupported, format.to_owned(), Reading::default())
            }
            Err(Unread::Broken(why)) => {
                self.skips.add(Reason::Unreadable, path, Some(&why));
                warn!(log, "Skipped {}: {why}", shown(path));
                (Outcome::Broken, why, Reading::default())
            }
            Err(Unread::Special) => {
                self.pass_over(path.to_owned(), Kind::Special, plan);
                return Ok(None);
            }
            Err(Unread::Unreachable(error)) => {
                self.lose_file(path.to_owned(), &error.to_string(), log);
                return Ok(None);
            }
        };
        self.remember(path, (look.stamps, look.settled), (outcome, note, &reading), plan, previous)
    }

    /// Keeps the record of a file that was read.
    fn remember(
        &mut self,
        path: &Path,
        (stamps, settled): (Stamps, bool),
        (outcome, note, reading): (Outcome, String, &Reading),
        plan: &Plan<'_>,
        previous: &mut Previous,
    ) -> Result<Option<(File, Option<Index>)>, ScanError> {
        // A path from a listing has both.
        let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else { return Ok(None) };
        let known = previous.find(folder, name);
        if let Some(index) = known {
            previous.mark(index, Mark::Read(outcome));
        }
        let text = |field| reading.tags.first(field).map(str::to_owned);
        let length = reading.sound.length.map(|length| i64::try_from(length.as_millis()).unwrap_or(i64::MAX));
        let file = File {
            folder: self.folders.id(folder, previous),
            name: name.to_owned(),
            stamps,
            settled,
            reader: READER,
            outcome,
            note,
            added: known.map_or(plan.now, |index| previous.file(index).added),
            title: text(Field::Title),
            album: text(Field::Album),
            artist: text(Field::Artist),
            genre: text(Field::Genre),
            track: text(Field::Track),
            date: text(Field::Date),
            length_ms: length,
            facts: facts::object(reading),
        };
        if known.is_some_and(|index| previous.file(index).content != content(&file, &mut Vec::new())) {
            self.suspects.differs();
        }
        let mut row = None;
        if outcome == Outcome::Song {
            self.songs += 1;
            self.added += usize::from(!previous.knows_song(folder, name));
            track::tell_odd_values(path, &file, plan.log);
            if previous.is_recorded() {
                self.song_folders.insert(folder.to_owned());
                if known.is_none() {
                    self.newcomers.entry((stamps.size, stamps.mtime_ns)).or_default().push(path.to_owned());
                }
            }
            let track = Track::of(&file);
            let names = self.names.add(track.names);
            let song = track.row(ids::song(path), self.names.ids(names));
            row = Some((song.id, hash_of_song(&song)));
            self.read_songs.extend(row);
        }
        self.spool.push(&file, row).map_err(ScanError::Spool)?;
        Ok(Some((file, known)))
    }
}

/// Checks that the database can hold the texts of a file. An early error saves the hours that
/// reading the other files takes.
fn check_texts(reading: &Reading, path: &Path, texts: &Texts) -> Result<(), ScanError> {
    for field in [Field::Title, Field::Album, Field::Artist, Field::Genre] {
        let Some(value) = reading.tags.first(field) else { continue };
        texts.can_hold(value).map_err(|why| ScanError::Unstorable {
            path: path.to_owned(),
            field: field.name(),
            value: value.to_owned(),
            why,
        })?;
    }
    Ok(())
}

/// Logs the parts of a song that could not be read, and returns them as one text.
fn tell_losses(reading: &Reading, path: &Path, log: &Logger) -> String {
    if let Some(guess) = reading.guess {
        debug!(log, "The length of {} is not stated: {guess}", shown(path));
    }
    let mut note = String::new();
    for loss in &reading.losses {
        warn!(log, "Could not read {} of {}: {}", loss.what, shown(path), loss.reason);
        let separator = if note.is_empty() { "" } else { "; " };
        note += &format!("{separator}{}: {}", loss.what, loss.reason);
    }
    if reading.more_losses > 0 {
        warn!(log, "Could not read {} more items of {}", reading.more_losses, shown(path));
    }
    note
}
