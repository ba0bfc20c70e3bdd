//! Takes apart what follows `://`, as SQLAlchemy and libpq understand it.

use std::path::PathBuf;
use std::time::Duration;

use percent_encoding::percent_decode_str;

use super::{DatabaseUrlError, Host, PostgresSettings, RootCertificates, Secret, SslMode};

/// A name to repeat in a message: only what looks like one, so that no part of a password
/// in a wrong place gets into a log.
pub(super) fn printable_name(text: &str) -> String {
    let is_name = |c: char| c.is_ascii_alphanumeric() || "_+-".contains(c);
    if text.len() <= 30 && text.chars().all(is_name) { text.to_owned() } else { "...".to_owned() }
}

/// `rest` is what follows `sqlite://`. The path is taken as it is, without
/// percent-decoding, as SQLAlchemy 1.3 does it.
pub(super) fn sqlite(driver: &str, rest: &str) -> Result<PathBuf, DatabaseUrlError> {
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
pub(super) fn postgres(rest: &str) -> Result<PostgresSettings, DatabaseUrlError> {
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
