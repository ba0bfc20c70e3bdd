//! Names of songs, albums, artists and genres, made of the words in `words.txt` and of
//! coined ones: the larger a collection, the more words only it has, as in life.

use crate::random::{Random, Zipf};

/// Words that a collection of any size has in few songs, for selective queries.
pub(crate) const RARE_WORDS: [&str; 6] =
    ["xylographica", "quicksilvering", "zwölftönigkeit", "wunderkammern", "щегловитово", "幻燈機"];

const ONSETS: [&str; 20] =
    ["b", "br", "c", "d", "dr", "f", "g", "h", "j", "k", "l", "m", "n", "p", "r", "s", "st", "t", "v", "z"];
const VOWELS: [&str; 9] = ["a", "e", "i", "o", "u", "ai", "ea", "ou", "ö"];
const CODAS: [&str; 8] = ["", "", "", "n", "r", "s", "l", "x"];

const GENRES: [&str; 30] = [
    "Rock",
    "Pop",
    "Jazz",
    "Electronic",
    "Hip-Hop",
    "Classical",
    "Metal",
    "Folk",
    "Soul",
    "Punk",
    "Country",
    "Blues",
    "Reggae",
    "Techno",
    "House",
    "Ambient",
    "Soundtrack",
    "R&B",
    "Ska",
    "Latin",
    "Funk",
    "Disco",
    "Gospel",
    "Chanson",
    "Schlager",
    "Trance",
    "Grindcore",
    "Fado",
    "Música Popular",
    "演歌",
];
const GENRE_KINDS: [&str; 4] = ["Alternative", "Neo-", "Progressive", "Post-"];

/// How many genres there can be.
pub(crate) const GENRES_MAX: usize = GENRES.len() * (1 + GENRE_KINDS.len());

/// The genre of a popularity rank, below [`GENRES_MAX`]; no two are the same.
pub(crate) fn genre(rank: usize) -> String {
    let base = GENRES[rank % GENRES.len()];
    match rank / GENRES.len() {
        0 => base.to_owned(),
        kind if GENRE_KINDS[kind - 1].ends_with('-') => format!("{}{base}", GENRE_KINDS[kind - 1]),
        kind => format!("{} {base}", GENRE_KINDS[kind - 1]),
    }
}

/// One language of `words.txt`.
#[derive(Debug)]
pub(crate) struct Language {
    words: Vec<&'static str>,
    popularity: Zipf,
    /// Japanese and Chinese titles mostly have no spaces.
    joined: bool,
    latin: bool,
}

/// All languages, each as often as it is sung in.
#[derive(Debug)]
pub(crate) struct Languages {
    all: Vec<Language>,
    by_per_cent: Vec<usize>,
}

impl Languages {
    pub(crate) fn embedded() -> Self {
        let mut all = Vec::new();
        let mut by_per_cent = Vec::new();
        for section in include_str!("words.txt").split("\n[").skip(1) {
            let (head, words) = section.split_once(']').unwrap_or((section, ""));
            let (code, share) = head.split_once(' ').unwrap_or((head, "1"));
            by_per_cent.resize(by_per_cent.len() + share.parse().unwrap_or(1), all.len());
            all.push(Language::new(code, words.split_whitespace().collect()));
        }
        Languages { all, by_per_cent }
    }

    /// The index of some language, for [`Languages::get`].
    pub(crate) fn pick(&self, random: &mut Random) -> usize {
        random.pick(&self.by_per_cent)
    }

    pub(crate) fn get(&self, index: usize) -> &Language {
        &self.all[index]
    }
}

impl Language {
    fn new(code: &str, words: Vec<&'static str>) -> Self {
        Language {
            popularity: Zipf::new(words.len(), 4),
            words,
            joined: matches!(code, "ja" | "zh"),
            latin: !matches!(code, "el" | "ru" | "uk" | "ja" | "zh" | "ko"),
        }
    }

    /// A song title of one to six words, at times with a remark behind it.
    pub(crate) fn song(&self, random: &mut Random) -> String {
        let count = [1, 1, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6][random.below(12)];
        let mut title = self.phrase(random, count, 100);
        if random.per_mille(80) {
            let remark =
                [" (Live)", " (Demo)", " - Remastered 2009", ", Pt. 2", " (Acoustic Version)", "?", "!"];
            title.push_str(random.pick(&remark));
        }
        title
    }

    /// An album title of one to four words; a few are shared by many albums.
    pub(crate) fn album(&self, random: &mut Random) -> String {
        if random.per_mille(10) {
            let shared = ["Greatest Hits", "Live", "Best Of", "Demo", "Unplugged", "B-Sides & Rarities"];
            return random.pick(&shared).to_owned();
        }
        let count = [1, 2, 2, 3, 3, 4][random.below(6)];
        self.phrase(random, count, 300)
    }

    /// An artist: a band with or without "The", or a first and a last name.
    pub(crate) fn artist(&self, random: &mut Random) -> String {
        if self.latin && random.per_mille(250) {
            return format!("The {} {}s", self.phrase(random, 1, 300), capital(&coined(random)));
        }
        let count = [1, 2, 2, 3][random.below(4)];
        self.phrase(random, count, 600)
    }

    /// `count` words, each coined with a chance of `coined_per_mille`, a single one more often.
    fn phrase(&self, random: &mut Random, count: usize, coined_per_mille: usize) -> String {
        let chance = if count == 1 { coined_per_mille * 3 } else { coined_per_mille };
        let mut phrase = String::new();
        for at in 0..count {
            if at > 0 && !(self.joined && random.per_mille(700)) {
                phrase.push(' ');
            }
            if random.per_mille(chance) {
                phrase.push_str(&capital(&coined(random)));
            } else {
                let word = self.words[self.popularity.rank(random)];
                phrase.push_str(&capital(word));
            }
        }
        phrase
    }
}

/// A word that no dictionary has, of two to four syllables.
fn coined(random: &mut Random) -> String {
    let mut word = String::new();
    for _ in 0..2 + random.below(3) {
        word.push_str(random.pick(&ONSETS));
        word.push_str(random.pick(&VOWELS));
    }
    word.push_str(random.pick(&CODAS));
    word
}

fn capital(word: &str) -> String {
    let mut rest = word.chars();
    rest.next().map(|first| first.to_uppercase().chain(rest).collect()).unwrap_or_default()
}
