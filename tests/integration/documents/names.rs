//! Settings, flags, metrics, exit codes, files and links in the documents: each exists, and no table lacks one.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::str::FromStr;

use nix::sys::signal::Signal;

use super::text::{Page, module, pages};
use super::{ROOT, run, sample_server};
use crate::harness::http;

/// Names in capitals that are neither settings nor signals: variables of the environment, constants of the kernel,
/// words of HTTP and SQL, names of folders and placeholders.
const OTHERS: [&str; 29] = [
    "AVALON_CONFIG",
    "AVALON_LONG",
    "AVALON_NO_SKIPS",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "BIGINT",
    "BOOLEAN",
    "EDITS_SEED",
    "GET",
    "GUNICORN_CMD_ARGS",
    "INTEGER",
    "KEY",
    "MSG_PEEK",
    "OKOKOK",
    "PACKAGE_ARCHITECTURES",
    "PORT",
    "PRAGMA",
    "RECYCLER",
    "SO_REUSEPORT",
    "SSL_CERT_DIR",
    "SSL_CERT_FILE",
    "TEXT",
    "TIMESTAMP",
    "TIMESTAMPTZ",
    "TMPDIR",
    "UUID",
    "VARCHAR",
    "WEB_CONCURRENCY",
];
const README_MAX: usize = 7 * 1024;
const MAP_LINES_MAX: usize = 150;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(ROOT).join(path)).expect(path)
}

/// The settings by subject, in the order of `config/default.toml`.
fn settings() -> Vec<(String, Vec<String>)> {
    let mut subjects: Vec<(String, Vec<String>)> = Vec::new();
    for line in read("config/default.toml").lines() {
        if let Some(subject) = line.strip_prefix("# ---").filter(|rest| rest.starts_with('-')) {
            subjects.push((subject.trim_matches(['-', ' ']).to_owned(), Vec::new()));
        } else if let Some((key, _)) = line.split_once(" = ").filter(|(key, _)| is_name(key)) {
            subjects.last_mut().expect("a subject").1.push(key.to_owned());
        }
    }
    subjects
}

fn is_name(word: &str) -> bool {
    word.starts_with(|first: char| first.is_ascii_uppercase())
        && word.chars().all(|letter| letter.is_ascii_uppercase() || letter == '_')
}

#[test]
fn settings_in_the_documents_exist() {
    let known: BTreeSet<String> = settings().into_iter().flat_map(|(_, keys)| keys).collect();
    assert!(known.len() > 60, "{known:?}");
    let mut named = BTreeSet::new();
    for page in pages() {
        let toml = page.blocks.iter().filter(|block| block.info.as_deref() == Some("toml"));
        let lines: Vec<&str> = toml.flat_map(|block| block.lines.iter().map(String::as_str)).collect();
        for code in page.quoted().chain(lines.iter().copied()) {
            let word = code.split([' ', '=']).next().unwrap_or_default();
            if !is_name(word) || word.len() < 3 {
                continue;
            }
            let key = word.strip_prefix("AVALON_").filter(|key| known.contains(*key)).unwrap_or(word);
            let is_signal =
                |key: &str| Signal::from_str(&format!("SIG{}", key.trim_start_matches("SIG"))).is_ok();
            let is_known = known.contains(key) || OTHERS.contains(&key) || key == "AVALON_" || is_signal(key);
            assert!(is_known, "{}: `{code}` is no setting", page.name);
            named.insert(key.to_owned());
        }
    }
    let unused: Vec<&&str> = OTHERS.iter().filter(|name| !named.contains(**name)).collect();
    assert!(unused.is_empty(), "no page names {unused:?}");
}

#[test]
fn the_page_on_configuration_lists_exactly_the_settings() {
    let page = Page::named("docs/configuration.md");
    let (_, table) = page.prose.split_once("| subject | settings |").expect("the table");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: Vec<(String, Vec<String>)> = rows
        .map(|row| {
            let cells: Vec<&str> = row.split('|').map(str::trim).collect();
            let keys = cells[2].split('`').skip(1).step_by(2).map(str::to_owned).collect();
            (cells[1].to_owned(), keys)
        })
        .collect();
    assert_eq!(listed, settings());
}

/// A page lists the metrics that a server gives, no more and no fewer; and names in other places are among them.
#[test]
fn metrics_in_the_documents_exist_and_the_table_has_all() {
    let server = sample_server();
    let answer = http::get(&server.address, "/avalon/metrics");
    let text = answer.text();
    let families: BTreeSet<&str> =
        text.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next()).collect();
    let page = Page::named("docs/telemetry.md");
    let cells = page.first_cells("## Prometheus", "metric");
    let listed: BTreeSet<&str> = cells.iter().flat_map(|cell| cell.split('`').skip(1).step_by(2)).collect();
    assert_eq!(listed, families);
    // Tables of the database have the prefix, too.
    let schema = module(&Path::new(ROOT).join("src"), "database");
    for page in pages() {
        for code in
            page.quoted().filter(|code| code.starts_with("avalon_") && code.len() > 7 && !code.contains('.'))
        {
            let name = code.split([' ', '{']).next().unwrap_or_default();
            let is_table =
                [format!("{name} "), format!("\"{name}\"")].iter().any(|table| schema.contains(table));
            let is_known = families.contains(name) || is_table;
            assert!(is_known, "{}: `{code}` is neither a metric nor a table", page.name);
        }
    }
}

#[test]
fn the_page_on_telemetry_lists_the_metrics_of_statsd() {
    let page = Page::named("docs/telemetry.md");
    let cells = page.first_cells("## statsd", "metric").join(" ");
    let source = read("src/master/operator/metrics.rs");
    let (source, _) = source.split_once("#[cfg(test)]").expect("its tests");
    let calls = source.split("statsd.time(").chain(source.split("statsd.count(")).skip(1);
    let names: BTreeSet<&str> = calls
        .filter_map(|call| call.trim_start_matches("&format!(").strip_prefix('"')?.split(['"', '{']).next())
        .collect();
    assert!(names.len() >= 5, "{names:?}");
    for name in names {
        assert!(cells.contains(&format!("`{name}")), "{name} is not in {cells}");
    }
}

/// Tables of exit codes have those that the program's help has.
#[test]
fn exit_codes_in_the_documents_are_those_of_the_help() {
    let server = sample_server();
    for (program, page, heading) in [
        ("avalon-master", "docs/operating.md", "## Exit codes of `avalon-master`"),
        ("avalonctl", "docs/operating.md", "## Looking and steering"),
        ("avalon-scan", "docs/scanning.md", "## Exit codes"),
    ] {
        let (_, help) = run(&server, &format!("{program} --help"));
        let (_, help) = help.split_once("\nExit codes:\n").expect("exit codes");
        let help: Vec<&str> = help.lines().take_while(|line| line.starts_with("  ")).collect();
        // The number in front, and those of signals.
        let mut expected = BTreeSet::new();
        for line in help {
            let first: Option<u8> = line.get(2..6).and_then(|start| start.trim().parse().ok());
            expected.extend(first);
            let numbers = line.split(|letter: char| !letter.is_ascii_digit());
            expected.extend(
                numbers.filter_map(|number| number.parse::<u8>().ok()).filter(|number| *number > 128),
            );
        }
        let page = Page::named(page);
        let cells = page.first_cells(heading, "code").join(", ");
        let listed: BTreeSet<u8> = cells.split(", ").map(|code| code.parse().expect("a code")).collect();
        assert_eq!(listed, expected, "{program}");
    }
}

/// Words of a text that are flags, without their values.
fn flags(text: &str) -> impl Iterator<Item = &str> {
    let is_part =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_".contains(letter);
    text.split(move |letter| !is_part(letter)).filter(|word| word.starts_with("--") && word.len() > 2)
}

/// Flags in code font are flags of the program in front of them, or else of some program.
#[test]
fn flags_in_the_documents_exist() {
    const PROGRAMS: [&str; 6] = [
        "avalon-scan",
        "avalon-master",
        "avalonctl",
        "avalon-echo-config",
        "scripts/bench",
        "scripts/deploy",
    ];
    // An abbreviation that the page calls refused, and flags of rsync and Cargo.
    const OTHERS: [&str; 3] = ["--work", "--delay-updates", "--no-default-features"];
    let server = sample_server();
    let help_of = |command: &str| -> BTreeSet<String> {
        flags(&run(&server, &format!("{command} --help")).1).map(str::to_owned).collect()
    };
    let subcommands =
        ["status", "reload", "publish", "fleet", "inspect"].map(|name| format!("avalonctl {name}"));
    let mut helps: BTreeMap<String, BTreeSet<String>> =
        subcommands.iter().map(|command| (command.clone(), help_of(command))).collect();
    helps.extend(PROGRAMS.map(|program| (program.to_owned(), help_of(program))));
    // Gunicorn's, which the help leaves out.
    let hidden =
        ["gunicorn", "settings", "flags"].map(|file| read(&format!("src/config/{file}.rs"))).concat();
    let is_any = |flag: &str| {
        helps.values().any(|help| help.contains(flag))
            || hidden.contains(&format!("\"{}\"", flag.trim_start_matches('-')))
            || OTHERS.contains(&flag)
    };
    let mut count = 0;
    for page in pages() {
        for code in page.quoted() {
            let program = PROGRAMS.into_iter().find(|program| code.split(' ').next() == Some(program));
            let rest = program.and_then(|program| code.get(program.len()..)).unwrap_or(code);
            let mut subcommand = "";
            // In a table alternatives stand behind `\|`. A subcommand has a help of its own.
            for part in
                rest.split("\\|").map(str::trim).filter(|part| program.is_some() || part.starts_with('-'))
            {
                if !part.starts_with('-') {
                    subcommand = part.split(' ').next().unwrap_or_default();
                }
                let help = program.and_then(|program| {
                    helps.get(&format!("{program} {subcommand}")).or_else(|| helps.get(program))
                });
                for flag in flags(part) {
                    let is_known = match help {
                        Some(help) if page.name != "docs/migrating.md" => {
                            help.contains(flag) || flag == "--preload"
                        }
                        _ => is_any(flag),
                    };
                    assert!(is_known, "{}: `{code}`: there is no {flag}", page.name);
                    count += 1;
                }
            }
        }
    }
    assert!(count >= 100, "{count}");
}

#[test]
fn links_lead_to_pages_and_headings_that_exist() {
    let all = pages();
    let mut dead = Vec::new();
    for page in &all {
        let folder = Path::new(&page.name).parent().expect("a folder");
        for link in page.links().filter(|link| !link.contains("://")) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.name.clone() } else { clean(&folder.join(path)) };
            let there = all.iter().find(|other| other.name == target);
            let is_right = match there {
                Some(there) => anchor.is_empty() || there.anchors().iter().any(|known| known == anchor),
                None => anchor.is_empty() && Path::new(ROOT).join(&target).exists(),
            };
            if !is_right {
                dead.push(format!("{}: {link}", page.name));
            }
        }
    }
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// The path without `..`.
fn clean(path: &Path) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.to_str().expect("UTF-8").split('/').filter(|part| !part.is_empty()) {
        match part {
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

#[test]
fn first_pages_are_short() {
    let readme = read("README.md").len();
    assert!(readme <= README_MAX, "README.md has {readme} bytes: move something to docs/");
    let lines = read("ARCHITECTURE.md").lines().count();
    assert!(lines <= MAP_LINES_MAX, "ARCHITECTURE.md has {lines} lines: move something to docs/internals.md");
}

/// Each decision has its three parts and a date, and stands in the list.
#[test]
fn decisions_have_context_choice_evidence_and_a_date() {
    let list = Page::named("docs/decisions/README.md");
    let listed: BTreeSet<&str> = list.links().collect();
    let decisions: Vec<Page> = pages()
        .into_iter()
        .filter(|page| page.name.starts_with("docs/decisions/") && page.name != list.name)
        .collect();
    for page in &decisions {
        let file = page.name.rsplit('/').next().expect("a name");
        assert!(listed.contains(file), "{file} is not in {}", list.name);
        let headings: Vec<&str> = page.prose.lines().filter(|line| line.starts_with("## ")).collect();
        assert_eq!(headings, ["## Context", "## Choice", "## Evidence"], "{file}");
        let date = page.prose.lines().nth(2).and_then(|line| line.get(..10)).unwrap_or_default();
        let is_date = jiff::civil::Date::strptime("%Y-%m-%d", date).is_ok();
        assert!(is_date && list.prose.contains(&format!("({file}) | {date} |")), "{file}: {date}");
    }
    assert_eq!(decisions.len(), listed.len());
}

/// As keepachangelog.com describes it: versions, newest first, and below them kinds of changes in their order.
#[test]
fn the_changelog_keeps_its_form() {
    const KINDS: [&str; 6] = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"];
    let text = read("CHANGELOG.md");
    let mut versions = text.split("\n## ").skip(1);
    let unreleased = versions.next().expect("what comes next");
    assert!(unreleased.starts_with("[Unreleased]\n"), "{}", &unreleased[..20]);
    for version in versions.clone() {
        let (title, _) = version.split_once('\n').expect("a title");
        let (number, date) = title.split_once("] - ").expect("[VERSION] - DATE");
        assert!(number.starts_with('['), "{title}");
        assert!(date == "unreleased" || jiff::civil::Date::strptime("%Y-%m-%d", date).is_ok(), "{title}");
    }
    for version in [unreleased].into_iter().chain(versions) {
        let mut parts = version.split("\n### ");
        let before = parts.next().unwrap_or_default();
        assert!(!before.contains("\n- "), "a change without a kind: {before}");
        let kinds: Vec<usize> = parts
            .map(|part| {
                let (kind, changes) = part.split_once('\n').expect("changes");
                assert!(changes.trim_start().starts_with("- "), "nothing below {kind}");
                KINDS.iter().position(|known| *known == kind).unwrap_or_else(|| panic!("no kind {kind}"))
            })
            .collect();
        assert!(!kinds.is_empty() && kinds.windows(2).all(|two| two[0] < two[1]), "{version}");
    }
}
