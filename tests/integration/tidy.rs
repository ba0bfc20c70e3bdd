//! House rules that a compiler does not check.

use std::fs;
use std::path::{Path, PathBuf};

/// Each room, and the rooms it may use.
const STREET: [(&str, &[&str]); 12] = [
    ("config", &["telemetry"]),
    ("model", &[]),
    ("text", &[]),
    ("ids", &["text"]),
    ("telemetry", &[]),
    ("scoreboard", &[]),
    // A scan asks the server to read its result.
    ("scan", &["config", "control", "database", "model", "ids", "text", "telemetry"]),
    ("database", &["config", "model"]),
    ("snapshot", &["model", "text"]),
    ("worker", &["config", "control", "snapshot", "telemetry", "text", "title", "scoreboard"]),
    ("control", &[]),
    ("title", &[]),
];

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

#[test]
fn data_flows_one_way() {
    for path in sources(&src()) {
        let inside = path.strip_prefix(src()).expect("a source").with_extension("");
        let room =
            inside.components().next().expect("a room").as_os_str().to_str().expect("UTF-8").to_owned();
        if inside.ends_with("tests") {
            continue;
        }
        let Some((_, may_use)) = STREET.iter().find(|(name, _)| *name == room) else { continue };
        let text = fs::read_to_string(&path).expect("a source in UTF-8");
        // Tests may look into any room.
        let text = text.split("#[cfg(test)]").next().unwrap_or_default();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for used in code.flat_map(|line| line.split("crate::").skip(1)) {
            let own = used.starts_with(&room);
            assert!(
                own || may_use.iter().any(|allowed| used.starts_with(allowed)),
                "{} uses crate::{used}",
                path.display()
            );
        }
    }
}

#[test]
fn unsafe_code_stands_only_where_the_architecture_says() {
    let allowed = [
        "master/processes/dispositions.rs",
        "master/processes/fork.rs",
        "scoreboard/mod.rs",
        "snapshot/storage.rs",
        "title.rs",
        "worker/interrupt.rs",
    ];
    for path in sources(&src()) {
        let text = fs::read_to_string(&path).expect("a source in UTF-8");
        if text.contains("allow(unsafe_code)") {
            assert!(allowed.iter().any(|file| path.ends_with(file)), "{}", path.display());
        }
    }
}
