//! Which database: SQLAlchemy's way of saying it (`sqlite:////var/lib/avalon.sqlite`,
//! `postgresql+psycopg2://user:password@host:5432/music?sslmode=verify-full`), taken apart
//! and checked. Nothing is opened or looked up here, and no error repeats what follows
//! `://`: it may hold the password, also when it cannot be told where.

mod parse;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// A database, as `DATABASE_URL` names it. `Display` and `Debug` hide the password.
#[derive(Clone, PartialEq)]
pub struct DatabaseUrl {
    backend: Backend,
}

/// The two kinds of databases there are.
#[derive(Debug, Clone, PartialEq)]
pub enum Backend {
    /// A SQLite file; a relative path counts from the working directory.
    Sqlite(PathBuf),
    /// A PostgreSQL server.
    Postgres(Box<PostgresSettings>),
}

/// How to reach a PostgreSQL server; names and meanings are libpq's.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresSettings {
    /// Where the server listens.
    pub host: Host,
    /// TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// `None`: the name of the user this process runs as.
    pub user: Option<String>,
    /// `None`: PGPASSWORD or the password file, if the server asks for one.
    pub password: Option<Secret>,
    /// `None`: the name of the user.
    pub database: Option<String>,
    /// Whether to encrypt and what to verify.
    pub ssl_mode: SslMode,
    /// Who may vouch for the server.
    pub root_certificates: RootCertificates,
    /// PEM file with our own certificate; `None`: `~/.postgresql/postgresql.crt` if it exists.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate; `None`: `~/.postgresql/postgresql.key`.
    pub client_key: Option<PathBuf>,
    /// For all of connecting, authentication included; `None` waits for ever.
    pub connect_timeout: Option<Duration>,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Command-line options for the server session, such as `-c search_path=music`.
    pub options: Option<String>,
}

/// Where a PostgreSQL server listens.
#[derive(Debug, Clone, PartialEq)]
pub enum Host {
    /// A host name or an address (IPv6 without brackets).
    Tcp(String),
    /// The folder of a Unix socket.
    Unix(PathBuf),
}

/// libpq's `sslmode`, from careless to strict.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd)]
pub enum SslMode {
    /// Never TLS.
    Disable,
    /// Plain first; TLS if the server refuses that.
    Allow,
    /// TLS first; plain if the server does not offer it or it fails. The default.
    Prefer,
    /// TLS. Verified like `VerifyCa` if there is a root certificate file, else not at all.
    Require,
    /// TLS, and a trusted root must vouch for the server's certificate.
    VerifyCa,
    /// The same, and the certificate must be for this host.
    VerifyFull,
}

/// libpq's `sslrootcert`.
#[derive(Debug, Clone, PartialEq)]
pub enum RootCertificates {
    /// `~/.postgresql/root.crt`, if it exists.
    Default,
    /// A PEM file.
    File(PathBuf),
    /// Those the machine trusts; only together with `VerifyFull`.
    System,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq)]
pub struct Secret(String);

impl Secret {
    /// The text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

/// Why a text is no database URL that this program can use.
#[derive(Debug, Clone, PartialEq)]
pub enum DatabaseUrlError {
    /// There is no `dialect://` or `dialect+driver://` in front.
    NoDialect,
    /// A dialect of SQLAlchemy that is not supported, or no dialect at all.
    Dialect(String),
    /// A SQLite driver that encrypts.
    Encrypted,
    /// A host between the slashes of a SQLite URL.
    SqliteHost,
    /// A SQLite database that would live in the memory of one process.
    InMemory,
    /// No port number from 1 to 65535 after the host.
    Port,
    /// An opening bracket without a closing one, or several hosts.
    Host,
    /// An `@` or `:` in the name of the database: most likely a `/` in the user's name is to
    /// blame, and what looks like the database holds the password.
    DatabaseName,
    /// A parameter after `?` that is not known.
    Parameter(String),
    /// A known parameter with a bad value, and what it may be.
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
                "the database host must be one name, one address ([...] for IPv6) or a \
                 percent-encoded folder"
            ),
            Self::DatabaseName => {
                write!(f, "`@` or `:` in the database name: percent-encode it there, or `/` in the user name")
            }
            Self::Parameter(name) => write!(f, "unknown parameter `{name}` in the database URL"),
            Self::Value(name, expected) => {
                write!(f, "parameter `{name}` of the database URL must be {expected}")
            }
        }
    }
}

impl std::error::Error for DatabaseUrlError {}

impl DatabaseUrl {
    /// Takes a URL apart.
    ///
    /// # Errors
    /// For a dialect other than SQLite and PostgreSQL, for SQLite in memory, and for an
    /// unknown parameter or a bad value.
    pub fn parse(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        let (scheme, rest) = text.split_once("://").ok_or(DatabaseUrlError::NoDialect)?;
        let (dialect, driver) = scheme.split_once('+').unwrap_or((scheme, ""));
        let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let backend = match dialect {
            _ if !driver.chars().all(is_word) => return Err(DatabaseUrlError::NoDialect),
            "sqlite" => Backend::Sqlite(parse::sqlite(driver, rest)?),
            "postgresql" | "postgres" => Backend::Postgres(Box::new(parse::postgres(rest)?)),
            _ => return Err(DatabaseUrlError::Dialect(parse::printable_name(scheme))),
        };
        Ok(DatabaseUrl { backend })
    }

    /// The SQLite database in this file.
    pub fn sqlite(path: PathBuf) -> DatabaseUrl {
        DatabaseUrl { backend: Backend::Sqlite(path) }
    }

    /// The database itself.
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

impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgresql://")?;
        if let Some(user) = &self.user {
            let password = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{user}{password}@")?;
        }
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port)?,
            Host::Tcp(host) => write!(f, "{host}:{}", self.port)?,
            Host::Unix(folder) => write!(f, "{}:{}", folder.display(), self.port)?,
        }
        write!(f, "/{}", self.database.as_deref().unwrap_or(""))
    }
}
