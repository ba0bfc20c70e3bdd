//! `scripts/release` makes a tag of a project that is ready, and refuses any other.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

/// Leaves the same files wherever it is run.
const SAME: &str = "mkdir -p $CARGO_TARGET_DIR/release && cd $CARGO_TARGET_DIR/release && \
                    for p in avalon avalon-master avalon-scan avalonctl avalon-echo-config; do echo $p > $p; done";

/// A repository with the files that the script checks.
struct Project {
    folder: TempDir,
}

impl Project {
    fn new() -> Self {
        let project = Project { folder: tempfile::tempdir().expect("a folder") };
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/release");
        fs::create_dir(project.path("scripts")).expect("a folder");
        fs::copy(script, project.path("scripts/release")).expect("the script");
        project.write("Cargo.toml", "[package]\nname = \"avalon-music-server\"\nversion = \"1.2.3\"\n");
        project.write("Cargo.lock", "[[package]]\nname = \"avalon-music-server\"\nversion = \"1.2.3\"\n");
        let today = project.run("date", &["+%F"]).1;
        let changes = format!(
            "# Changelog\n\n## [1.2.3] - {}\n\n### Added\n\n- New.\n\n## [1.2.2] - 2026-01-01\n\n### Added\n\n- Old.\n",
            today.trim()
        );
        project.write("CHANGELOG.md", &changes);
        for arguments in [
            &["init", "-q", "-b", "main"][..],
            &["config", "user.name", "Test"],
            &["config", "user.email", "test@example.org"],
        ] {
            assert!(project.run("git", arguments).0);
        }
        project.commit();
        project
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.path(name), text).expect("a file");
    }

    fn commit(&self) {
        assert!(self.run("git", &["add", "-A"]).0);
        assert!(self.run("git", &["commit", "-q", "-m", "State"]).0);
    }

    fn run(&self, program: &str, arguments: &[&str]) -> (bool, String) {
        let output = Command::new(program)
            .args(arguments)
            .current_dir(self.folder.path())
            .output()
            .expect("a program");
        (output.status.success(), String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// Returns the exit code, and the output.
    fn release(&self, arguments: &[&str], test: &str, build: &str) -> (i32, String) {
        self.release_with(arguments, "true", test, build)
    }

    fn release_with(&self, arguments: &[&str], deny: &str, test: &str, build: &str) -> (i32, String) {
        let output = Command::new(self.path("scripts/release"))
            .args(arguments)
            .env("RELEASE_DENY", deny)
            .env("RELEASE_TEST", test)
            .env("RELEASE_BUILD", build)
            .output()
            .expect("the script");
        (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&output.stderr).into_owned())
    }

    fn tags(&self) -> String {
        self.run("git", &["tag", "-n9"]).1
    }
}

#[test]
fn a_ready_project_becomes_a_tag_with_its_changes() {
    let project = Project::new();
    let (code, said) = project.release(&["--dry-run", "1.2.3"], "true", SAME);
    assert_eq!((code, project.tags().as_str()), (0, ""), "{said}");
    let (code, said) = project.release(&["1.2.3"], "true", SAME);
    assert_eq!(code, 0, "{said}");
    let tags = project.tags();
    assert!(tags.starts_with("v1.2.3") && tags.contains("- New.") && !tags.contains("Old"), "{tags}");
    let (code, said) = project.release(&["1.2.3"], "true", SAME);
    assert!(code == 1 && said.contains("tag v1.2.3 already"), "{said}");
}

#[test]
fn a_project_that_is_not_ready_is_refused_with_the_reason() {
    let project = Project::new();
    for (arguments, code) in [(&["x"][..], 2), (&[], 2), (&["--dry-run"], 2), (&["1.2.4"], 1)] {
        assert_eq!(project.release(arguments, "true", SAME).0, code, "{arguments:?}");
    }
    let refused = |test: &str, build: &str, reason: &str| {
        let (code, said) = project.release(&["1.2.3"], test, build);
        assert!(code == 1 && said.contains(reason), "{reason}: {said}");
        assert_eq!(project.tags(), "");
    };
    let (code, said) = project.release_with(&["1.2.3"], "false", "true", SAME);
    assert!(code == 1 && said.contains("cargo-deny refuses the dependencies"), "{said}");
    refused("false", SAME, "tests have failed");
    refused("true", "false", "build has failed");
    refused("true", &format!("{SAME}; pwd > avalonctl"), "two builds of avalonctl differ");
    refused("true", "mkdir -p $CARGO_TARGET_DIR/release", "two builds of avalon differ");
    refused("touch new", SAME, "changed meanwhile");
    refused("true", SAME, "not clean");
    fs::remove_file(project.path("new")).expect("removed");
    let changes = fs::read_to_string(project.path("CHANGELOG.md")).expect("changes");
    project.write("CHANGELOG.md", &changes.replace("## [1.2.3] - ", "## [1.2.3] - unreleased "));
    project.commit();
    refused("true", SAME, "unreleased");
    project.write("CHANGELOG.md", &changes.replace("- New.", ""));
    project.commit();
    refused("true", SAME, "says nothing about 1.2.3");
    project.write("CHANGELOG.md", &changes);
    project.write("Cargo.lock", "[[package]]\nname = \"avalon-music-server\"\nversion = \"1.2.2\"\n");
    project.commit();
    refused("true", SAME, "Cargo.lock says version 1.2.2");
    assert!(project.run("git", &["checkout", "-q", "-b", "other"]).0);
    refused("true", SAME, "branch other");
}
