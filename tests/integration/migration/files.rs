//! Configuration files in Python.

use std::fs;

use crate::harness::server::{Setup, collection, run};

const MASTER: &str = env!("CARGO_BIN_EXE_avalon-master");
const ECHO_CONFIG: &str = env!("CARGO_BIN_EXE_avalon-echo-config");

/// As a user of avalonms has one.
const SETTINGS: &str = "\
# -*- coding: utf-8 -*-
\"\"\"Settings of ours\"\"\"
from __future__ import unicode_literals
import logging
import os

DATABASE_URL = ('postgresql+psycopg2://me:geheim@'
                'db.example/music')  # the big one
JSONIFY_PRETTYPRINT_REGULAR = False
LOG_LEVEL = logging.WARN
LOG_PATH = None
REQUEST_PATH = u'/music'
SENTRY_DSN = 'https://0123456789abcdef@sentry.example/7'
STATSD_HOST = os.environ.get('STATSD', 'geheim')
STATSD_PORT = 9125
open('/no/such/file/was/executed')
";

#[test]
fn settings_of_avalonms_become_toml() {
    let folder = tempfile::tempdir().expect("a folder");
    let (python, toml) = (folder.path().join("settings.py"), folder.path().join("avalon.toml"));
    fs::write(&python, SETTINGS).expect("a file");
    let from = ["--from", python.to_str().expect("UTF-8")];
    let (code, stdout, stderr) = run(ECHO_CONFIG, &from, &[]);
    assert_eq!(code, 1, "{stderr}");
    assert!(stderr.contains("2 statements"), "{stderr}");
    let expected = "\
DATABASE_URL = \"postgresql+psycopg2://me:geheim@db.example/music\"
# JSONIFY_PRETTYPRINT_REGULAR (line 9) is not needed
LOG_LEVEL = 30
LOG_PATH = \"\"
REQUEST_PATH = \"/music\"
SENTRY_DSN = \"https://0123456789abcdef@sentry.example/7\"
# STATSD_HOST (line 14) is computed; write its value here: os.environ.get('STATSD', 'geheim')
STATSD_PORT = 9125
# line 16 is no assignment of a value: open('/no/such/file/was/executed')
";
    assert_eq!(stdout.split_once('\n').map(|(_, rest)| rest), Some(expected));
    // It is a configuration, and says the same.
    fs::write(&toml, &stdout).expect("a file");
    let (code, stdout, stderr) = run(MASTER, &["--print-config", "-c", toml.to_str().expect("UTF-8")], &[]);
    assert_eq!((code, stderr.as_str()), (0, ""));
    for line in
        ["LOG_LEVEL = 30", "REQUEST_PATH = \"/music\"", "STATSD_PORT = 9125", "STATSD_HOST = \"localhost\""]
    {
        assert!(stdout.lines().any(|printed| printed == line), "{line}: {stdout}");
    }
    fs::write(&python, "REQUEST_PATH = '/'\n").expect("a file");
    assert_eq!(run(ECHO_CONFIG, &from, &[]).0, 0);
    let (code, stdout, stderr) = run(ECHO_CONFIG, &["--from", "/no/such/file"], &[]);
    assert!(code == 2 && stdout.is_empty() && stderr.contains("/no/such/file"), "{stderr}");
}

#[test]
fn a_server_that_is_given_python_says_so_with_the_toml_and_no_secret() {
    let folder = tempfile::tempdir().expect("a folder");
    for (name, text, part) in [
        ("settings.py", SETTINGS, "REQUEST_PATH = \"/music\"\n"),
        // By its contents, under any name.
        ("settings.cfg", "REQUEST_PATH = '/music'\nLOG_PATH = None\n", "LOG_PATH = \"\"\n"),
        (
            "gunicorn.conf.py",
            "workers = 4\nbind = ['[::]:80']\ndef on_exit(server):\n    pass\n",
            "BIND = [\"[::]:80\"]\n",
        ),
    ] {
        let file = folder.path().join(name).display().to_string();
        fs::write(&file, text).expect("a file");
        for (arguments, variables) in
            [(vec!["-c", file.as_str()], vec![]), (vec![], vec![("AVALON_CONFIG", file.as_str())])]
        {
            let (code, stdout, stderr) = run(MASTER, &arguments, &variables);
            assert_eq!((code, stdout.as_str()), (2, ""), "{stderr}");
            assert!(stderr.starts_with(&format!("avalon-master: {file}: this is Python")), "{stderr}");
            assert!(stderr.contains(&format!("avalon-echo-config --from {file}")), "{stderr}");
            assert!(stderr.contains(part), "{stderr}");
            assert!(!stderr.contains("geheim") && !stderr.contains("0123456789abcdef"), "{stderr}");
        }
    }
}

/// A reload that meets Python changes nothing.
#[test]
fn a_server_that_meets_python_goes_on() {
    let setup = Setup::with(&collection(1));
    let file = setup.path("settings");
    fs::write(&file, "REQUEST_PATH = '/avalon'\n").expect("a file");
    let server = setup.variable("AVALON_CONFIG", &file.display().to_string()).start();
    fs::write(&file, SETTINGS).expect("a file");
    server.signal(nix::sys::signal::Signal::SIGHUP);
    let line = server.wait_log("this is Python");
    assert!(line.contains("STATSD_PORT = 9125"), "{line}");
    assert!(
        !server.log().contains("geheim") && !server.log().contains("0123456789abcdef"),
        "{}",
        server.log()
    );
    assert_eq!(server.get("/avalon/heartbeat").text(), "OKOKOK");
}
