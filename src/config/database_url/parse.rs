//! Parses the text after `://`, as SQLAlchemy and libpq understand it.

use std::path::PathBuf;

use percent_encoding::percent_decode_str;

use super::error::DatabaseUrlError;
use super::notation::printable_name;
use super::parameters;
use super::postgres::{
    ChannelBinding, ConnectTimeout, Liveness, PostgresSettings, RootCertificates, Secret, SslMode, Target,
    TlsDetails,
};
use super::servers::Lists;

/// Returns the path of a SQLite file. `rest` is the text after `sqlite://`. The path is not
/// percent-decoded, as in SQLAlchemy 1.3.
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
        // These control Python's sqlite3 module and have no effect here.
        let steers_python =
            ["cached_statements", "check_same_thread", "detect_types", "isolation_level", "timeout"];
        if !steers_python.contains(&name.as_ref()) {
            return Err(DatabaseUrlError::Parameter(printable_name(&name)));
        }
    }
    // SQLAlchemy takes the first for the name of a file; but the author of such a URL means a URI.
    if path.is_empty() || path == ":memory:" || path == "file::memory:" {
        return Err(DatabaseUrlError::InMemory);
    }
    Ok(PathBuf::from(path))
}

/// Parses the settings of a server. `rest` is the text after `postgresql://`.
pub(super) fn postgres(rest: &str) -> Result<PostgresSettings, DatabaseUrlError> {
    let (user, password, place) = split_credentials(rest);
    let authority_len = place.find(['/', '?']).unwrap_or(place.len());
    let (authority, tail) = place.split_at(authority_len);
    let (path, query) = tail.split_once('?').unwrap_or((tail, ""));
    if path.contains(['@', ':']) {
        return Err(DatabaseUrlError::DatabaseName);
    }
    let mut lists = Lists::of_authority(authority)?;
    lists.hosts = decode(&lists.hosts);
    lists.ports = decode(&lists.ports);

    let mut settings = PostgresSettings {
        servers: Vec::new(),
        random_order: false,
        user: non_empty(user.map(decode)),
        password: password.map(|password| Secret(decode(password))),
        database: non_empty(path.strip_prefix('/').map(decode)),
        ssl_mode: SslMode::Prefer,
        root_certificates: RootCertificates::Default,
        client_certificate: None,
        client_key: None,
        connect_timeout: ConnectTimeout::Default,
        application_name: "avalon".to_owned(),
        options: None,
        password_file: None,
        liveness: Liveness::default(),
        channel_binding: ChannelBinding::Prefer,
        required_auth: None,
        tls: TlsDetails::default(),
        target: Target::Any,
        passed_over: Vec::new(),
    };
    parameters::apply(&mut settings, &mut lists, query)?;
    settings.servers = lists.servers()?;
    Ok(settings)
}

/// Splits into user, password and the rest, at the last `@` that can end them, as SQLAlchemy does:
/// so a password may hold `@`, `/` and `:` unencoded.
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

fn decode(text: &str) -> String {
    percent_decode_str(text).decode_utf8_lossy().into_owned()
}

fn non_empty(text: Option<String>) -> Option<String> {
    text.filter(|text| !text.is_empty())
}
