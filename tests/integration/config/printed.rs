//! The output of the programs about the configuration and themselves, and the order of layers.

use std::collections::BTreeMap;
use std::process::{Command, Stdio};

use avalon::config::DEFAULT_TOML;

use super::{CTL, ECHO_CONFIG, Home, MASTER, SCAN};

const SECRETS: [(&str, &str); 2] = [
    ("AVALON_DATABASE_URL", "postgresql://me:geheim@db.example/music?sslmode=require"),
    ("AVALON_SENTRY_DSN", "https://0123456789abcdef@sentry.example/7"),
];

/// Returns the output of `--print-config`, by key.
fn printed(home: &Home, arguments: &[&str], variables: &[(&str, &str)]) -> BTreeMap<String, String> {
    let arguments = [&["--print-config"], arguments].concat();
    let (code, stdout, stderr) = home.run(MASTER, &arguments, variables);
    assert_eq!((code, stderr.as_str()), (0, ""));
    home.assert_untouched("--print-config");
    let pair = |line: &str| line.split_once(" = ").map(|(key, value)| (key.to_owned(), value.to_owned()));
    stdout.lines().map(|line| pair(line).expect(line)).collect()
}

#[test]
fn the_echoed_configuration_is_the_default_file_byte_by_byte() {
    let file = include_str!("../../../config/default.toml");
    let (code, stdout, stderr) = Home::new().run(ECHO_CONFIG, &[], &[("AVALON_WORKERS", "7")]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    assert!(stdout == file);
}

/// It can be used as a configuration, and changes nothing.
#[test]
fn the_echoed_configuration_is_one() {
    let home = Home::new();
    let file = home.file(DEFAULT_TOML);
    let mut echoed = printed(&home, &[], &[("AVALON_CONFIG", &file)]);
    let mut default = printed(&home, &[], &[]);
    // The default of the database is made of TMPDIR; the file names it.
    assert!(echoed.remove("DATABASE_URL").is_some_and(|url| url == "\"sqlite:////tmp/avalon.sqlite\""));
    assert!(default.remove("DATABASE_URL").is_some_and(|url| url.contains(&home.text("avalon.sqlite"))));
    assert_eq!(echoed, default);
}

#[test]
fn a_reader_that_has_seen_enough_is_no_error() {
    for (program, flags) in [(ECHO_CONFIG, &[][..]), (MASTER, &["--print-config"])] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(program);
        command.env_clear().args(flags).stdin(Stdio::null()).stdout(writer);
        let output = command.stderr(Stdio::piped()).spawn().and_then(|child| child.wait_with_output());
        let output = output.expect("it runs");
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(0), ""));
    }
}

#[test]
fn flags_win_over_variables_over_the_file_over_the_defaults() {
    let home = Home::new();
    let file = home.file("WORKERS = 11\nBACKLOG = 12\nKEEPALIVE = 13\nTIMEOUT = 14\nGRACEFUL_TIMEOUT = 15\n");
    let variables = [
        ("AVALON_CONFIG", file.as_str()),
        ("AVALON_BACKLOG", "22"),
        ("AVALON_KEEPALIVE", "23"),
        ("AVALON_TIMEOUT", "24"),
    ];
    let arguments =
        ["-e", "AVALON_KEEPALIVE=33", "-e", "AVALON_TIMEOUT=34", "--timeout=44", "-e", "AVALON_USER="];
    let printed = printed(&home, &arguments, &variables);
    let value = |key: &str| printed[key].as_str();
    assert_eq!(value("LOAD_TIMEOUT"), "600");
    assert_eq!((value("WORKERS"), value("GRACEFUL_TIMEOUT")), ("11", "15"));
    assert_eq!(value("BACKLOG"), "22");
    assert_eq!(value("KEEPALIVE"), "33");
    assert_eq!(value("TIMEOUT"), "44");
}

/// Each flag sets its key, also by its short name.
#[test]
fn every_flag_sets_its_key() {
    let home = Home::new();
    for (arguments, key, value) in [
        (&["-w", "9"][..], "WORKERS", "9"),
        (&["--workers=9"], "WORKERS", "9"),
        (&["-b", "[::1]:81", "-b", "unix:/x"], "BIND", "[\"[::1]:81\", \"unix:/x\"]"),
        (&["--metrics=False"], "METRICS", "false"),
        (&["--metrics-bind=:82", "--metrics-bind", "unix:/x"], "METRICS_BIND", "[\":82\", \"unix:/x\"]"),
        (&["-e", "AVALON_METRICS_BIND=[::1]:82, unix:/x"], "METRICS_BIND", "[\"[::1]:82\", \"unix:/x\"]"),
        (&["-t", "9"], "TIMEOUT", "9"),
        (&["--graceful-timeout=9"], "GRACEFUL_TIMEOUT", "9"),
        (&["--keep-alive=9"], "KEEPALIVE", "9"),
        (&["--backlog=9"], "BACKLOG", "9"),
        (&["--reuse-port"], "REUSE_PORT", "true"),
        (&["-e", "AVALON_REUSE_PORT=True"], "REUSE_PORT", "true"),
        (&["--worker-connections=9"], "WORKER_CONNECTIONS", "9"),
        (&["--max-requests=9"], "MAX_REQUESTS", "9"),
        (&["--max-requests-jitter=9"], "MAX_REQUESTS_JITTER", "9"),
        (&["-p", "/x"], "PIDFILE", "\"/x\""),
        (&["--pid=/x"], "PIDFILE", "\"/x\""),
        (&["-u", "0"], "USER", "*"),
        (&["-g", "0"], "GROUP", "*"),
        (&["-m", "027"], "UMASK", "0o027"),
        (&["--log-level=error"], "LOG_LEVEL", "\"error\""),
        (&["--log-file=/x"], "LOG_PATH", "\"/x\""),
        (&["--limit-request-line=99"], "LIMIT_REQUEST_LINE", "99"),
        (&["--limit-request-fields=99"], "LIMIT_REQUEST_FIELDS", "99"),
        (&["--limit-request-field-size=99"], "LIMIT_REQUEST_FIELD_SIZE", "99"),
        (&["-d", "sqlite:////x"], "DATABASE_URL", "\"sqlite:////x\""),
        (&["--request-path=/"], "REQUEST_PATH", "\"/\""),
        (&["--snapshot-dir=/tmp"], "SNAPSHOT_DIR", "\"/tmp\""),
        (&["--snapshot-path=/tmp/x"], "SNAPSHOT_PATH", "\"/tmp/x\""),
        (&["--control=none"], "CONTROL", "\"none\""),
        (&["--no-control-socket"], "CONTROL", "\"none\""),
        (&["--control-socket=/x"], "CONTROL", "\"/x\""),
        (&["--error-logfile=/x"], "LOG_PATH", "\"/x\""),
        (&["--statsd-host=h:1"], "STATSD_PORT", "1"),
        (&["--statsd-host", "[::1]:1"], "STATSD_HOST", "\"::1\""),
        (&["--proxy-protocol", "v2"], "PROXY_PROTOCOL", "true"),
        (&["--proxy-protocol"], "PROXY_PROTOCOL", "true"),
        (&["--proxy-protocol=off"], "PROXY_PROTOCOL", "false"),
        (&["--debug-headers"], "DEBUG_HEADERS", "true"),
        (&["--sandbox", "false"], "SANDBOX", "false"),
        (&["-m", "18"], "UMASK", "0o022"),
    ] {
        // Whom to become is only looked at by root.
        if value != "*" || nix::unistd::Uid::effective().is_root() {
            let printed = printed(&home, arguments, &[]);
            assert!(value == "*" || printed[key] == value, "{arguments:?}: {}", printed[key]);
        }
    }
}

/// Each setting of the documented file has a flag of its name, or of Gunicorn's.
#[test]
fn every_setting_is_a_flag() {
    let home = Home::new();
    let default = printed(&home, &[], &[]);
    for (key, value) in &default {
        let flag = format!("--{}", key.to_lowercase().replace('_', "-"));
        let text = match toml::from_str::<toml::Table>(&format!("x = {value}")).expect("TOML").remove("x") {
            Some(toml::Value::Array(items)) => {
                items.iter().filter_map(toml::Value::as_str).collect::<Vec<_>>().join(",")
            }
            Some(toml::Value::String(text)) => text,
            Some(_) => value.clone(),
            None => unreachable!("x is there"),
        };
        // An address is checked one by one.
        if key.contains("BIND") {
            continue;
        }
        let flag = format!("{flag}={text}");
        let again = printed(&home, &[&flag], &[]);
        assert_eq!(again[key], *value, "{flag}");
    }
}

#[test]
fn every_key_is_printed_and_no_secret() {
    let home = Home::new();
    let all = printed(&home, &[], &SECRETS);
    let keys: Vec<&str> = DEFAULT_TOML
        .lines()
        .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
        .filter(|key| key.bytes().all(|byte| byte.is_ascii_uppercase() || byte == b'_'))
        .collect();
    assert!(keys.len() > 30, "{keys:?}");
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    assert_eq!(all.keys().collect::<Vec<_>>(), sorted);
    for value in all.values() {
        assert!(!value.contains("geheim") && !value.contains("0123456789abcdef"), "{value}");
    }
    assert!(all["DATABASE_URL"].contains("db.example:5432/music"), "{}", all["DATABASE_URL"]);
    assert_ne!(all["SENTRY_DSN"], "\"\"");
}

#[test]
fn a_checked_configuration_is_silent_and_starts_nothing() {
    let home = Home::new();
    let database = ("AVALON_DATABASE_URL", "postgresql://me:geheim@127.0.0.1/music?sslmode=require");
    let (code, stdout, stderr) = home.run(MASTER, &["--check-config"], &[database, SECRETS[1]]);
    assert_eq!((code, stdout.as_str(), stderr.as_str()), (0, "", ""));
    let (code, stdout, stderr) = home.run(MASTER, &["--check-config"], &[("AVALON_WORKRES", "1")]);
    assert_eq!((code, stdout.as_str()), (0, ""));
    assert_eq!(
        stderr,
        "avalon-master: environment variable AVALON_WORKRES is no setting; did you mean AVALON_WORKERS?\n"
    );
    home.assert_untouched("--check-config");
}

/// All that is wrong, a line each.
#[test]
fn a_configuration_that_cannot_serve_is_refused_by_the_check() {
    let home = Home::new();
    let variables = [
        ("AVALON_DATABASE_URL", "postgresql://me:geheim@no-such-host.invalid/music"),
        ("AVALON_BIND", "192.0.2.1:80, unix:/no/such/folder/socket, 127.0.0.1:0"),
        ("AVALON_LOG_PATH", "/no/such/folder/log"),
        ("AVALON_COLLECTION", "/no/such/music"),
    ];
    let (code, stdout, stderr) = home.run(MASTER, &["--check-config"], &variables);
    assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
    for text in [
        "avalon-master: BIND: cannot listen on 192.0.2.1:80: ",
        "avalon-master: BIND: /no/such/folder/socket: ",
        "avalon-master: DATABASE_URL: host \"no-such-host.invalid\" ",
        "avalon-master: LOG_PATH: /no/such/folder/log: ",
        "avalon-master: COLLECTION: /no/such/music: ",
    ] {
        assert_eq!(stderr.lines().filter(|line| line.starts_with(text)).count(), 1, "{text}: {stderr}");
    }
    assert!(stderr.lines().count() == 5 && !stderr.contains("geheim"), "{stderr}");
    home.assert_untouched("--check-config");
    // Where a server runs, its address is in use, which is no mistake.
    let other = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = other.local_addr().expect("an address").to_string();
    let (code, _, stderr) = home.run(MASTER, &["--check-config"], &[("AVALON_BIND", &address)]);
    let line = format!("avalon-master: BIND: not checked: {address} is in use, ");
    assert!(code == 0 && stderr.starts_with(&line) && stderr.lines().count() == 1, "{stderr}");
}

#[test]
fn help_and_version_are_printed_with_any_configuration() {
    let home = Home::new();
    let variables = [("AVALON_CONFIG", "/missing"), ("AVALON_WORKERS", "x")];
    for program in [MASTER, SCAN, ECHO_CONFIG, CTL] {
        let name = program.rsplit('/').next().expect("a name");
        for flag in ["-h", "--help", "-V", "--version"] {
            let (code, stdout, stderr) = home.run(program, &[flag], &variables);
            assert_eq!((code, stderr.as_str()), (0, ""), "{name} {flag}");
            if flag.eq_ignore_ascii_case("-v") || flag == "--version" {
                assert_eq!(stdout, format!("{name} {}\n", env!("CARGO_PKG_VERSION")));
            } else {
                assert!(stdout.contains(&format!("Usage: {name}")), "{stdout}");
            }
        }
        home.assert_untouched(name);
    }
    let (_, help, _) = home.run(MASTER, &["--help"], &[]);
    for part in ["AVALON_CONFIG", "AVALON_<KEY>", "avalon-echo-config", "Signals:", "Exit codes:", "  4  "] {
        assert!(help.contains(part), "{part:?} is not in {help}");
    }
}
