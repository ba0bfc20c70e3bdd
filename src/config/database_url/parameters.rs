//! The text after the `?` of a PostgreSQL URL: libpq's parameters. Each one takes effect, has no effect here
//! and is ignored, or is refused with its name in the error.

use std::time::Duration;

use super::error::DatabaseUrlError;
use super::notation::printable_name;
use super::postgres::{
    AuthMethod, ChannelBinding, ConnectTimeout, PostgresSettings, RootCertificates, Secret, SslMode, Target,
};
use super::servers::Lists;

/// This program has no GSSAPI and no compression, so these parameters have no effect.
const WITHOUT_EFFECT: [&str; 6] =
    ["gsslib", "gssdelegation", "krbsrvname", "min_protocol_version", "sslcompression", "sslkeylogfile"];

/// libpq's parameters that this program must refuse: without them it would do less than the user
/// asks for.
const UNSUPPORTED: [&str; 12] = [
    "max_protocol_version",
    "oauth_client_id",
    "oauth_issuer",
    "replication",
    "requirepeer",
    "scram_client_key",
    "scram_server_key",
    "service",
    "servicefile",
    "sslcrl",
    "sslcrldir",
    "sslpassword",
];

/// Applies the parameters. They override the text before the `?`, as in psycopg2; empty ones are
/// ignored.
pub(super) fn apply(
    settings: &mut PostgresSettings,
    lists: &mut Lists,
    query: &str,
) -> Result<(), DatabaseUrlError> {
    let mut ssl_mode = None;
    let mut fallback_name = None;
    let mut is_named = false;
    for (name, value) in form_urlencoded::parse(query.as_bytes()) {
        let value = value.into_owned();
        match name.as_ref() {
            _ if value.is_empty() => {}
            "host" => lists.hosts = value,
            "hostaddr" => lists.addresses = value,
            "port" => lists.ports = value,
            "user" => settings.user = Some(value),
            "password" => settings.password = Some(Secret(value)),
            "dbname" => settings.database = Some(value),
            "sslmode" => ssl_mode = Some(parse_ssl_mode(&value)?),
            "application_name" => {
                settings.application_name = value;
                is_named = true;
            }
            "fallback_application_name" => fallback_name = Some(value),
            "options" => settings.options = Some(value),
            "passfile" => settings.password_file = Some(value.into()),
            // The encoding is always UTF-8 and GSSAPI is never tried: these values ask for the
            // same.
            "client_encoding" if ["utf8", "utf-8"].contains(&value.to_ascii_lowercase().as_str()) => {}
            "client_encoding" => return Err(DatabaseUrlError::Value("client_encoding", "utf8")),
            "gssencmode" if value != "require" => {}
            name if apply_limits(settings, name, &value)? || apply_security(settings, name, &value)? => {}
            name if WITHOUT_EFFECT.contains(&name) => settings.passed_over.push(name.to_owned()),
            name if UNSUPPORTED.contains(&name) || name == "gssencmode" => {
                return Err(DatabaseUrlError::Unsupported(name.to_owned()));
            }
            _ => return Err(DatabaseUrlError::Parameter(printable_name(&name))),
        }
    }
    if let Some(name) = fallback_name.filter(|_| !is_named) {
        settings.application_name = name;
    }
    settle_ssl_mode(settings, ssl_mode)
}

/// Applies time limits, and the kinds of server that the client accepts.
fn apply_limits(settings: &mut PostgresSettings, name: &str, value: &str) -> Result<bool, DatabaseUrlError> {
    let liveness = &mut settings.liveness;
    match name {
        "connect_timeout" => {
            let limit = limit("connect_timeout", value, Duration::from_secs)?;
            settings.connect_timeout = limit.map_or(ConnectTimeout::Never, ConnectTimeout::Each);
        }
        "keepalives" => liveness.keepalives = flag("keepalives", value)?,
        // 0 means the default of the system for libpq, and the program's own here.
        "keepalives_idle" => {
            let idle = limit("keepalives_idle", value, Duration::from_secs)?;
            liveness.idle = idle.unwrap_or(liveness.idle);
        }
        "keepalives_interval" => {
            let interval = limit("keepalives_interval", value, Duration::from_secs)?;
            liveness.interval = interval.unwrap_or(liveness.interval);
        }
        "keepalives_count" => {
            let count = whole("keepalives_count", value, "a whole number, 0 for the default")?;
            liveness.count = if count == 0 { liveness.count } else { count };
        }
        "tcp_user_timeout" => {
            let timeout = whole("tcp_user_timeout", value, "whole milliseconds, 0 for the default")?;
            if timeout > 0 {
                liveness.user_timeout = Duration::from_millis(timeout.into());
            }
        }
        "target_session_attrs" => settings.target = parse_target(value)?,
        "load_balance_hosts" => match value {
            "disable" => settings.random_order = false,
            "random" => settings.random_order = true,
            _ => return Err(DatabaseUrlError::Value("load_balance_hosts", "disable or random")),
        },
        _ => return Ok(false),
    }
    Ok(true)
}

/// Applies certificates and authentication.
fn apply_security(
    settings: &mut PostgresSettings,
    name: &str,
    value: &str,
) -> Result<bool, DatabaseUrlError> {
    match name {
        "sslrootcert" if value == "system" => settings.root_certificates = RootCertificates::System,
        "sslrootcert" => settings.root_certificates = RootCertificates::File(value.into()),
        "sslcert" => settings.client_certificate = Some(value.into()),
        "sslkey" => settings.client_key = Some(value.into()),
        "sslcertmode" => match value {
            "allow" => {}
            "disable" => settings.tls.client_certificate = false,
            _ => return Err(DatabaseUrlError::Value("sslcertmode", "allow or disable")),
        },
        "sslsni" => settings.tls.sni = flag("sslsni", value)?,
        "sslnegotiation" => match value {
            "postgres" => settings.tls.direct = false,
            "direct" => settings.tls.direct = true,
            _ => return Err(DatabaseUrlError::Value("sslnegotiation", "postgres or direct")),
        },
        // Versions before 1.2 are never used, and 1.3 is the newest.
        "ssl_min_protocol_version" => match value {
            "TLSv1" | "TLSv1.1" | "TLSv1.2" => settings.tls.only_version_1_3 = false,
            "TLSv1.3" => settings.tls.only_version_1_3 = true,
            _ => return Err(DatabaseUrlError::Value("ssl_min_protocol_version", "TLSv1.2 or TLSv1.3")),
        },
        "ssl_max_protocol_version" if value == "TLSv1.3" => {}
        "ssl_max_protocol_version" => {
            return Err(DatabaseUrlError::Value("ssl_max_protocol_version", "TLSv1.3"));
        }
        "channel_binding" => {
            settings.channel_binding = match value {
                "disable" => ChannelBinding::Disable,
                "prefer" => ChannelBinding::Prefer,
                "require" => ChannelBinding::Require,
                _ => return Err(DatabaseUrlError::Value("channel_binding", "disable, prefer or require")),
            }
        }
        "require_auth" => settings.required_auth = Some(parse_auth_methods(value)?),
        _ => return Ok(false),
    }
    Ok(true)
}

fn settle_ssl_mode(settings: &mut PostgresSettings, given: Option<SslMode>) -> Result<(), DatabaseUrlError> {
    settings.ssl_mode = given.unwrap_or(settings.ssl_mode);
    if settings.root_certificates == RootCertificates::System {
        if given.is_some_and(|mode| mode != SslMode::VerifyFull) {
            // A public authority gives all applicants a certificate for their own name.
            return Err(DatabaseUrlError::Value("sslmode", "verify-full with sslrootcert=system"));
        }
        settings.ssl_mode = SslMode::VerifyFull;
    }
    if settings.tls.direct && settings.ssl_mode < SslMode::Require {
        return Err(DatabaseUrlError::Value("sslmode", "require or stricter with sslnegotiation=direct"));
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

fn parse_target(value: &str) -> Result<Target, DatabaseUrlError> {
    match value {
        "any" => Ok(Target::Any),
        "read-write" => Ok(Target::ReadWrite),
        "read-only" => Ok(Target::ReadOnly),
        "primary" => Ok(Target::Primary),
        "standby" => Ok(Target::Standby),
        "prefer-standby" => Ok(Target::PreferStandby),
        _ => Err(DatabaseUrlError::Value(
            "target_session_attrs",
            "any, read-write, read-only, primary, standby or prefer-standby",
        )),
    }
}

/// Returns the methods that a list allows: those it names, or all but those it names behind a `!`.
fn parse_auth_methods(value: &str) -> Result<Vec<AuthMethod>, DatabaseUrlError> {
    const EXPECTED: DatabaseUrlError = DatabaseUrlError::Value(
        "require_auth",
        "a list of password, md5, scram-sha-256, none and others of libpq, all or none of them behind a `!`",
    );
    let forbids = value.trim_start().starts_with('!');
    let mut named = Vec::new();
    for word in value.split(',').map(str::trim) {
        let method = match word.strip_prefix('!') {
            Some(method) if forbids => method,
            None if !forbids => word,
            _ => return Err(EXPECTED),
        };
        match method {
            "password" => named.push(AuthMethod::Password),
            "md5" => named.push(AuthMethod::Md5),
            "scram-sha-256" => named.push(AuthMethod::Scram),
            "none" => named.push(AuthMethod::None),
            // This program never uses these.
            "gss" | "sspi" | "oauth" => {}
            _ => return Err(EXPECTED),
        }
    }
    Ok(AuthMethod::ALL.into_iter().filter(|method| named.contains(method) != forbids).collect())
}

/// Parses whole units; zero and below mean no limit, as in libpq.
fn limit(
    name: &'static str,
    value: &str,
    unit: fn(u64) -> Duration,
) -> Result<Option<Duration>, DatabaseUrlError> {
    match value.trim().parse::<i32>() {
        Ok(number) => Ok(u64::try_from(number).ok().filter(|number| *number > 0).map(unit)),
        Err(_) => Err(DatabaseUrlError::Value(name, "whole seconds, 0 for no limit")),
    }
}

fn whole(name: &'static str, value: &str, expected: &'static str) -> Result<u32, DatabaseUrlError> {
    let number = value.trim().parse::<i32>().map_err(|_| DatabaseUrlError::Value(name, expected))?;
    Ok(number.max(0).unsigned_abs())
}

fn flag(name: &'static str, value: &str) -> Result<bool, DatabaseUrlError> {
    match value {
        "0" => Ok(false),
        "1" => Ok(true),
        _ => Err(DatabaseUrlError::Value(name, "0 or 1")),
    }
}
