//! The section EXAMPLES of each page. Tests have the programs read each of them.

use roff::{Roff, roman};

/// What a command does, and the command. After a `>` stands the file that it prints to.
type Example = (&'static str, &'static str);

/// A program with its examples.
pub(crate) const OF_PROGRAMS: [(&str, &[Example]); 4] = [
    (
        "avalon-master",
        &[
            (
                "Serve the rows of a SQLite file on port 8000 of all addresses:",
                "avalon-master --database-url sqlite:////var/lib/avalon/avalon.sqlite --bind 0.0.0.0:8000",
            ),
            (
                "Try a configuration before a reload, and exit:",
                "avalon-master --config /etc/avalon/avalon.toml --check-config",
            ),
            (
                "Print the configuration that file, environment and flags make, and exit:",
                "avalon-master --config /etc/avalon/avalon.toml --workers 8 --print-config",
            ),
            (
                "Serve a collection that is scanned each hour:",
                "avalon-master --collection /srv/music --scan-every 1h --log-level warning",
            ),
            (
                "Start as avalonms was started by Gunicorn:",
                "avalon-master --preload --workers 3 --bind unix:/run/avalon/http.sock avalon.app.wsgi:application",
            ),
        ],
    ),
    (
        "avalon-scan",
        &[
            ("Store all music of two folders:", "avalon-scan /srv/music /mnt/more-music"),
            (
                "Tell what a scan would change, and change nothing:",
                "avalon-scan --dry-run --verbose /srv/music",
            ),
            (
                "Look at one album alone, and have the running server load it:",
                "avalon-scan --only --reload /srv/music/Orchids/Tres_Naranjos",
            ),
            (
                "Scan COLLECTION of the configuration, with a report for a program:",
                "avalon-scan --config /etc/avalon/avalon.toml --quiet --json > report.json",
            ),
            (
                "Follow the changes of a folder until a signal comes:",
                "avalon-scan --watch --database postgresql://avalon@db.example/music /srv/music",
            ),
        ],
    ),
    (
        "avalonctl",
        &[
            ("Show the state of the server and of each worker:", "avalonctl status"),
            (
                "Read configuration and collection again, and fail if they are wrong:",
                "avalonctl reload --wait",
            ),
            (
                "Change the number of workers of one of several servers:",
                "avalonctl --socket /run/avalon/control workers 8",
            ),
            (
                "Publish the rows of the database for servers that fetch them:",
                "avalonctl publish --from-database --url s3://music/avalon?endpoint=https://s3.example.org",
            ),
            (
                "Fail unless two servers serve the same, fresh rows:",
                "avalonctl fleet music1.example:8000 music2.example:8000",
            ),
            ("Check the snapshot in a file:", "avalonctl inspect /var/lib/avalon/snapshot"),
        ],
    ),
    (
        "avalon-echo-config",
        &[
            ("Begin a file of settings:", "avalon-echo-config > avalon.toml"),
            ("Take over the settings of avalonms:", "avalon-echo-config --from settings.py > avalon.toml"),
        ],
    ),
];

/// A file of settings.
pub(crate) const SETTINGS: &str = "\
DATABASE_URL = \"postgresql://avalon@db.example/music\"
RELOAD_ON_CHANGE = true
BIND = [\"127.0.0.1:8000\", \"unix:/run/avalon/http.sock\"]
WORKERS = 4
LOG_LEVEL = \"WARNING\"
STATUS_ALLOW = [\"127.0.0.1\", \"::1\"]";

/// The section of a program.
pub(crate) fn of_program(roff: &mut Roff, name: &str) {
    roff.control("SH", ["EXAMPLES"]);
    let own = OF_PROGRAMS.iter().filter(|(program, _)| *program == name);
    for (what, command) in own.flat_map(|(_, examples)| *examples) {
        roff.control("PP", []);
        roff.text([roman(*what)]);
        verbatim(roff, command);
    }
}

/// The section of the file of settings.
pub(crate) fn of_settings(roff: &mut Roff) {
    roff.control("SH", ["EXAMPLES"]);
    roff.text([roman("A server beside a database that other machines write:")]);
    verbatim(roff, SETTINGS);
}

fn verbatim(roff: &mut Roff, text: &str) {
    roff.control("RS", ["4"]).control("nf", []);
    for line in text.lines() {
        roff.text([roman(line)]);
    }
    roff.control("fi", []).control("RE", []);
}
