//! The faults of database URLs. No error repeats a part that may hold the password.

use std::fmt;

/// The reason why a text is not a database URL for this program.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseUrlError {
    /// `dialect://` or `dialect+driver://` is missing at the start.
    NoDialect,
    /// A dialect of SQLAlchemy that is not supported, or no dialect at all.
    Dialect(String),
    /// A SQLite driver that encrypts.
    Encrypted,
    /// A host between the slashes of a SQLite URL.
    SqliteHost,
    /// A SQLite database in the memory of one process.
    InMemory,
    /// No port number from 1 to 65535 after the host.
    Port,
    /// An opening bracket without a closing one, or text behind it.
    Host,
    /// The second list must have as many items as the first.
    Count(&'static str, &'static str),
    /// An `@` or `:` in the name of the database: most likely the user's name holds a `/`,
    /// and the text in the place of the database holds the password.
    DatabaseName,
    /// A parameter after `?` that is not known.
    Parameter(String),
    /// A parameter of libpq that this program cannot honour.
    Unsupported(String),
    /// A known parameter with a bad value, and the values that it may have.
    Value(&'static str, &'static str),
}

impl fmt::Display for DatabaseUrlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const FORMS: &str = "supported are sqlite:////absolute/path, sqlite:///relative/path and \
                             postgresql://user:password@host:port/database";
        match self {
            Self::NoDialect => write!(f, "not a database URL, there is no `://` after a dialect; {FORMS}"),
            Self::Dialect(name) => write!(f, "database dialect `{name}` is not supported; {FORMS}"),
            Self::Encrypted => write!(f, "encrypted SQLite databases are not supported; {FORMS}"),
            Self::SqliteHost => write!(
                f,
                "a SQLite database has no host: write sqlite:///relative/path (three slashes) \
                 or sqlite:////absolute/path (four)"
            ),
            Self::InMemory => write!(
                f,
                "a SQLite database in memory would be another, empty one in each process; \
                 name a file: sqlite:////absolute/path"
            ),
            Self::Port => write!(
                f,
                "the port of the database must be a number from 1 to 65535 (percent-encode `@`, \
                 `:` and `/` in user and password)"
            ),
            Self::Host => write!(
                f,
                "each database host must be one name, one address ([...] for IPv6) or a \
                 percent-encoded folder; commas separate several hosts"
            ),
            Self::Count(these, those) => {
                write!(f, "the database URL has another number of {these} than of {those}")
            }
            Self::DatabaseName => {
                write!(f, "`@` or `:` in the database name: percent-encode it there, or `/` in the user name")
            }
            Self::Parameter(name) => write!(f, "unknown parameter `{name}` in the database URL"),
            Self::Unsupported(name) => {
                write!(f, "parameter `{name}` of the database URL is not supported; leave it out")
            }
            Self::Value(name, expected) => {
                write!(f, "parameter `{name}` of the database URL must be {expected}")
            }
        }
    }
}

impl std::error::Error for DatabaseUrlError {}
