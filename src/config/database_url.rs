//! Which database: SQLAlchemy's way of saying it (`sqlite:////var/lib/avalon.sqlite`,
//! `postgresql+psycopg2://user:password@host:5432/music?sslmode=verify-full`), taken apart
//! and checked. Nothing is opened or looked up here, and no error repeats what follows
//! `://`: it may hold the password, also when it cannot be told where.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

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
            "sqlite" => Backend::Sqlite(parse_sqlite(driver, rest)?),
            "postgresql" | "postgres" => Backend::Postgres(Box::new(parse_postgres(rest)?)),
            _ => return Err(DatabaseUrlError::Dialect(printable_name(scheme))),
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

/// A name to repeat in a message: only what looks like one, so that no part of a password
/// in a wrong place gets into a log.
fn printable_name(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    if text.len() <= 30 && text.chars().all(is_name) { text.to_owned() } else { "...".to_owned() }
}

/// `rest` is what follows `sqlite://`. The path is taken as it is, without
/// percent-decoding, as SQLAlchemy 1.3 does it.
fn parse_sqlite(driver: &str, rest: &str) -> Result<PathBuf, DatabaseUrlError> {
    if driver == "pysqlcipher" {
        return Err(DatabaseUrlError::Encrypted);
    }
    let location = match rest.strip_prefix('/') {
        Some(location) => location,
        None if rest.is_empty() => return Err(DatabaseUrlError::InMemory),
        None => return Err(DatabaseUrlError::SqliteHost),
    };
    let (path, query) = location.split_once('?').unwrap_or((location, ""));
    for (name, _) in form_urlencoded::parse(query.as_bytes()) {
        // These steer Python's sqlite3 module and mean nothing here.
        let steers_python =
            ["cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout"];
        if !steers_python.contains(&name.as_ref()) {
            return Err(DatabaseUrlError::Parameter(printable_name(&name)));
        }
    }
    if path.is_empty() || path == ":memory:" {
        return Err(DatabaseUrlError::InMemory);
    }
    Ok(PathBuf::from(path))
}

/// `rest` is what follows `postgresql://`.
fn parse_postgres(rest: &str) -> Result<PostgresSettings, DatabaseUrlError> {
    let (user, password, place) = split_credentials(rest);
    let authority_len = place.find(['/', '?']).unwrap_or(place.len());
    let (authority, tail) = place.split_at(authority_len);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if path.contains(['@', ':']) {
        return Err(DatabaseUrlError::DatabaseName);
    }
    let (host, port) = split_host(authority)?;

    let mut settings = PostgresSettings {
        // Debian's default; a server on another machine or elsewhere is named anyway.
        host: Host::Unix(PathBuf::from("/var/run/postgresql")),
        port: 5432,
        user: non_empty(user.map(decode)),
        password: password.map(|password| Secret(decode(password))),
        database: non_empty(path.strip_prefix('/').map(decode)),
        ssl_mode: SslMode::Prefer,
        root_certificates: RootCertificates::Default,
        client_certificate: None,
        client_key: None,
        connect_timeout: Some(Duration::from_secs(10)),
        application_name: "avalon".to_owned(),
        options: None,
    };
    if !host.is_empty() {
        settings.host = parse_host(&decode(host))?;
    }
    if !port.is_empty() {
        settings.port = parse_port(port).ok_or(DatabaseUrlError::Port)?;
    }
    apply_parameters(&mut settings, query)?;
    Ok(settings)
}

/// User, password and the rest, split at the last `@` that can end them, as SQLAlchemy does:
/// so a password may hold `@`, `/` and `:` as they are.
fn split_credentials(text: &str) -> (Option<&str>, Option<&str>, &str) {
    for (at, _) in text.rmatch_indices('@') {
        let (before, after) = (&text[..at], &text[at + 1..]);
        match before.split_once(':') {
            Some((user, password)) if !user.contains('/') => return (Some(user), Some(password), after),
            None if !before.contains('/') => return (Some(before), None, after),
            _ => {}
        }
    }
    (None, None, text)
}

fn split_host(authority: &str) -> Result<(&str, &str), DatabaseUrlError> {
    if let Some(bracketed) = authority.strip_prefix('[') {
        let (host, port) = bracketed.split_once(']').ok_or(DatabaseUrlError::Host)?;
        return match port.strip_prefix(':') {
            Some(port) => Ok((host, port)),
            None if port.is_empty() => Ok((host, "")),
            None => Err(DatabaseUrlError::Host),
        };
    }
    Ok(authority.split_once(':').unwrap_or((authority, "")))
}

fn parse_host(host: &str) -> Result<Host, DatabaseUrlError> {
    match host {
        _ if host.starts_with('/') => Ok(Host::Unix(PathBuf::from(host))),
        _ if host.contains(',') => Err(DatabaseUrlError::Host),
        _ => Ok(Host::Tcp(host.to_owned())),
    }
}

fn parse_port(port: &str) -> Option<u16> {
    port.parse().ok().filter(|port| *port != 0)
}

/// Parameters win over what stands before the `?`, as with psycopg2; empty ones are passed over.
fn apply_parameters(settings: &mut PostgresSettings, query: &str) -> Result<(), DatabaseUrlError> {
    let mut mode_given = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            _ if value.is_empty() => {}
            "host" => settings.host = parse_host(&value)?,
            "port" => settings.port = parse_port(&value).ok_or(DatabaseUrlError::Port)?,
            "user" => settings.user = Some(value),
            "password" => settings.password = Some(Secret(value)),
            "dbname" => settings.database = Some(value),
            "sslmode" => {
                settings.ssl_mode = parse_ssl_mode(&value)?;
                mode_given = true;
            }
            "sslrootcert" if value == "system" => settings.root_certificates = RootCertificates::System,
            "sslrootcert" => settings.root_certificates = RootCertificates::File(value.into()),
            "sslcert" => settings.client_certificate = Some(value.into()),
            "sslkey" => settings.client_key = Some(value.into()),
            "connect_timeout" => settings.connect_timeout = parse_timeout(&value)?,
            "application_name" => settings.application_name = value,
            "options" => settings.options = Some(value),
            // Ours is always UTF-8, and GSSAPI is never tried: these ask for nothing else.
            "client_encoding" if ["utf8", "utf-8"].contains(&value.to_ascii_lowercase().as_str()) => {}
            "client_encoding" => return Err(DatabaseUrlError::Value("client_encoding", "utf8")),
            "gssencmode" if value != "require" => {}
            _ => return Err(DatabaseUrlError::Parameter(printable_name(&name))),
        }
    }
    if settings.root_certificates == RootCertificates::System {
        if mode_given && settings.ssl_mode != SslMode::VerifyFull {
            // Anyone can have a certificate from a public authority, for his own name.
            return Err(DatabaseUrlError::Value("sslmode", "verify-full with sslrootcert=system"));
        }
        settings.ssl_mode = SslMode::VerifyFull;
    }
    Ok(())
}

fn parse_ssl_mode(value: &str) -> Result<SslMode, DatabaseUrlError> {
    match value {
        "disable" => Ok(SslMode::Disable),
        "allow" => Ok(SslMode::Allow),
        "prefer" => Ok(SslMode::Prefer),
        "require" => Ok(SslMode::Require),
        "verify-ca" => Ok(SslMode::VerifyCa),
        "verify-full" => Ok(SslMode::VerifyFull),
        _ => Err(DatabaseUrlError::Value(
            "sslmode",
            "disable, allow, prefer, require, verify-ca or verify-full",
        )),
    }
}

/// Whole seconds; zero and below mean no limit, as in libpq.
fn parse_timeout(value: &str) -> Result<Option<Duration>, DatabaseUrlError> {
    match value.trim().parse::<i32>() {
        Ok(seconds) => Ok(u64::try_from(seconds).ok().filter(|s| *s > 0).map(Duration::from_secs)),
        Err(_) => Err(DatabaseUrlError::Value("connect_timeout", "whole seconds, 0 for no limit")),
    }
}

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn postgres(text: &str) -> PostgresSettings {
        match DatabaseUrl::parse(text).map(|url| url.backend) {
            Ok(Backend::Postgres(settings)) => *settings,
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn sqlite_paths_are_taken_literally() {
        for (text, path) in [
            ("sqlite:////var/lib/avalon.sqlite", "/var/lib/avalon.sqlite"),
            ("sqlite:///avalon.sqlite", "avalon.sqlite"),
            ("sqlite+pysqlite:///a/b", "a/b"),
            ("sqlite:////tmp/a%20b@c:d#e.sqlite", "/tmp/a%20b@c:d#e.sqlite"),
            ("sqlite:///a?timeout=30&check_same_thread=false", "a"),
            ("sqlite:///file:a", "file:a"),
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert_eq!(url.backend(), &Backend::Sqlite(path.into()), "{text}");
        }
        assert_eq!(DatabaseUrl::parse("sqlite:////a/b").unwrap().to_string(), "sqlite:////a/b");
    }

    #[test]
    fn postgres_places_are_understood() {
        for (text, host, port, user, password, database) in [
            ("postgresql://u:p@h:99/d", "h", 99, "u", "p", "d"),
            ("postgres://h/d", "h", 5432, "", "", "d"),
            ("postgresql+psycopg2://u@h", "h", 5432, "u", "", ""),
            ("postgresql://u:p%40%2f%3A%C3%A9@h/d%20e", "h", 5432, "u", "p@/:\u{e9}", "d e"),
            ("postgresql://u:p@w/x:y?z@h/d", "h", 5432, "u", "p@w/x:y?z", "d"),
            ("postgresql://u:p@[::1]:99/d", "::1", 99, "u", "p", "d"),
            ("postgresql://[2001:db8::2]/d", "2001:db8::2", 5432, "", "", "d"),
            ("postgresql:///d?host=h&port=99&user=u&password=p", "h", 99, "u", "p", "d"),
            ("postgresql://h?dbname=d", "h", 5432, "", "", "d"),
            ("postgresql://u:p@h/d?host=other", "other", 5432, "u", "p", "d"),
        ] {
            let settings = postgres(text);
            assert_eq!(settings.host, Host::Tcp(host.into()), "{text}");
            assert_eq!(settings.port, port, "{text}");
            assert_eq!(settings.user.as_deref().unwrap_or(""), user, "{text}");
            assert_eq!(settings.password.as_ref().map_or("", Secret::reveal), password, "{text}");
            assert_eq!(settings.database.as_deref().unwrap_or(""), database, "{text}");
        }
    }

    #[test]
    fn postgres_sockets_are_folders() {
        for (text, folder) in [
            ("postgresql:///d", "/var/run/postgresql"),
            ("postgresql://", "/var/run/postgresql"),
            ("postgresql://u:p@%2Frun%2Fpg:99/d", "/run/pg"),
            ("postgresql://u@/d?host=/run/pg", "/run/pg"),
        ] {
            assert_eq!(postgres(text).host, Host::Unix(folder.into()), "{text}");
        }
    }

    #[test]
    fn postgres_parameters_are_understood() {
        let settings = postgres(
            "postgresql://h/d?sslmode=verify-full&sslrootcert=/ca.pem&sslcert=c.pem&sslkey=k.pem\
             &connect_timeout=3&application_name=a+b&options=-c%20search_path%3Dmusic\
             &client_encoding=UTF8&gssencmode=disable",
        );
        assert_eq!(settings.ssl_mode, SslMode::VerifyFull);
        assert_eq!(settings.root_certificates, RootCertificates::File("/ca.pem".into()));
        assert_eq!(settings.client_certificate, Some("c.pem".into()));
        assert_eq!(settings.client_key, Some("k.pem".into()));
        assert_eq!(settings.connect_timeout, Some(Duration::from_secs(3)));
        assert_eq!(settings.application_name, "a b");
        assert_eq!(settings.options.as_deref(), Some("-c search_path=music"));

        let defaults = postgres("postgresql://h/d");
        assert_eq!(defaults.ssl_mode, SslMode::Prefer);
        assert_eq!(defaults.root_certificates, RootCertificates::Default);
        assert_eq!(defaults.connect_timeout, Some(Duration::from_secs(10)));

        assert_eq!(postgres("postgresql://h/d?connect_timeout=0").connect_timeout, None);
        assert_eq!(postgres("postgresql://h/d?sslrootcert=system").ssl_mode, SslMode::VerifyFull);
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        for (text, expected) in [
            ("", "there is no `://` after"),
            ("/var/lib/avalon.sqlite", "there is no `://` after"),
            ("mysql://u:p@h/d", "dialect `mysql` is not supported; supported are sqlite:////"),
            ("mysql+pymysql://u:p@h/d", "dialect `mysql+pymysql`"),
            ("oracle://u:p@h/d", "dialect `oracle`"),
            ("mssql+pyodbc://dsn", "dialect `mssql+pyodbc`"),
            ("firebird://u@h/d", "dialect `firebird`"),
            ("sybase://u@h/d", "dialect `sybase`"),
            ("postgresq://u@h/d", "dialect `postgresq`"),
            ("u:hidden@h/x://", "dialect `...`"),
            ("postgresql+x:/://u@", "there is no `://` after"),
            ("sqlite+pysqlcipher://:p@/x", "encrypted"),
            ("sqlite://", "in memory"),
            ("sqlite:///", "in memory"),
            ("sqlite:///:memory:", "in memory"),
            ("sqlite://var/lib/x", "three slashes"),
            ("sqlite:///file:x?mode=memory&uri=true", "unknown parameter `mode`"),
            ("postgresql://h:port/d", "from 1 to 65535"),
            ("postgresql://h:0/d", "from 1 to 65535"),
            ("postgresql://h:65536/d", "from 1 to 65535"),
            ("postgresql://[::1/d", "one address"),
            ("postgresql://[::1]x/d", "one address"),
            ("postgresql://h1,h2/d", "one name"),
            ("postgresql://a/u:p@h/d", "percent-encode it"),
            ("postgresql://a/u:p?@h/d", "percent-encode it"),
            ("postgresql://h/d?sslmod=require", "unknown parameter `sslmod`"),
            ("postgresql://h/d?gssencmode=require", "unknown parameter `gssencmode`"),
            ("postgresql://h/d?sslmode=on", "`sslmode` of the database URL must be disable, allow"),
            ("postgresql://h/d?sslmode=require&sslrootcert=system", "verify-full with sslrootcert"),
            ("postgresql://h/d?connect_timeout=soon", "whole seconds"),
            ("postgresql://h/d?client_encoding=latin1", "must be utf8"),
        ] {
            let error = DatabaseUrl::parse(text).unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn display_hides_the_password() {
        for (text, shown) in [
            ("postgresql://u:hidden@h/d", "postgresql://u:***@h:5432/d"),
            ("postgresql://u@[::1]:99/d?password=hidden", "postgresql://u:***@[::1]:99/d"),
            ("postgresql://:hidden@%2Frun/d", "postgresql:///run:5432/d"),
        ] {
            let url = DatabaseUrl::parse(text).unwrap();
            assert_eq!(url.to_string(), shown);
            assert!(!format!("{url:?} {:?}", url.backend()).contains("hidden"));
        }
    }

    /// Everything a program could print about the outcome of a parse.
    fn said(text: &str) -> String {
        match DatabaseUrl::parse(text) {
            Ok(url) => format!("{url} {url:?} {:?}", url.backend()),
            Err(error) => format!("{error} {error:?}"),
        }
    }

    proptest! {
        #[test]
        fn parse_never_panics(text in "\\PC*", tail in "[-a-z0-9:/@?&=%\\[\\]+,.]{0,40}") {
            for start in ["", "sqlite://", "postgresql://", "postgresql://u:p@"] {
                said(&format!("{start}{text}"));
                said(&format!("{start}{tail}"));
            }
        }

        #[test]
        fn the_password_is_never_said(
            scheme in "(postgresql|postgres\\+x|mysql|sqlite|x y|)(://|:/|:)",
            user in "[a-z]{0,2}[a-z/@?]{0,2}",
            before in "[@/:?%]{0,2}",
            after in "[@/:?%\\[,]{0,2}",
            host in "[a-z]{0,3}(:[0-9x]{1,6})?",
            rest in "(/d)?(\\?(sslmode=x|foo=bar|connect_timeout=x|port=q))?",
        ) {
            let text = format!("{scheme}{user}:{before}SeCrEt{after}@{host}{rest}");
            // Anything may be in the path of a file, but no password.
            let is_path = text.starts_with("sqlite:///");
            prop_assert!(is_path || !said(&text).contains("SeCrEt"), "{} says {}", text, said(&text));
        }
    }
}
