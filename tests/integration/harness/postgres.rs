//! PostgreSQL servers of our own: a cluster in a temporary folder, on a free port of
//! 127.0.0.1 and a Unix socket, run as an unprivileged user. The machine's cluster is never
//! touched.
//!
//! A server must not survive the test binary, however that ends, and statics are never
//! dropped. So a shell stands between: it waits for the end of its standard input, which
//! only we hold open, then stops the server and removes the folder. A line stops the server,
//! and the next one starts it again.

mod pooler;
mod replica;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use nix::unistd::{User, geteuid};

pub(crate) use pooler::Pooler;

use super::{eventually, free_port};

/// A start on a busy machine may take long; a server that hangs must not stop the tests.
const START_DEADLINE: Duration = Duration::from_secs(60);

/// `$1` is the folder, the rest the command of the server.
const WATCHDOG: &str = r#"
    folder=$1; shift
    exec 3<&0
    while :; do
        "$@" </dev/null 3<&- &
        server=$!
        (if read -r _; then kill -INT "$server"; else kill -QUIT "$server"; exit 1; fi) <&3 2>/dev/null &
        reader=$!
        wait "$server"
        kill "$reader" 2>/dev/null
        # Fails unless a line has told it to stop the server.
        wait "$reader" || break
        read -r _ <&3 || break
    done
    rm -rf "$folder"
"#;

/// A running cluster. Stopped when dropped, and when this process ends.
pub(crate) struct Postgres {
    folder: PathBuf,
    port: u16,
    watchdog: Child,
    server_pid: u32,
}

/// A database of one test.
pub(crate) struct Database<'a> {
    cluster: &'a Postgres,
    /// Its name, unique in the cluster.
    pub(crate) name: String,
}

impl Postgres {
    /// The cluster that the tests of this binary share; each makes its own database in it.
    /// It offers TLS (see [`Postgres::root_certificate`]) and knows, besides the superuser
    /// `avalon` without a password, these roles: `tls_only` and `plain_only` (as they say),
    /// `scram` with the password [`Postgres::PASSWORD`], and `with_cert`, which must show
    /// the certificate `client.crt` of the cluster's [`Postgres::file`]s.
    pub(crate) fn shared() -> &'static Postgres {
        static SHARED: OnceLock<Postgres> = OnceLock::new();
        SHARED.get_or_init(|| {
            let cluster = Postgres::start_with_tls();
            cluster
                .client("postgres")
                .batch_execute(&format!(
                    "CREATE ROLE tls_only LOGIN; CREATE ROLE plain_only LOGIN; CREATE ROLE with_cert LOGIN;
                     CREATE ROLE scram LOGIN PASSWORD '{}'",
                    Postgres::PASSWORD
                ))
                .expect("create the roles");
            cluster
        })
    }

    /// Of the role `scram`.
    pub(crate) const PASSWORD: &str = "s3cret-w0rd";

    /// A cluster for a test that stops it, without TLS.
    pub(crate) fn start() -> Postgres {
        Postgres::start_with(false)
    }

    /// A cluster for a test that changes its certificate.
    pub(crate) fn start_with_tls() -> Postgres {
        Postgres::start_with(true)
    }

    /// Another process may take the port between our look and the start.
    fn start_with(tls: bool) -> Postgres {
        let started = (0..5).find_map(|_| Postgres::try_start(tls));
        started.expect("PostgreSQL does not start; its log is above")
    }

    fn try_start(tls: bool) -> Option<Postgres> {
        let owner = server_user();
        let folder = new_folder(owner.as_ref());
        let mut initdb = as_user(owner.as_ref(), binary("initdb"));
        initdb.args(["--no-sync", "--encoding=UTF8", "--locale=C.UTF-8", "--lc-messages=C"]);
        run(initdb.args(["--auth=trust", "--username=avalon"]).arg(folder.join("data")));
        fs::write(folder.join("data/pg_hba.conf"), HBA).expect("write pg_hba.conf");
        if tls {
            make_certificates(&folder, owner.as_ref());
        }
        Postgres::launch(folder, owner.as_ref(), tls)
    }

    /// Runs a server over the folder `data` in `folder`.
    fn launch(folder: PathBuf, owner: Option<&User>, tls: bool) -> Option<Postgres> {
        let port = free_port();
        let server = as_user(owner, binary("postgres"));
        let mut command = Command::new("/bin/sh");
        command.args(["-c", WATCHDOG, "watchdog"]).arg(&folder);
        command.arg(server.get_program()).args(server.get_args());
        command.arg("-D").arg(folder.join("data")).args(["-p", &port.to_string()]);
        command.arg("-k").arg(&folder);
        let settings =
            ["listen_addresses=127.0.0.1", "fsync=off", "max_connections=200", "shared_buffers=16MB"];
        for setting in settings {
            command.args(["-c", setting]);
        }
        if tls {
            let root = folder.join("root.crt");
            command.args(["-c", "ssl=on", "-c", &format!("ssl_ca_file={}", root.display())]);
        }
        // Its own process group, so that ^C reaches it only through us.
        command.process_group(0).current_dir("/");
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut watchdog = command.spawn().expect("start the watchdog of PostgreSQL");

        let (ready, is_ready) = mpsc::channel();
        let lines = BufReader::new(watchdog.stderr.take().expect("stderr is piped")).lines();
        let reader = thread::spawn(move || {
            let mut log = Vec::new();
            let mut ready = Some(ready);
            // Read to the end: a server that cannot log comes to a halt.
            for line in lines.map_while(Result::ok) {
                // A replica accepts "read-only connections".
                match line.contains("database system is ready to accept") {
                    true => drop(ready.take().map(|ready| ready.send(()))),
                    false if ready.is_some() => log.push(line),
                    false => {}
                }
            }
            log.join("\n")
        });
        if is_ready.recv_timeout(START_DEADLINE).is_err() {
            drop(watchdog.stdin.take());
            watchdog.wait().expect("wait for the watchdog");
            eprintln!("{}", reader.join().expect("read the log of PostgreSQL"));
            return None;
        }
        let pid_file = fs::read_to_string(folder.join("data/postmaster.pid")).expect("postmaster.pid");
        let server_pid = pid_file.lines().next().and_then(|line| line.parse().ok()).expect("pid");
        Some(Postgres { folder, port, watchdog, server_pid })
    }

    /// A new, empty database.
    pub(crate) fn create_database(&self) -> Database<'_> {
        self.create_database_with("")
    }

    /// The same, with options of CREATE DATABASE.
    pub(crate) fn create_database_with(&self, options: &str) -> Database<'_> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("test{}", COUNT.fetch_add(1, Ordering::Relaxed));
        self.client("postgres")
            .batch_execute(&format!("CREATE DATABASE {name} {options}"))
            .expect("CREATE DATABASE");
        Database { cluster: self, name }
    }

    /// The TCP port on 127.0.0.1.
    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// A file in the folder of the cluster.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// PEM file of the authority that signed the server's certificate, which is for the
    /// name `localhost` and no address.
    pub(crate) fn root_certificate(&self) -> PathBuf {
        self.file("root.crt")
    }

    /// PEM file of an authority that did not sign it.
    pub(crate) fn other_root_certificate(&self) -> PathBuf {
        self.file("other.crt")
    }

    /// Runs openssl; DIR stands for the folder of the cluster.
    pub(crate) fn openssl(&self, arguments: &str) {
        openssl(&self.folder, arguments);
    }

    /// Makes the server show another certificate from now on: `NAME.crt` with `NAME.key`.
    pub(crate) fn show_certificate(&self, name: &str) {
        for kind in ["crt", "key"] {
            // Written into the old file, for its owner and its mode.
            let bytes = fs::read(self.file(&format!("{name}.{kind}"))).expect("read the certificate");
            fs::write(self.file(&format!("data/server.{kind}")), bytes).expect("write the certificate");
        }
        let loaded = || -> String {
            let row = self.client("postgres").query_one("SELECT pg_conf_load_time()::text", &[]);
            row.expect("pg_conf_load_time").get(0)
        };
        let before = loaded();
        self.client("postgres").execute("SELECT pg_reload_conf()", &[]).expect("pg_reload_conf");
        let deadline = Instant::now() + START_DEADLINE;
        while loaded() == before {
            assert!(Instant::now() < deadline, "the server does not reload");
        }
    }

    /// Stops the server, which ends all sessions, until [`Postgres::start_again`].
    pub(crate) fn stop(&self) {
        self.tell_watchdog();
        eventually("the end of PostgreSQL", || (!self.file("data/postmaster.pid").exists()).then_some(()));
    }

    /// Starts the server that was stopped, with the same port and databases.
    pub(crate) fn start_again(&self) {
        self.tell_watchdog();
        eventually("PostgreSQL", || self.config("postgres").connect(postgres::NoTls).ok());
    }

    fn tell_watchdog(&self) {
        let mut stdin = self.watchdog.stdin.as_ref().expect("stdin is piped");
        stdin.write_all(b"\n").expect("the watchdog of PostgreSQL");
    }

    /// Kills the server at once, as a crash would.
    pub(crate) fn kill(&self) {
        let pid = nix::unistd::Pid::from_raw(self.server_pid as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGQUIT).expect("kill the server");
    }

    fn config(&self, database: &str) -> postgres::Config {
        let mut config = postgres::Config::new();
        config.host_path(&self.folder).port(self.port).user("avalon").dbname(database);
        config
    }

    fn client(&self, database: &str) -> postgres::Client {
        self.config(database).connect(postgres::NoTls).expect("connect to the test server")
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        drop(self.watchdog.stdin.take());
        // Fails only if it was waited for already.
        let _ = self.watchdog.wait();
    }
}

impl Database<'_> {
    /// As the superuser, over TCP, with the default `sslmode`.
    pub(crate) fn url(&self) -> String {
        self.url_of("avalon", "")
    }

    /// Returns a URL for another role; `query` is the text after the `?`.
    pub(crate) fn url_of(&self, credentials: &str, query: &str) -> String {
        format!("postgresql://{credentials}@127.0.0.1:{}/{}?{query}", self.cluster.port, self.name)
    }

    /// As the superuser, through the Unix socket.
    pub(crate) fn socket_url(&self) -> String {
        let folder = self.cluster.folder.display();
        format!("postgresql://avalon@/{}?host={folder}&port={}", self.name, self.cluster.port)
    }

    /// A connection that has nothing to do with the code under test.
    pub(crate) fn client(&self) -> postgres::Client {
        self.cluster.client(&self.name)
    }

    /// Runs statements.
    pub(crate) fn execute(&self, sql: &str) {
        self.client().batch_execute(sql).unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }

    /// Runs a script of `pg_dump`, which a mere connection cannot (COPY).
    pub(crate) fn restore(&self, script: &[u8]) {
        let mut psql = Command::new(binary("psql"));
        psql.args(["-q", "-v", "ON_ERROR_STOP=1", "-U", "avalon", "-d", &self.name, "-f", "-", "-h"]);
        psql.arg(&self.cluster.folder).args(["-p", &self.cluster.port.to_string()]);
        let mut child = psql.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("start psql");
        let mut input = child.stdin.take().expect("stdin is piped");
        input.write_all(script).expect("write to psql");
        drop(input);
        assert!(child.wait().expect("wait for psql").success(), "psql failed");
    }
}

const HBA: &str = "\
local   all,replication all trust
hostnossl all tls_only 127.0.0.1/32 reject
hostssl all plain_only 127.0.0.1/32 reject
hostssl all with_cert 127.0.0.1/32 cert
host all scram 127.0.0.1/32 scram-sha-256
host all all 127.0.0.1/32 trust
";

fn new_folder(owner: Option<&User>) -> PathBuf {
    let folder = tempfile::Builder::new().prefix("avalon-pg-").tempdir().expect("temporary folder").keep();
    own(&folder, owner);
    folder
}

/// PostgreSQL refuses to run as root.
fn server_user() -> Option<User> {
    if !geteuid().is_root() {
        return None;
    }
    let user = ["postgres", "nobody"].iter().find_map(|name| User::from_name(name).ok().flatten());
    Some(user.expect("a user `postgres` or `nobody`, because PostgreSQL does not run as root"))
}

/// The server also ends when the shell between is killed.
fn as_user(owner: Option<&User>, program: PathBuf) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "QUIT"]);
    if let Some(user) = owner {
        command
            .args([format!("--reuid={}", user.uid), format!("--regid={}", user.gid)])
            .arg("--clear-groups");
    }
    command.arg(program);
    command
}

fn own(path: &Path, owner: Option<&User>) {
    if let Some(user) = owner {
        chown(path, Some(user.uid.as_raw()), Some(user.gid.as_raw())).expect("chown");
    }
}

/// Debian keeps the programs of PostgreSQL out of the PATH; of several versions the newest.
pub(crate) fn binary(name: &str) -> PathBuf {
    let mut found: Vec<PathBuf> = fs::read_dir("/usr/lib/postgresql")
        .into_iter()
        .flatten()
        .map_while(Result::ok)
        .map(|version| version.path().join("bin").join(name))
        .filter(|path| path.exists())
        .collect();
    found.sort_by_key(|path| version_of(path));
    found.pop().unwrap_or_else(|| PathBuf::from(name))
}

fn version_of(path: &Path) -> Option<u32> {
    path.ancestors().nth(2)?.file_name()?.to_str()?.parse().ok()
}

fn run(command: &mut Command) {
    let output = command.current_dir("/").stdin(Stdio::null()).output();
    let output = output.unwrap_or_else(|error| panic!("{command:?}: {error}; run scripts/install-test-deps"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn openssl(folder: &Path, arguments: &str) {
    let folder = folder.display().to_string();
    run(Command::new("openssl").args(arguments.split_whitespace().map(|word| word.replace("DIR", &folder))));
}

/// A new key, without a password.
pub(crate) const NEW_KEY: &str = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes";

/// A server certificate for `localhost` and a client certificate for the role `with_cert`,
/// both signed by `root.crt`, and a root that did not sign them.
fn make_certificates(folder: &Path, owner: Option<&User>) {
    for name in ["root", "other"] {
        let files = format!("-keyout DIR/{name}.key -out DIR/{name}.crt");
        openssl(folder, &format!("req -x509 {NEW_KEY} {files} -days 2 -subj /CN={name}"));
    }
    fs::write(folder.join("server.ext"), "subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
        .expect("write");
    fs::write(folder.join("client.ext"), "basicConstraints=CA:FALSE\n").expect("write");
    for (name, common_name) in [("server", "avalon-test"), ("client", "with_cert")] {
        let files = format!("-keyout DIR/{name}.key -out DIR/{name}.csr");
        openssl(folder, &format!("req {NEW_KEY} {files} -subj /CN={common_name}"));
        let files = format!("-in DIR/{name}.csr -out DIR/{name}.crt -extfile DIR/{name}.ext");
        let signer = "-CA DIR/root.crt -CAkey DIR/root.key -CAcreateserial";
        openssl(folder, &format!("x509 -req {files} {signer} -days 2"));
    }
    for kind in ["crt", "key"] {
        let path = folder.join(format!("data/server.{kind}"));
        fs::copy(folder.join(format!("server.{kind}")), &path).expect("copy");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("chmod");
        own(&path, owner);
    }
}
