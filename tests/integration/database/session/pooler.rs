//! Sessions through PgBouncer, which gives each transaction another session of the server.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::{Child, Command, Stdio};

use super::*;
use crate::harness::free_port;

struct Pooler {
    child: Child,
    port: u16,
    _folder: tempfile::TempDir,
}

impl Pooler {
    fn start() -> Pooler {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let users = folder.path().join("users");
        fs::write(&users, "\"avalon\" \"\"\n").unwrap();
        let settings = folder.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\n* = host=127.0.0.1 port={}\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = trust\nauth_file = {}\npool_mode = transaction\n\
             default_pool_size = 5\n",
            Postgres::shared().port(),
            users.display()
        );
        fs::write(&settings, text).unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        // Debian keeps it where only root looks for programs, and it does not run as root.
        let program =
            ["/usr/sbin/pgbouncer", "/usr/bin/pgbouncer"].into_iter().find(|path| fs::exists(path).unwrap());
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "TERM"]);
        if nix::unistd::geteuid().is_root() {
            command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]);
        }
        command.arg(program.expect("pgbouncer; run scripts/install-test-deps")).arg(&settings);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        Pooler { child, port, _folder: folder }
    }

    fn url(&self, place: &Place) -> String {
        format!("postgresql://avalon@127.0.0.1:{}/{}", self.port, place.database.as_ref().unwrap().name)
    }
}

impl Drop for Pooler {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn the_lock_and_the_rows_survive_a_pooler() {
    let place = Place::postgres();
    let pooler = Pooler::start();
    let url = pooler.url(&place);
    let deadline = Instant::now() + Duration::from_secs(20);
    while let Err(error) = open_telling(&url).0 {
        assert!(error.is_unreachable() && Instant::now() < deadline, "{error}");
    }
    // Each scan finds the lock free, whichever session of the server it gets.
    for number in 1..6 {
        let rows = collection(number);
        let numbered = Ok(Some(number as i64));
        assert_eq!(store(&url, &rows, &files()), numbered);
        assert_eq!(store(&url, &rows, &files()), Ok(None));
        assert_eq!(load_all(&url), rows);
    }
    let mut first = open(&url);
    // Other clients of the pooler take sessions and give them back.
    for _ in 0..5 {
        load_all(&url);
        assert!(matches!(refusal(&url), DatabaseError::ScanRunning { pid: 4711, .. }));
    }
    first.check().unwrap();
    let (before, seen) = previous(&mut first);
    place.execute("INSERT INTO avalon_scans VALUES (99, 1, 1, 'h', 1, '{}')");
    let rows = collection(7);
    let rows = seen.known.compare(&rows);
    let error = first.store(changes(before.last_scan, rows, StateChanges::default())).unwrap_err();
    assert!(matches!(error, DatabaseError::Overtaken { .. }), "{error}");
    assert_eq!(load_all(&url), collection(5));
    open(&url);
}
