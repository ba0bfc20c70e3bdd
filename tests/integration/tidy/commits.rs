//! Subjects of commits, from the last release on, begin with a scope: `snapshot: refuse rows out of order`.

use std::path::Path;
use std::process::Command;

/// The commit that began the habit; older ones count only up to the first release after it.
const BEGIN: &str = "c0d9717d2e036f453207f2e10d0fd9fee52be755";
const LEN_MAX: usize = 110;

/// The fault of a subject.
fn fault(subject: &str) -> Option<&'static str> {
    let Some((scope, rest)) = subject.split_once(": ") else { return Some("it has no scope") };
    let is_scope =
        |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || "-_/., ".contains(letter);
    if scope.is_empty() || !scope.chars().all(is_scope) {
        return Some("its scope is no name of a room in lower case");
    }
    if rest.trim().is_empty() || rest.ends_with('.') {
        return Some("it says nothing, or ends with a full stop");
    }
    (subject.chars().count() > LEN_MAX).then_some("it has more than 110 characters")
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[test]
fn subjects_of_commits_have_a_scope() {
    // An archive of the source has no history, and a shallow clone not all of it.
    if !Path::new(env!("CARGO_MANIFEST_DIR")).join(".git").exists() {
        return;
    }
    let release = git(&["describe", "--tags", "--abbrev=0", "--match=v*"]);
    let begin = release.as_deref().map_or(BEGIN, str::trim);
    // Subjects of merges and reverts are git's own.
    let range = format!("{begin}..HEAD");
    let written = ["log", "--no-merges", "--invert-grep", "--grep=^Revert \"", "--format=%h %s", &range];
    let Some(subjects) = git(&written) else {
        return;
    };
    let wrong: Vec<String> = subjects
        .lines()
        .filter_map(|line| Some(format!("{line}: {}", fault(line.split_once(' ')?.1)?)))
        .collect();
    assert!(wrong.is_empty(), "git rebase --interactive, and reword:\n{}", wrong.join("\n"));
}

#[test]
fn faults_of_subjects_are_found() {
    for subject in ["snapshot: refuse rows out of order", "tests, docs: S3 and `x`", "worker/page: a b"] {
        assert_eq!(fault(subject), None, "{subject}");
    }
    for subject in [
        "Refuse rows",
        "Snapshot: refuse rows",
        ": x",
        "scan: ",
        "scan: x.",
        &format!("scan: {}", "x".repeat(109)),
    ] {
        assert!(fault(subject).is_some(), "{subject}");
    }
}
