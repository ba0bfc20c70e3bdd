//! Genres as ID3 writes them: a number, a number in parentheses before or instead of a text, `RX`, `CR`, or
//! plain text. The rules and the names of the numbers are those of mutagen, because the ids of genres depend
//! on their names.

/// Genre numbers 0 to 191: the eighty of ID3v1 and Winamp's additions.
#[rustfmt::skip]
const NAMES: [&str; 192] = [
    "Blues", "Classic Rock", "Country", "Dance", "Disco", "Funk", "Grunge", "Hip-Hop", "Jazz", "Metal",
    "New Age", "Oldies", "Other", "Pop", "R&B", "Rap", "Reggae", "Rock", "Techno", "Industrial",
    "Alternative", "Ska", "Death Metal", "Pranks", "Soundtrack", "Euro-Techno", "Ambient", "Trip-Hop",
    "Vocal", "Jazz+Funk", "Fusion", "Trance", "Classical", "Instrumental", "Acid", "House", "Game",
    "Sound Clip", "Gospel", "Noise", "Alt. Rock", "Bass", "Soul", "Punk", "Space", "Meditative",
    "Instrumental Pop", "Instrumental Rock", "Ethnic", "Gothic", "Darkwave", "Techno-Industrial",
    "Electronic", "Pop-Folk", "Eurodance", "Dream", "Southern Rock", "Comedy", "Cult", "Gangsta Rap",
    "Top 40", "Christian Rap", "Pop/Funk", "Jungle", "Native American", "Cabaret", "New Wave",
    "Psychedelic", "Rave", "Showtunes", "Trailer", "Lo-Fi", "Tribal", "Acid Punk", "Acid Jazz", "Polka",
    "Retro", "Musical", "Rock & Roll", "Hard Rock", "Folk", "Folk-Rock", "National Folk", "Swing",
    "Fast-Fusion", "Bebop", "Latin", "Revival", "Celtic", "Bluegrass", "Avantgarde", "Gothic Rock",
    "Progressive Rock", "Psychedelic Rock", "Symphonic Rock", "Slow Rock", "Big Band", "Chorus",
    "Easy Listening", "Acoustic", "Humour", "Speech", "Chanson", "Opera", "Chamber Music", "Sonata",
    "Symphony", "Booty Bass", "Primus", "Porn Groove", "Satire", "Slow Jam", "Club", "Tango", "Samba",
    "Folklore", "Ballad", "Power Ballad", "Rhythmic Soul", "Freestyle", "Duet", "Punk Rock", "Drum Solo",
    "A Cappella", "Euro-House", "Dance Hall", "Goa", "Drum & Bass", "Club-House", "Hardcore", "Terror",
    "Indie", "BritPop", "Afro-Punk", "Polsk Punk", "Beat", "Christian Gangsta Rap", "Heavy Metal",
    "Black Metal", "Crossover", "Contemporary Christian", "Christian Rock", "Merengue", "Salsa",
    "Thrash Metal", "Anime", "JPop", "Synthpop", "Abstract", "Art Rock", "Baroque", "Bhangra", "Big Beat",
    "Breakbeat", "Chillout", "Downtempo", "Dub", "EBM", "Eclectic", "Electro", "Electroclash", "Emo",
    "Experimental", "Garage", "Global", "IDM", "Illbient", "Industro-Goth", "Jam Band", "Krautrock",
    "Leftfield", "Lounge", "Math Rock", "New Romantic", "Nu-Breakz", "Post-Punk", "Post-Rock", "Psytrance",
    "Shoegaze", "Space Rock", "Trop Rock", "World Music", "Neoclassical", "Audiobook", "Audio Theatre",
    "Neue Deutsche Welle", "Podcast", "Indie Rock", "G-Funk", "Dubstep", "Garage Rock", "Psybient",
];

/// Name of a number beyond the table.
const UNKNOWN: &str = "Unknown";

/// Returns the first genre of an ID3 genre frame, each of whose values may hold several; `None` if there is
/// none. Skips empty values.
pub(super) fn first<'a>(values: impl IntoIterator<Item = &'a str>) -> Option<String> {
    values.into_iter().find_map(of_value)
}

/// Returns the name of a genre number that has one.
pub(super) fn named(number: usize) -> Option<&'static str> {
    NAMES.get(number).copied()
}

/// Returns the name of a genre number, `Unknown` beyond the table.
pub(super) fn name(number: usize) -> &'static str {
    named(number).unwrap_or(UNKNOWN)
}

fn of_value(value: &str) -> Option<String> {
    if value.is_empty() {
        return None;
    }
    let bare = super::numbers::whole(value).and_then(|number| u8::try_from(number).ok());
    if let Some(number) = bare {
        return Some(name(number.into()).to_owned());
    }
    let text = match value {
        "RX" => "Remix",
        "CR" => "Cover",
        _ => match parenthesised(value) {
            Some("RX") => "Remix",
            Some("CR") => "Cover",
            Some(digits) => digits.parse().map_or(UNKNOWN, name),
            // "((Foo) Bar" is how a text that begins with a parenthesis is written.
            None if value.starts_with("((") => &value[1..],
            None => value,
        },
    };
    Some(text.to_owned())
}

/// Returns the text in the parentheses at the start, if it refers to a genre.
fn parenthesised(value: &str) -> Option<&str> {
    let (inner, _) = value.strip_prefix('(')?.split_once(')')?;
    let number = !inner.is_empty() && inner.bytes().all(|byte| byte.is_ascii_digit());
    (number || matches!(inner, "RX" | "CR")).then_some(inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_writing_a_genre() {
        for (values, expected) in [
            (&["Rock"][..], Some("Rock")),
            (&["17"], Some("Rock")),
            (&["(17)"], Some("Rock")),
            (&["(17)Rock"], Some("Rock")),
            (&["(17)Hard Rock"], Some("Rock")),
            (&["(17)(Text)"], Some("Rock")),
            (&["(4)(9)Text"], Some("Disco")),
            (&["RX"], Some("Remix")),
            (&["(RX)"], Some("Remix")),
            (&["CR"], Some("Cover")),
            (&["(CR)Text"], Some("Cover")),
            (&["rx"], Some("rx")),
            (&["0"], Some("Blues")),
            (&["007"], Some("Hip-Hop")),
            (&["٥"], Some("Funk")),
            (&["191"], Some("Psybient")),
            (&["192"], Some("Unknown")),
            (&["255"], Some("Unknown")),
            (&["256"], Some("256")),
            (&["(256)"], Some("Unknown")),
            (&["(99999999999999999999999)"], Some("Unknown")),
            (&["99999999999999999999999"], Some("99999999999999999999999")),
            (&["((Foo) Bar"], Some("(Foo) Bar")),
            (&["(Rock)"], Some("(Rock)")),
            (&["()"], Some("()")),
            (&["(17"], Some("(17")),
            (&[" 17"], Some(" 17")),
            (&["17 "], Some("17 ")),
            (&["²"], Some("²")),
            (&[" "], Some(" ")),
            (&["Rock; Pop"], Some("Rock; Pop")),
            (&["17", "9"], Some("Rock")),
            (&["", "Rock"], Some("Rock")),
            (&["", ""], None),
            (&[], None),
        ] {
            assert_eq!(first(values.iter().copied()).as_deref(), expected, "{values:?}");
        }
    }
}
