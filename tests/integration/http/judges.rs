//! Programs that check APIs find no fault in this one, and find the faults of a wrong one.

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use serde_json::json;

use crate::conformance::recorded_sqlite;
use crate::harness::python_tools::python_tool;
use crate::harness::server::{Server, Setup, collection};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const TARGET: &str = "/avalon/openapi.json";

/// Sends the server the requests that the description allows and forbids, with all checks.
fn schemathesis(server: &Server, description: &str, phases: &str) -> (bool, String) {
    let folder = server.path("schemathesis");
    fs::create_dir_all(&folder).expect("a folder");
    told(
        &Command::new(python_tool("schemathesis"))
            .args(["run", description, "--url", &format!("{}/avalon", server.address)])
            .args(["--checks", "all", "--phases", phases, "--max-time", "30", "--no-color"])
            .current_dir(folder)
            .env("SCHEMATHESIS_HOOKS", Path::new(ROOT).join("tests/fixtures/openapi/hooks.py"))
            .output()
            .expect("schemathesis"),
    )
}

fn told(output: &Output) -> (bool, String) {
    let text = [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
    (output.status.success(), text.concat())
}

#[test]
fn schemathesis_agrees_with_the_description() {
    let server = recorded_sqlite().start();
    // The phase "stateful" is left out: now and then it adds a parameter that a list does not have, which the server
    // ignores, as avalonms does.
    let (agrees, text) = schemathesis(&server, &format!("{}{TARGET}", server.address), "coverage,fuzzing");
    assert!(agrees, "{text}");
    let count = text.lines().find_map(|line| line.trim().split_once(" generated")).expect(&text).0;
    assert!(count.parse::<u32>().is_ok_and(|count| count > 200), "{text}");
    server.assert_clean_shutdown();
}

/// A description that forbids requests which the server accepts, and one that leaves a field out.
#[test]
fn schemathesis_sees_what_a_description_gets_wrong() {
    let server = Setup::with(&collection(3)).start();
    let document = server.get(TARGET).json();
    let mut paths = document.clone();
    paths["paths"] = json!({ "/songs": document["paths"]["/songs"] });
    for (pointer, wrong, complaint) in [
        ("/components/schemas/Song/properties/track", json!({ "type": "string" }), "is not of type"),
        ("/paths/~1songs/get/parameters/4/schema", json!({ "type": "integer", "minimum": 7 }), "accepted"),
    ] {
        let mut document = paths.clone();
        *document.pointer_mut(pointer).expect(pointer) = wrong;
        let file = server.path("openapi.json");
        fs::write(&file, document.to_string()).expect("a file");
        let (agrees, text) = schemathesis(&server, &file.display().to_string(), "coverage");
        assert!(!agrees && text.contains(complaint), "{pointer}: {text}");
    }
}

#[test]
fn spectral_finds_nothing_to_say_about_the_description() {
    let server = Setup::with(&collection(1)).start();
    let program = Path::new(ROOT).join("target/peers/node_modules/.bin/spectral");
    assert!(program.exists(), "{} is missing: scripts/install-test-deps", program.display());
    let file = server.path("openapi.json");
    let lint = |document: &str| {
        fs::write(&file, document).expect("a file");
        let rules = Path::new(ROOT).join("tests/fixtures/openapi/spectral.yaml");
        let mut command = Command::new(&program);
        told(
            &command
                .args(["lint", "--fail-severity=hint", "-r"])
                .arg(rules)
                .arg(&file)
                .output()
                .expect("node"),
        )
    };
    let answer = server.get(TARGET);
    let document = answer.text();
    let (clean, text) = lint(document);
    assert!(clean && text.contains("No results"), "{text}");
    let (clean, text) = lint(&document.replace("operationId", "operation"));
    assert!(!clean && text.contains("operation-operationId"), "{text}");
    let (clean, text) = lint(&document.replace("schemas/Failure\"", "schemas/Fallure\""));
    assert!(!clean && text.contains("invalid-ref"), "{text}");
}
