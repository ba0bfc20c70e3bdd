//! House rules that a compiler does not check.

mod commits;
mod source;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use crate::documents::text::pages;
use source::{Source, Use, files};

/// Each room, and the rooms it may use.
const STREET: [(&str, &[&str]); 21] = [
    ("ctl", &["cli", "config", "control", "database", "fleet", "model", "publication", "rows", "snapshot"]),
    ("api", &["model"]),
    ("cli", &[]),
    ("config", &["cli", "telemetry"]),
    ("model", &[]),
    ("text", &[]),
    ("ids", &["text"]),
    ("telemetry", &["api"]),
    ("scoreboard", &["api"]),
    // A scan asks the server to read its result.
    ("scan", &["cli", "config", "control", "database", "model", "ids", "text", "telemetry"]),
    ("rows", &["model"]),
    ("database", &["config", "model", "rows", "scheduling"]),
    ("snapshot", &["api", "model", "rows", "scheduling", "text"]),
    ("publication", &["config", "snapshot"]),
    (
        "worker",
        &[
            "api",
            "config",
            "control",
            "model",
            "scheduling",
            "snapshot",
            "telemetry",
            "text",
            "title",
            "scoreboard",
        ],
    ),
    ("control", &[]),
    ("fleet", &["cli", "control"]),
    ("title", &[]),
    ("scheduling", &[]),
    (
        "master",
        &[
            "cli",
            "config",
            "control",
            "database",
            "model",
            "publication",
            "rows",
            "scan",
            "scheduling",
            "scoreboard",
            "snapshot",
            "telemetry",
            "title",
            "worker",
        ],
    ),
    ("bin", &["cli", "config", "ctl", "master", "scan", "telemetry"]),
];

/// The rooms of a room, and files that stand between them: each may use those behind it.
const SUB_ROOMS: [(&str, &[&str]); 4] = [
    (
        "master",
        &[
            "start",
            "perform",
            "operator",
            "scans",
            "generation",
            "handover",
            "processes",
            "arbiter",
            "clock",
            "wait",
            "exit",
            "error",
        ],
    ),
    ("scan", &["command", "watch", "read"]),
    ("snapshot", &["inspect", "merge", "query", "open", "build", "format"]),
    ("worker", &["life", "connection", "request", "page", "shown", "answer", "watch"]),
];

/// The most lines of a file, and the files that have more, each with the reason.
const LINES_MAX: usize = 450;
const LONG_FILES: [(&str, &str); 1] = [("config/settings.rs", "one table of all settings")];

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The part of a file's path that names its room.
fn room(file: &Path) -> String {
    let first = file.components().next().expect("a room").as_os_str().to_str().expect("UTF-8");
    first.trim_end_matches(".rs").to_owned()
}

/// The sub-room of a file, if it is in one.
fn sub_room(file: &Path) -> Option<String> {
    let inside = file.strip_prefix(room(file)).ok()?;
    let first = inside.components().next()?.as_os_str().to_str()?;
    Some(first.trim_end_matches(".rs").to_owned())
}

#[test]
fn data_flows_one_way() {
    let mut wrong = Vec::new();
    for used in Source::read(&src()).uses() {
        let (from, to) = (room(&used.from), room(&used.to));
        let allowed = STREET.iter().find(|(name, _)| *name == from).map(|(_, may_use)| *may_use);
        match allowed {
            Some(may_use) if from == to || may_use.contains(&to.as_str()) => {}
            _ => wrong.push(format!("{} uses {}", used.from.display(), used.path)),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn the_street_has_no_circle() {
    let arrows = STREET.iter().map(|(room, may_use)| (*room, may_use.iter().copied().collect())).collect();
    assert_eq!(circle(&arrows), None);
}

#[test]
fn rooms_within_a_room_have_an_order() {
    let mut wrong = Vec::new();
    for used in Source::read(&src()).uses().into_iter().filter(|used| room(&used.from) == room(&used.to)) {
        let Some((_, order)) = SUB_ROOMS.iter().find(|(name, _)| *name == room(&used.from)) else { continue };
        let place = |file: &Path| {
            let name = sub_room(file)?;
            order.iter().position(|other| *other == name)
        };
        if place(&used.from) > place(&used.to) && place(&used.to).is_some() {
            wrong.push(format!("{} uses {}", used.from.display(), used.path));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_files_of_a_room_use_each_other_in_a_circle() {
    let uses = Source::read(&src()).uses();
    let mut found = Vec::new();
    for (room_name, _) in STREET {
        let inside: Vec<&Use> =
            uses.iter().filter(|used| room(&used.from) == room_name && room(&used.to) == room_name).collect();
        let mut arrows: BTreeMap<&Path, BTreeSet<&Path>> = BTreeMap::new();
        for used in &inside {
            arrows.entry(&used.from).or_default().insert(&used.to);
        }
        // All of them at once: each is cut where it was found.
        while let Some(circle) = circle(&arrows) {
            let steps = circle.iter().zip(circle.iter().cycle().skip(1));
            let told = steps.map(|(from, to)| {
                let path = inside.iter().find(|used| used.from == **from && used.to == **to);
                format!("    {} uses {}", from.display(), path.map_or("?", |used| &used.path))
            });
            found.push(told.collect::<Vec<_>>().join("\n"));
            arrows.get_mut(circle[0]).expect("a file").remove(circle[1 % circle.len()]);
        }
    }
    assert!(found.is_empty(), "{} circles\n{}", found.len(), found.join("\n\n"));
}

/// A shortest circle of these arrows.
fn circle<'a, T: Ord + ?Sized>(arrows: &BTreeMap<&'a T, BTreeSet<&'a T>>) -> Option<Vec<&'a T>> {
    arrows.keys().filter_map(|begin| way_back(arrows, begin)).min_by_key(Vec::len)
}

/// The shortest way from `begin` to itself, without its last step.
fn way_back<'a, T: Ord + ?Sized>(
    arrows: &BTreeMap<&'a T, BTreeSet<&'a T>>,
    begin: &'a T,
) -> Option<Vec<&'a T>> {
    let mut ways = std::collections::VecDeque::from([vec![begin]]);
    let mut seen = BTreeSet::new();
    while let Some(way) = ways.pop_front() {
        for next in arrows.get(way.last()?).into_iter().flatten() {
            if *next == begin {
                return Some(way);
            }
            if seen.insert(*next) {
                ways.push_back(way.iter().chain([next]).copied().collect());
            }
        }
    }
    None
}

#[test]
fn circles_are_found() {
    let arrows = |of: &[(&'static str, &'static str)]| {
        let mut arrows: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
        for (from, to) in of {
            arrows.entry(from).or_default().insert(to);
        }
        arrows
    };
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("a", "c")])), None);
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("c", "b")])), Some(vec!["b", "c"]));
    assert_eq!(circle(&arrows(&[("a", "b"), ("b", "c"), ("c", "a")])), Some(vec!["a", "b", "c"]));
}

#[test]
fn no_two_types_of_a_room_have_one_name() {
    let source = Source::read(&src());
    let mut places: BTreeMap<(&Path, &str), BTreeSet<&Path>> = BTreeMap::new();
    for module in source.modules() {
        // A folder within a room is a room of its own.
        let folder = module.file.parent().expect("a folder");
        // Programs do not meet.
        if folder == Path::new("bin") {
            continue;
        }
        for name in &module.public_types {
            places.entry((folder, name)).or_default().insert(&module.file);
        }
    }
    let twins = places.iter().filter(|(_, files)| files.len() > 1);
    let twins: Vec<String> = twins.map(|((_, name), files)| format!("{name} in {files:?}")).collect();
    assert!(twins.is_empty(), "{}", twins.join("\n"));
}

#[test]
fn errors_are_types() {
    let source = Source::read(&src());
    let texts: Vec<String> = source
        .modules()
        .flat_map(|module| module.text_errors.iter().map(|text| format!("{}: {text}", module.file.display())))
        .collect();
    assert!(texts.is_empty(), "{}", texts.join("\n"));
}

#[test]
fn files_are_short() {
    let lines = |path: &Path| fs::read_to_string(path).expect("a source in UTF-8").lines().count();
    let is_known = |path: &Path| LONG_FILES.iter().any(|(file, _)| path.ends_with(file));
    let long: Vec<String> = files(&src())
        .iter()
        .filter(|path| lines(path) > LINES_MAX && !is_known(path))
        .map(|path| format!("{} has {} lines", path.display(), lines(path)))
        .collect();
    assert!(long.is_empty(), "{}", long.join("\n"));
    for (file, reason) in LONG_FILES {
        let is_long =
            fs::exists(src().join(file)).is_ok_and(|exists| exists) && lines(&src().join(file)) > LINES_MAX;
        assert!(is_long, "{file} is not long any more ({reason})");
    }
}

/// Pages about the source name files of it in code font.
#[test]
fn files_that_the_documents_name_exist() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let known: Vec<PathBuf> = [files(&src()), files(&root.join("tests"))].concat();
    let mut missing = Vec::new();
    let mut count = 0;
    for page in pages() {
        for name in page.quoted().filter(|name| name.ends_with(".rs") && name.contains('/')) {
            count += 1;
            if !known.iter().any(|file| file.ends_with(name)) {
                missing.push(format!("{}: {name}", page.name));
            }
        }
    }
    assert!(missing.is_empty(), "{}", missing.join("\n"));
    assert!(count > 100, "{count}");
}

#[test]
fn the_map_has_all_rooms() {
    let text =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("the map");
    let (_, table) = text.split_once("| room | owns | never |").expect("the rooms");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let listed: BTreeSet<&str> = rows
        .flat_map(|row| row.split('|').nth(1).unwrap_or_default().split('`').skip(1).step_by(2))
        .collect();
    let rooms = STREET.iter().map(|(room, _)| *room).filter(|room| *room != "bin");
    assert_eq!(listed, rooms.collect());
}

#[test]
fn unsafe_code_stands_only_where_the_architecture_says() {
    let allowed = [
        "master/processes/dispositions.rs",
        "master/processes/fork.rs",
        "rows/scratch.rs",
        "scoreboard/mod.rs",
        "snapshot/open/storage.rs",
        "title.rs",
        "worker/connection/interrupt.rs",
        "scheduling.rs",
    ];
    for path in files(&src()) {
        let text = fs::read_to_string(&path).expect("a source in UTF-8");
        if text.contains("allow(unsafe_code)") {
            assert!(allowed.iter().any(|file| path.ends_with(file)), "{}", path.display());
        }
    }
    let map =
        fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("ARCHITECTURE.md")).expect("the map");
    let (_, paragraph) = map.split_once("The crate denies `unsafe`").expect("the paragraph on unsafe");
    for file in allowed {
        assert!(paragraph.contains(&format!("`{file}`")), "ARCHITECTURE.md does not allow {file}");
    }
}

/// Without its feature nothing of Sentry is built, and one module alone knows that there is a feature.
#[test]
fn sentry_can_be_left_out() {
    let mut command = std::process::Command::new(env!("CARGO"));
    command.args(["tree", "--locked", "--no-default-features", "--edges=normal,build", "--prefix=none"]);
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let crates = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(crates.contains("hyper v") && !crates.contains("sentry"), "{crates}");
    let text = |path: &Path| fs::read_to_string(path).expect("a source in UTF-8");
    let knows = |path: &Path| text(path).contains("feature = \"sentry\"");
    let knowing: Vec<PathBuf> = files(&src()).into_iter().filter(|path| knows(path)).collect();
    assert_eq!(knowing, [src().join("telemetry/sentry.rs")]);
}

/// Nothing is built, installed or started by a question for help.
#[test]
fn scripts_tell_their_help_and_do_nothing_else() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().expect("a folder");
    let called = folder.path().join("called");
    for name in ["apt-get", "cargo", "docker", "npm", "rustup", "ssh", "sudo"] {
        let program = folder.path().join(name);
        fs::write(&program, format!("#!/bin/sh\necho $0 >>{}\n", called.display())).expect("written");
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("permissions");
    }
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let entries = ["scripts", "scripts/packaging"].map(|of| fs::read_dir(root.join(of)).expect("a folder"));
    let entries = entries.into_iter().flatten().map(|entry| entry.expect("an entry").path());
    let is_program = |path: &Path| {
        let what = fs::metadata(path).expect("metadata");
        what.is_file() && what.permissions().mode() & 0o111 != 0
    };
    let programs: Vec<PathBuf> = entries.filter(|path| is_program(path)).collect();
    assert!(programs.len() >= 9, "{programs:?}");
    let search = std::env::var("PATH").expect("a path");
    for (program, flag) in programs.iter().flat_map(|program| [(program, "-h"), (program, "--help")]) {
        let mut command = std::process::Command::new(program);
        command.arg(flag).env("PATH", format!("{}:{search}", folder.path().display()));
        let output = command.current_dir(folder.path()).output().expect("a script");
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && text.lines().count() >= 2, "{}: {text}", program.display());
        assert!(!called.exists(), "{}: {:?}", program.display(), fs::read_to_string(&called));
    }
}
