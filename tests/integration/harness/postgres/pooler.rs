//! PgBouncer before a cluster.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::Postgres;
use crate::harness::free_port;

/// A PgBouncer in transaction mode with five sessions, which ends when dropped and with this process.
pub(crate) struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Postgres {
    /// Starts a pooler before this cluster; it may not answer yet.
    pub(crate) fn start_pooler(&self) -> Pooler {
        let folder = tempfile::tempdir().expect("a folder");
        let port = free_port();
        let users = folder.path().join("users");
        fs::write(&users, "\"avalon\" \"\"\n").expect("a file");
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 5\n",
            self.port(),
            users.display()
        );
        fs::write(&settings, text).expect("a file");
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
        // Debian keeps it where only root looks for programs, and it does not run as root.
        let mut programs = ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter();
        let program = programs.find(|path| fs::exists(path).is_ok_and(|exists| exists));
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if nix::unistd::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(program.expect("pgbouncer; run scripts/install-test-deps")).arg(&settings);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        Pooler { child: child.expect("pgbouncer"), port, _folder: folder }
    }
}

impl Pooler {
    /// The URL of a database through it.
    pub(crate) fn url(&self, database: &str) -> String {
        format!("postgresql://avalon@127.0.0.1:{}/{database}", self.port)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
