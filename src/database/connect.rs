//! From settings to an open session on a PostgreSQL server: which ways to try, with which
//! password, for how long.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio_postgres::config::SslMode as Negotiation;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::{MakeTlsConnect, TlsConnect};
use tokio_postgres::{Client, Config, NoTls};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::{DatabaseError, password, tls};
use crate::config::database_url::{Host, PostgresSettings, Secret, SslMode};

const NO_TLS: &str = "the server does not offer TLS";

/// An open session; must be [closed](Session::close).
pub(super) struct Session {
    pub(super) client: Client,
    connection: JoinHandle<()>,
}

impl Session {
    /// Says goodbye, so that the server does not log a lost connection.
    pub(super) async fn close(self) {
        drop(self.client);
        // A server that does not take the goodbye is not waited for.
        let _ = tokio::time::timeout(Duration::from_secs(1), self.connection).await;
    }
}

/// How the database is named in messages, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Place<'a> {
    settings: &'a PostgresSettings,
    user: String,
    database: String,
}

impl<'a> Place<'a> {
    pub(super) fn new(settings: &'a PostgresSettings) -> Place<'a> {
        let user = settings.user.clone().unwrap_or_else(system_user);
        let database = settings.database.clone().unwrap_or_else(|| user.clone());
        Place { settings, user, database }
    }

    fn label(&self) -> String {
        let port = self.settings.port;
        let host = match &self.settings.host {
            Host::Tcp(host) if host.contains(':') => format!("[{host}]:{port}"),
            Host::Tcp(host) => format!("{host}:{port}"),
            Host::Unix(folder) => socket_path(folder, port),
        };
        format!("PostgreSQL database {} at {host}", self.database)
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Unreachable { database: self.label(), reason: reason.into() }
    }

    pub(super) fn failed(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Failed { database: self.label(), reason: reason.into() }
    }

    /// What the server or the connection said, in one line.
    pub(super) fn explain(&self, error: &tokio_postgres::Error) -> DatabaseError {
        let reason = describe(error);
        if is_outage(error) { self.unreachable(reason) } else { self.failed(reason) }
    }
}

fn system_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map_or_else(|| "postgres".to_owned(), |user| user.name)
}

fn socket_path(folder: &Path, port: u16) -> String {
    folder.join(format!(".s.PGSQL.{port}")).display().to_string()
}

/// Opens a session.
///
/// # Errors
/// Of the last way that was tried, and of the one before if that said something else.
pub(super) async fn connect(place: &Place<'_>) -> Result<Session, DatabaseError> {
    match place.settings.connect_timeout {
        None => connect_some_way(place).await,
        Some(limit) => match tokio::time::timeout(limit, connect_some_way(place)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(place.unreachable(format!("no answer within {} s", limit.as_secs()))),
        },
    }
}

/// `sslmode` as a list of ways. Over a Unix socket libpq never uses TLS.
async fn connect_some_way(place: &Place<'_>) -> Result<Session, DatabaseError> {
    use Negotiation::{Disable, Require};
    let ways: &[Negotiation] = match (&place.settings.host, place.settings.ssl_mode) {
        (Host::Unix(_), _) | (_, SslMode::Disable) => &[Disable],
        (_, SslMode::Allow) => &[Disable, Require],
        (_, SslMode::Prefer) => &[Require, Disable],
        (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Require],
    };
    let tls = match ways {
        [Disable] => None,
        _ => Some(tls::connector(place.settings).map_err(|reason| place.failed(reason))?),
    };
    let config = config(place);
    let mut failures: Vec<(Negotiation, tokio_postgres::Error)> = Vec::new();
    for way in ways {
        let mut config = config.clone();
        config.ssl_mode(*way);
        // Another way does not help when there is no way to the server at all.
        match open(place, &config, tls.as_ref()).await? {
            Ok(session) => return Ok(session),
            Err(error) => failures.push((*way, error)),
        }
    }
    let reason = join_reasons(&failures);
    let is_outage = failures.last().is_some_and(|(_, error)| is_outage(error));
    Err(if is_outage { place.unreachable(reason) } else { place.failed(reason) })
}

/// One reason where the others say the same, or say only that there is no TLS.
fn join_reasons(failures: &[(Negotiation, tokio_postgres::Error)]) -> String {
    let mut reasons: Vec<(Negotiation, String)> =
        failures.iter().map(|(way, error)| (*way, describe(error))).collect();
    reasons.dedup_by(|a, b| a.1 == b.1);
    if reasons.len() > 1 {
        reasons.retain(|(_, reason)| reason != NO_TLS);
    }
    let named = |(way, reason): &(Negotiation, String)| match way {
        Negotiation::Disable => format!("without TLS: {reason}"),
        _ => format!("with TLS: {reason}"),
    };
    match reasons.as_slice() {
        [(_, reason)] => reason.clone(),
        several => several.iter().map(named).collect::<Vec<_>>().join("; "),
    }
}

fn config(place: &Place<'_>) -> Config {
    let settings = place.settings;
    let mut config = Config::new();
    config.user(&place.user).dbname(&place.database).application_name(&settings.application_name);
    if let Some(options) = &settings.options {
        config.options(options);
    }
    let host = match &settings.host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(folder) if folder == Path::new("/var/run/postgresql") => "localhost".to_owned(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    match settings.password.as_ref().map(Secret::reveal) {
        Some(password) => config.password(password),
        None => match password::find(&host, settings.port, &place.database, &place.user) {
            Some(password) => config.password(password),
            None => &mut config,
        },
    };
    config
}

/// The outer error: there is no way to the server. The inner one: this way was not it.
async fn open(
    place: &Place<'_>,
    config: &Config,
    tls: Option<&MakeRustlsConnect>,
) -> Result<Result<Session, tokio_postgres::Error>, DatabaseError> {
    let unreachable = |error: io::Error| place.unreachable(error.to_string());
    match &place.settings.host {
        Host::Unix(folder) => {
            let stream = UnixStream::connect(socket_path(folder, place.settings.port)).await;
            Ok(start(config, stream.map_err(unreachable)?, NoTls).await)
        }
        Host::Tcp(host) => {
            let stream = open_tcp(host, place.settings.port).await.map_err(unreachable)?;
            let Some(tls) = tls else { return Ok(start(config, stream, NoTls).await) };
            let Ok(tls) = MakeTlsConnect::<TcpStream>::make_tls_connect(&mut tls.clone(), host);
            Ok(start(config, stream, tls).await)
        }
    }
}

/// Tries each address of `host`.
async fn open_tcp(host: &str, port: u16) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the host name has no address");
    for address in tokio::net::lookup_host((host, port)).await? {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                // A load waits for the server without sending anything: without these it
                // would never learn that the machine has gone. Two minutes at most.
                let keepalive = TcpKeepalive::new()
                    .with_time(Duration::from_secs(60))
                    .with_interval(Duration::from_secs(10))
                    .with_retries(6);
                SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn start<S, T>(config: &Config, stream: S, tls: T) -> Result<Session, tokio_postgres::Error>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    T: TlsConnect<S>,
    T::Stream: Send + 'static,
{
    let (client, connection) = config.connect_raw(stream, tls).await?;
    // What breaks the connection is told to the query that is under way.
    let connection = tokio::spawn(async move { drop(connection.await) });
    Ok(Session { client, connection })
}

/// Whether the server is gone, going or not yet there, rather than refusing.
fn is_outage(error: &tokio_postgres::Error) -> bool {
    if let Some(code) = error.code() {
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        return passing.contains(code) || code.code().starts_with("08");
    }
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_closed() || io.is_some_and(|io| tls_error(io).is_none())
}

/// A failed handshake reaches us wrapped in an I/O error.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn describe(error: &tokio_postgres::Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let mut text = refusal.message().to_owned();
        for more in [refusal.detail(), refusal.where_(), refusal.hint()].into_iter().flatten() {
            text = format!("{text}; {}", more.lines().collect::<Vec<_>>().join(", "));
        }
        return text;
    }
    let Some(source) = error.source() else {
        return error.to_string();
    };
    match (source.downcast_ref::<io::Error>().and_then(tls_error), source.to_string().as_str()) {
        (Some(rustls::Error::InvalidCertificate(reason)), _) => {
            format!("the server's certificate is not accepted: {}", tls::explain(reason))
        }
        (_, "server does not support TLS") => NO_TLS.to_owned(),
        (_, "password missing") => {
            "the server asks for a password, and there is none in the URL, PGPASSWORD or ~/.pgpass".to_owned()
        }
        (_, source) => format!("{error}: {source}"),
    }
}
