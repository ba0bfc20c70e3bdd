//! One message for each mistake, exit code 2, and nothing started.

use super::{CTL, ECHO_CONFIG, Home, MASTER, SCAN};

/// The message of a program that must refuse to start, without its name.
#[track_caller]
fn refusal(home: &Home, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> String {
    let (code, stdout, stderr) = home.run(program, arguments, variables);
    let what = format!("{arguments:?} {variables:?}");
    assert_eq!((code, stdout.as_str()), (2, ""), "{what}: {stderr}");
    home.assert_untouched(&what);
    let name = program.rsplit('/').next().expect("a name");
    let message = stderr.strip_prefix(&format!("{name}: ")).unwrap_or_else(|| panic!("{what}: {stderr}"));
    let message = message.strip_suffix('\n').expect("a whole line");
    assert!(!message.contains('\n'), "more than one line: {stderr}");
    message.to_owned()
}

/// Each with the message; FILE stands for the path.
const FILES: [(&str, &str); 39] = [
    (
        "BIND = [\"http://127.0.0.1:8000\"]",
        "FILE:1: BIND: *an address has no scheme; did you mean \"127.0.0.1:8000\"?",
    ),
    ("BIND = [\"8000\"]", "FILE:1: BIND: \"8000\": \"8000\" is no host; did you mean \":8000\"?"),
    ("COLLECTION = [\"~other/Music\"]", "FILE:1: COLLECTION: *only ~/ is expanded; write the whole path"),
    ("SCAN_EVERY = \"1h\"", "FILE:1: SCAN_EVERY: there is nothing to scan: COLLECTION names no folder; *"),
    ("SCAN_EVERY = \"1w\"", "FILE:1: SCAN_EVERY: expected seconds from 1 to 31536000, or a time as 45s, *"),
    ("LOG_PATH = \"~/log\"", "FILE:1: LOG_PATH: \"~/log\": HOME is not set; write the whole path"),
    ("DATABASE_URL = \"sqlite:///~/x\"", "FILE:1: DATABASE_URL: ~ is not expanded in a URL; *"),
    ("WORKRES = 3\n", "FILE:1: unknown key \"WORKRES\"; did you mean WORKERS?"),
    ("\n# x\n  workers = 3\n", "FILE:3: unknown key \"workers\"; did you mean WORKERS?"),
    ("DATABASE = \"\"", "FILE:1: unknown key \"DATABASE\"; did you mean DATABASE_URL?"),
    ("LOG_LEVL = \"INFO\"", "FILE:1: unknown key \"LOG_LEVL\"; did you mean LOG_LEVEL?"),
    ("[x]\ny = 1", "FILE:1: unknown key \"x\"; avalon-echo-config prints all that exist"),
    ("WORKERS = \"3\"", "FILE:1: WORKERS: expected a whole number from 1 to 256, got \"3\""),
    ("WORKERS = 3.0", "FILE:1: WORKERS: expected a whole number from 1 to 256, got a float"),
    ("WORKERS = true", "FILE:1: WORKERS: expected a whole number from 1 to 256, got a boolean"),
    ("WORKERS = [3]", "FILE:1: WORKERS: expected a whole number from 1 to 256, got *"),
    ("WORKERS = 257", "FILE:1: WORKERS: expected a whole number from 1 to 256, got 257"),
    ("TIMEOUT = -1", "FILE:1: TIMEOUT: expected a whole number from 0 to 86400, got -1"),
    ("STATSD_PORT = 65536", "FILE:1: STATSD_PORT: expected a whole number from 1 to 65535, got 65536"),
    ("\nLOG_PATH = 1", "FILE:2: LOG_PATH: expected a string, got 1"),
    (
        "LOG_LEVEL = \"LOUD\"",
        "FILE:1: LOG_LEVEL: expected DEBUG, INFO, WARNING, ERROR or CRITICAL, got \"LOUD\"",
    ),
    ("SANDBOX = 0", "FILE:1: SANDBOX: expected true or false, got 0"),
    ("MAX_RSS = -1", "FILE:1: MAX_RSS: expected a number of bytes, as 536870912 or \"512M\", got -1"),
    (
        "MAX_RSS = \"12T\"",
        "FILE:1: MAX_RSS: expected a number of bytes, as 536870912 or \"512M\", got \"12T\"",
    ),
    ("REUSE_PORT = 1", "FILE:1: REUSE_PORT: expected true or false, got 1"),
    ("LOG_FORMAT = \"%(massage)s\"", "FILE:1: LOG_FORMAT: *massage*message*"),
    ("LOG_FORMAT = \"%(message)\"", "FILE:1: LOG_FORMAT: *"),
    ("LOG_DATE_FORMAT = \"%\"", "FILE:1: LOG_DATE_FORMAT: *"),
    (
        "REQUEST_PATH = \"/avalon/\"",
        "FILE:1: REQUEST_PATH: must not end with \"/\" or hold \"//\", got \"/avalon/\"",
    ),
    ("REQUEST_PATH = \"avalon\"", "FILE:1: REQUEST_PATH: must begin with \"/\", got \"avalon\""),
    ("BIND = [\"127.0.0.1:99999\"]", "FILE:1: BIND: \"127.0.0.1:99999\": \"99999\" is no port (0 to 65535)"),
    ("METRICS = \"yes\"", "FILE:1: METRICS: expected true or false, got \"yes\""),
    (
        "BIND = [\"[::1]:1\"]\nMETRICS_BIND = [\"[::1]:1\"]",
        "FILE:2: METRICS_BIND: \"[::1]:1\": is an address of BIND",
    ),
    ("UMASK = 0o1000", "FILE:1: UMASK: expected mode bits from 0o000 to 0o777, got 512"),
    ("USER = \"nobody-of-this-name\"", "FILE:1: USER: there is no user \"nobody-of-this-name\""),
    ("DATABASE_URL = \"mysql://me:geheim@db/x\"", "FILE:1: DATABASE_URL: *mysql*sqlite*postgresql*"),
    ("DATABASE_URL = \"postgresql://me:geheim@db:port/x\"", "FILE:1: DATABASE_URL: *port*"),
    ("SENTRY_DSN = \"https://geheim@\"", "FILE:1: SENTRY_DSN: *"),
    ("WORKERS = 1\nWORKERS = 2", "FILE:2: *duplicate*"),
];

/// Whether a text is the pattern, in which `*` stands for anything.
fn is_like(text: &str, pattern: &str) -> bool {
    let Some((first, rest)) = pattern.split_once('*') else { return text == pattern };
    let Some(mut text) = text.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = rest.split('*').collect();
    let last = parts.pop().expect("split gives something");
    for part in parts {
        let Some(at) = text.find(part) else { return false };
        text = &text[at + part.len()..];
    }
    text.ends_with(last)
}

#[test]
fn mistakes_in_the_file_are_named_with_line_key_and_expectation() {
    let home = Home::new();
    for (text, pattern) in FILES {
        let file = home.file(text);
        for (arguments, variables) in
            [(vec![], vec![("AVALON_CONFIG", file.as_str())]), (vec!["-c", &file], vec![])]
        {
            for program in [MASTER, SCAN] {
                let mut arguments = arguments.clone();
                if program == SCAN {
                    arguments.push("/");
                }
                let message = refusal(&home, program, &arguments, &variables).replace(&file, "FILE");
                assert!(is_like(&message, pattern), "{message:?} is not like {pattern:?}");
                assert!(!message.contains("geheim"), "{message}");
            }
        }
    }
}

#[test]
fn files_that_are_no_configuration_are_named_with_the_line() {
    let home = Home::new();
    for (text, line) in [
        (&b"WORKERS = 3\nBIND = [\n"[..], "FILE:"),
        (b"WORKERS = 3\nTIMEOUT 5\n", "FILE:2: "),
        (b"\n\nLOG_PATH = \"x\n", "FILE:3: "),
        (b"<html>", "FILE:1: "),
        (b"WORKERS = 1\n# \xff\n", "*FILE*UTF-8*"),
    ] {
        let file = home.file(text);
        let message = refusal(&home, MASTER, &["--config", &file], &[]).replace(&file, "FILE");
        assert!(is_like(&message, line) || message.starts_with(line), "{message}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named_with_who_wants_it() {
    let home = Home::new();
    let (missing, folder) = (home.text("missing.toml"), home.text(""));
    for program in [MASTER, SCAN] {
        let arguments: &[&str] = if program == SCAN { &["/"] } else { &[] };
        for (path, why) in [(&missing, "No such file"), (&folder, "Is a directory")] {
            let message = refusal(&home, program, arguments, &[("AVALON_CONFIG", path)]);
            assert!(is_like(&message, &format!("*AVALON_CONFIG*{path}*{why}*")), "{message}");
        }
        let arguments = [&["--config", &missing], arguments].concat();
        let message = refusal(&home, program, &arguments, &[("AVALON_CONFIG", "/other")]);
        assert!(is_like(&message, &format!("*--config*{missing}*No such file*")), "{message}");
    }
}

#[test]
fn mistakes_in_variables_and_flags_are_named_with_them() {
    let home = Home::new();
    for (arguments, variables, pattern) in [
        (
            &[][..],
            &[("AVALON_WORKERS", "many")][..],
            "environment variable AVALON_WORKERS: WORKERS: expected a whole number from 1 to 256, got \"many\"",
        ),
        (
            &[],
            &[("AVALON_LOG_LEVEL", "")],
            "environment variable AVALON_LOG_LEVEL: LOG_LEVEL: expected DEBUG*",
        ),
        (&[], &[("AVALON_BIND", "::1")], "environment variable AVALON_BIND: BIND: \"::1\": *brackets"),
        (
            &["-e", "AVALON_TIMEOUT=x"],
            &[("AVALON_TIMEOUT", "1")],
            "environment variable AVALON_TIMEOUT: *\"x\"",
        ),
        (
            &["--workers", "0"],
            &[],
            "flag --workers: WORKERS: expected a whole number from 1 to 256, got \"0\"",
        ),
        (&["-b", "unix:x"], &[], "flag --bind: BIND: \"unix:x\": the path after unix: must be absolute"),
        (&["--request-path=//"], &[], "flag --request-path: REQUEST_PATH: *"),
        (&["-m", "09"], &[], "flag --umask: UMASK: expected mode bits from 0o000 to 0o777, got \"09\""),
        (&["-u", "nobody-of-this-name"], &[], "flag --user: USER: there is no user \"nobody-of-this-name\""),
        (
            &["-d", "oracle://me:geheim@db/x"],
            &[],
            "flag --database-url: DATABASE_URL: *oracle*sqlite*postgresql*",
        ),
    ] {
        let message = refusal(&home, MASTER, arguments, variables);
        assert!(is_like(&message, pattern), "{message:?} is not like {pattern:?}");
        assert!(!message.contains("geheim"), "{message}");
    }
}

#[test]
fn check_config_and_print_config_say_the_same() {
    let home = Home::new();
    let file = home.file("\nWORKRES = 3\n");
    for flag in ["--check-config", "--print-config"] {
        let message = refusal(&home, MASTER, &[flag, "-c", &file], &[]);
        assert_eq!(message, format!("{file}:2: unknown key \"WORKRES\"; did you mean WORKERS?"));
    }
}

/// clap says it in its own words.
#[test]
fn unknown_flags_and_arguments_end_with_2_and_a_hint() {
    let home = Home::new();
    for (program, arguments, hint) in [
        (MASTER, &["--wrokers=3"][..], "'--workers'"),
        (MASTER, &["--bindd", "x"], "'--bind'"),
        (MASTER, &["serve"], "'serve'"),
        (MASTER, &["--workers"], "a value is required"),
        (MASTER, &["-e", "NOVALUE"], "expected NAME=VALUE"),
        (SCAN, &["--quite", "/"], "'--quiet'"),
        (SCAN, &[], "PATH"),
        (ECHO_CONFIG, &["--all"], "'--all'"),
        (ECHO_CONFIG, &["x"], "'x'"),
        (CTL, &["stats"], "'status'"),
        (CTL, &[], "Usage"),
    ] {
        let (code, stdout, stderr) = home.run(program, arguments, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(hint), "{arguments:?}: {stderr}");
        home.assert_untouched(&format!("{arguments:?}"));
    }
}
