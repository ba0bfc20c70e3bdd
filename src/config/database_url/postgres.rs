//! How to reach a PostgreSQL server, in the words of libpq.

use std::fmt;
use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

/// How to reach a PostgreSQL server; names and meanings are libpq's.
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
    /// Whether to encrypt and what to verify.
    pub ssl_mode: SslMode,
    /// The certificates that may vouch for the server.
    pub root_certificates: RootCertificates,
    /// PEM file with our own certificate; `None`: `~/.postgresql/postgresql.crt` if it exists.
    pub client_certificate: Option<PathBuf>,
    /// PEM file with the key of that certificate; `None`: `~/.postgresql/postgresql.key`.
    pub client_key: Option<PathBuf>,
    /// For all of connecting to an address, authentication included.
    pub connect_timeout: ConnectTimeout,
    /// Shown in `pg_stat_activity`.
    pub application_name: String,
    /// Command-line options for the server session, such as `-c search_path=music`.
    pub options: Option<String>,
    /// `None`: PGPASSFILE or `~/.pgpass`.
    pub password_file: Option<PathBuf>,
    /// How a server that has gone is noticed.
    pub liveness: Liveness,
    /// Whether a login must be bound to the TLS connection.
    pub channel_binding: ChannelBinding,
    /// How the server may ask for a proof; `None`: any way.
    pub required_auth: Option<Vec<AuthMethod>>,
    /// The rest about TLS.
    pub tls: TlsDetails,
    /// The kinds of server that the client accepts.
    pub target: Target,
    /// Names of parameters that change nothing here.
    pub passed_over: Vec<String>,
}

/// One of the servers that a URL names.
#[derive(Debug, Clone, PartialEq)]
pub struct Server {
    /// Where the server listens.
    pub host: Host,
    /// TCP port, or the number in the name of the Unix socket.
    pub port: u16,
    /// The address to connect to; `None`: those that a look-up of the host finds.
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
    /// The limit for an address that is the only one, or one of several; `None` waits for ever.
    pub fn limit(self, is_only_one: bool) -> Option<Duration> {
        match self {
            ConnectTimeout::Default if is_only_one => Some(Duration::from_secs(10)),
            // A server that gives no answer must leave time for the next one.
            ConnectTimeout::Default => Some(Duration::from_secs(3)),
            ConnectTimeout::Never => None,
            ConnectTimeout::Each(limit) => Some(limit),
        }
    }
}

/// How a server that has gone is noticed, over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Whether to ask when nothing comes.
    pub keepalives: bool,
    /// After this time without anything.
    pub idle: Duration,
    /// Between two questions.
    pub interval: Duration,
    /// Questions without an answer after which the server has gone.
    pub count: u32,
    /// How long sent data may stay unacknowledged.
    pub user_timeout: Duration,
}

impl Liveness {
    /// 25 seconds, either way.
    pub const BRISK: Liveness = Liveness {
        keepalives: true,
        idle: Duration::from_secs(10),
        interval: Duration::from_secs(5),
        count: 3,
        user_timeout: Duration::from_secs(25),
    };
}

impl Default for Liveness {
    /// A minute, either way.
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
    /// Where the server offers it. The default.
    Prefer,
    /// Or no login at all.
    Require,
}

/// How a server asks for a proof.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AuthMethod {
    /// The password as it is.
    Password,
    /// A hash of it.
    Md5,
    /// SCRAM-SHA-256, with or without channel binding.
    Scram,
    /// Not at all; a client certificate may have been asked for before.
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
    /// Whether to tell the server the name it was called by.
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
pub struct Secret(pub(super) String);

impl Secret {
    /// This text.
    pub(in crate::config) fn new(text: String) -> Secret {
        Secret(text)
    }

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
