//! Settings as flags, under Gunicorn's names where it has one.

use clap::Args;

use super::{Overrides, Raw};

/// The flags of `avalon-master` that stand for settings. Each is documented, with its
/// default, in `config/default.toml`.
#[derive(Debug, Args, Default)]
pub struct Flags {
    /// Configuration file [env: AVALON_CONFIG]
    #[arg(short, long, value_name = "FILE")]
    config: Option<std::path::PathBuf>,
    /// Set a variable over the environment; may be repeated
    #[arg(short, long, value_name = "NAME=VALUE", value_parser = variable)]
    env: Vec<(String, String)>,
    /// Address to serve on: `host:port`, `[v6]:port` or `unix:/path`; may be repeated
    #[arg(short, long, value_name = "ADDRESS")]
    bind: Vec<String>,
    /// Address for metrics alone; may be repeated
    #[arg(long, value_name = "ADDRESS")]
    metrics_bind: Vec<String>,
    /// Whether there are metrics for Prometheus: true or false
    #[arg(long, value_name = "BOOLEAN")]
    metrics: Option<String>,
    /// Number of worker processes
    #[arg(short, long, value_name = "N")]
    workers: Option<String>,
    /// Seconds after which a silent worker is replaced (0: never)
    #[arg(short, long, value_name = "SECONDS")]
    timeout: Option<String>,
    /// Seconds that requests may take when a worker is to end
    #[arg(long, value_name = "SECONDS")]
    graceful_timeout: Option<String>,
    /// Seconds that an idle connection is kept
    #[arg(long, value_name = "SECONDS")]
    keep_alive: Option<String>,
    /// Connections that may wait, per address
    #[arg(long, value_name = "N")]
    backlog: Option<String>,
    /// Let other servers of the same user listen on the same TCP addresses
    #[arg(long)]
    reuse_port: bool,
    /// Connections that one worker serves at the same time
    #[arg(long, value_name = "N")]
    worker_connections: Option<String>,
    /// Requests after which a worker is replaced (0: never)
    #[arg(long, value_name = "N")]
    max_requests: Option<String>,
    /// Largest number that is added to it by chance
    #[arg(long, value_name = "N")]
    max_requests_jitter: Option<String>,
    /// Unix socket for avalonctl
    #[arg(long, value_name = "PATH")]
    control: Option<String>,
    /// File that holds the master's process id
    #[arg(short, long, value_name = "FILE")]
    pid: Option<String>,
    /// User that workers run as
    #[arg(short, long)]
    user: Option<String>,
    /// Group that workers run as
    #[arg(short, long)]
    group: Option<String>,
    /// Mode bits removed from new files, in octal
    #[arg(short = 'm', long, value_name = "BITS")]
    umask: Option<String>,
    /// DEBUG, INFO, WARNING, ERROR or CRITICAL
    #[arg(long, value_name = "LEVEL")]
    log_level: Option<String>,
    /// File that log lines are appended to
    #[arg(long, value_name = "FILE")]
    log_file: Option<String>,
    /// File that a line is appended to for each request (`-`: standard output)
    #[arg(long, value_name = "FILE")]
    access_logfile: Option<String>,
    /// Format of these lines: Gunicorn's atoms, or `json`
    #[arg(long, value_name = "FORMAT")]
    access_logformat: Option<String>,
    /// Proxies that are believed when they name a client, separated by commas
    #[arg(long, value_name = "ADDRESSES")]
    forwarded_allow_ips: Option<String>,
    /// Expect PROXY headers from these proxies
    #[arg(long)]
    proxy_protocol: bool,
    /// Proxies that send PROXY headers, separated by commas
    #[arg(long, value_name = "ADDRESSES")]
    proxy_allow_from: Option<String>,
    /// Bytes of a request line
    #[arg(long, value_name = "BYTES")]
    limit_request_line: Option<String>,
    /// Number of header fields
    #[arg(long, value_name = "N")]
    limit_request_fields: Option<String>,
    /// Bytes of one header field
    #[arg(long, value_name = "BYTES", alias = "limit-request-field_size")]
    limit_request_field_size: Option<String>,
    /// Database of the collection, as SQLAlchemy writes it
    #[arg(short, long, value_name = "URL")]
    database_url: Option<String>,
    /// Path that all endpoints stand under
    #[arg(long, value_name = "PATH")]
    request_path: Option<String>,
    /// Folder for the snapshot instead of memory
    #[arg(long, value_name = "FOLDER")]
    snapshot_dir: Option<String>,
    /// File that keeps the snapshot for the next start
    #[arg(long, value_name = "FILE")]
    snapshot_path: Option<String>,
}

impl Flags {
    /// What these flags set.
    pub fn overrides(self) -> Overrides {
        let mut overrides = Overrides { file: self.config, variables: self.env, flags: Vec::new() };
        for (key, flag, values) in
            [("BIND", "--bind", self.bind), ("METRICS_BIND", "--metrics-bind", self.metrics_bind)]
        {
            if !values.is_empty() {
                overrides.set_by(key, Raw::List(values), flag.to_owned());
            }
        }
        for (key, flag, given) in [
            ("REUSE_PORT", "--reuse-port", self.reuse_port),
            ("PROXY_PROTOCOL", "--proxy-protocol", self.proxy_protocol),
        ] {
            if given {
                overrides.set_by(key, Raw::Boolean(true), flag.to_owned());
            }
        }
        for (key, flag, value) in [
            ("METRICS", "--metrics", self.metrics),
            ("WORKERS", "--workers", self.workers),
            ("TIMEOUT", "--timeout", self.timeout),
            ("GRACEFUL_TIMEOUT", "--graceful-timeout", self.graceful_timeout),
            ("KEEPALIVE", "--keep-alive", self.keep_alive),
            ("BACKLOG", "--backlog", self.backlog),
            ("WORKER_CONNECTIONS", "--worker-connections", self.worker_connections),
            ("MAX_REQUESTS", "--max-requests", self.max_requests),
            ("MAX_REQUESTS_JITTER", "--max-requests-jitter", self.max_requests_jitter),
            ("CONTROL", "--control", self.control),
            ("PIDFILE", "--pid", self.pid),
            ("USER", "--user", self.user),
            ("GROUP", "--group", self.group),
            ("UMASK", "--umask", self.umask),
            ("LOG_LEVEL", "--log-level", self.log_level),
            ("LOG_PATH", "--log-file", self.log_file),
            ("ACCESS_LOGFILE", "--access-logfile", self.access_logfile),
            ("ACCESS_LOGFORMAT", "--access-logformat", self.access_logformat),
            ("FORWARDED_ALLOW_IPS", "--forwarded-allow-ips", self.forwarded_allow_ips),
            ("PROXY_ALLOW_IPS", "--proxy-allow-from", self.proxy_allow_from),
            ("LIMIT_REQUEST_LINE", "--limit-request-line", self.limit_request_line),
            ("LIMIT_REQUEST_FIELDS", "--limit-request-fields", self.limit_request_fields),
            ("LIMIT_REQUEST_FIELD_SIZE", "--limit-request-field-size", self.limit_request_field_size),
            ("DATABASE_URL", "--database-url", self.database_url),
            ("REQUEST_PATH", "--request-path", self.request_path),
            ("SNAPSHOT_DIR", "--snapshot-dir", self.snapshot_dir),
            ("SNAPSHOT_PATH", "--snapshot-path", self.snapshot_path),
        ] {
            if let Some(value) = value {
                overrides.set_by(key, Raw::Untyped(value), flag.to_owned());
            }
        }
        overrides
    }
}

fn variable(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("expected NAME=VALUE".to_owned()),
    }
}
