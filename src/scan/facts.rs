//! All fields of a file beyond those that the server serves today, as one JSON object that the
//! database keeps. A later version can serve more fields without reading the files again.

use serde_json::{Map, Value};

use super::read::tags::{Field, Reading};

/// The fields that may have several values: the key in the object.
const LISTS: [(Field, &str); 8] = [
    (Field::AlbumArtist, "album_artists"),
    (Field::Artists, "artist_credits"),
    (Field::Composer, "composers"),
    (Field::MusicbrainzArtist, "musicbrainz_artists"),
    (Field::MusicbrainzAlbumArtist, "musicbrainz_album_artists"),
    // The first value of these is served; the object has them where there are more.
    (Field::Artist, "artists"),
    (Field::Genre, "genres"),
    (Field::Album, "albums"),
];

/// The fields with one value.
const SINGLE: [(Field, &str); 18] = [
    (Field::Disc, "disc"),
    (Field::TrackTotal, "track_total"),
    (Field::DiscTotal, "disc_total"),
    (Field::TitleSort, "title_sort"),
    (Field::AlbumSort, "album_sort"),
    (Field::ArtistSort, "artist_sort"),
    (Field::AlbumArtistSort, "album_artist_sort"),
    (Field::ComposerSort, "composer_sort"),
    (Field::Compilation, "compilation"),
    (Field::OriginalDate, "original_date"),
    (Field::MusicbrainzRecording, "musicbrainz_recording"),
    (Field::MusicbrainzTrack, "musicbrainz_track"),
    (Field::MusicbrainzRelease, "musicbrainz_release"),
    (Field::MusicbrainzReleaseGroup, "musicbrainz_release_group"),
    (Field::ReplayGainTrackGain, "replaygain_track_gain"),
    (Field::ReplayGainTrackPeak, "replaygain_track_peak"),
    (Field::ReplayGainAlbumGain, "replaygain_album_gain"),
    (Field::ReplayGainAlbumPeak, "replaygain_album_peak"),
];

/// Returns the object as text; empty if there are no such fields.
pub(super) fn object(reading: &Reading) -> String {
    let mut facts = Map::new();
    for (field, key) in LISTS {
        let values: Vec<Value> = reading.tags.all(field).map(Value::from).collect();
        let served = matches!(field, Field::Artist | Field::Genre | Field::Album);
        if values.len() > usize::from(served) {
            facts.insert(key.to_owned(), Value::Array(values));
        }
    }
    for (field, key) in SINGLE {
        if let Some(value) = reading.tags.first(field) {
            facts.insert(key.to_owned(), Value::from(value));
        }
    }
    let sound = &reading.sound;
    if !sound.codec.is_empty() {
        facts.insert("codec".to_owned(), Value::from(sound.codec));
    }
    for (key, number) in [
        ("bit_rate", sound.bit_rate),
        ("sample_rate", sound.sample_rate),
        ("channels", u32::from(sound.channels)),
        ("bit_depth", u32::from(sound.bit_depth)),
    ] {
        if number > 0 {
            facts.insert(key.to_owned(), Value::from(number));
        }
    }
    if reading.has_cover {
        facts.insert("cover".to_owned(), Value::from(true));
    }
    if facts.is_empty() { String::new() } else { Value::Object(facts).to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn served_fields_are_there_only_with_further_values() {
        let mut reading = Reading { has_cover: true, ..Reading::default() };
        for (field, value) in [
            (Field::Title, "Title"),
            (Field::Artist, "A\0B"),
            (Field::Album, "Album"),
            (Field::AlbumArtist, "A"),
            (Field::Disc, "1/2"),
        ] {
            reading.push(field, value);
        }
        reading.sound.codec = "flac";
        reading.sound.sample_rate = 44_100;
        let object: Value = serde_json::from_str(&object(&reading)).expect("JSON");
        assert_eq!(
            object,
            json!({
                "album_artists": ["A"], "artists": ["A", "B"], "disc": "1/2", "codec": "flac",
                "sample_rate": 44_100, "cover": true,
            })
        );
    }

    #[test]
    fn a_file_that_says_nothing_has_no_object() {
        assert_eq!(super::object(&Reading::default()), "");
    }
}
