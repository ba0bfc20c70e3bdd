//! Ids as avalonms makes them: UUID version 5 of a text in UTF-8, with one namespace for each kind. The text
//! of a name is its lower case and otherwise unchanged, neither trimmed nor normalised: NFC and NFD spellings
//! have different ids.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use uuid::Uuid;

use crate::text;

const ALBUM: Uuid = uuid::uuid!("7655e605-6eaa-40d8-a25f-5c6c92a4d31a");
const ARTIST: Uuid = uuid::uuid!("fe4df0f6-2c55-4ba6-acf3-134eae3e710e");
const GENRE: Uuid = uuid::uuid!("dd8dbd9c-8ed7-4719-80c5-71d978665dd0");
const SONG: Uuid = uuid::uuid!("4151ace3-6a98-41cd-a3de-8c242654cb67");

/// The id of an album. All albums with the same name share it, even those of different artists.
pub fn album(name: &str) -> Uuid {
    of_name(&ALBUM, name)
}

/// The id of an artist.
pub fn artist(name: &str) -> Uuid {
    of_name(&ARTIST, name)
}

/// The id of a genre.
pub fn genre(name: &str) -> Uuid {
    of_name(&GENRE, name)
}

/// The id of the song in the file at `path`, which must be absolute. It is made of the raw bytes, so a path
/// that is not UTF-8 has an id too.
pub fn song(path: &Path) -> Uuid {
    Uuid::new_v5(&SONG, path.as_os_str().as_bytes())
}

fn of_name(namespace: &Uuid, name: &str) -> Uuid {
    Uuid::new_v5(namespace, text::lower(name).as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Worked examples of the original's documentation and of its recorded rows.
    #[test]
    fn ids_are_those_of_avalonms() {
        for (name, id) in [
            ("NoFX", "1212bd9c-5fb5-524a-b748-7ece590f8875"),
            ("nofx", "1212bd9c-5fb5-524a-b748-7ece590f8875"),
            ("İstanbul Attack", "d13ceac6-e6fd-5ee3-b247-841ca4a1a224"),
            ("ΣΊΣΥΦΟΣ", "4b6d84a4-0552-5c3f-ae54-954855d15347"),
            ("Σίσυφος", "4b6d84a4-0552-5c3f-ae54-954855d15347"),
            ("Σίσυφοσ", "17399ba3-d820-55df-8675-dbac16e373af"),
            ("Beyonc\u{e9}", "f8ae0561-cc68-5945-97d2-f0f458c0b191"),
            ("Beyonce\u{301}", "ab327d19-3e43-5c15-a23e-74556fb627ec"),
            ("STRA\u{1e9e}E", "002c856a-c58a-51ab-81ad-1fd989d8eb6c"),
            ("STRASSE", "922741a0-ffa4-5786-8b63-ccaf8c7d5a47"),
            ("", "4ad235a9-c8ff-5212-936e-191046c483a9"),
        ] {
            assert_eq!(artist(name).to_string(), id, "artist {name:?}");
        }
        assert_eq!(album("").to_string(), "e9a64209-04cc-5664-b086-5935871d63f6");
        assert_eq!(genre("").to_string(), "7cb15d51-755f-5957-b775-577eac9da1cd");
        assert_eq!(genre(" Jazz").to_string(), "d06610d2-2098-53ac-989b-70daeebf8afc");
        let path = "/music/Voodoo_Glow_Skulls/02-adicci\u{f3}n,_tradici\u{f3}n,_revoluci\u{f3}n.ogg";
        assert_eq!(song(Path::new(path)).to_string(), "56b33b92-d5b6-5971-b166-dc959b442c0c");
    }
}
