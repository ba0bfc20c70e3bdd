//! Libraries of `tests/fixtures/shim`, which change the system calls of a program when `LD_PRELOAD`
//! names them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

/// Makes calls on files fail.
pub(crate) fn errors() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("errors"))
}

/// Sends a process a signal while it installs its handlers.
pub(crate) fn signals() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("signals"))
}

/// Aborts a process that begins an answer while the file `SHIM_PATH` exists.
pub(crate) fn answers() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| build("answers"))
}

fn build(name: &str) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/shim/{name}.c"));
    let library = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.so"));
    // Another run of the tests may use the one that is there.
    let new = library.with_extension(std::process::id().to_string());
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).arg(&new).arg(source).arg("-ldl");
    assert!(compiler.status().expect("a C compiler").success());
    fs::rename(&new, &library).expect("a library");
    library
}
