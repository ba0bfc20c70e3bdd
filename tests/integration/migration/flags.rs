//! Command lines of Gunicorn's.

use std::fs;
use std::process::Command;

use super::peer;
use crate::harness::server::{Setup, collection, run};

const MASTER: &str = env!("CARGO_BIN_EXE_avalon-master");
/// The variable that Gunicorn takes flags from.
const ARGUMENTS: &str = "GUNICORN_CMD_ARGS";

/// Prints a line per flag of Gunicorn's: whether it takes a value, and its names.
const LIST: &str = "
from gunicorn.config import KNOWN_SETTINGS
for setting in KNOWN_SETTINGS:
    if setting.cli:
        alone = setting.action in ('store_true', 'store_false', 'store_const')
        print('alone' if alone else 'value', *setting.cli)
";

/// A value that Gunicorn takes for one of its flags.
fn value(flag: &str, file: &str) -> String {
    match flag {
        "-c" | "--config" => file,
        "-e" | "--env" => "A=b",
        "-b" | "--bind" => "127.0.0.1:0",
        "-u" | "--user" | "-g" | "--group" => "0",
        "--log-level" => "info",
        "--limit-request-line" => "4094",
        "--limit-request-field_size" => "8190",
        "--forwarded-allow-ips" | "--proxy-allow-from" | "--uwsgi-allow-from" => "10.0.0.1,::1",
        "--proxy-protocol" => "auto",
        "--statsd-host" => "localhost:8125",
        "--access-logformat" => "%(h)s",
        "--protocol" => "http",
        "--http-protocols" => "h1",
        "--http2-cleartext" => "off",
        "--access-logfile" | "--error-logfile" | "--log-file" => "-",
        "-k" | "--worker-class" => "gthread",
        _ => "1",
    }
    .to_owned()
}

#[test]
fn every_flag_of_gunicorn_is_taken_ignored_or_refused_with_the_reason() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("avalon.toml");
    fs::write(&file, "WORKERS = 1\n").expect("a file");
    let file = file.display().to_string();
    let output = Command::new(peer("python")).args(["-c", LIST]).output().expect("python");
    let list = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(list.lines().count() > 90, "{list} {}", String::from_utf8_lossy(&output.stderr));
    let (mut taken, mut ignored, mut refused) = (0, 0, 0);
    for line in list.lines() {
        let mut words = line.split(' ');
        let takes_value = words.next() == Some("value");
        for flag in words {
            let value = value(flag, &file);
            let separate = [flag, value.as_str()];
            let joined = format!("{flag}={value}");
            let mut forms: Vec<Vec<&str>> = vec![if takes_value { separate.to_vec() } else { vec![flag] }];
            forms.extend((takes_value && flag.starts_with("--")).then(|| vec![joined.as_str()]));
            for form in forms {
                let arguments =
                    [&["--check-config", "--control=none", "--bind=127.0.0.1:0"], &form[..]].concat();
                let (code, _, stderr) = run(MASTER, &arguments, &[("TMPDIR", "/tmp"), ("HOME", "/")]);
                let long = line.split(' ').find(|name| name.starts_with("--")).unwrap_or(flag);
                let lines = stderr.lines().filter(|line| line.contains(long)).count();
                match code {
                    0 if stderr.is_empty() || flag == "--print-config" => taken += 1,
                    0 => {
                        assert!(lines == 1 && stderr.contains(" is ignored: "), "{form:?}: {stderr}");
                        ignored += 1;
                    }
                    _ => {
                        let reason = stderr.strip_prefix(&format!("error: {long}")).unwrap_or_default();
                        assert!(code == 2 && reason.len() > 40, "{form:?}: {stderr}");
                        assert!(!stderr.contains("unexpected argument"), "{form:?}: {stderr}");
                        refused += 1;
                    }
                }
                // The variable is judged the same, except for words that are not settings.
                let alone = ["--check-config", "--control=none", "--bind=127.0.0.1:0"];
                let words: Vec<String> = form.iter().map(|word| format!("'{word}'")).collect();
                let variables = [("TMPDIR", "/tmp"), ("HOME", "/"), (ARGUMENTS, &words.join(" "))];
                let (by_variable, _, stderr) = run(MASTER, &alone, &variables);
                let is_command = ["--check-config", "--print-config"].contains(&long);
                assert_eq!(by_variable, if is_command { 2 } else { code }, "{form:?}: {stderr}");
            }
        }
    }
    // These are the numbers of settings, of useless flags, and of flags for missing features.
    assert!(taken > 45 && ignored > 50 && refused > 20, "{taken} {ignored} {refused}");
}

/// The value of a key in the printed configuration.
fn printed(arguments: &[&str], variables: &[(&str, &str)], key: &str) -> String {
    let (code, config, error) = run(MASTER, &[&["--print-config"], arguments].concat(), variables);
    assert_eq!(code, 0, "{error}");
    let table: toml::Table = config.parse().expect("TOML");
    table[key].as_str().map_or_else(|| table[key].to_string(), str::to_owned)
}

/// As with Gunicorn: a file counts less than the variable, and that less than the command line.
#[test]
fn flags_in_the_variable_count_where_gunicorn_counts_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, workers: u32| {
        let path = folder.path().join(name);
        fs::write(&path, format!("WORKERS = {workers}\nTIMEOUT = {workers}\n")).expect("a file");
        format!("--config={}", path.display())
    };
    let (one, two) = (file("one", 11), file("two", 12));
    type Case<'a> = (&'a [&'a str], &'a str, &'a [(&'a str, &'a str)], &'a str);
    let both = format!("{one} -w 5");
    let cases: [Case<'_>; 11] = [
        (&[], "-w 5", &[], "5"),
        (&[&one], "-w 5", &[], "5"),
        (&["-w6"], "-w 5", &[], "6"),
        (&[], &one, &[], "11"),
        (&[&two], &one, &[], "12"),
        (&[], &both, &[], "5"),
        (&[], "-w 5", &[("WEB_CONCURRENCY", "7")], "5"),
        // Which is for this program, and not for Gunicorn.
        (&[], "-w 5", &[("AVALON_WORKERS", "8")], "8"),
        (&[], "-e AVALON_WORKERS=9", &[], "9"),
        (&["-e", "A=b"], "-e AVALON_WORKERS=9", &[], "3"),
        (&[], "avalon.app.wsgi -w 5 --preload", &[], "5"),
    ];
    for (arguments, variable, others, workers) in cases {
        let variables = [&[(ARGUMENTS, variable)], others].concat();
        assert_eq!(printed(arguments, &variables, "WORKERS"), workers, "{arguments:?} {variables:?}");
    }
    let (code, _, stderr) =
        run(MASTER, &["--check-config", "--control=none"], &[(ARGUMENTS, "-b 127.0.0.1:0 -w 5")]);
    assert!(code == 0 && stderr.contains("GUNICORN_CMD_ARGS sets "), "{stderr}");
    let (code, _, stderr) = run(MASTER, &["--check-config"], &[(ARGUMENTS, "--workers five")]);
    let expected = "environment variable GUNICORN_CMD_ARGS: WORKERS: expected a whole number";
    assert!(code == 2 && stderr.contains(expected), "{stderr}");
}

/// Words are split as Python does, of which Gunicorn has the splitting.
#[test]
fn flags_in_the_variable_are_split_as_python_splits_them() {
    const SPLIT: &str = "import shlex, sys\nprint(shlex.split(sys.argv[1])[1], end='')";
    for word in [r#"a\ b"#, r#""a \d \" \\""#, r"'a\b'", "a#b", "'a'\"b\"c", r"a\'b", "\"'\"", "''x"] {
        let text = format!("--statsd-prefix {word} --preload");
        let output = Command::new(peer("python")).args(["-c", SPLIT, &text]).output().expect("python");
        let expected = String::from_utf8(output.stdout).expect("UTF-8");
        assert_eq!(printed(&[], &[(ARGUMENTS, &text)], "STATSD_PREFIX"), expected, "{word}");
    }
}

/// The lines that avalonms' documentation told, and others that are common.
#[test]
fn documented_command_lines_start_and_name_ignored_flags_once() {
    for (line, ignored) in [
        (
            "--preload --workers 3 avalon.app.wsgi:application",
            &["--preload", "avalon.app.wsgi:application"][..],
        ),
        ("--preload --workers 3 avalon.app.wsgi:application --env AVALON_CONFIG=FILE", &["--preload"]),
        ("avalon.app.wsgi -w3 -k gthread --threads 4 -n music", &["--worker-class", "--threads", "--name"]),
    ] {
        let setup = Setup::with(&collection(1)).without_flags();
        let file = setup.path("avalon.toml");
        fs::write(&file, "REQUEST_PATH = \"/music\"\n").expect("a file");
        let line = line.replace("FILE", &file.display().to_string());
        let setup = line
            .split(' ')
            .fold(setup, |setup, word| setup.flag(word))
            .variable("AVALON_BIND", "127.0.0.1:0");
        let server = setup.start();
        server.wait_workers(3);
        let path = if line.contains("AVALON_CONFIG") { "/music/heartbeat" } else { "/avalon/heartbeat" };
        assert_eq!(server.get(path).text(), "OKOKOK");
        server.reload();
        for name in ignored {
            let told = format!("[INFO] {name} is ignored: ");
            assert_eq!(server.count_log(&told), 1, "{told}: {}", server.log());
        }
        server.assert_clean_shutdown();
    }
}

#[test]
fn flags_with_another_meaning_are_refused_with_advice() {
    for (arguments, part) in [
        (&["music.wsgi:app"][..], "'music.wsgi:app': avalon-master loads no application"),
        (&["--certfile", "x"], "config/nginx.conf"),
        (&["-D"], "--daemon: the server stays in the foreground"),
        (&["--chdir=/srv"], "cd DIR && avalon-master"),
        (&["--protocol", "uwsgi"], "--protocol uwsgi: "),
        (&["--http-protocols", "h2,h1"], "HTTP/2"),
        (&["-c", "python:conf"], "no Python module"),
        (&["--statsd-host", "unix:///run/statsd"], "over UDP"),
        (&["--log-config", "x"], "--log-format"),
    ] {
        let (code, stdout, stderr) = run(MASTER, arguments, &[]);
        assert_eq!((code, stdout.as_str()), (2, ""), "{arguments:?}: {stderr}");
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
    }
    for (variable, value, message) in [
        (
            "PORT",
            "http",
            "environment variable PORT: BIND: \"0.0.0.0:http\": \"http\" is no port (0 to 65535)",
        ),
        ("WEB_CONCURRENCY", "x", "environment variable WEB_CONCURRENCY: WORKERS: expected a whole number"),
    ] {
        let (code, _, stderr) = run(MASTER, &["--check-config"], &[(variable, value)]);
        assert!(code == 2 && stderr.contains(message), "{stderr}");
    }
}

/// The program reports files that Gunicorn reads from the working folder, and a control socket
/// without a place.
#[test]
fn missing_features_are_reported() {
    let setup = Setup::with(&collection(1)).variable("AVALON_CONTROL", "");
    fs::write(setup.path("gunicorn.conf.py"), "workers = 9\n").expect("a file");
    let mut words = vec!["env", "-u", "AVALON_CONTROL"];
    // Root has a socket in any case.
    if nix::unistd::geteuid().is_root() {
        for path in [setup.path(""), setup.path("avalon.sqlite")] {
            std::os::unix::fs::chown(path, Some(65534), Some(65534)).expect("root");
        }
        words.splice(0..0, ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"]);
    }
    let setup = setup.wrapped(&words);
    let server = setup.start();
    assert_eq!(
        server.count_log("[WARNING] avalonctl cannot reach this server: neither RUNTIME_DIRECTORY nor"),
        1,
        "{}",
        server.log()
    );
    assert_eq!(
        server.count_log("[INFO] gunicorn.conf.py in the working folder is not read"),
        1,
        "{}",
        server.log()
    );
    server.assert_clean_shutdown();
}

/// A plain screen of 24 lines with a prompt.
#[test]
fn the_short_help_fits_a_screen_and_the_long_one_tells_all() {
    const OTHERS: [&str; 3] = [
        env!("CARGO_BIN_EXE_avalon-scan"),
        env!("CARGO_BIN_EXE_avalonctl"),
        env!("CARGO_BIN_EXE_avalon-echo-config"),
    ];
    for program in [MASTER].into_iter().chain(OTHERS) {
        let (_, help, _) = run(program, &["-h"], &[("COLUMNS", "80")]);
        assert!(help.lines().count() <= 23, "{help}");
        assert!(help.lines().all(|line| line.chars().count() <= 80), "{help}");
    }
    let (_, help, _) = run(MASTER, &["--help"], &[("COLUMNS", "80")]);
    for line in
        avalon::config::DEFAULT_TOML.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
    {
        let (key, _) = line.split_once(" = ").expect("a setting");
        assert!(help.contains(&format!("[env: AVALON_{key}]")), "{key}: {help}");
    }
    for text in
        ["[default: 3] [env: AVALON_WORKERS]", "Processes:\n", "Number of worker processes (1 to 256)\n"]
    {
        assert!(help.contains(text), "{text}: {help}");
    }
    assert!(!help.contains("certfile"), "{help}");
}
