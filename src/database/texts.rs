//! The check whether a database can store a text. SQLite and most PostgreSQL databases hold every text. A
//! database with an encoding such as LATIN1 does not, and a scan should know that when it reads a file, not
//! hours later when it writes.

use std::collections::HashSet;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use ::postgres::error::SqlState;
use ::postgres::{Client, Error};

use super::connect::{self, Place};

/// The remedy for a database with a narrow encoding.
pub(super) const REMEDY: &str = "make one that can (createdb --encoding=UTF8 --template=template0 NAME), \
                                 name it in DATABASE_URL and scan into it";

/// Checks whether the database can store texts. It is cheap to clone, for use by several threads.
#[derive(Debug, Clone)]
pub struct Texts {
    narrow: Option<Arc<Narrow>>,
}

/// A text that the database cannot store. `Display` names the encoding and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unstorable {
    /// PostgreSQL's name of the encoding.
    pub encoding: String,
    /// The first character of the text that the encoding lacks, if it is known.
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
    /// Characters of texts that the database can store. A text of these characters alone needs no query.
    fitting: HashSet<char>,
}

impl fmt::Debug for Narrow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Narrow").field("encoding", &self.encoding).finish_non_exhaustive()
    }
}

impl Texts {
    /// The check of a database that can store every text.
    pub(super) fn any() -> Texts {
        Texts { narrow: None }
    }

    /// The check of a database that can store only texts which the server of `client` can convert to
    /// `encoding`.
    pub(super) fn of_server(encoding: String, place: Place, client: Client) -> Texts {
        let server = Mutex::new(Server { place, client, fitting: HashSet::new() });
        Texts { narrow: Some(Arc::new(Narrow { encoding, server })) }
    }

    /// Whether the database can store `text`. Characters that are new to this check need a query to the
    /// server; if the server no longer answers, the text counts as storable, and storing it shows the truth.
    ///
    /// # Errors
    /// The database cannot store it.
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
        // NUL is stored as U+FFFD.
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
    /// Queries the server. Servers and poolers close idle connections, so a second try follows a failure.
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

    /// Queries the server, which converts a parameter to the encoding of the database before anything else.
    /// This needs a transaction, so that a pooler sends all of it to one session of the server.
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
