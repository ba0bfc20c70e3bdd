//! The configuration: `config/default.toml`, a file named by `AVALON_CONFIG`, the
//! environment and the flags, in this order, checked as a whole before anything starts.
//!
//! Nothing else in the program reads the environment for settings.

mod account;
mod arguments;
mod bind;
mod control;
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
mod telemetry;
pub mod trial;
mod typed;
mod world;

use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use account::Account;
pub use bind::{AddressError, BindAddress, preferred};
use control::control;
pub use control::control_socket;
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
pub use settings::DEFAULT_TOML;
pub use world::{Answers, World};

use crate::telemetry::sentry::SentrySettings;
use crate::telemetry::{AccessSettings, LogSettings};

/// A checked configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where the collection is kept.
    pub database_url: DatabaseUrl,
    /// Folders of music that are scanned when no others are named.
    pub collection: Vec<PathBuf>,
    /// Patterns of files and folders that a scan passes over, as `.gitignore` writes them.
    pub exclude: Vec<String>,
    /// How long a file may give no answer before it counts as unreachable.
    pub file_timeout: Duration,
    /// Time between two looks of a watch at folders of which the kernel tells nothing.
    pub poll: Duration,
    /// How often the master has these folders scanned; `None` for never.
    pub scan_every: Option<Duration>,
    /// How log lines look and where they go.
    pub log: LogSettings,
    /// How requests are logged; `None` if they are not.
    pub access_log: Option<AccessSettings>,
    /// Name of the field that identifies requests, in lower case; `None` if they are not.
    pub request_id_header: Option<String>,
    /// Whether answers tell how long their making took.
    pub debug_headers: bool,
    /// Prefix of all endpoints, such as `/avalon`, or `/`.
    pub request_path: String,
    /// Where errors are reported.
    pub sentry: SentrySettings,
    /// Host of the statsd server; empty for none.
    pub statsd_host: String,
    /// Port of the statsd server.
    pub statsd_port: u16,
    /// Prefix of all metrics.
    pub statsd_prefix: String,
    /// Whether there are metrics for Prometheus.
    pub metrics: bool,
    /// Addresses for them alone; none: they stand beside the other endpoints.
    pub metrics_bind: Vec<BindAddress>,
    /// Addresses to serve on, at least one.
    pub bind: Vec<BindAddress>,
    /// Length of each accept queue.
    pub backlog: i32,
    /// Whether other processes of the same user may listen on our TCP addresses too.
    pub reuse_port: bool,
    /// Number of workers.
    pub workers: usize,
    /// Silence after which a worker is killed; `None` for never.
    pub timeout: Option<Duration>,
    /// How long requests may go on in a worker that is to end.
    pub graceful_timeout: Duration,
    /// How long a worker may take to begin to accept.
    pub boot_timeout: Duration,
    /// How long the loader may take.
    pub load_timeout: Duration,
    /// How often workers may die young before the master ends; 0 for any number of times.
    pub failures_max: usize,
    /// How long such a death counts.
    pub failure_window: Duration,
    /// After how many requests a worker is replaced; `None` for never.
    pub max_requests: Option<MaxRequests>,
    /// Bytes of memory of its own with which a worker is replaced; `None` for any.
    pub max_rss: Option<u64>,
    /// Where `avalonctl` reaches the master; `None` if there is no place for it, or if none is wanted.
    pub control: Option<PathBuf>,
    /// Whether `avalonctl` is to reach the master.
    control_wanted: bool,
    /// Whom to become in workers and loader.
    pub account: Option<Account>,
    /// Whether workers are confined to what they need.
    pub sandbox: bool,
    /// Mode bits to remove from new files.
    pub umask: u32,
    /// Where the master's pid is kept.
    pub pidfile: Option<PathBuf>,
    /// Folder of the snapshot; `None` for memory.
    pub snapshot_dir: Option<PathBuf>,
    /// File of the last good snapshot; `None` if none is kept.
    pub snapshot_path: Option<PathBuf>,
    /// Bytes from which on answers are compressed; `None` for never.
    pub compress_from: Option<u64>,
    /// What caches are told of lists; `None` for nothing.
    pub cache_control: Option<String>,
    /// Who may see `status` and `metrics`.
    pub status_allow: Vec<IpAddr>,
    /// Who may tell whom they ask for, and how.
    pub proxies: Proxies,
    /// Limits of connections.
    pub limits: Limits,
    /// Sentences about what looks like a mistake but stops nothing.
    pub warnings: Vec<String>,
    /// Sentences about what a user of Gunicorn may not expect, and about what there is not.
    pub notes: Vec<String>,
    shown: Vec<(&'static str, String)>,
}

/// Reads and checks the whole configuration.
///
/// # Errors
/// The first thing that is wrong, with where it stands.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    load_in(overrides, &World::live())
}

/// The same for a process that must not wait for the rest of the machine, which `world` stands for.
///
/// # Errors
/// As with [`load`].
pub fn load_in(overrides: &Overrides, world: &World<'_>) -> Result<Config, ConfigError> {
    let overrides = &arguments::under(overrides)?;
    let layers = Layers::read(overrides, world)?;
    let optional = |text: String| Some(text).filter(|text| !text.is_empty());
    let database_url = database_url(&layers, overrides)?;
    let bind = bind(&layers)?;
    let account = account::account(&layers, world)?;
    Ok(Config {
        shown: shown(&layers, &database_url),
        database_url,
        collection: collection(&layers)?,
        exclude: exclude(&layers)?,
        file_timeout: layers.seconds("FILE_TIMEOUT")?,
        poll: layers.seconds("POLL")?,
        scan_every: scan_every(&layers)?,
        log: telemetry::log_settings(&layers)?,
        access_log: telemetry::access_log(&layers)?,
        request_id_header: layers.text("REQUEST_ID_HEADER", telemetry::header_name)?,
        debug_headers: layers.truth("DEBUG_HEADERS")?,
        request_path: layers.text("REQUEST_PATH", request_path)?,
        sentry: SentrySettings {
            dsn: optional(layers.text("SENTRY_DSN", telemetry::sentry_dsn)?),
            environment: layers.string("SENTRY_ENVIRONMENT")?,
        },
        statsd_host: layers.string("STATSD_HOST")?,
        statsd_port: port(layers.integer("STATSD_PORT")?),
        statsd_prefix: layers.string("STATSD_PREFIX")?,
        metrics: layers.truth("METRICS")?,
        metrics_bind: metrics_bind(&layers, &bind)?,
        bind,
        backlog: i32::try_from(layers.integer("BACKLOG")?).unwrap_or(i32::MAX),
        reuse_port: layers.truth("REUSE_PORT")?,
        workers: layers.count("WORKERS")?,
        timeout: Some(layers.seconds("TIMEOUT")?).filter(|timeout| !timeout.is_zero()),
        graceful_timeout: layers.seconds("GRACEFUL_TIMEOUT")?,
        boot_timeout: layers.seconds("BOOT_TIMEOUT")?,
        load_timeout: layers.seconds("LOAD_TIMEOUT")?,
        failures_max: layers.count("MAX_FAILURES")?,
        failure_window: layers.seconds("FAILURE_WINDOW")?,
        max_requests: max_requests(&layers)?,
        max_rss: Some(layers.bytes("MAX_RSS")?).filter(|bytes| *bytes > 0),
        notes: notes(&layers, overrides, account.as_ref(), world)?,
        control: layers.text("CONTROL", |text| control(text, overrides))?,
        control_wanted: layers.string("CONTROL")? != "none",
        account,
        sandbox: layers.truth("SANDBOX")?,
        umask: layers.mode("UMASK")?,
        pidfile: layers.path("PIDFILE")?,
        snapshot_dir: layers.path("SNAPSHOT_DIR")?,
        snapshot_path: layers.path("SNAPSHOT_PATH")?,
        compress_from: Some(layers.bytes("COMPRESS_FROM")?).filter(|bytes| *bytes > 0),
        cache_control: optional(layers.text("CACHE_CONTROL", cache_control)?),
        status_allow: status_allow(&layers)?,
        proxies: proxies::proxies(&layers)?,
        limits: limits(&layers)?,
        warnings: layers.warnings(),
    })
}

impl Config {
    /// Ports of IPv4 addresses to serve on, which an IPv6 address must not take.
    pub fn ipv4_ports(&self) -> Vec<u16> {
        self.bind.iter().chain(&self.metrics_bind).filter_map(BindAddress::ipv4_port).collect()
    }

    /// Whom workers and the loader run as, by names where there are any.
    pub fn account_names(&self, world: &World<'_>) -> (String, String) {
        account::names(self.account.as_ref(), world)
    }

    /// Why `avalonctl` cannot reach the master, if it is meant to.
    pub fn unreachable(&self) -> Option<&'static str> {
        (self.control.is_none() && self.control_wanted).then_some(control::UNREACHABLE)
    }

    /// Every key with the value that counts, as TOML comments and lines; the database
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

/// The URL; its default lies in TMPDIR, as Python's `tempfile.gettempdir` has it.
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

fn collection(layers: &Layers) -> Result<Vec<PathBuf>, ConfigError> {
    Ok(layers.list("COLLECTION", notation::path)?.into_iter().flatten().collect())
}

fn exclude(layers: &Layers) -> Result<Vec<String>, ConfigError> {
    let pattern = |text: &str| {
        let checked = ignore::gitignore::GitignoreBuilder::new("/").add_line(None, text).map(|_| ());
        let pattern = || Some(text.to_owned()).filter(|text| !text.is_empty());
        checked.map(|()| pattern()).map_err(Problem::Pattern)
    };
    Ok(layers.list("EXCLUDE", pattern)?.into_iter().flatten().collect())
}

/// Without a folder each of these scans would fail.
fn scan_every(layers: &Layers) -> Result<Option<Duration>, ConfigError> {
    let every = layers.interval("SCAN_EVERY")?;
    if every.is_some() && collection(layers)?.is_empty() {
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

fn status_allow(layers: &Layers) -> Result<Vec<IpAddr>, ConfigError> {
    let parse = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| Problem::no(Expected::IpAddress)),
    };
    Ok(layers.list("STATUS_ALLOW", parse)?.into_iter().flatten().collect())
}

/// `number` was checked to be a port.
fn port(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
