//! The result of reading a file: the values of its tags, its sound, and the losses. One limit for
//! the length of a text holds for every format.

use std::io;
use std::time::Duration;

use super::text::{self, Encoding};

/// Most bytes (of UTF-8) that one value keeps. Names are shorter; a longer value is cut.
pub(in crate::scan) const TEXT_MAX: usize = 4096;
/// Most encoded bytes that a reader fetches of one value: UTF-16 takes two bytes for a character
/// that takes one in UTF-8.
pub(in crate::scan) const ENCODED_MAX: usize = 2 * TEXT_MAX + 16;
/// Most bytes that the compressed items of one file may inflate to.
pub(in crate::scan) const INFLATED_MAX: usize = 1 << 20;
/// Most values that one file keeps.
const VALUES_MAX: usize = 256;
/// Most losses of one file that the log names one by one.
const LOSSES_MAX: usize = 8;

/// The field of a value in a tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(in crate::scan) enum Field {
    Title,
    Album,
    Artist,
    /// Genre by name: numbers are translated where the format has them.
    Genre,
    /// Track number, perhaps with a total.
    Track,
    /// Date or year of release.
    Date,
    AlbumArtist,
    /// Each artist alone, while `Artist` joins them.
    Artists,
    /// Disc number, perhaps with a total.
    Disc,
    TrackTotal,
    DiscTotal,
    Composer,
    TitleSort,
    AlbumSort,
    ArtistSort,
    AlbumArtistSort,
    ComposerSort,
    /// Whether the album is a compilation, as the tag writes it.
    Compilation,
    OriginalDate,
    MusicbrainzRecording,
    MusicbrainzTrack,
    MusicbrainzRelease,
    MusicbrainzReleaseGroup,
    MusicbrainzArtist,
    MusicbrainzAlbumArtist,
    ReplayGainTrackGain,
    ReplayGainTrackPeak,
    ReplayGainAlbumGain,
    ReplayGainAlbumPeak,
}

impl Field {
    /// Returns the name of the field for messages.
    pub(in crate::scan) fn name(self) -> &'static str {
        match self {
            Field::Title => "title",
            Field::Album => "album",
            Field::Artist => "artist",
            Field::Genre => "genre",
            Field::Track => "track",
            Field::Date => "date",
            Field::AlbumArtist => "album artist",
            Field::Artists => "artists",
            Field::Disc => "disc",
            Field::TrackTotal => "track total",
            Field::DiscTotal => "disc total",
            Field::Composer => "composer",
            Field::TitleSort => "title sort",
            Field::AlbumSort => "album sort",
            Field::ArtistSort => "artist sort",
            Field::AlbumArtistSort => "album artist sort",
            Field::ComposerSort => "composer sort",
            Field::Compilation => "compilation",
            Field::OriginalDate => "original date",
            Field::MusicbrainzRecording => "MusicBrainz recording",
            Field::MusicbrainzTrack => "MusicBrainz track",
            Field::MusicbrainzRelease => "MusicBrainz release",
            Field::MusicbrainzReleaseGroup => "MusicBrainz release group",
            Field::MusicbrainzArtist => "MusicBrainz artist",
            Field::MusicbrainzAlbumArtist => "MusicBrainz album artist",
            Field::ReplayGainTrackGain => "ReplayGain track gain",
            Field::ReplayGainTrackPeak => "ReplayGain track peak",
            Field::ReplayGainAlbumGain => "ReplayGain album gain",
            Field::ReplayGainAlbumPeak => "ReplayGain album peak",
        }
    }
}

/// The values of one tag, or of all tags of a file, in their order. A field may have an empty
/// value: then the file states that it is empty.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(in crate::scan) struct Tags {
    values: Vec<(Field, String)>,
}

impl Tags {
    /// Adds a value. A NUL separates values (no database stores one); each is cut to [`TEXT_MAX`]
    /// bytes. Returns whether all of it was kept.
    pub(in crate::scan) fn push(&mut self, field: Field, value: &str) -> bool {
        let mut whole = true;
        // Zeros at the end are padding.
        for (index, part) in value.trim_end_matches('\0').split('\0').enumerate() {
            if self.values.len() >= VALUES_MAX {
                return false;
            }
            if index > 0 && part.is_empty() {
                continue;
            }
            let longest = part.len().min(TEXT_MAX);
            let end = (0..=longest).rfind(|end| part.is_char_boundary(*end)).unwrap_or(0);
            whole &= end == part.len();
            self.values.push((field, part[..end].to_owned()));
        }
        whole
    }

    /// Returns the first value of a field.
    pub(in crate::scan) fn first(&self, field: Field) -> Option<&str> {
        self.all(field).next()
    }

    /// Returns all values of a field.
    pub(in crate::scan) fn all(&self, field: Field) -> impl Iterator<Item = &str> {
        self.values.iter().filter(move |(of, _)| *of == field).map(|(_, value)| value.as_str())
    }

    /// Returns all values, with the names of their fields.
    pub(in crate::scan) fn into_values(self) -> Vec<(&'static str, String)> {
        self.values.into_iter().map(|(field, value)| (field.name(), value)).collect()
    }

    /// Reports whether there is a value of this field.
    pub(in crate::scan) fn has(&self, field: Field) -> bool {
        self.first(field).is_some()
    }

    /// Takes from `weaker` the fields that these lack.
    pub(in crate::scan) fn fill_from(&mut self, weaker: Tags) {
        let own = self.values.len();
        for (field, value) in weaker.values {
            if self.values.len() < VALUES_MAX && !self.values[..own].iter().any(|(of, _)| *of == field) {
                self.values.push((field, value));
            }
        }
    }

    /// Takes from `stronger` all its fields, in place of these.
    pub(in crate::scan) fn override_by(&mut self, mut stronger: Tags) {
        stronger.fill_from(std::mem::take(self));
        *self = stronger;
    }
}

/// The sound in a file. `None` and 0 mark values that the file does not state.
#[derive(Debug, Clone, Default, PartialEq)]
pub(in crate::scan) struct Sound {
    /// Its playing time.
    pub(in crate::scan) length: Option<Duration>,
    /// Short name of the codec, in lower case: `mp3`, `flac`, `vorbis`, `pcm`, ...
    pub(in crate::scan) codec: &'static str,
    /// Bits per second.
    pub(in crate::scan) bit_rate: u32,
    /// Samples per second.
    pub(in crate::scan) sample_rate: u32,
    pub(in crate::scan) channels: u16,
    /// Bits per sample.
    pub(in crate::scan) bit_depth: u16,
}

/// A part of a file that could not be read or kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::scan) struct Loss {
    /// The lost part: the name of a field, or of a part of the file.
    pub(in crate::scan) what: String,
    /// The reason.
    pub(in crate::scan) reason: String,
}

/// The knowledge about a file while its readers work, and at the end.
#[derive(Debug, Default, PartialEq)]
pub(in crate::scan) struct Reading {
    pub(in crate::scan) tags: Tags,
    /// Values of tags with few fields. Every other tag of the file takes precedence, also those
    /// around the sound.
    pub(in crate::scan) weak: Tags,
    pub(in crate::scan) sound: Sound,
    /// Whether there is a cover; its bytes are never read.
    pub(in crate::scan) has_cover: bool,
    /// The first losses, one by one.
    pub(in crate::scan) losses: Vec<Loss>,
    /// Number of losses that are not in `losses`.
    pub(in crate::scan) more_losses: usize,
    /// Explanation of the length, if the file does not state it.
    pub(in crate::scan) guess: Option<&'static str>,
    /// Bytes that compressed items inflated to so far, for [`INFLATED_MAX`].
    pub(in crate::scan) inflated: usize,
}

impl Reading {
    /// Records a loss.
    pub(in crate::scan) fn lose(&mut self, what: impl Into<String>, reason: impl Into<String>) {
        if self.losses.len() < LOSSES_MAX {
            self.losses.push(Loss { what: what.into(), reason: reason.into() });
        } else {
            self.more_losses += 1;
        }
    }

    /// Adds a value to [`Reading::tags`]. A value that is too long, or one too many, is a loss.
    pub(in crate::scan) fn push(&mut self, field: Field, value: &str) {
        if !self.tags.push(field, value) {
            self.lose(
                field.name(),
                format!("longer than {TEXT_MAX} bytes, or too many values; the rest is cut"),
            );
        }
    }

    /// Decodes a value and adds it. Bytes that do not fit the encoding become U+FFFD, and that is a
    /// loss; an empty value is kept.
    pub(in crate::scan) fn push_encoded(&mut self, field: Field, bytes: &[u8], encoding: Encoding) {
        let (value, whole) = text::decode(bytes, encoding);
        if !whole {
            self.lose(
                field.name(),
                format!("not valid {}; U+FFFD stands for the bad bytes", encoding.name()),
            );
        }
        self.push(field, &value);
    }

    /// Runs `work` with the weak tags in place of the others.
    pub(in crate::scan) fn weakly(&mut self, work: impl FnOnce(&mut Reading)) {
        std::mem::swap(&mut self.tags, &mut self.weak);
        work(self);
        std::mem::swap(&mut self.tags, &mut self.weak);
    }

    /// States the length as a number of samples at a rate; a rate of 0 has no effect.
    pub(in crate::scan) fn set_samples(&mut self, samples: u64, rate: u32) {
        if rate > 0 {
            let nanos = u128::from(samples) * 1_000_000_000 / u128::from(rate);
            self.sound.length = Some(Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX)));
        }
    }

    /// States the bit rate as that of `bytes` of sound over the length, if it is unknown.
    pub(in crate::scan) fn set_average_bit_rate(&mut self, bytes: u64) {
        let nanos = self.sound.length.map_or(0, |length| length.as_nanos());
        if nanos > 0 && self.sound.bit_rate == 0 {
            let rate = u128::from(bytes) * 8 * 1_000_000_000 / nanos;
            self.sound.bit_rate = u32::try_from(rate).unwrap_or(u32::MAX);
        }
    }
}

/// The reason why a file gives no song.
#[derive(Debug)]
pub(in crate::scan) enum Unread {
    /// It is not audio, by content and by name.
    NotAudio,
    /// It is audio in this format, which is not supported.
    Unsupported(&'static str),
    /// It is a pipe, a socket or a device.
    Special,
    /// It should be audio and cannot be played, for this reason.
    Broken(String),
    /// It could not be read: the system's error. The file may be intact.
    Unreachable(io::Error),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Unreachable(error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tags(values: &[(Field, &str)]) -> Tags {
        let mut tags = Tags::default();
        values.iter().for_each(|(field, value)| assert!(tags.push(*field, value)));
        tags
    }

    #[test]
    fn a_nul_parts_values_and_pads_the_last() {
        let tags = tags(&[(Field::Artist, "a\0b\0\0"), (Field::Title, ""), (Field::Genre, "\0x")]);
        assert_eq!(tags.all(Field::Artist).collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!(tags.first(Field::Title), Some(""));
        assert_eq!(tags.first(Field::Genre), Some(""));
        assert_eq!(tags.first(Field::Album), None);
    }

    #[test]
    fn a_long_value_is_cut_at_a_character_and_told() {
        let mut reading = Reading::default();
        reading.push(Field::Title, &"\u{e9}".repeat(TEXT_MAX));
        assert_eq!(reading.tags.first(Field::Title).map(str::len), Some(TEXT_MAX));
        assert_eq!(reading.losses[0].what, "title");
    }

    #[test]
    fn a_stronger_tag_wins_field_by_field_even_when_empty() {
        let mut strong = tags(&[(Field::Title, ""), (Field::Artist, "strong")]);
        strong.fill_from(tags(&[(Field::Title, "weak"), (Field::Album, "weak"), (Field::Album, "too")]));
        assert_eq!(strong.first(Field::Title), Some(""));
        assert_eq!(strong.all(Field::Album).collect::<Vec<_>>(), ["weak", "too"]);
        let mut weak = tags(&[(Field::Title, "weak"), (Field::Genre, "weak")]);
        weak.override_by(tags(&[(Field::Title, "new")]));
        assert_eq!((weak.first(Field::Title), weak.first(Field::Genre)), (Some("new"), Some("weak")));
    }

    #[test]
    fn losses_are_counted_beyond_the_first_few() {
        let mut reading = Reading::default();
        (0..20).for_each(|number| reading.lose("x", number.to_string()));
        assert_eq!((reading.losses.len(), reading.more_losses), (LOSSES_MAX, 20 - LOSSES_MAX));
    }
}
