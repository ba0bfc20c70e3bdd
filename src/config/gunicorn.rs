//! Gunicorn's command line: its flags without a setting here, each ignored or refused with the
//! reason; its notation of values; and the name of the application.

use std::fmt;
use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Command};

use super::World;

/// The treatment of a flag.
#[derive(Debug, Clone, Copy)]
enum Fate {
    /// Its effect exists without it, or it has none; a line at the start gives the reason.
    Ignored(&'static str),
    /// It asks for a feature that the server lacks; the message names an alternative.
    Refused(&'static str),
    /// Ignored with one of these values (in any case), refused with any other.
    Only(&'static [&'static str], &'static str),
}

use Fate::{Ignored, Only, Refused};

/// A flag without a setting.
#[derive(Debug)]
struct Foreign {
    name: &'static str,
    short: Option<char>,
    takes_value: bool,
    fate: Fate,
}

const fn alone(name: &'static str, fate: Fate) -> Foreign {
    Foreign { name, short: None, takes_value: false, fate }
}

const fn with_value(name: &'static str, fate: Fate) -> Foreign {
    Foreign { name, short: None, takes_value: true, fate }
}

const fn short(short: char, foreign: Foreign) -> Foreign {
    Foreign { short: Some(short), ..foreign }
}

const EVENT_LOOP: Fate =
    Ignored("each worker serves all of its connections (WORKER_CONNECTIONS) in one event loop");
const NO_PYTHON: Fate = Ignored("there is no Python to configure");
const NO_CODE: Fate =
    Ignored("there is no code to watch; `avalonctl reload --wait` reads configuration and collection again");
const NO_ASGI: Fate = Ignored("it concerns ASGI applications; the server needs none");
const NO_HTTP2: Fate = Ignored("it concerns HTTP/2; the server speaks HTTP/1.1");
const NO_DIRTY: Fate = Ignored("it concerns --dirty-app; there are no such workers");
const NO_TLS: Fate = Ignored("it concerns --certfile; the server speaks HTTP without TLS");
const TLS: Fate =
    Refused("the server speaks HTTP without TLS; let a proxy do it (config/nginx.conf, config/haproxy.cfg)");
const LOGGING: Fate = Refused(
    "logs are not configured in Python; use --log-format, --log-level, --log-file and --access-logformat",
);
const SYSLOG: Fate = Refused(
    "the server logs to standard error or --log-file; systemd brings that to the journal, and `| logger` to syslog",
);
const NO_SYSLOG: Fate = Ignored("it concerns --log-syslog; the server logs to standard error or --log-file");
const STRICT: Fate = Refused("requests that are no valid HTTP are always answered with 400; leave it out");
const PASTE: Fate =
    Refused("the server loads no application; leave it out, and give the settings of the file as flags");

/// All flags of Gunicorn 27 without a setting here.
const FOREIGN: [Foreign; 60] = [
    alone("preload", Ignored("the collection is always read before workers are forked")),
    short('k', with_value("worker-class", EVENT_LOOP)),
    with_value("threads", EVENT_LOOP),
    short(
        'D',
        alone(
            "daemon",
            Refused(
                "the server stays in the foreground; use systemd (systemd/avalon.service), or `setsid avalon-master ... &`",
            ),
        ),
    ),
    with_value(
        "chdir",
        Refused("change the folder before: `cd DIR && avalon-master ...`, or WorkingDirectory= in a unit"),
    ),
    short(
        'n',
        with_value(
            "name",
            Ignored("processes are titled avalon-master; `avalonctl status` tells servers apart"),
        ),
    ),
    alone("no-sendfile", Ignored("answers are sent from memory, never by sendfile")),
    with_value("worker-tmp-dir", Ignored("signs of life are in shared memory, not in files")),
    alone("initgroups", Ignored("workers always have the groups of USER")),
    with_value("pythonpath", NO_PYTHON),
    with_value("paste", PASTE),
    with_value("paster", PASTE),
    with_value("paste-global", PASTE),
    short('R', alone("enable-stdio-inheritance", Ignored("no application writes to standard output"))),
    alone("capture-output", Ignored("no application writes to standard output")),
    alone("reload", NO_CODE),
    with_value("reload-engine", NO_CODE),
    with_value("reload-extra-file", NO_CODE),
    alone("spew", Refused("there is no Python to trace; use --log-level debug")),
    with_value("control-socket-mode", Ignored("the control socket is for the server's own user alone")),
    with_value("dirty-app", Refused("the server runs no applications; leave it out")),
    with_value("dirty-workers", NO_DIRTY),
    with_value("dirty-timeout", NO_DIRTY),
    with_value("dirty-threads", NO_DIRTY),
    with_value("dirty-graceful-timeout", NO_DIRTY),
    with_value(
        "http-protocols",
        Only(&["h1"], "the server speaks HTTP/1.1; let a proxy speak HTTP/2 to clients"),
    ),
    with_value(
        "http2-cleartext",
        Only(&["off"], "the server speaks HTTP/1.1; let a proxy speak HTTP/2 to clients"),
    ),
    with_value("http2-max-concurrent-streams", NO_HTTP2),
    with_value("http2-initial-window-size", NO_HTTP2),
    with_value("http2-max-frame-size", NO_HTTP2),
    with_value("http2-max-header-list-size", NO_HTTP2),
    with_value(
        "protocol",
        Only(&["http"], "the server speaks HTTP; use proxy_pass in place of uwsgi_pass or fastcgi_pass"),
    ),
    with_value("uwsgi-allow-from", Ignored("it concerns --protocol uwsgi; the server speaks HTTP")),
    alone("disable-redirect-access-to-syslog", NO_SYSLOG),
    with_value("logger-class", LOGGING),
    with_value("log-config", LOGGING),
    with_value("log-config-json", LOGGING),
    alone("log-syslog", SYSLOG),
    with_value("log-syslog-to", NO_SYSLOG),
    with_value("log-syslog-prefix", NO_SYSLOG),
    with_value("log-syslog-facility", NO_SYSLOG),
    with_value(
        "dogstatsd-tags",
        Refused("metrics for statsd have no tags; put the name of each server into --statsd-prefix"),
    ),
    alone("enable-backlog-metric", Refused("there is no metric of the queues; `ss -ltn` shows them")),
    with_value("keyfile", TLS),
    with_value("certfile", TLS),
    with_value("ssl-version", NO_TLS),
    with_value("cert-reqs", NO_TLS),
    with_value("ca-certs", NO_TLS),
    alone("suppress-ragged-eofs", NO_TLS),
    alone("do-handshake-on-connect", NO_TLS),
    with_value("ciphers", NO_TLS),
    alone("permit-obsolete-folding", STRICT),
    alone("strip-header-spaces", STRICT),
    alone("permit-unconventional-http-method", STRICT),
    alone("permit-unconventional-http-version", STRICT),
    alone("casefold-http-method", STRICT),
    with_value("forwarder-headers", Ignored("header fields never become variables of an application")),
    with_value("header-map", Ignored("header fields never become variables of an application")),
    with_value("root-path", Refused("the path that all endpoints stand under is --request-path")),
    with_value("http-parser", Ignored("there is one parser (hyper)")),
];

/// Flags of ASGI workers, none of which has an effect here.
const ASGI: [&str; 4] =
    ["asgi-loop", "asgi-lifespan", "asgi-disconnect-grace-period", "websocket-max-message-size"];

/// The names of avalonms as a WSGI application.
const APPLICATIONS: [&str; 2] = ["avalon.app.wsgi", "avalon.app.wsgi:application"];
pub(super) const APPLICATION: &str = "application";
const NO_CONTROL: &str = "no-control-socket";

fn foreign() -> impl Iterator<Item = Foreign> {
    FOREIGN.into_iter().chain(ASGI.into_iter().map(|name| with_value(name, NO_ASGI)))
}

/// Settings of Gunicorn's configuration file with another name here. All others that exist here
/// have the same name, in capitals.
const NAMES: [(&str, &str); 5] = [
    ("accesslog", "ACCESS_LOGFILE"),
    ("access_log_format", "ACCESS_LOGFORMAT"),
    ("errorlog", "LOG_PATH"),
    ("loglevel", "LOG_LEVEL"),
    ("control_socket", "CONTROL"),
];

/// Returns the key of this program for a setting of Gunicorn's configuration file.
pub(super) fn key(name: &str) -> String {
    let other = NAMES.iter().find(|(theirs, _)| *theirs == name);
    other.map_or_else(|| name.to_ascii_uppercase(), |(_, ours)| (*ours).to_owned())
}

/// Returns the reason why a setting of Gunicorn's configuration file does not exist here.
pub(super) fn reason(name: &str) -> Option<&'static str> {
    let flag = name.strip_suffix("_app").unwrap_or(name).replace('_', "-");
    foreign().find(|foreign| foreign.name == flag).map(|foreign| match foreign.fate {
        Ignored(why) | Refused(why) | Only(_, why) => why,
    })
}

/// Adds Gunicorn's flags, which help does not show.
pub(super) fn augment(command: Command) -> Command {
    let argument = |foreign: Foreign| {
        let arg = Arg::new(foreign.name).long(foreign.name).hide(true);
        let arg = match foreign.short {
            Some(short) => arg.short(short),
            None => arg,
        };
        let action = if foreign.takes_value { ArgAction::Append } else { ArgAction::SetTrue };
        arg.action(action).allow_negative_numbers(foreign.takes_value)
    };
    let application = Arg::new(APPLICATION).hide(true).action(ArgAction::Append);
    let no_control = Arg::new(NO_CONTROL).long(NO_CONTROL).hide(true).action(ArgAction::SetTrue);
    command.args(foreign().map(argument)).args([application, no_control])
}

/// The reason why a flag or an argument of Gunicorn is refused, and the alternative.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refusal {
    /// The flag, by its name without hyphens, for any value, and the reason.
    Flag(&'static str, &'static str),
    /// The flag with this value, and the reason.
    Value(&'static str, String, &'static str),
    /// An application of this name.
    Application(String),
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::Flag(name, why) => write!(f, "--{name}: {why}"),
            Refusal::Value(name, value, why) => write!(f, "--{name} {value}: {why}"),
            Refusal::Application(name) => write!(
                f,
                "'{name}': avalon-master loads no application, it serves the collection itself; leave it out"
            ),
        }
    }
}

impl std::error::Error for Refusal {}

/// The effect of Gunicorn's flags.
#[derive(Debug, Default)]
pub(super) struct Taken {
    /// Whether the control socket is turned off.
    pub(super) no_control: bool,
    /// A sentence for each ignored flag, with the reason.
    pub(super) notes: Vec<String>,
}

/// Reads the flags of Gunicorn on a command line.
///
/// # Errors
/// The refused flag or application, with the reason and the alternative.
pub(super) fn take(matches: &ArgMatches) -> Result<Taken, Refusal> {
    let mut taken = Taken { no_control: matches.get_flag(NO_CONTROL), notes: Vec::new() };
    for Foreign { name, takes_value, fate, .. } in foreign() {
        let values: Vec<&String> = match takes_value {
            true => matches.get_many(name).into_iter().flatten().collect(),
            false => Vec::new(),
        };
        if values.is_empty() && (takes_value || !matches.get_flag(name)) {
            continue;
        }
        let why = match fate {
            Ignored(why) => why,
            Only(allowed, why) => {
                let other = |value: &&&String| !allowed.iter().any(|word| value.eq_ignore_ascii_case(word));
                if let Some(value) = values.iter().find(other) {
                    return Err(Refusal::Value(name, (*value).clone(), why));
                }
                "that is all that the server speaks"
            }
            Refused(why) => return Err(Refusal::Flag(name, why)),
        };
        taken.notes.push(format!("--{name} is ignored: {why}"));
    }
    for name in matches.get_many::<String>(APPLICATION).into_iter().flatten() {
        if !APPLICATIONS.contains(&name.trim_end_matches("()")) {
            return Err(Refusal::Application(name.clone()));
        }
        taken.notes.push(format!("{name} is ignored: avalon-master serves the collection itself"));
    }
    Ok(taken)
}

/// Returns a flag for a setting that is off by default: it needs no value.
pub(super) fn switch(key: &str, arg: Arg) -> Arg {
    // Gunicorn's flag takes a value since 26, also after a space.
    arg.num_args(0..=1).default_missing_value("true").require_equals(key != "PROXY_PROTOCOL")
}

/// Returns the file that `--config` names.
///
/// # Errors
/// If it is a Python module.
pub(super) fn config_file(named: &Path) -> Result<PathBuf, Refusal> {
    let text = named.to_string_lossy();
    if text.starts_with("python:") {
        let why = "the configuration is a file in TOML, no Python module";
        return Err(Refusal::Value("config", text.into_owned(), why));
    }
    Ok(text.strip_prefix("file:").map_or_else(|| named.to_owned(), PathBuf::from))
}

/// Returns a note that the file which Gunicorn reads by default is not read, if it is in `folder`.
pub(super) fn unread_file(folder: &Path, world: &World<'_>) -> Option<String> {
    const FILE: &str = "gunicorn.conf.py";
    let told = || {
        format!(
            "{FILE} in the working folder is not read; `avalon-echo-config --from {FILE}` makes TOML of it"
        )
    };
    world.exists(&folder.join(FILE)).then(told)
}

/// Translates a flag's value to the notation of `config/default.toml`, and returns it with its
/// settings.
///
/// # Errors
/// If it is one of Gunicorn's values that has no effect here.
pub(super) fn translated(key: &'static str, value: &str) -> Result<Vec<(&'static str, String)>, Refusal> {
    let same = |value: &str| Ok(vec![(key, value.to_owned())]);
    match key {
        "PROXY_PROTOCOL" => match value.trim().to_ascii_lowercase().as_str() {
            "off" | "0" | "none" => same("false"),
            // Both versions are always accepted.
            "auto" | "1" | "v1" | "v2" => same("true"),
            _ => same(value),
        },
        "STATSD_HOST" if value.starts_with("unix:") => {
            let why = "metrics are sent over UDP; name a host and port";
            Err(Refusal::Value("statsd-host", value.to_owned(), why))
        }
        "STATSD_HOST" => match host_and_port(value) {
            Some((host, port)) => Ok(vec![(key, host.to_owned()), ("STATSD_PORT", port.to_owned())]),
            None => same(value.trim_matches(['[', ']'])),
        },
        _ => same(value),
    }
}

/// Parses `host:port` and `[v6]:port`; `None` without a port.
fn host_and_port(text: &str) -> Option<(&str, &str)> {
    let (host, port) = text.rsplit_once(':')?;
    match host.strip_prefix('[').map(|host| host.strip_suffix(']')) {
        Some(bracketed) => Some((bracketed?, port)),
        None => Some((host, port)).filter(|(host, _)| !host.contains(':')),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_translated() {
        let of = |key, value| translated(key, value).unwrap();
        let two =
            |host: &str, port: &str| vec![("STATSD_HOST", host.to_owned()), ("STATSD_PORT", port.to_owned())];
        assert_eq!(of("STATSD_HOST", "localhost:9125"), two("localhost", "9125"));
        assert_eq!(of("STATSD_HOST", "[::1]:9"), two("::1", "9"));
        assert_eq!(of("STATSD_HOST", "::1"), [("STATSD_HOST", "::1".to_owned())]);
        assert_eq!(of("STATSD_HOST", ""), [("STATSD_HOST", String::new())]);
        assert!(translated("STATSD_HOST", "unix:///run/statsd").is_err());
        for (mode, on) in [("v1", "true"), ("AUTO", "true"), ("off", "false"), ("maybe", "maybe")] {
            assert_eq!(of("PROXY_PROTOCOL", mode), [("PROXY_PROTOCOL", on.to_owned())]);
        }
    }

    #[test]
    fn configuration_is_a_file() {
        assert_eq!(config_file(Path::new("file:/x")).unwrap(), Path::new("/x"));
        assert!(config_file(Path::new("python:conf")).is_err());
    }
}
