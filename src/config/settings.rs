//! The table of all settings. Flags, ranges, `--help`, the man page, the fields of
//! [`PlainSettings`] and the checks of `config/default.toml` follow from it; that file has the
//! defaults and the documentation.

use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use clap::ValueHint;

use super::error::ConfigError;

/// The defaults with their documentation, as `avalon-echo-config` prints them.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");

/// Settings under a heading of `--help`, which is a section of `config/default.toml` too.
pub(super) struct Group {
    pub(super) title: &'static str,
    pub(super) settings: &'static [Setting],
}

/// One setting. Its flag is its key in lower case with hyphens, unless Gunicorn has another name.
#[derive(Debug)]
pub(super) struct Setting {
    pub(super) key: &'static str,
    pub(super) kind: Kind,
    /// The placeholder for the value in help.
    pub(super) value: &'static str,
    /// One line, without default and range.
    pub(super) help: &'static str,
    /// Gunicorn's flag, without the hyphens in front.
    name: Option<&'static str>,
    pub(super) short: Option<char>,
    /// Other names of the flag, which help does not show.
    pub(super) aliases: &'static [&'static str],
    /// Whether `-h` shows it as well.
    pub(super) brief: bool,
}

/// The kinds of values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Any text, with words that a shell proposes.
    Text(&'static [&'static str]),
    /// The path of a file, or empty.
    File,
    /// The path of a folder, or empty.
    Folder,
    /// Texts, separated by commas outside a file.
    List,
    /// Like `List`, but the flag is repeated instead.
    Repeated,
    /// A whole number from the first to the second.
    Integer(i64, i64),
    /// A number of bytes, also with K, M or G.
    Bytes,
    /// A time in seconds, also with s, m, h or d, from the first to the second, or nothing.
    Interval(i64, i64),
    /// True or false.
    Truth,
    /// File mode bits.
    Mode,
}

impl Setting {
    const fn new(key: &'static str, kind: Kind, value: &'static str, help: &'static str) -> Self {
        Setting { key, kind, value, help, name: None, short: None, aliases: &[], brief: false }
    }

    const fn named(mut self, name: &'static str, aliases: &'static [&'static str]) -> Self {
        self.name = Some(name);
        self.aliases = aliases;
        self
    }

    const fn short(mut self, short: char) -> Self {
        self.short = Some(short);
        self
    }

    const fn brief(mut self) -> Self {
        self.brief = true;
        self
    }

    /// Returns the flag, without the hyphens in front.
    pub(super) fn flag(&self) -> String {
        self.name.map_or_else(|| self.key.to_ascii_lowercase().replace('_', "-"), str::to_owned)
    }

    /// The hint with which a shell completes the value: `Other` keeps it from offering files.
    pub(super) fn hint(&self) -> ValueHint {
        match (self.kind, self.value) {
            (Kind::File, _) => ValueHint::FilePath,
            (Kind::Folder, _) | (Kind::List, "FOLDERS") => ValueHint::DirPath,
            (Kind::Text(_), "USER") => ValueHint::Username,
            (Kind::Text(_), "HOST") => ValueHint::Hostname,
            (Kind::Text(_), "URL") => ValueHint::Url,
            (Kind::Text([]) | Kind::List | Kind::Repeated, _) => ValueHint::Other,
            (Kind::Integer(..) | Kind::Bytes | Kind::Interval(..) | Kind::Mode, _) => ValueHint::Other,
            // The shell offers only these words.
            (Kind::Text(_) | Kind::Truth, _) => ValueHint::Unknown,
        }
    }

    /// The default in the notation of a flag.
    pub(super) fn default(&self) -> String {
        let shown = |value: &toml::Value| match value {
            toml::Value::String(text) => text.clone(),
            toml::Value::Integer(bits) if self.kind == Kind::Mode => format!("0o{bits:03o}"),
            other => other.to_string(),
        };
        match DEFAULTS.get(self.key) {
            Some(toml::Value::Array(items)) => items.iter().map(shown).collect::<Vec<_>>().join(","),
            value => value.map(shown).unwrap_or_default(),
        }
    }

    /// Reports whether the default is `true`, so that a flag without a value would have no effect.
    pub(super) fn is_on(&self) -> bool {
        DEFAULTS.get(self.key).and_then(toml::Value::as_bool) == Some(true)
    }
}

/// Returns the setting of a key.
pub(super) fn find(key: &str) -> Option<&'static Setting> {
    all().find(|setting| setting.key == key)
}

/// Returns all settings, in the order of `config/default.toml`.
pub(super) fn all() -> impl Iterator<Item = &'static Setting> {
    GROUPS.iter().flat_map(|group| group.settings)
}

static DEFAULTS: LazyLock<toml::Table> = LazyLock::new(|| DEFAULT_TOML.parse().unwrap_or_default());

const fn text(key: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting::new(key, Kind::Text(&[]), value, help)
}

const fn word(key: &'static str, words: &'static [&'static str], help: &'static str) -> Setting {
    Setting::new(key, Kind::Text(words), "WORD", help)
}

const fn file(key: &'static str, help: &'static str) -> Setting {
    Setting::new(key, Kind::File, "FILE", help)
}

const fn list(key: &'static str, value: &'static str, help: &'static str) -> Setting {
    Setting::new(key, Kind::List, value, help)
}

const fn number(key: &'static str, range: (i64, i64), help: &'static str) -> Setting {
    Setting::new(key, Kind::Integer(range.0, range.1), "N", help)
}

const fn seconds(key: &'static str, range: (i64, i64), help: &'static str) -> Setting {
    Setting::new(key, Kind::Integer(range.0, range.1), "SECONDS", help)
}

const fn limit(key: &'static str, range: (i64, i64), help: &'static str) -> Setting {
    Setting::new(key, Kind::Integer(range.0, range.1), "BYTES", help)
}

const fn bytes(key: &'static str, help: &'static str) -> Setting {
    Setting::new(key, Kind::Bytes, "BYTES", help)
}

const fn truth(key: &'static str, help: &'static str) -> Setting {
    Setting::new(key, Kind::Truth, "BOOLEAN", help)
}

const LEVELS: &[&str] = &["debug", "info", "warning", "error", "critical"];
const HOUR: i64 = 3_600;
const DAY: i64 = 86_400;
const YEAR: i64 = 365 * DAY;
const MANY: i64 = 1_000_000_000;

/// The source of the table's values: the layers of the configuration, which know the table.
pub(super) trait Read<T> {
    /// Returns the checked value of `key`.
    fn read(&self, key: &'static str) -> Result<T, ConfigError>;
}

/// Makes the table, [`GROUPS`], and [`PlainSettings`] of the entries that name a field.
macro_rules! settings {
    ($($title:literal {
        $( $(_)? $( $(#[$doc:meta])* $field:ident: $type:ty )? = $setting:expr; )*
    })*) => {
        pub(super) static GROUPS: &[Group] = &[$( Group { title: $title, settings: &[$( $setting ),*] } ),*];

        /// Settings that need only their own value; their entries in the table name and type them.
        #[derive(Debug, Clone)]
        pub struct PlainSettings {
            $( $( $( $(#[$doc])* pub $field: $type, )? )* )*
        }

        impl PlainSettings {
            pub(super) fn read<L: $( $( $( Read<$type> + )? )* )*>(layers: &L) -> Result<Self, ConfigError> {
                Ok(PlainSettings { $( $( $( $field: {
                    const SETTING: Setting = $setting;
                    Read::<$type>::read(layers, SETTING.key)?
                }, )? )* )* })
            }
        }
    };
}

// A new setting needs an entry here, and its default with the documentation in `config/default.toml`. With an entry
//
//     /// The documentation of the field.
//     field: Type = kind("KEY", ..., "Help");
//
// `Config` has the field, and the type says how the value is read (`impl Read` in `typed.rs`). An entry that begins
// with `_ =` has a field in `Config` itself, which `load_in` fills, as the field needs more than the value:
//
// - several settings make one value: USER and GROUP, logs, Sentry, proxies, limits of connections, MAX_REQUESTS;
// - the setting has a notation of its own: REQUEST_PATH, CORS_ALLOW_ORIGINS, CACHE_CONTROL, EXCLUDE, BIND,
//   REQUEST_ID_HEADER;
// - the check needs other settings (SCAN_EVERY, METRICS_BIND), the command line (DATABASE_URL, CONTROL) or the
//   variables of Amazon's tools (SNAPSHOT_URL).
settings! {
    "Collection" {
        _ = text("DATABASE_URL", "URL", "Database of the collection, as SQLAlchemy writes it")
            .short('d')
            .brief();
        /// Folders of music that are scanned when the command line names no others.
        collection: Vec<PathBuf> =
            list("COLLECTION", "FOLDERS", "Folders that avalon-scan reads, separated by commas");
        _ = list("EXCLUDE", "PATTERNS", "Patterns that avalon-scan passes over, as in .gitignore, with commas");
        /// Longest time for a file to answer before it counts as unreachable.
        file_timeout: Duration =
            seconds("FILE_TIMEOUT", (1, 86_400), "Time after which a silent file counts as unreachable in a scan");
        /// Time between two checks of folders whose changes the kernel does not report.
        poll: Duration = seconds(
            "POLL",
            (1, 86_400),
            "Time between two polls by avalon-scan --watch of folders without events",
        );
        _ = Setting::new(
            "SCAN_EVERY",
            Kind::Interval(1, YEAR),
            "TIME",
            "How often the server itself scans COLLECTION, as in 30m, 1h (0: never)",
        );
        /// Whether the server reloads by itself when the rows in the database differ from the
        /// served ones.
        reload_on_change: bool =
            truth("RELOAD_ON_CHANGE", "Whether the server watches the database and reloads after a change");
        /// Time between two checks of the revision of the rows.
        watch_every: Duration =
            seconds("WATCH_EVERY", (1, HOUR), "Time between two queries for the revision of the rows");
        /// Longest random delay of such a reload.
        reload_jitter: Duration =
            seconds("RELOAD_JITTER", (0, HOUR), "Longest random delay of such a reload");
        /// Time after which rows of an older revision are served nevertheless; `None` for never.
        accept_older_after: Option<Duration> = Setting::new(
            "ACCEPT_OLDER_AFTER",
            Kind::Interval(1, YEAR),
            "TIME",
            "Time after which rows of an older revision are accepted (0: never)",
        );
        /// Time without a new publication after which rows of the database are served beside a store; `None` for never.
        publish_patience: Option<Duration> = Setting::new(
            "PUBLISH_PATIENCE",
            Kind::Interval(1, YEAR),
            "TIME",
            "Time without a publication before the database is read (0: never)",
        );
    }
    "Logging" {
        _ = text("LOG_DATE_FORMAT", "FORMAT", "Format of times in log lines, in strftime's language");
        _ = text("LOG_FORMAT", "FORMAT", "Format of log lines, in Python's language, or `json`");
        _ = Setting::new("LOG_LEVEL", Kind::Text(LEVELS), "LEVEL", "Lowest level in the log");
        _ = file("LOG_PATH", "File for log lines (`-` or empty: standard error)")
            .named("log-file", &["error-logfile", "log-path"]);
        _ = file("ACCESS_LOGFILE", "File that gets a line for each request (`-`: standard output)");
        _ = text("ACCESS_LOGFORMAT", "FORMAT", "Format of these lines: Gunicorn's atoms, or `json`");
        _ = text("REQUEST_ID_HEADER", "NAME", "Header field that identifies a request (empty: none)");
        /// Whether answers state how long the server worked on them.
        debug_headers: bool = truth("DEBUG_HEADERS", "State in Server-Timing how long lists took");
    }
    "Telemetry" {
        _ = text("SENTRY_DSN", "URL", "Sentry project that gets errors (empty: none)");
        _ = text("SENTRY_ENVIRONMENT", "NAME", "Environment under which Sentry files them");
        /// Host of the statsd server; empty for none.
        statsd_host: String =
            text("STATSD_HOST", "HOST", "Statsd server, as `host` or `host:port` (empty: none)");
        /// Port of the statsd server.
        statsd_port: u16 = number("STATSD_PORT", (1, 65_535), "Port of the statsd server");
        /// Prefix of all metrics.
        statsd_prefix: String = text("STATSD_PREFIX", "PREFIX", "Prefix of the names of its metrics");
        /// Whether there are metrics for Prometheus.
        metrics: bool = truth("METRICS", "Whether there are metrics for Prometheus");
        _ = Setting::new(
            "METRICS_BIND",
            Kind::Repeated,
            "ADDRESS",
            "Address for metrics alone; may be repeated",
        );
    }
    "Addresses" {
        _ = text("REQUEST_PATH", "PATH", "Path of all endpoints");
        /// Whether there is the page.
        page: bool = truth("PAGE", "Whether there is a page that shows the collection, at REQUEST_PATH");
        _ = Setting::new(
            "BIND",
            Kind::Repeated,
            "ADDRESS",
            "`host:port`, `[v6]:port` or `unix:/path`; may be repeated",
        )
        .short('b')
        .brief();
        /// Length of each accept queue.
        backlog: i32 = number("BACKLOG", (1, 65_535), "Connections that may wait, per address");
        /// Whether other processes of the same user may listen on the server's TCP addresses too.
        reuse_port: bool =
            truth("REUSE_PORT", "Let other servers of the same user listen on the same TCP addresses");
    }
    "API" {
        /// Most entities in a list; `None` for no limit.
        list_max: Option<usize> = number("LIST_MAX", (0, MANY), "Entities of the longest list (0: any)");
        /// Whether lists warn of parameters that they ignore.
        strict_parameters: bool =
            truth("STRICT_PARAMETERS", "Whether lists warn of parameters that they ignore");
        _ = list("CORS_ALLOW_ORIGINS", "ORIGINS", "Origins whose pages may read answers (`*`: all)");
    }
    "Processes" {
        /// Number of workers.
        workers: usize = number("WORKERS", (1, 256), "Number of worker processes").short('w').brief();
        /// Silence after which the master kills a worker; `None` for never.
        timeout: Option<Duration> =
            seconds("TIMEOUT", (0, DAY), "Silence after which a worker is replaced (0: never)").short('t');
        /// Longest time for the requests of a worker that must end.
        graceful_timeout: Duration =
            seconds("GRACEFUL_TIMEOUT", (1, DAY), "Time that requests may take when a worker ends");
        /// Longest time for a worker to begin to accept.
        boot_timeout: Duration = seconds(
            "BOOT_TIMEOUT",
            (1, HOUR),
            "Time that a new worker may take until it accepts connections",
        );
        /// Longest time for the loader.
        load_timeout: Duration = seconds("LOAD_TIMEOUT", (1, DAY), "Time that reading the database may take");
        /// Number of early deaths of workers after which the master ends; 0 for no limit.
        failures_max: usize = number(
            "MAX_FAILURES",
            (0, 1_000),
            "Workers that may die young before the server ends (0: any number)",
        );
        /// Time for which such a death counts.
        failure_window: Duration = seconds("FAILURE_WINDOW", (1, DAY), "Time for which such a death counts");
        _ = number("MAX_REQUESTS", (0, MANY), "Requests after which a worker is replaced (0: never)");
        _ = number("MAX_REQUESTS_JITTER", (0, MANY), "Largest random number that is added to it");
        /// Bytes of private memory at which a worker is replaced; `None` for no limit.
        max_rss: Option<u64> = bytes("MAX_RSS", "Private memory at which a worker is replaced (0: never)");
        _ = text("USER", "USER", "User that workers run as").short('u');
        _ = text("GROUP", "GROUP", "Group that workers run as").short('g');
        /// Whether a sandbox confines workers to the rights that they need.
        sandbox: bool = truth("SANDBOX", "Whether workers give up the rights that they do not need");
        /// Mode bits that new files do not get.
        umask: u32 =
            Setting::new("UMASK", Kind::Mode, "BITS", "Mode bits removed from Unix sockets and new files")
            .short('m');
        /// File that holds the master's pid.
        pidfile: Option<PathBuf> =
            file("PIDFILE", "File that holds the master's process id").named("pid", &["pidfile"]).short('p');
        _ = Setting::new("CONTROL", Kind::File, "PATH", "Unix socket for avalonctl (`none`: no socket)")
            .named("control", &["control-socket"]);
        /// Folder of the snapshot; `None` for memory.
        snapshot_dir: Option<PathBuf> = Setting::new(
            "SNAPSHOT_DIR",
            Kind::Folder,
            "FOLDER",
            "Folder for the snapshot (empty: in memory)",
        );
        /// File of the last good snapshot; `None` if none is kept.
        snapshot_path: Option<PathBuf> =
            file("SNAPSHOT_PATH", "File that keeps the snapshot for the next start (empty: none)");
        _ = text("SNAPSHOT_URL", "URL", "Store that snapshots are published to and fetched from (empty: none)");
        _ = text("CACHE_CONTROL", "VALUE", "Cache-Control of lists (empty: none)");
        /// Smallest answer that is compressed, in bytes; `None` for never.
        compress_from: Option<u64> =
            bytes("COMPRESS_FROM", "Size of the smallest compressed lists (0: never)");
    }
    "Connections" {
        _ = seconds("KEEPALIVE", (0, HOUR), "Time that an idle connection is kept")
            .named("keep-alive", &["keepalive"]);
        _ = seconds("HEADER_TIMEOUT", (1, HOUR), "Time that the head of a request may take");
        _ = seconds("WRITE_TIMEOUT", (1, HOUR), "Time for which a client may read nothing of an answer");
        _ = number(
            "WORKER_CONNECTIONS",
            (1, 1_000_000),
            "Connections that one worker serves at the same time",
        );
        /// Addresses whose clients may see `status` and `metrics`.
        status_allow: Vec<IpAddr> =
            list("STATUS_ALLOW", "ADDRESSES", "Clients that may see status and metrics, separated by commas");
        _ = list("FORWARDED_ALLOW_IPS", "ADDRESSES", "Proxies that are trusted to name a client");
        _ = word("FORWARDED_HEADERS", &["x-forwarded", "forwarded"], "Header fields in which they name it");
        _ = truth("PROXY_PROTOCOL", "Expect PROXY headers from the proxies of PROXY_ALLOW_IPS");
        _ = list("PROXY_ALLOW_IPS", "ADDRESSES", "Proxies that send PROXY headers, separated by commas")
            .named("proxy-allow-from", &["proxy-allow-ips"]);
        _ = limit("LIMIT_REQUEST_LINE", (64, 65_534), "Longest request line");
        _ = number("LIMIT_REQUEST_FIELDS", (1, 1_000), "Largest number of header fields");
        _ = limit("LIMIT_REQUEST_FIELD_SIZE", (64, 65_536), "Longest header field")
            .named("limit-request-field-size", &["limit-request-field_size"]);
        _ = limit("LIMIT_REQUEST_HEAD", (8_192, 1_048_576), "Longest head of a request");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Parses `config/default.toml`: titles of sections, and keys with the comment above them.
    fn documented() -> Vec<(String, Vec<(String, String)>)> {
        let mut sections: Vec<(String, Vec<(String, String)>)> = Vec::new();
        let (mut comment, mut among_keys) = (String::new(), false);
        for line in DEFAULT_TOML.lines() {
            if let Some(title) = line.strip_prefix("# ---") {
                sections.push((title.trim_start_matches('-').trim().to_owned(), Vec::new()));
                comment.clear();
            } else if let Some(words) = line.strip_prefix('#') {
                if among_keys {
                    comment.clear();
                }
                comment = format!("{comment} {}", words.trim());
            } else if let (Some((key, _)), Some(section)) = (line.split_once(" = "), sections.last_mut()) {
                section.1.push((key.to_owned(), comment.clone()));
            }
            among_keys = !line.starts_with('#');
        }
        sections
    }

    #[test]
    fn default_file_has_each_setting_in_this_order_under_its_heading() {
        let table: Vec<(String, Vec<&str>)> = GROUPS
            .iter()
            .map(|group| (group.title.to_lowercase(), group.settings.iter().map(|it| it.key).collect()))
            .collect();
        let file = documented();
        let keys = |keys: &[(String, String)]| keys.iter().map(|(key, _)| key.clone()).collect::<Vec<_>>();
        let file: Vec<(String, Vec<String>)> =
            file.iter().map(|(title, all)| (title.clone(), keys(all))).collect();
        assert_eq!(format!("{file:?}"), format!("{table:?}"));
    }

    #[test]
    fn default_file_tells_each_range() {
        for (key, comment) in documented().into_iter().flat_map(|(_, keys)| keys) {
            let setting = find(&key).unwrap();
            assert!(!comment.is_empty(), "{key} has no comment");
            if let Kind::Integer(least, most) = setting.kind {
                let told = comment.contains(&format!("{least} to {most}"))
                    || (least == 0 && comment.contains(&format!("at most {most}")));
                assert!(told, "{key}: {least} to {most} is not in {comment:?}");
            }
            if setting.kind == Kind::Truth {
                assert!(
                    comment.contains("(true or false)") || comment.contains("Whether"),
                    "{key}: {comment}"
                );
            }
        }
    }

    #[test]
    fn flags_are_distinct_and_help_is_a_line() {
        let mut seen = std::collections::HashSet::new();
        for setting in all() {
            let names = setting.aliases.iter().map(|name| (*name).to_owned()).chain([setting.flag()]);
            let names = names.chain(setting.short.map(String::from));
            names.for_each(|name| assert!(seen.insert(name.clone()), "{name}"));
            assert!(setting.help.len() <= 72 && !setting.help.ends_with('.'), "{}", setting.help);
            assert!(DEFAULTS.contains_key(setting.key));
        }
    }
}
