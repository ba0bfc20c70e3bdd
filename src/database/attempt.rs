//! One attempt to open a session on one server: the ways of `sslmode` with one password.

use std::path::Path;

use ::postgres::config::{ChannelBinding as Binding, SslMode as Negotiation, SslNegotiation};
use ::postgres::error::SqlState;
use ::postgres::{Client, Config, Error, NoTls, SimpleQueryMessage};

use super::last_words::Connector;
use super::place::{self, NO_TLS, Place};
use super::{DatabaseError, password, tls};
use crate::config::database_url::{ChannelBinding, Host, Liveness, Secret, Server, SslMode, Target};

/// An expression of SQL that is true for a session that may not write.
const READ_ONLY: &str = "pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";

/// A way that failed, and the reason.
type Failure = (Negotiation, Error);

/// Everything that a connection needs.
pub(super) struct Attempt {
    config: Config,
    ways: &'static [Negotiation],
    /// `None` if no way uses TLS.
    tls: Option<Connector>,
    target: Target,
}

/// The outcome of an attempt.
pub(super) enum Outcome {
    /// The session.
    Open(Client),
    /// A session with a server of another kind than `target_session_attrs` asks for. The text says which.
    OtherKind(Client, &'static str),
    /// No session.
    Failed {
        /// The reason, in one line.
        reason: String,
        /// Whether a later attempt may succeed.
        is_outage: bool,
        /// Whether libpq would try another server: it does if it cannot connect or the server cannot accept
        /// clients yet. A server that refuses ends the search.
        may_go_on: bool,
    },
}

impl Attempt {
    /// Turns `sslmode` into a list of ways. Over a Unix socket libpq never uses TLS.
    pub(super) fn new(
        place: &Place,
        server: &Server,
        application_name: &str,
    ) -> Result<Attempt, DatabaseError> {
        use Negotiation::{Disable, Prefer, Require};
        let ways: &[Negotiation] = match (&server.host, place.settings.ssl_mode) {
            (Host::Unix(_), _) | (_, SslMode::Disable) => &[Disable],
            (_, SslMode::Allow) => &[Disable, Require],
            (_, SslMode::Prefer) => &[Prefer, Disable],
            (_, SslMode::Require | SslMode::VerifyCa | SslMode::VerifyFull) => &[Require],
        };
        let ways = match &place.settings.required_auth {
            None => ways,
            Some(_) if ways != [Disable] => &[Require],
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
        let config = config(place, server, application_name);
        Ok(Attempt { config, ways, tls, target: place.settings.target })
    }

    pub(super) fn run(self) -> Outcome {
        let target = self.target;
        match self.open() {
            Ok(client) => check_target(target, client),
            Err(failures) => {
                let last = failures.last().map(|(_, error)| error);
                Outcome::Failed {
                    reason: join_reasons(&failures),
                    is_outage: last.is_some_and(place::may_pass),
                    may_go_on: last.is_some_and(|error| {
                        place::never_got_there(error) || error.code() == Some(&SqlState::CANNOT_CONNECT_NOW)
                    }),
                }
            }
        }
    }

    fn open(mut self) -> Result<Client, Vec<Failure>> {
        let mut failures = Vec::new();
        for way in self.ways {
            self.config.ssl_mode(*way);
            let outcome = match &self.tls {
                None => self.config.connect(NoTls),
                Some(tls) => self.config.connect(tls.clone()),
            };
            let error = match outcome {
                Ok(client) => return Ok(client),
                Err(error) => error,
            };
            // If the server has no TLS, the session goes on without it in the same connection.
            let is_without =
                *way == Negotiation::Prefer && self.tls.as_ref().is_some_and(|tls| !tls.was_used());
            // If the client cannot reach the server at all, another way does not help.
            let is_last = is_without || place::never_got_there(&error);
            failures.push((if is_without { Negotiation::Disable } else { *way }, error));
            if is_last {
                break;
            }
        }
        Err(failures)
    }
}

fn check_target(target: Target, mut client: Client) -> Outcome {
    const STANDBY: &str = "pg_is_in_recovery()";
    let (question, wanted, found) = match target {
        Target::Any => return Outcome::Open(client),
        Target::ReadWrite => (READ_ONLY, false, "its sessions may not write"),
        Target::ReadOnly => (READ_ONLY, true, "its sessions may write"),
        Target::Primary => (STANDBY, false, "it is a standby"),
        Target::Standby | Target::PreferStandby => (STANDBY, true, "it is no standby"),
    };
    match ask(&mut client, question) {
        Ok(Some(answer)) if (answer == "t") == wanted => Outcome::Open(client),
        Ok(_) => Outcome::OtherKind(client, found),
        Err(error) => Outcome::Failed {
            reason: place::describe(&error),
            is_outage: place::may_pass(&error),
            may_go_on: true,
        },
    }
}

/// Joins the reasons. The result is one reason if the others are the same, or only say that there is no TLS.
fn join_reasons(failures: &[Failure]) -> String {
    let mut reasons: Vec<(Negotiation, String)> =
        failures.iter().map(|(way, error)| (*way, place::describe(error))).collect();
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

fn config(place: &Place, server: &Server, application_name: &str) -> Config {
    let settings = &place.settings;
    let mut config = Config::new();
    config.user(&place.user).dbname(&place.database).application_name(application_name);
    match &server.host {
        Host::Tcp(host) => config.host(host),
        Host::Unix(folder) => config.host_path(folder),
    };
    // A load waits for the server without sending anything, and a scan reads files for hours: without
    // keepalives they would never notice that the server's machine has gone.
    let Liveness { keepalives, idle, interval, count, user_timeout } = settings.liveness;
    config
        .port(server.port)
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
    if let Some(address) = server.address {
        config.hostaddr(address);
    }
    if let Some(options) = &settings.options {
        config.options(options);
    }
    let host = match &server.host {
        Host::Tcp(host) => host.clone(),
        Host::Unix(folder) if folder == Path::new("/var/run/postgresql") => "localhost".to_owned(),
        Host::Unix(folder) => folder.display().to_string(),
    };
    match settings.password.as_ref().map(Secret::reveal) {
        Some(password) => config.password(password),
        None => match password::find(
            settings.password_file.as_deref(),
            &host,
            server.port,
            &place.database,
            &place.user,
        ) {
            Some(password) => config.password(password),
            None => &mut config,
        },
    };
    config
}

/// The value of an expression, as text. Outside of a transaction this is safer than a prepared statement,
/// which a pooler may prepare in one session of the server and look for in another one.
///
/// # Errors
/// The server refuses the expression, or the connection breaks.
/// If it has none.
pub(super) fn ask(client: &mut Client, expression: &str) -> Result<Option<String>, Error> {
    let messages = client.simple_query(&format!("SELECT {expression}"))?;
    Ok(messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    }))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::config::DatabaseUrl;
    use crate::config::database_url::Backend;

    fn made(url: &str) -> Config {
        let url = DatabaseUrl::parse(url).unwrap();
        let Backend::Postgres(settings) = url.backend() else { panic!("{url}") };
        config(&Place::new(settings), &settings.servers[0], "x")
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
