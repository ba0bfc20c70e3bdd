//! From settings to an open session on a PostgreSQL server: which ways to try, with which
//! password, for how long.

use std::error::Error as _;
use std::io;
use std::path::Path;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use ::postgres::config::{ChannelBinding as Binding, SslMode as Negotiation, SslNegotiation};
use ::postgres::error::SqlState;
use ::postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::last_words::Connector;
use super::require_auth::NotAllowed;
use super::{DatabaseError, password, tls};
use crate::config::database_url::{
    ChannelBinding, Host, Liveness, PostgresSettings, Secret, SslMode, Target,
};

/// As an expression of SQL.
const READ_ONLY: &str = "pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";

const NO_TLS: &str = "the server does not offer TLS";

/// How the database is named in messages, and where it is.
#[derive(Debug, Clone)]
pub(super) struct Place {
    settings: PostgresSettings,
    user: String,
    database: String,
}

impl Place {
    pub(super) fn new(settings: &PostgresSettings) -> Place {
        let user = settings.user.clone().unwrap_or_else(system_user);
        let database = settings.database.clone().unwrap_or_else(|| user.clone());
        Place { settings: settings.clone(), user, database }
    }

    pub(super) fn label(&self) -> String {
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
    pub(super) fn explain(&self, error: &Error) -> DatabaseError {
        let reason = describe(error);
        match error.code() {
            Some(code) if is_interruption(code) => {
                DatabaseError::Interrupted { database: self.label(), reason }
            }
            _ if is_outage(error) => self.unreachable(reason),
            _ => self.failed(reason),
        }
    }
}

/// Whether the server broke off work that it may do next time: of the classes "transaction rollback" (also what a
/// standby says of a conflict with recovery), "insufficient resources", "operator intervention" and "system error",
/// and a lock that was not to be had.
fn is_interruption(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    ["40", "53", "57", "58"].contains(&class) || *code == SqlState::LOCK_NOT_AVAILABLE
}

fn system_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map_or_else(|| "postgres".to_owned(), |user| user.name)
}

fn socket_path(folder: &Path, port: u16) -> String {
    folder.join(format!(".s.PGSQL.{port}")).display().to_string()
}

/// Opens a session. Dropping it says goodbye to the server.
///
/// The client can limit how long a TCP connection takes, but not how long the server then
/// takes to greet, encrypt and authenticate. So a thread connects, and is left behind when
/// the time is over: the scan and the loader end soon, and it with them.
///
/// # Errors
/// Of the last way that was tried, and of the one before if that said something else.
pub(super) fn connect(place: &Place) -> Result<Client, DatabaseError> {
    connect_as(place, &place.settings.application_name)
}

/// The same, under another name in `pg_stat_activity`, of 63 bytes at most.
///
/// # Errors
/// As for [`connect`].
pub(super) fn connect_as(place: &Place, application_name: &str) -> Result<Client, DatabaseError> {
    let attempt = Attempt::new(place, application_name)?;
    let (sender, outcome) = mpsc::channel();
    thread::Builder::new()
        .name("connect".to_owned())
        // Nobody may be waiting any more; then the session is closed at once.
        .spawn(move || drop(sender.send(attempt.run())))
        .map_err(|error| place.unreachable(format!("no thread can be started: {error}")))?;
    let (outcome, limit) = match place.settings.connect_timeout {
        None => (outcome.recv().map_err(RecvTimeoutError::from), Duration::MAX),
        Some(limit) => (outcome.recv_timeout(limit), limit),
    };
    match outcome {
        Ok(Ok(client)) => check_target(place, client),
        Ok(Err(failures)) => Err(refusal(place, &failures)),
        Err(RecvTimeoutError::Timeout) => {
            Err(place.unreachable(format!("no answer within {} s", limit.as_secs())))
        }
        Err(RecvTimeoutError::Disconnected) => Err(place.failed("the thread that connects has panicked")),
    }
}

/// libpq tries the next host if one is of another kind; there is one.
fn check_target(place: &Place, mut client: Client) -> Result<Client, DatabaseError> {
    let (question, wanted, found) = match place.settings.target {
        Target::Any => return Ok(client),
        Target::ReadWrite => (READ_ONLY, false, "its sessions may not write"),
        Target::ReadOnly => (READ_ONLY, true, "its sessions may write"),
        Target::Primary => ("pg_is_in_recovery()", false, "it is a standby"),
        Target::Standby => ("pg_is_in_recovery()", true, "it is no standby"),
    };
    match ask(&mut client, question).map_err(|error| place.explain(&error))?.as_deref() {
        Some(answer) if (answer == "t") == wanted => Ok(client),
        _ => Err(place.unreachable(format!("the server is not what target_session_attrs asks for: {found}"))),
    }
}

/// The value of an expression, as text. Outside of a transaction this is safer than a prepared
/// statement, which a pooler may prepare in one session of the server and look for in another.
///
/// # Errors
/// If it has none.
pub(super) fn ask(client: &mut Client, expression: &str) -> Result<Option<String>, Error> {
    let messages = client.simple_query(&format!("SELECT {expression}"))?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

/// A way that failed, and why.
type Failure = (Negotiation, Error);

/// All that it takes to connect.
struct Attempt {
    config: Config,
    ways: &'static [Negotiation],
    /// Unless `ways` are without.
    tls: Option<Connector>,
}

impl Attempt {
    /// `sslmode` as a list of ways. Over a Unix socket libpq never uses TLS.
    fn new(place: &Place, application_name: &str) -> Result<Attempt, DatabaseError> {
        use Negotiation::{Disable, Require};
        let ways: &[Negotiation] = match (&place.settings.host, place.settings.ssl_mode) {
            (Host::Unix(_), _) | (_, SslMode::Disable) => &[Disable],
            (_, SslMode::Allow) => &[Disable, Require],
            (_, SslMode::Prefer) => &[Require, Disable],
            (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Require],
        };
        let ways = match &place.settings.required_auth {
            None => ways,
            Some(_) if ways.contains(&Require) => &[Require],
            Some(_) => {
                return Err(place.failed(
                    "require_auth can only be kept over TLS; use TCP with sslmode=require or stricter, or \
                     leave it out",
                ));
            }
        };
        let tls = match ways {
            [Disable] => None,
            _ => Some(tls::connector(&place.settings).map_err(|error| place.failed(error.to_string()))?),
        };
        Ok(Attempt { config: config(place, application_name), ways, tls })
    }

    fn run(mut self) -> Result<Client, Vec<Failure>> {
        let mut failures = Vec::new();
        for way in self.ways {
            self.config.ssl_mode(*way);
            let outcome = match &self.tls {
                None => self.config.connect(NoTls),
                Some(tls) => self.config.connect(tls.clone()),
            };
            match outcome {
                Ok(client) => return Ok(client),
                Err(error) => failures.push((*way, error)),
            }
            // Another way does not help when there is no way to the server at all.
            if failures.last().is_some_and(|(_, error)| never_got_there(error)) {
                break;
            }
        }
        Err(failures)
    }
}

fn refusal(place: &Place, failures: &[Failure]) -> DatabaseError {
    let reason = join_reasons(failures);
    let is_outage = failures.last().is_some_and(|(_, error)| is_outage(error));
    let code = failures.last().and_then(|(_, error)| error.code());
    match is_outage || code.is_some_and(is_interruption) {
        true => place.unreachable(reason),
        false => place.failed(reason),
    }
}

/// One reason where the others say the same, or say only that there is no TLS.
fn join_reasons(failures: &[Failure]) -> String {
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

fn config(place: &Place, application_name: &str) -> Config {
    let settings = &place.settings;
    let mut config = Config::new();
    config.user(&place.user).dbname(&place.database).application_name(application_name);
    match &settings.host {
        Host::Tcp(host) => config.host(host),
        Host::Unix(folder) => config.host_path(folder),
    };
    // A load waits for the server without sending anything, and a scan reads files for
    // hours: without these they would never learn that the machine has gone.
    let Liveness { keepalives, idle, interval, count, user_timeout } = settings.liveness;
    config
        .port(settings.port)
        .keepalives(keepalives)
        .keepalives_idle(idle)
        .keepalives_interval(interval)
        .keepalives_retries(count)
        .tcp_user_timeout(user_timeout)
        .channel_binding(match settings.channel_binding {
            ChannelBinding::Disable => Binding::Disable,
            ChannelBinding::Prefer => Binding::Prefer,
            ChannelBinding::Require => Binding::Require,
        });
    if settings.tls.direct {
        config.ssl_negotiation(SslNegotiation::Direct);
    }
    if let Some(address) = settings.address {
        config.hostaddr(address);
    }
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
        None => match password::find(
            settings.password_file.as_deref(),
            &host,
            settings.port,
            &place.database,
            &place.user,
        ) {
            Some(password) => config.password(password),
            None => &mut config,
        },
    };
    config
}

/// Whether the server is gone, going or not yet there, rather than refusing.
fn is_outage(error: &Error) -> bool {
    if let Some(code) = error.code() {
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        // A pooler answers so to parameters that it does not take.
        let refuses = *code == SqlState::PROTOCOL_VIOLATION;
        return passing.contains(code) || (code.code().starts_with("08") && !refuses);
    }
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_closed() || io.is_some_and(|io| tls_error(io).is_none() && !is_forbidden(io))
}

/// The error has no code for this, only a text.
fn never_got_there(error: &Error) -> bool {
    error.to_string() == "error connecting to server"
}

fn is_forbidden(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotAllowed>())
}

/// A failed handshake reaches us wrapped in an I/O error.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

fn describe(error: &Error) -> String {
    if let Some(refusal) = error.as_db_error() {
        let mut text = refusal.message().to_owned();
        for more in [refusal.detail(), refusal.where_(), refusal.hint()].into_iter().flatten() {
            text = format!("{text}; {}", more.lines().collect::<Vec<_>>().join(", "));
        }
        if text.starts_with("unsupported startup parameter") {
            text.push_str(
                "; a pooler stands before the server: remove the parameter from the URL, or let the pooler pass \
                 over it (ignore_startup_parameters of PgBouncer)",
            );
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
        (_, source) if never_got_there(error) => source.to_owned(),
        (_, source) => format!("{error}: {source}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::DatabaseUrl;
    use crate::config::database_url::Backend;

    fn made(url: &str) -> Config {
        let url = DatabaseUrl::parse(url).unwrap();
        let Backend::Postgres(settings) = url.backend() else { panic!("{url}") };
        config(&Place::new(settings), "x")
    }

    #[test]
    fn a_server_that_has_gone_is_noticed_within_a_minute() {
        let config = made("postgresql://h/d");
        let interval = config.get_keepalives_interval().unwrap() * config.get_keepalives_retries().unwrap();
        assert!(config.get_keepalives());
        assert!(config.get_keepalives_idle() + interval <= Duration::from_secs(60));
        assert!(*config.get_tcp_user_timeout().unwrap() <= Duration::from_secs(60));
    }

    #[test]
    fn the_url_sets_what_is_noticed_when() {
        let config = made(
            "postgresql://h/d?keepalives=0&keepalives_idle=5&keepalives_interval=2&keepalives_count=4\
             &tcp_user_timeout=7000&channel_binding=require&sslmode=require&sslnegotiation=direct",
        );
        assert!(!config.get_keepalives());
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(5));
        assert_eq!(config.get_keepalives_interval(), Some(Duration::from_secs(2)));
        assert_eq!(config.get_keepalives_retries(), Some(4));
        assert_eq!(config.get_tcp_user_timeout(), Some(&Duration::from_secs(7)));
        assert_eq!(config.get_channel_binding(), Binding::Require);
        assert_eq!(config.get_ssl_negotiation(), SslNegotiation::Direct);
    }
}
