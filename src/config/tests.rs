use super::*;

fn from_file(text: &str) -> Result<Config, String> {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), text).unwrap();
    let mut overrides = Overrides::default();
    overrides.set_file(file.path().to_owned());
    let name = file.path().display().to_string();
    load(&overrides).map_err(|error| error.to_string().replace(&name, "FILE"))
}

fn from_flag(key: &'static str, value: &str) -> Result<Config, String> {
    let mut overrides = Overrides::default();
    overrides.set(key, value.to_owned());
    load(&overrides).map_err(|error| error.to_string())
}

#[test]
fn defaults_are_those_of_the_original() {
    let config = load(&Overrides::default()).unwrap();
    assert_eq!(config.request_path, "/avalon");
    assert_eq!((config.statsd_host.as_str(), config.statsd_port), ("localhost", 8125));
    assert_eq!(config.statsd_prefix, "avalon");
    assert_eq!(config.sentry.dsn, None);
    assert_eq!(config.log.path, None);
    assert_eq!(config.workers, 3);
}

#[test]
fn file_keeps_the_defaults_it_leaves_out() {
    let config = from_file("WORKERS = 7\nBIND = [\"[::1]:1\", \"unix:/a\", \"[::1]:1\"]\n").unwrap();
    assert_eq!((config.workers, config.bind.len(), config.backlog), (7, 2, 2048));
}

#[test]
fn variables_win_over_the_file_and_flags_over_both() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "WORKERS = 7\nBACKLOG = 5\nTIMEOUT = 9\n").unwrap();
    let mut overrides = Overrides::default();
    overrides.set_variable("AVALON_CONFIG".into(), file.path().display().to_string());
    overrides.set_variable("AVALON_BACKLOG".into(), "6".into());
    overrides.set_variable("AVALON_TIMEOUT".into(), "0".into());
    overrides.set_variable("AVALON_WORKRES".into(), "1".into());
    overrides.set("WORKERS", "8".into());
    let config = load(&overrides).unwrap();
    assert_eq!((config.workers, config.backlog, config.timeout), (8, 6, None));
    assert!(config.warnings.iter().any(|line| line.contains("did you mean AVALON_WORKERS")));
}

#[test]
fn errors_name_file_line_key_and_expectation() {
    for (text, message) in [
        ("\nWORKRES = 3\n", "FILE:2: unknown key \"WORKRES\"; did you mean WORKERS?"),
        ("workers = 3", "FILE:1: unknown key \"workers\"; did you mean WORKERS?"),
        ("[server]\nx = 1", "FILE:1: unknown key \"server\"; avalon-echo-config prints all that exist"),
        ("WORKERS = \"3\"", "FILE:1: WORKERS: expected a whole number from 1 to 256, got \"3\""),
        ("WORKERS = 0", "FILE:1: WORKERS: expected a whole number from 1 to 256, got 0"),
        (
            "WORKERS = 99999999999999999999",
            "FILE:1: WORKERS: expected a whole number from 1 to 256, got a number beyond 64 bits",
        ),
        ("#\n#\nLOG_PATH = 1", "FILE:3: LOG_PATH: expected a string, got 1"),
        (
            "LOG_LEVEL = \"LOUD\"",
            "FILE:1: LOG_LEVEL: expected DEBUG, INFO, WARNING, ERROR or CRITICAL, got \"LOUD\"",
        ),
        ("BIND = [\"::1\"]", "FILE:1: BIND: \"::1\": an IPv6 address stands in brackets"),
        (
            "BIND = [1]",
            "FILE:1: BIND: expected a list of strings, got an array that holds something else than strings",
        ),
        ("BIND = []", "FILE:1: BIND: expected at least one address"),
        ("UMASK = 0o1000", "FILE:1: UMASK: expected mode bits from 0o000 to 0o777, got 512"),
        ("USER = \"nobody-of-this-name\"", "FILE:1: USER: there is no user \"nobody-of-this-name\""),
        ("GROUP = \"nobody-of-this-name\"", "FILE:1: GROUP: there is no group \"nobody-of-this-name\""),
    ] {
        assert_eq!(from_file(text).unwrap_err(), message);
    }
    let syntax = from_file("WORKERS = 3\nBIND = [\n").unwrap_err();
    assert!(syntax.starts_with("FILE:"), "{syntax}");
}

#[test]
fn request_path_is_checked() {
    for good in ["/", "/avalon", "/a/b", "/\u{e9}"] {
        assert!(from_flag("REQUEST_PATH", good).is_ok(), "{good:?}");
    }
    for bad in ["", "avalon", "/avalon/", "//", "/a//b", "/a?b", "/<x>", "/a\n"] {
        let message = from_flag("REQUEST_PATH", bad).unwrap_err();
        assert!(message.starts_with("flag --request-path: REQUEST_PATH: must "), "{message}");
    }
}

#[test]
fn missing_file_says_who_named_it() {
    let mut overrides = Overrides::default();
    overrides.set_variable("AVALON_CONFIG".into(), "/nowhere/avalon.toml".into());
    let message = load(&overrides).unwrap_err().to_string();
    assert_eq!(
        message,
        "environment variable AVALON_CONFIG names /nowhere/avalon.toml, which cannot be read"
    );
}

#[test]
fn secrets_are_not_printed() {
    let mut overrides = Overrides::default();
    overrides.set("DATABASE_URL", "postgresql://me:geheim@db/music".into());
    let printed = load(&overrides).unwrap().print();
    assert!(printed.contains("DATABASE_URL = ") && !printed.contains("geheim"), "{printed}");
}

#[test]
fn printed_configuration_can_be_read_again() {
    let mut overrides = Overrides::default();
    overrides.set("UMASK", "027".into());
    overrides.set("BIND", "[::1]:1, unix:/x".into());
    let config = load(&overrides).unwrap();
    let again = from_file(&config.print()).unwrap();
    assert_eq!(again.print(), config.print());
    assert_eq!((again.umask, again.bind), (config.umask, config.bind));
}
