//! Uses of avalonms under Gunicorn still work, or a message says why not: compared with Gunicorn
//! itself (scripts/install-test-deps).

mod files;
mod flags;
mod reach;
mod targets;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use crate::harness::eventually;

/// A program of the environment that Gunicorn has for itself.
fn peer(program: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("target/peers/gunicorn-27.0.1/bin").join(program);
    assert!(path.exists(), "{} is missing: scripts/install-test-deps", path.display());
    path
}

/// An application that answers everything.
const APPLICATION: &str = "def application(environ, start_response):\n    \
    start_response('200 OK', [('Content-Length', '6')])\n    return [b'OKOKOK']\n";

/// A Gunicorn that runs; killed when dropped.
struct Gunicorn {
    folder: TempDir,
    process: Child,
}

impl Gunicorn {
    /// Starts one, through `wrapper`, and waits until all of its workers have started.
    fn start(wrapper: &[String], flags: &[&str], variables: &[(&str, &str)], workers: usize) -> Gunicorn {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("other.py"), APPLICATION).expect("a file");
        let log = fs::File::create(folder.path().join("log")).expect("a file");
        let gunicorn = peer("gunicorn").display().to_string();
        let words: Vec<&str> = wrapper.iter().map(String::as_str).chain([gunicorn.as_str()]).collect();
        let mut command = Command::new(words[0]);
        command.args(&words[1..]).args(flags).args(["--no-control-socket", "other:application"]);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        // Workers of another user cannot read the folder otherwise.
        command.env("PYTHONPATH", folder.path()).envs(variables.iter().copied()).current_dir("/");
        open_to_all(folder.path());
        let process =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("gunicorn");
        let gunicorn = Gunicorn { folder, process };
        eventually("gunicorn's workers", || {
            let log = gunicorn.log();
            (log.matches("Booting worker with pid").count() >= workers).then_some(())
        });
        gunicorn
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    fn pid(&self) -> u32 {
        self.process.id()
    }
}

impl Drop for Gunicorn {
    fn drop(&mut self) {
        let _ = kill(Pid::from_raw(self.process.id() as i32), Signal::SIGTERM);
        let _ = self.process.wait();
        if std::thread::panicking() {
            eprintln!("log of gunicorn:\n{}", self.log());
        }
    }
}

/// Lets all users look into a folder of the test's.
fn open_to_all(folder: &Path) {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(folder, fs::Permissions::from_mode(0o777)).expect("a folder of ours");
}
