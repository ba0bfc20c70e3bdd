//! The configuration as a user meets it: the messages about mistakes, the order of layers, and the
//! output of the programs.

mod log;
mod mistakes;
mod printed;

use std::fs;
use std::path::PathBuf;

use tempfile::TempDir;

use crate::harness::server::run;

const MASTER: &str = env!("CARGO_BIN_EXE_avalon-master");
const SCAN: &str = env!("CARGO_BIN_EXE_avalon-scan");
const ECHO_CONFIG: &str = env!("CARGO_BIN_EXE_avalon-echo-config");
const CTL: &str = env!("CARGO_BIN_EXE_avalonctl");

/// A folder with everything that a program would make there if it started.
struct Home(TempDir);

/// The files that a started master leaves in its home.
const TRACES: [&str; 5] = ["avalon.sqlite", "pid", "socket", "control", "log"];

impl Home {
    fn new() -> Self {
        Home(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).display().to_string()
    }

    /// A configuration file, and its path.
    fn file(&self, text: impl AsRef<[u8]>) -> String {
        fs::write(self.path("avalon.toml"), text).expect("a file");
        self.text("avalon.toml")
    }

    /// Runs a program in an environment that would let it leave its traces here, unless the
    /// file says where.
    fn run(&self, program: &str, arguments: &[&str], variables: &[(&str, &str)]) -> (i32, String, String) {
        let bind = format!("unix:{}", self.text("socket"));
        let [tmpdir, control, pid, log] = ["", "control", "pid", "log"].map(|name| self.text(name));
        let mut all = vec![
            ("TMPDIR", tmpdir.as_str()),
            ("AVALON_BIND", &bind),
            ("AVALON_CONTROL", &control),
            ("AVALON_PIDFILE", &pid),
            ("AVALON_LOG_PATH", &log),
        ];
        let file = fs::read(self.path("avalon.toml")).unwrap_or_default();
        let file = String::from_utf8_lossy(&file);
        let says = |name: &str| name.strip_prefix("AVALON_").is_some_and(|key| file.contains(key));
        all.retain(|(name, _)| !says(name));
        all.extend(variables);
        run(program, arguments, &all)
    }

    #[track_caller]
    fn assert_untouched(&self, by: &str) {
        for trace in TRACES {
            assert!(!self.path(trace).exists(), "{trace} is there after {by}");
        }
    }
}
