//! Whether a text can be stored. SQLite and most PostgreSQL databases hold every text; a
//! database with an encoding such as LATIN1 does not, and that should be known when a file is
//! read, not hours later when everything is written.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ::postgres::error::SqlState;
use ::postgres::{Client, Error};

use super::connect::{self, Place};

/// The remedy for a database with a narrow encoding.
pub(super) const REMEDY: &str = "make one that can (createdb --encoding=UTF8 --template=template0 NAME), \
                                 name it in DATABASE_URL and scan into it";

/// Tells whether texts can be stored. Cheap to clone, to be used by several threads.
#[derive(Debug, Clone)]
pub struct Texts {
    narrow: Option<Arc<Narrow>>,
}

/// A text that the database cannot hold. `Display` names the encoding and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstorable {
    /// PostgreSQL's name of the encoding.
    pub encoding: String,
    /// The first character of the text that has no place in it, if that is known.
    pub character: Option<char>,
}

impl fmt::Display for Unstorable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the database has the encoding {}, which has no ", self.encoding)?;
        match self.character {
            Some(c) => write!(f, "`{c}` (U+{:04X})", u32::from(c))?,
            None => f.write_str("place for this text")?,
        }
        write!(f, "; {REMEDY}")
    }
}

impl std::error::Error for Unstorable {}

struct Narrow {
    encoding: String,
    server: Mutex<Server>,
}

struct Server {
    place: Place,
    client: Client,
    /// Characters of texts that fit. A new text of them alone need not be asked about.
    fitting: HashSet<char>,
}

impl fmt::Debug for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrow").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl Texts {
    /// Every text can be stored.
    pub(super) fn any() -> Texts {
        Texts { narrow: None }
    }

    /// Only texts that the server of `client` can convert to `encoding`.
    pub(super) fn of_server(encoding: String, place: Place, client: Client) -> Texts {
        let server = Mutex::new(Server { place, client, fitting: HashSet::new() });
        Texts { narrow: Some(Arc::new(Narrow { encoding, server })) }
    }

    /// Whether `text` can be stored. The server is asked about characters that are new to it;
    /// when it no longer answers, the text counts as storable, and storing finds out.
    ///
    /// # Errors
    /// If it cannot.
    pub fn can_hold(&self, text: &str) -> Result<(), Unstorable> {
        match &self.narrow {
            Some(narrow) if !text.is_ascii() => narrow.can_hold(text),
            _ => Ok(()),
        }
    }
}

impl Narrow {
    fn can_hold(&self, text: &str) -> Result<(), Unstorable> {
        let mut server = self.server.lock().unwrap_or_else(PoisonError::into_inner);
        // NUL is replaced when it is stored, by U+FFFD.
        let text = text.replace('\0', "\u{fffd}");
        let unknown: HashSet<char> =
            text.chars().filter(|c| !c.is_ascii() && !server.fitting.contains(c)).collect();
        if unknown.is_empty() {
            return Ok(());
        }
        if server.fits(&text) {
            server.fitting.extend(unknown);
            return Ok(());
        }
        let character =
            text.chars().find(|c| unknown.contains(c) && !server.fits(c.encode_utf8(&mut [0; 4])));
        Err(Unstorable { encoding: self.encoding.clone(), character })
    }
}

impl Server {
    /// Servers and poolers close idle connections; then it is asked once more.
    fn fits(&mut self, text: &str) -> bool {
        self.ask(text)
            .or_else(|_| {
                if let Ok((client, _)) = connect::connect(&self.place) {
                    self.client = client;
                }
                self.ask(text)
            })
            .unwrap_or(true)
    }

    /// The server converts a parameter to the encoding of the database before all else. In a
    /// transaction, so that a pooler gives all of it to one session of the server.
    fn ask(&mut self, text: &str) -> Result<bool, Error> {
        let refusals = [SqlState::UNTRANSLATABLE_CHARACTER, SqlState::CHARACTER_NOT_IN_REPERTOIRE];
        let mut transaction = self.client.transaction()?;
        match transaction.query_one("SELECT $1::text", &[&text]) {
            Ok(_) => Ok(true),
            Err(error) if error.code().is_some_and(|code| refusals.contains(code)) => Ok(false),
            Err(error) => Err(error),
        }
    }
}
