//! Names of fields in formats that leave them to the tagger: items of APEv2 and the frames of ID3
//! for users' own texts.

use super::tags::Field;

/// Names in capitals without spaces, dashes and underlines, and their fields.
const NAMES: [(&str, Field); 34] = [
    ("ALBUMARTIST", Field::AlbumArtist),
    ("ALBUMARTISTSORT", Field::AlbumArtistSort),
    ("ALBUMARTISTSORTORDER", Field::AlbumArtistSort),
    ("ALBUMSORT", Field::AlbumSort),
    ("ALBUMSORTORDER", Field::AlbumSort),
    ("ARTISTS", Field::Artists),
    ("ARTISTSORT", Field::ArtistSort),
    ("ARTISTSORTORDER", Field::ArtistSort),
    ("COMPILATION", Field::Compilation),
    ("COMPOSER", Field::Composer),
    ("COMPOSERSORT", Field::ComposerSort),
    ("COMPOSERSORTORDER", Field::ComposerSort),
    ("DISC", Field::Disc),
    ("DISCNUMBER", Field::Disc),
    ("DISCTOTAL", Field::DiscTotal),
    ("ITUNESCOMPILATION", Field::Compilation),
    ("MUSICBRAINZALBUMARTISTID", Field::MusicbrainzAlbumArtist),
    ("MUSICBRAINZALBUMID", Field::MusicbrainzRelease),
    ("MUSICBRAINZARTISTID", Field::MusicbrainzArtist),
    ("MUSICBRAINZRELEASEGROUPID", Field::MusicbrainzReleaseGroup),
    ("MUSICBRAINZRELEASETRACKID", Field::MusicbrainzTrack),
    ("MUSICBRAINZTRACKID", Field::MusicbrainzRecording),
    ("ORIGINALDATE", Field::OriginalDate),
    ("ORIGINALRELEASEDATE", Field::OriginalDate),
    ("ORIGINALYEAR", Field::OriginalDate),
    ("REPLAYGAINALBUMGAIN", Field::ReplayGainAlbumGain),
    ("REPLAYGAINALBUMPEAK", Field::ReplayGainAlbumPeak),
    ("REPLAYGAINTRACKGAIN", Field::ReplayGainTrackGain),
    ("REPLAYGAINTRACKPEAK", Field::ReplayGainTrackPeak),
    ("TITLESORT", Field::TitleSort),
    ("TITLESORTORDER", Field::TitleSort),
    ("TOTALDISCS", Field::DiscTotal),
    ("TOTALTRACKS", Field::TrackTotal),
    ("TRACKTOTAL", Field::TrackTotal),
];

/// Returns the field of a name.
pub(super) fn field(name: &str) -> Option<Field> {
    let letters = |name: &str| -> String {
        let plain = name.chars().filter(|c| !matches!(c, ' ' | '_' | '-'));
        plain.map(|c| c.to_ascii_uppercase()).collect()
    };
    let name = letters(name);
    NAMES.iter().find(|(known, _)| *known == name).map(|(_, field)| *field)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_known_however_they_are_parted() {
        for (name, expected) in [
            ("MusicBrainz Album Id", Some(Field::MusicbrainzRelease)),
            ("MUSICBRAINZ_ALBUMID", Some(Field::MusicbrainzRelease)),
            ("replaygain_track_gain", Some(Field::ReplayGainTrackGain)),
            ("Album Artist", Some(Field::AlbumArtist)),
            ("ARTISTS", Some(Field::Artists)),
            ("Artist", None),
            ("\u{131}", None),
            ("", None),
        ] {
            assert_eq!(field(name), expected, "{name:?}");
        }
        assert!(NAMES.is_sorted());
    }
}
