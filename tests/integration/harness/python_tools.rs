//! Programs of PyPI, in the environment that scripts/install-test-deps makes.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

/// One of these programs.
pub(crate) fn python_tool(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/python-tools/bin").join(name);
    assert!(path.exists(), "{} is missing: scripts/install-test-deps", path.display());
    path
}

/// The documents of a YAML file.
pub(crate) fn yaml(file: &Path) -> Vec<Value> {
    const SCRIPT: &str = "import json, sys, yaml; json.dump(list(yaml.safe_load_all(sys.stdin)), sys.stdout)";
    let output = Command::new(python_tool("python"))
        .args(["-c", SCRIPT])
        .stdin(File::open(file).expect("a file"))
        .output()
        .expect("Python");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("JSON")
}
