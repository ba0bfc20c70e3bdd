//! The name of a database in messages, its place, and the meaning of its errors.

use std::error::Error as _;
use std::io;

use ::postgres::Error;
use ::postgres::error::SqlState;

use super::require_auth::NotAllowed;
use super::{DatabaseError, tls};
use crate::config::database_url::{Host, PostgresSettings, Server};

pub(super) const NO_TLS: &str = "the server does not offer TLS";

/// The name of the database in messages, and its place.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) settings: PostgresSettings,
    pub(super) user: String,
    pub(super) database: String,
}

impl Place {
    pub(super) fn new(settings: &PostgresSettings) -> Place {
        let user = settings.user.clone().unwrap_or_else(system_user);
        let database = settings.database.clone().unwrap_or_else(|| user.clone());
        Place { settings: settings.clone(), user, database }
    }

    /// The same database on one of its servers.
    pub(super) fn at(&self, server: Server) -> Place {
        let mut place = self.clone();
        place.settings.servers = vec![server];
        place
    }

    /// The name for a message: kind, name and servers.
    pub(super) fn label(&self) -> String {
        let servers: Vec<String> = self.settings.servers.iter().map(name).collect();
        format!("PostgreSQL database {} at {}", self.database, servers.join(", "))
    }

    pub(super) fn unreachable(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Unreachable { database: self.label(), reason: reason.into() }
    }

    pub(super) fn failed(&self, reason: impl Into<String>) -> DatabaseError {
        DatabaseError::Failed { database: self.label(), reason: reason.into() }
    }

    /// Describes the error of the server or the connection in one line.
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

fn system_user() -> String {
    let user = nix::unistd::User::from_uid(nix::unistd::geteuid());
    user.ok().flatten().map_or_else(|| "postgres".to_owned(), |user| user.name)
}

/// The name of a server, for a message.
pub(super) fn name(server: &Server) -> String {
    match &server.host {
        Host::Tcp(_) => server.to_string(),
        Host::Unix(folder) => folder.join(format!(".s.PGSQL.{}", server.port)).display().to_string(),
    }
}

/// Whether the same attempt to connect may succeed later.
pub(super) fn may_pass(error: &Error) -> bool {
    is_outage(error) || error.code().is_some_and(is_interruption)
}

/// Whether the server is gone, stopping or starting, rather than refusing.
fn is_outage(error: &Error) -> bool {
    if let Some(code) = error.code() {
        let passing = [
            SqlState::ADMIN_SHUTDOWN,
            SqlState::CRASH_SHUTDOWN,
            SqlState::CANNOT_CONNECT_NOW,
            SqlState::TOO_MANY_CONNECTIONS,
        ];
        // A pooler gives this answer to parameters that it does not support.
        let refuses = *code == SqlState::PROTOCOL_VIOLATION;
        return passing.contains(code) || (code.code().starts_with("08") && !refuses);
    }
    let io = error.source().and_then(|source| source.downcast_ref::<io::Error>());
    error.is_closed() || io.is_some_and(|io| tls_error(io).is_none() && !is_forbidden(io))
}

/// Whether the server has interrupted work that may succeed next time. These are the classes "transaction
/// rollback" (to which a standby's conflict with recovery belongs), "insufficient resources", "operator
/// intervention" and "system error", and a lock that was not available.
fn is_interruption(code: &SqlState) -> bool {
    let class = code.code().get(..2).unwrap_or_default();
    ["40", "53", "57", "58"].contains(&class) || *code == SqlState::LOCK_NOT_AVAILABLE
}

/// Whether the client did not reach the server. The error has no code for this, only a text.
pub(super) fn never_got_there(error: &Error) -> bool {
    error.to_string() == "error connecting to server"
}

fn is_forbidden(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<NotAllowed>())
}

/// Returns the error of a failed handshake, which is wrapped in an I/O error.
fn tls_error(error: &io::Error) -> Option<&rustls::Error> {
    error.get_ref()?.downcast_ref::<rustls::Error>()
}

pub(super) fn describe(error: &Error) -> String {
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
    let io = source.downcast_ref::<io::Error>();
    if io.is_some_and(|io| io.kind() == io::ErrorKind::UnexpectedEof && tls_error(io).is_none()) {
        return "the server closed the connection".to_owned();
    }
    match (io.and_then(tls_error), source.to_string().as_str()) {
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
