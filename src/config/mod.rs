//! The configuration: `config/default.toml`, a file named by `AVALON_CONFIG`, the
//! environment and the flags, in this order, checked as a whole before anything starts.
//!
//! Nothing else in the program reads the environment for settings.

mod account;
mod bind;
pub mod database_url;
mod error;
pub mod flags;
mod layers;
mod proxies;
mod telemetry;
mod typed;

use std::hash::{BuildHasher, RandomState};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub use account::Account;
pub use bind::BindAddress;
pub use database_url::DatabaseUrl;
pub use error::{ConfigError, Origin};
use layers::{KEYS, Layers, PREFIX, Raw};
use nix::unistd::Uid;
pub use proxies::{ForwardedHeaders, Proxies, Trusted};

use crate::telemetry::sentry::SentrySettings;
use crate::telemetry::{AccessSettings, LogSettings};

/// The defaults with their documentation, as `avalon-echo-config` prints them.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// What the command line says: flags, `-e` variables and `-c`.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    file: Option<PathBuf>,
    variables: Vec<(String, String)>,
    flags: Vec<(&'static str, Raw, String)>,
}

impl Overrides {
    /// Sets `key` by the flag called `--` and its name in lower case with hyphens.
    pub fn set(&mut self, key: &'static str, value: String) {
        let flag = format!("--{}", key.to_ascii_lowercase().replace('_', "-"));
        self.set_by(key, Raw::Untyped(value), flag);
    }

    /// Reads this file instead of the one that `AVALON_CONFIG` names.
    pub fn set_file(&mut self, path: PathBuf) {
        self.file = Some(path);
    }

    /// Lays a variable over the environment, as Gunicorn's `-e` does.
    pub fn set_variable(&mut self, name: String, value: String) {
        self.variables.push((name, value));
    }

    /// A path in the environment, `-e` included; `None` if it is empty.
    fn variable(&self, name: &str) -> Option<PathBuf> {
        let given = self.variables.iter().rev().find(|(other, _)| other == name);
        let value = given.map(|(_, value)| value.into()).or_else(|| std::env::var_os(name));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    fn set_by(&mut self, key: &'static str, value: Raw, flag: String) {
        self.flags.push((key, value, flag));
    }
}

/// Limits of one connection and its requests.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// How long an idle connection is kept; zero closes after each answer.
    pub keepalive: Duration,
    /// How long the head of a request may take.
    pub header_timeout: Duration,
    /// How long a client may read nothing while an answer waits.
    pub write_timeout: Duration,
    /// Connections of one worker at the same time.
    pub connections: usize,
    /// Bytes of a request line.
    pub request_line: usize,
    /// Number of header fields.
    pub request_fields: usize,
    /// Bytes of one header field.
    pub request_field_size: usize,
    /// Bytes of a whole head.
    pub request_head: usize,
}

/// After how many requests a worker is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxRequests {
    least: u64,
    jitter: u64,
}

impl MaxRequests {
    /// A number for one worker, so that not all are replaced at the same time.
    pub fn with_jitter(self) -> u64 {
        // A fresh hasher has random keys, which is random enough here.
        let random = RandomState::new().hash_one(std::process::id());
        self.least + random % (self.jitter + 1)
    }
}

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
    /// Where `avalonctl` reaches the master.
    pub control: Option<PathBuf>,
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
    /// Who may see `status` and `metrics`.
    pub status_allow: Vec<IpAddr>,
    /// Who may tell whom they ask for, and how.
    pub proxies: Proxies,
    /// Limits of connections.
    pub limits: Limits,
    /// Sentences about what looks like a mistake but stops nothing.
    pub warnings: Vec<String>,
    shown: Vec<(&'static str, String)>,
}

/// Reads and checks the whole configuration.
///
/// # Errors
/// The first thing that is wrong, with where it stands.
pub fn load(overrides: &Overrides) -> Result<Config, ConfigError> {
    let layers = Layers::read(overrides)?;
    let optional = |text: String| Some(text).filter(|text| !text.is_empty());
    let database_url = database_url(&layers, overrides)?;
    let bind = bind(&layers)?;
    Ok(Config {
        shown: shown(&layers, &database_url),
        database_url,
        collection: collection(&layers)?,
        exclude: exclude(&layers)?,
        file_timeout: layers.seconds("FILE_TIMEOUT", 1..=86_400)?,
        poll: layers.seconds("POLL", 1..=86_400)?,
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
        statsd_port: port(layers.integer("STATSD_PORT", 1..=65535)?),
        statsd_prefix: layers.string("STATSD_PREFIX")?,
        metrics: layers.truth("METRICS")?,
        metrics_bind: metrics_bind(&layers, &bind)?,
        bind,
        backlog: layers.integer("BACKLOG", 1..=65535)? as i32,
        reuse_port: layers.truth("REUSE_PORT")?,
        workers: layers.integer("WORKERS", 1..=256)? as usize,
        timeout: Some(layers.seconds("TIMEOUT", 0..=86_400)?).filter(|timeout| !timeout.is_zero()),
        graceful_timeout: layers.seconds("GRACEFUL_TIMEOUT", 1..=86_400)?,
        boot_timeout: layers.seconds("BOOT_TIMEOUT", 1..=3_600)?,
        load_timeout: layers.seconds("LOAD_TIMEOUT", 1..=86_400)?,
        failures_max: layers.integer("MAX_FAILURES", 0..=1000)? as usize,
        failure_window: layers.seconds("FAILURE_WINDOW", 1..=86_400)?,
        max_requests: max_requests(&layers)?,
        max_rss: Some(layers.bytes("MAX_RSS")?).filter(|bytes| *bytes > 0),
        control: control(&layers.string("CONTROL")?, overrides),
        account: account::account(&layers)?,
        sandbox: layers.truth("SANDBOX")?,
        umask: layers.mode("UMASK")?,
        pidfile: layers.path("PIDFILE")?,
        snapshot_dir: layers.path("SNAPSHOT_DIR")?,
        snapshot_path: layers.path("SNAPSHOT_PATH")?,
        compress_from: Some(layers.bytes("COMPRESS_FROM")?).filter(|bytes| *bytes > 0),
        status_allow: status_allow(&layers)?,
        proxies: proxies::proxies(&layers)?,
        limits: limits(&layers)?,
        warnings: layers.unknown_variables.iter().map(unknown_variable).collect(),
    })
}

impl Config {
    /// Every key with the value that counts, as TOML comments and lines; the database
    /// password and the Sentry key are hidden.
    pub fn print(&self) -> String {
        self.shown.iter().map(|(key, value)| format!("{key} = {value}\n")).collect()
    }
}

fn shown(layers: &Layers, database_url: &DatabaseUrl) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let value = |key: &'static str| match (&layers.get(key).value, key) {
        (_, "DATABASE_URL") => quoted(&database_url.to_string()),
        (Raw::Text(text) | Raw::Untyped(text), "SENTRY_DSN") if !text.is_empty() => quoted("(hidden)"),
        (Raw::Integer(number), "UMASK") => format!("0o{number:03o}"),
        (Raw::Integer(number), _) => number.to_string(),
        (Raw::Boolean(truth), _) => truth.to_string(),
        (Raw::List(items), _) => toml::Value::from(items.clone()).to_string(),
        (Raw::Text(text), _) => quoted(text),
        (Raw::Untyped(text), "UMASK") => format!("0o{}", text.trim_start_matches("0o")),
        (Raw::Untyped(text), _) => match layers.default(key) {
            Raw::Boolean(_) => text.trim().to_ascii_lowercase(),
            Raw::List(_) => {
                let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
                toml::Value::from(items).to_string()
            }
            _ => text.trim().parse::<i64>().map_or_else(|_| quoted(text), |number| number.to_string()),
        },
        (Raw::Other(name), _) => (*name).to_owned(),
    };
    KEYS.iter().map(|key| (*key, value(key))).collect()
}

fn unknown_variable((name, nearest): &(String, Option<&'static str>)) -> String {
    match nearest {
        Some(key) => format!("environment variable {name} is no setting; did you mean {PREFIX}{key}?"),
        None => format!("environment variable {name} is no setting"),
    }
}

/// The URL; its default lies in TMPDIR, as Python's `tempfile.gettempdir` has it.
fn database_url(layers: &Layers, overrides: &Overrides) -> Result<DatabaseUrl, ConfigError> {
    if layers.get("DATABASE_URL").origin == Origin::Default
        && let Some(folder) = overrides.variable("TMPDIR")
    {
        return Ok(DatabaseUrl::sqlite(folder.join("avalon.sqlite")));
    }
    layers.text("DATABASE_URL", DatabaseUrl::parse)
}

fn collection(layers: &Layers) -> Result<Vec<PathBuf>, ConfigError> {
    let folder = |text: &str| Ok(Some(PathBuf::from(text)).filter(|_| !text.is_empty()));
    Ok(layers.list("COLLECTION", folder)?.into_iter().flatten().collect())
}

fn exclude(layers: &Layers) -> Result<Vec<String>, ConfigError> {
    let pattern = |text: &str| {
        let checked = ignore::gitignore::GitignoreBuilder::new("/").add_line(None, text).map(|_| ());
        let pattern = || Some(text.to_owned()).filter(|text| !text.is_empty());
        checked.map(|()| pattern()).map_err(|error| format!("expected a pattern as in .gitignore: {error}"))
    };
    Ok(layers.list("EXCLUDE", pattern)?.into_iter().flatten().collect())
}

fn request_path(text: &str) -> Result<String, String> {
    let path = text.strip_prefix('/').ok_or_else(|| format!("must begin with \"/\", got {text:?}"))?;
    if path.is_empty() {
        return Ok(text.to_owned());
    }
    if path.split('/').any(str::is_empty) {
        return Err(format!("must not end with \"/\" or hold \"//\", got {text:?}"));
    }
    if path.contains(|c: char| c.is_control() || "?#<>".contains(c)) {
        return Err(format!("must not hold \"?\", \"#\", \"<\", \">\" or control characters, got {text:?}"));
    }
    Ok(text.to_owned())
}

fn bind(layers: &Layers) -> Result<Vec<BindAddress>, ConfigError> {
    let addresses = distinct(layers.list("BIND", str::parse)?);
    if addresses.is_empty() {
        let problem = "expected at least one address".to_owned();
        return Err(typed::wrong("BIND", layers.get("BIND"), problem));
    }
    Ok(addresses)
}

fn metrics_bind(layers: &Layers, bind: &[BindAddress]) -> Result<Vec<BindAddress>, ConfigError> {
    let parse = |text: &str| match text {
        "" => Ok(None),
        text => match text.parse() {
            Ok(address) if bind.contains(&address) => Err("is an address of BIND".to_owned()),
            parsed => parsed.map(Some),
        },
    };
    Ok(distinct(layers.list("METRICS_BIND", parse)?.into_iter().flatten()))
}

fn distinct(addresses: impl IntoIterator<Item = BindAddress>) -> Vec<BindAddress> {
    let mut seen = std::collections::HashSet::new();
    addresses.into_iter().filter(|address| seen.insert(address.clone())).collect()
}

fn max_requests(layers: &Layers) -> Result<Option<MaxRequests>, ConfigError> {
    let least = layers.integer("MAX_REQUESTS", 0..=1_000_000_000)?.unsigned_abs();
    let jitter = layers.integer("MAX_REQUESTS_JITTER", 0..=1_000_000_000)?.unsigned_abs();
    Ok((least > 0).then_some(MaxRequests { least, jitter }))
}

/// The control socket: as it is set, or where systemd or the session keeps such things.
fn control(setting: &str, overrides: &Overrides) -> Option<PathBuf> {
    let folder = |name: &str| overrides.variable(name);
    match setting {
        "none" => None,
        // systemd may name several folders; the first is ours.
        "" => folder("RUNTIME_DIRECTORY")
            .and_then(|folders| {
                folders.to_str()?.split(':').next().map(|first| Path::new(first).join("control"))
            })
            // Root looks where the service is, not in its own session.
            .or_else(|| Uid::effective().is_root().then(|| PathBuf::from("/run/avalon/control")))
            .or_else(|| folder("XDG_RUNTIME_DIR").map(|folder| folder.join("avalon/control"))),
        path => Some(path.into()),
    }
}

/// Where a master of this configuration listens for `avalonctl`, also if the rest of the
/// configuration is wrong.
pub fn control_socket(overrides: &Overrides) -> Option<PathBuf> {
    match Layers::read(overrides).and_then(|layers| layers.string("CONTROL")) {
        Ok(setting) => control(&setting, overrides),
        Err(_) => {
            let setting = overrides.variable("AVALON_CONTROL").unwrap_or_default();
            control(&setting.to_string_lossy(), overrides)
        }
    }
}

fn status_allow(layers: &Layers) -> Result<Vec<IpAddr>, ConfigError> {
    let parse = |text: &str| match text {
        "" => Ok(None),
        text => text.parse().map(Some).map_err(|_| "expected an IP address".to_owned()),
    };
    Ok(layers.list("STATUS_ALLOW", parse)?.into_iter().flatten().collect())
}

fn limits(layers: &Layers) -> Result<Limits, ConfigError> {
    let count = |key, range| layers.integer(key, range).map(|number| number as usize);
    Ok(Limits {
        keepalive: layers.seconds("KEEPALIVE", 0..=3_600)?,
        header_timeout: layers.seconds("HEADER_TIMEOUT", 1..=3_600)?,
        write_timeout: layers.seconds("WRITE_TIMEOUT", 1..=3_600)?,
        connections: count("WORKER_CONNECTIONS", 1..=1_000_000)?,
        request_line: count("LIMIT_REQUEST_LINE", 64..=65_534)?,
        request_fields: count("LIMIT_REQUEST_FIELDS", 1..=1_000)?,
        request_field_size: count("LIMIT_REQUEST_FIELD_SIZE", 64..=65_536)?,
        request_head: count("LIMIT_REQUEST_HEAD", 8_192..=1_048_576)?,
    })
}

/// `number` was checked to be a port.
fn port(number: i64) -> u16 {
    u16::try_from(number).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
