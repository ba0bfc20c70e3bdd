//! The configuration: `config/default.toml`, a file named by `AVALON_CONFIG`, the
//! environment and the flags, in this order, checked as a whole before anything starts.
//!
//! Nothing else in the program reads the environment for settings.

mod account;
mod arguments;
mod bind;
mod control;
mod cors;
pub mod database_url;
pub mod echo;
mod error;
pub mod flags;
mod gunicorn;
mod layers;
mod limits;
pub mod migration;
mod notation;
mod overrides;
mod printed;
mod problem;
mod proxies;
mod python;
mod raw;
mod settings;
mod snapshot_url;
mod telemetry;
pub mod trial;
mod typed;
mod world;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use account::Account;
pub use bind::{AddressError, BindAddress, preferred};
use control::control;
pub use control::control_socket;
pub use cors::AllowedOrigins;
use database_url::Backend;
pub use database_url::DatabaseUrl;
pub use error::{ArgumentsProblem, ConfigError, Origin};
use layers::Layers;
pub use limits::{Limits, MaxRequests};
use limits::{limits, max_requests};
pub use overrides::Overrides;
use printed::shown;
pub use problem::{Expected, Principal, Problem};
pub use proxies::{ForwardedHeaders, Proxies, Trusted};
pub use settings::{DEFAULT_TOML, PlainSettings};
pub use snapshot_url::{BucketPlace, Keys, SnapshotUrl, SnapshotUrlError, StorePlace, WebPlace};
pub use world::{Answers, World};

use crate::telemetry::sentry::SentrySettings;
use crate::telemetry::{AccessSettings, LogSettings};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The database that holds the collection.
    pub database_url: DatabaseUrl,
    /// Whether `DATABASE_URL` is set; otherwise it is a default.
    pub is_database_set: bool,
    /// Patterns of files and folders that a scan passes over, as `.gitignore` writes them.
    pub exclude: Vec<String>,
    /// Time between two scans of the collection by the master; `None` for never.
    pub scan_every: Option<Duration>,
    /// The format and destination of the log.
    pub log: LogSettings,
    /// The format and destination of the access log; `None` without one.
    pub access_log: Option<AccessSettings>,
    /// Name of the field that identifies requests, in lower case; `None` without ids.
    pub request_id_header: Option<String>,
    /// Prefix of all endpoints, such as `/avalon`, or `/`.
    pub request_path: String,
    /// The reporting of errors.
    pub sentry: SentrySettings,
    /// Addresses for the metrics alone; empty if they are among the other endpoints.
    pub metrics_bind: Vec<BindAddress>,
    /// Addresses to serve on, at least one.
    pub bind: Vec<BindAddress>,
    /// Number of requests after which a worker is replaced; `None` for never.
    pub max_requests: Option<MaxRequests>,
    /// The socket on which `avalonctl` reaches the master; `None` if there is no place for it, or
    /// it is turned off.
    pub control: Option<PathBuf>,
    /// Whether the configuration asks for the control socket.
    control_wanted: bool,
    /// The account that workers and the loader run as; `None` for the master's.
    pub account: Option<Account>,
    /// The store to publish snapshots to and fetch them from; `None` if servers read the database
    /// themselves.
    pub snapshot_url: Option<SnapshotUrl>,
    /// `Cache-Control` of lists; `None` without the field.
    pub cache_control: Option<String>,
    /// The origins whose pages may read answers.
    pub cors: AllowedOrigins,
    /// The proxies that are trusted to name the client, and their way to do it.
    pub proxies: Proxies,
    /// Limits of connections.
    pub limits: Limits,
    /// Sentences about likely mistakes that do not prevent the start.
    pub warnings: Vec<String>,
    /// Sentences about differences that a user of Gunicorn may not expect, and about absent features.
    pub notes: Vec<String>,
    /// Settings without further processing; they are read as fields of this configuration.
    plain: PlainSettings,
    shown: Vec<(&'static str, String)>,
}

impl Deref for Config {
    type Target = PlainSettings;

    fn deref(&self) -> &PlainSettings {
        &self.plain
    }
}

impl DerefMut for Config {
    fn deref_mut(&mut self) -> &mut PlainSettings {
        &mut self.plain
    }
}

/// Reads and checks the whole configuration.
///
/// # Errors
/// The first fault, with its place.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    load_in(overrides, &World::live())
}

/// Reads it for a process that must not wait for the rest of the machine, which `world` represents.
///
/// # Errors
/// As with [`load`].
pub fn load_in(overrides: &Overrides, world: &World<'_>) -> Result<Config, ConfigError> {
    let overrides = &arguments::under(overrides)?;
    let layers = Layers::read(overrides, world)?;
    let optional = |text: String| Some(text).filter(|text| !text.is_empty());
    let database_url = database_url(&layers, overrides)?;
    let snapshot_url = snapshot_url(&layers, overrides)?;
    let bind = bind(&layers)?;
    let account = account::account(&layers, world)?;
    let plain = PlainSettings::read(&layers)?;
    Ok(Config {
        shown: shown(&layers, &database_url, snapshot_url.as_ref()),
        database_url,
        is_database_set: !layers.is_default("DATABASE_URL"),
        exclude: exclude(&layers)?,
        scan_every: scan_every(&layers, &plain.collection)?,
        log: telemetry::log_settings(&layers)?,
        access_log: telemetry::access_log(&layers)?,
        request_id_header: layers.text("REQUEST_ID_HEADER", telemetry::header_name)?,
        request_path: layers.text("REQUEST_PATH", request_path)?,
        sentry: SentrySettings {
            dsn: optional(layers.text("SENTRY_DSN", telemetry::sentry_dsn)?),
            environment: layers.string("SENTRY_ENVIRONMENT")?,
        },
        metrics_bind: metrics_bind(&layers, &bind)?,
        bind,
        max_requests: max_requests(&layers)?,
        notes: notes(&layers, overrides, account.as_ref(), world)?,
        control: layers.text("CONTROL", |text| control(text, overrides))?,
        control_wanted: layers.string("CONTROL")? != "none",
        account,
        snapshot_url,
        cache_control: optional(layers.text("CACHE_CONTROL", cache_control)?),
        cors: cors::allowed(&layers)?,
        proxies: proxies::proxies(&layers)?,
        limits: limits(&layers)?,
        warnings: layers.warnings(),
        plain,
    })
}

impl Config {
    /// Returns the ports of IPv4 addresses to serve on, which an IPv6 address must not take.
    pub fn ipv4_ports(&self) -> Vec<u16> {
        self.bind.iter().chain(&self.metrics_bind).filter_map(BindAddress::ipv4_port).collect()
    }

    /// Returns user and group that workers and the loader run as, by name if there is one.
    pub fn account_names(&self, world: &World<'_>) -> (String, String) {
        account::names(self.account.as_ref(), world)
    }

    /// Returns the reason why `avalonctl` cannot reach the master, if it should.
    pub fn unreachable(&self) -> Option<&'static str> {
        (self.control.is_none() && self.control_wanted).then_some(control::UNREACHABLE)
    }

    /// Returns every key with its effective value, as TOML comments and lines; the database
    /// password and the Sentry key are hidden.
    pub fn print(&self) -> String {
        self.shown.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}

fn notes(
    layers: &Layers,
    overrides: &Overrides,
    account: Option<&Account>,
    world: &World<'_>,
) -> Result<Vec<String>, ConfigError> {
    let mut notes = overrides.notes.clone();
    notes.extend(layers.platform_notes());
    notes.extend(account::note(layers, account)?);
    if overrides.file.is_none() && overrides.file_below.is_none() {
        notes.extend(gunicorn::unread_file(Path::new("."), world));
    }
    Ok(notes)
}

/// Returns the URL; its default is in TMPDIR, as in Python's `tempfile.gettempdir`.
fn database_url(layers: &Layers, overrides: &Overrides) -> Result<DatabaseUrl, ConfigError> {
    if layers.is_default("DATABASE_URL")
        && let Some(folder) = overrides.variable("TMPDIR")
    {
        return Ok(DatabaseUrl::sqlite(folder.join("avalon.sqlite")));
    }
    layers.text("DATABASE_URL", |text| match DatabaseUrl::parse(text)? {
        url if matches!(url.backend(), Backend::Sqlite(path) if path.starts_with("~")) => {
            Err(Problem::TildeInUrl)
        }
        url => Ok(url),
    })
}

impl Config {
    /// Returns the source of the rows.
    pub fn source_url(&self) -> SourceUrl {
        match &self.snapshot_url {
            Some(url) => SourceUrl::Store(Box::new(url.clone())),
            None => SourceUrl::Database(self.database_url.clone()),
        }
    }
}

/// The source of the rows.
#[derive(Debug, Clone, PartialEq)]
pub enum SourceUrl {
    /// A store, with a snapshot that another server has published.
    Store(Box<SnapshotUrl>),
    /// A database.
    Database(DatabaseUrl),
}

impl std::fmt::Display for SourceUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            SourceUrl::Store(url) => url.fmt(f),
            SourceUrl::Database(url) => url.fmt(f),
        }
    }
}

impl SourceUrl {
    /// The kind of source, in the words of messages.
    pub fn noun(&self) -> &'static str {
        match self {
            SourceUrl::Store(_) => "store",
            SourceUrl::Database(_) => "database",
        }
    }
}

fn snapshot_url(layers: &Layers, overrides: &Overrides) -> Result<Option<SnapshotUrl>, ConfigError> {
    let variable = |name: &'static str| overrides.variable(name)?.into_os_string().into_string().ok();
    layers.text("SNAPSHOT_URL", |text| match text.is_empty() {
        true => Ok(None),
        false => SnapshotUrl::parse(text, variable).map(Some),
    })
}

fn exclude(layers: &Layers) -> Result<Vec<String>, ConfigError> {
    let pattern = |text: &str| {
        let checked = ignore::gitignore::GitignoreBuilder::new("/").add_line(None, text).map(|_| ());
        let pattern = || Some(text.to_owned()).filter(|text| !text.is_empty());
        checked.map(|()| pattern()).map_err(Problem::Pattern)
    };
    Ok(layers.list("EXCLUDE", pattern)?.into_iter().flatten().collect())
}

/// Refuses scans without a folder: each of them would fail.
fn scan_every(layers: &Layers, collection: &[PathBuf]) -> Result<Option<Duration>, ConfigError> {
    let every = layers.interval("SCAN_EVERY")?;
    if every.is_some() && collection.is_empty() {
        return Err(typed::wrong("SCAN_EVERY", layers.get("SCAN_EVERY"), Problem::NothingToScan));
    }
    Ok(every)
}

fn request_path(text: &str) -> Result<String, Problem> {
    let path = text.strip_prefix('/').ok_or_else(|| Problem::must("begin with \"/\"", text))?;
    if path.is_empty() {
        return Ok(text.to_owned());
    }
    if path.split('/').any(str::is_empty) {
        return Err(Problem::must("not end with \"/\" or hold \"//\"", text));
    }
    if path.contains(|c: char| c.is_control() || "?#<>".contains(c)) {
        return Err(Problem::must("not hold \"?\", \"#\", \"<\", \">\" or control characters", text));
    }
    Ok(text.to_owned())
}

fn cache_control(text: &str) -> Result<String, Problem> {
    match text.bytes().all(|byte| (b' '..=b'~').contains(&byte)) {
        true => Ok(text.trim().to_owned()),
        false => Err(Problem::must("hold printable characters of ASCII only", text)),
    }
}

fn bind(layers: &Layers) -> Result<Vec<BindAddress>, ConfigError> {
    let addresses = distinct(layers.list("BIND", str::parse::<BindAddress>)?);
    if addresses.is_empty() {
        return Err(typed::wrong("BIND", layers.get("BIND"), Problem::no(Expected::Addresses)));
    }
    Ok(addresses)
}

fn metrics_bind(layers: &Layers, bind: &[BindAddress]) -> Result<Vec<BindAddress>, ConfigError> {
    let parse = |text: &str| match text {
        "" => Ok(None),
        text => match text.parse()? {
            address if bind.contains(&address) => Err(Problem::AlsoInBind),
            address => Ok(Some(address)),
        },
    };
    Ok(distinct(layers.list("METRICS_BIND", parse)?.into_iter().flatten()))
}

fn distinct(addresses: impl IntoIterator<Item = BindAddress>) -> Vec<BindAddress> {
    let mut seen = std::collections::HashSet::new();
    addresses.into_iter().filter(|address| seen.insert(address.clone())).collect()
}

#[cfg(test)]
mod tests;
