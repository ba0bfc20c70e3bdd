//! The questions to peers: the part of Avalon's API that the benchmark uses.

use serde_json::Value;

use crate::Failed;

/// A request for a list.
#[derive(Debug, Default)]
pub struct Question {
    pub albums: bool,
    /// Each must begin a word of the song's text.
    pub words: Vec<String>,
    pub artist: Option<String>,
    pub genre: Option<String>,
    pub by_year: bool,
    /// All if `None`.
    pub limit: Option<usize>,
    pub offset: usize,
}

impl Question {
    /// From path and query string; `None` for a question that peers do not know.
    pub fn parse(path: &str, query: &str) -> Option<Self> {
        let mut question = Self::default();
        match path {
            "/avalon/songs" => {}
            "/avalon/albums" => question.albums = true,
            _ => return None,
        }
        for (key, value) in form_urlencoded::parse(query.as_bytes()) {
            match &*key {
                "words" => question.words = value.split_whitespace().map(str::to_lowercase).collect(),
                "artist" => question.artist = Some(value.to_lowercase()),
                "genre" => question.genre = Some(value.to_lowercase()),
                "order" if value == "year" => question.by_year = true,
                "limit" => question.limit = Some(value.parse().ok()?),
                "offset" => question.offset = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(question)
    }
}

/// A search engine, shared by all threads.
pub trait Engine: Send + Sync {
    /// Appends the rows to `answer`.
    fn find(&self, question: &Question, answer: &mut Answer) -> Result<(), Failed>;

    /// Replaces the song with the id of this row of the API; returns when it is found.
    fn change(&self, row: &Value) -> Result<(), Failed>;
}

/// The body of an answer, as Avalon writes it.
pub struct Answer(Vec<u8>);

impl Answer {
    pub fn new() -> Self {
        Self(br#"{"errors":[],"success":["#.to_vec())
    }

    pub fn push(&mut self, json: &str) {
        if self.0.last() != Some(&b'[') {
            self.0.push(b',');
        }
        self.0.extend_from_slice(json.as_bytes());
    }

    pub fn finish(mut self) -> Vec<u8> {
        self.0.extend_from_slice(br#"],"warnings":[]}"#);
        self.0
    }
}
