//! The settings for a connection to a PostgreSQL server, in libpq's terms.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The settings for a connection to a PostgreSQL server; names and meanings are libpq's.
#[derive(Debug, Clone, PartialEq)]
pub struct PostgresSettings {
    /// The servers, in the order in which they are tried; at least one.
    pub servers: Vec<Server>,
    /// Whether the servers, and the addresses of each, are tried in random order.
    pub random_order: bool,
    /// `None`: the name of the user this process runs as.
    pub user: Option<String>,
    /// `None`: PGPASSWORD or the password file, if the server asks for one.
    pub password: Option<Secret>,
    /// `None`: the name of the user.
    pub database: Option<String>,
    /// Whether to encrypt, and the kind of verification.
    pub ssl_mode: SslMode,
    /// The certificates that may vouch for the server.
    pub root_certificates: RootCertificates,
    /// PEM file with the client certificate; `None`: `~/.postgresql/postgresql.crt` if it exists.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate; `None`: `~/.postgresql/postgresql.key`.
    pub client_key: Option<PathBuf>,
    /// The limit for connecting to an address, authentication included.
    pub connect_timeout: ConnectTimeout,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Command-line options for the server session, such as `-c search_path=music`.
    pub options: Option<String>,
    /// `None`: PGPASSFILE or `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// The rules for detecting a dead server.
    pub liveness: Liveness,
    /// Whether a login must be bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// The methods by which the server may authenticate the client; `None`: any.
    pub required_auth: Option<Vec<AuthMethod>>,
    /// Further settings of TLS.
    pub tls: TlsDetails,
    /// The kinds of server that the client accepts.
    pub target: Target,
    /// Names of parameters that have no effect here.
    pub passed_over: Vec<String>,
}

/// One of the servers that a URL names.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// The place where the server listens.
    pub host: Host,
    /// TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// The address to connect to; `None`: the addresses of the host.
    pub address: Option<IpAddr>,
}

/// libpq's `connect_timeout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConnectTimeout {
    /// Ten seconds if there is one address, three for each of several.
    Default,
    /// No limit.
    Never,
    /// For each address.
    Each(Duration),
}

impl ConnectTimeout {
    /// Returns the limit for an address that is the only one, or one of several; `None` waits for
    /// ever.
    pub fn limit(self, is_only_one: bool) -> Option<Duration> {
        match self {
            ConnectTimeout::Default if is_only_one => Some(Duration::from_secs(10)),
            // A silent server must leave time for the next one.
            ConnectTimeout::Default => Some(Duration::from_secs(3)),
            ConnectTimeout::Never => None,
            ConnectTimeout::Each(limit) => Some(limit),
        }
    }
}

/// The rules for detecting a dead server, over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Whether to probe a silent connection.
    pub keepalives: bool,
    /// Silence after which probing begins.
    pub idle: Duration,
    /// Time between two probes.
    pub interval: Duration,
    /// Number of unanswered probes after which the server counts as dead.
    pub count: u32,
    /// Longest time for which sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

impl Liveness {
    /// Detects a dead server within 25 seconds.
    pub const BRISK: Liveness = Liveness {
        keepalives: true,
        idle: Duration::from_secs(10),
        interval: Duration::from_secs(5),
        count: 3,
        user_timeout: Duration::from_secs(25),
    };
}

impl Default for Liveness {
    /// Detects a dead server within a minute.
    fn default() -> Liveness {
        Liveness {
            keepalives: true,
            idle: Duration::from_secs(30),
            interval: Duration::from_secs(10),
            count: 3,
            user_timeout: Duration::from_secs(60),
        }
    }
}

/// libpq's `channel_binding`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChannelBinding {
    /// Never.
    Disable,
    /// If the server offers it. The default.
    Prefer,
    /// Otherwise the login fails.
    Require,
}

/// A method by which a server authenticates the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// The password in plain text.
    Password,
    /// A hash of it.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    Scram,
    /// None; but the server may have asked for a client certificate before.
    None,
}

impl AuthMethod {
    /// All of them.
    pub const ALL: [AuthMethod; 4] =
        [AuthMethod::Password, AuthMethod::Md5, AuthMethod::Scram, AuthMethod::None];
}

/// Rare settings of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TlsDetails {
    /// Whether to begin with TLS at once, without asking.
    pub direct: bool,
    /// Whether to refuse TLS 1.2.
    pub only_version_1_3: bool,
    /// Whether to tell the server the name by which the client calls it.
    pub sni: bool,
    /// Whether to show a client certificate, if there is one.
    pub client_certificate: bool,
}

impl Default for TlsDetails {
    fn default() -> TlsDetails {
        TlsDetails { direct: false, only_version_1_3: false, sni: true, client_certificate: true }
    }
}

/// libpq's `target_session_attrs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// Any server.
    Any,
    /// A session that may write by default.
    ReadWrite,
    /// A session that may not.
    ReadOnly,
    /// No standby.
    Primary,
    /// A standby.
    Standby,
    /// A standby, or any server if none of them is one.
    PreferStandby,
}

/// The place where a PostgreSQL server listens.
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
    /// TLS. Verified like `VerifyCa` if there is a root certificate file, else not verified.
    Require,
    /// TLS, and a trusted root must vouch for the server's certificate.
    VerifyCa,
    /// Like `VerifyCa`, and the certificate must be for this host.
    VerifyFull,
}

/// libpq's `sslrootcert`.
#[derive(Debug, Clone, PartialEq)]
pub enum RootCertificates {
    /// `~/.postgresql/root.crt`, if it exists.
    Default,
    /// A PEM file.
    File(PathBuf),
    /// The certificates that the machine trusts; only together with `VerifyFull`.
    System,
}

/// A text that `Debug` does not show.
#[derive(Clone, PartialEq)]
pub struct Secret(pub(super) String);

impl Secret {
    /// Wraps a text.
    pub(in crate::config) fn new(text: String) -> Secret {
        Secret(text)
    }

    /// Returns the text itself, for the one place that sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for PostgresSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("postgresql://")?;
        if let Some(user) = &self.user {
            let password = if self.password.is_some() { ":***" } else { "" };
            write!(f, "{user}{password}@")?;
        }
        for (index, server) in self.servers.iter().enumerate() {
            write!(f, "{}{server}", if index == 0 { "" } else { "," })?;
        }
        write!(f, "/{}", self.database.as_deref().unwrap_or(""))
    }
}

/// Host and port, as in a URL.
impl fmt::Display for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Tcp(host) if host.contains(':') => write!(f, "[{host}]:{}", self.port),
            Host::Tcp(host) => write!(f, "{host}:{}", self.port),
            Host::Unix(folder) => write!(f, "{}:{}", folder.display(), self.port),
        }
    }
}
