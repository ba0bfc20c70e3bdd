//! The database, in SQLAlchemy's notation (`sqlite:////var/lib/avalon.sqlite`,
//! `postgresql+psycopg2://user:password@host:5432/music?sslmode=verify-full`), taken apart
//! and checked. Nothing is opened or looked up here, and no error repeats the text
//! after `://`: it may hold the password, even where the password cannot be found in it.

mod error;
mod notation;
mod parameters;
mod parse;
mod postgres;
mod servers;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;

pub use error::DatabaseUrlError;
pub use postgres::{
    AuthMethod, ChannelBinding, ConnectTimeout, Host, Liveness, PostgresSettings, RootCertificates, Secret,
    Server, SslMode, Target, TlsDetails,
};

/// A database, as `DATABASE_URL` names it. `Display` and `Debug` hide the password.
#[derive(Clone, PartialEq)]
pub struct DatabaseUrl {
    backend: Backend,
}

/// The supported kinds of databases.
#[derive(Debug, Clone, PartialEq)]
pub enum Backend {
    /// A SQLite file; a relative path counts from the working directory.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Box<PostgresSettings>),
}

impl DatabaseUrl {
    /// Parses a URL.
    ///
    /// # Errors
    /// If the dialect is neither SQLite nor PostgreSQL, the SQLite database is in memory, a
    /// parameter is unknown, or a value is invalid.
    pub fn parse(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(DatabaseUrlError::NoDialect)?;
        let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let backend = match dialect {
            _ if !driver.chars().all(is_word) => return Err(DatabaseUrlError::NoDialect),
            "sqlite" => Backend::Sqlite(parse::sqlite(driver, rest)?),
            "postgresql" | "postgres" => Backend::Postgres(Box::new(parse::postgres(rest)?)),
            _ => return Err(DatabaseUrlError::Dialect(notation::printable_name(scheme))),
        };
        Ok(DatabaseUrl { backend })
    }

    /// Returns the URL of the SQLite database in this file.
    pub fn sqlite(path: PathBuf) -> DatabaseUrl {
        DatabaseUrl { backend: Backend::Sqlite(path) }
    }

    /// Returns the database itself.
    pub fn backend(&self) -> &Backend {
        &self.backend
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.backend {
            Backend::Sqlite(path) => write!(f, "sqlite:///{}", path.display()),
            Backend::Postgres(settings) => write!(f, "{settings}"),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DatabaseUrl({self})")
    }
}
