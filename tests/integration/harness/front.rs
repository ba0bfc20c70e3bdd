//! nginx and HAProxy, Debian's own, with our configurations as they stand. Only addresses and folders are the
//! test's.

use std::fs;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::TempDir;

use super::http::{Answer, Connection};
use super::load::{Load, Plan};
use super::server::Server;
use super::{before_deadline, eventually, free_port};

const NGINX: &str = include_str!("../../../config/nginx.conf");
const NGINX_NODES: &str = include_str!("../../../config/nginx-nodes.conf");
const HAPROXY: &str = include_str!("../../../config/haproxy.cfg");

/// Of loopback, but not one of FORWARDED_ALLOW_IPS.
pub(crate) const CLIENT: &str = "127.0.0.9";

/// A proxy that runs, and is told to end when dropped.
pub(crate) struct Front {
    folder: TempDir,
    process: Child,
    pub(crate) address: String,
}

impl Front {
    /// Starts nginx with our configuration, in which `socket` is Avalon's.
    pub(crate) fn nginx(socket: &Path) -> Front {
        let socket = format!("unix:{}", socket.display());
        Front::run_nginx(&replaced(NGINX, "unix:/run/avalon.sock", &socket))
    }

    /// Starts nginx with our configuration for several servers.
    pub(crate) fn nginx_nodes(servers: &[&Server]) -> Front {
        Front::run_nginx(&before(NGINX_NODES, servers))
    }

    fn run_nginx(config: &str) -> Front {
        let folder = tempfile::tempdir().expect("a folder");
        let here = folder.path().display().to_string();
        let config = replaced(config, "/run/nginx.pid", &format!("{here}/pid"));
        let config = replaced(&config, "/var/log/nginx", &here);
        let command = ["/usr/sbin/nginx", "-g", "daemon off;", "-c"];
        Front::start(folder, &command, |port| {
            replaced(&config, "listen 80", &format!("listen 127.0.0.1:{port}"))
        })
    }

    /// Starts HAProxy with our configuration; the servers are called `one`, `two` and `three` there.
    pub(crate) fn haproxy(servers: &[&Server]) -> Front {
        let folder = tempfile::tempdir().expect("a folder");
        let config = before(HAPROXY, servers);
        let config = replaced(&config, "/run/haproxy", &folder.path().display().to_string());
        Front::run_haproxy(folder, &config)
    }

    /// Starts HAProxy as a stand-in for a Service of Kubernetes: it passes connections on in turn, knows nothing
    /// of HTTP, asks no server how it is, and tries nothing twice. The servers are called as with
    /// [`Front::haproxy`].
    pub(crate) fn service(servers: &[&Server]) -> Front {
        let folder = tempfile::tempdir().expect("a folder");
        let mut config = format!(
            "global\n stats socket {}/admin.sock level admin\n\
             defaults\n mode tcp\n retries 0\n timeout connect 5s\n timeout client 1m\n timeout server 1m\n\
             listen avalon\n bind :80\n balance roundrobin\n",
            folder.path().display()
        );
        for (name, server) in ["one", "two", "three"].iter().zip(servers) {
            config += &format!(" server {name} {}\n", server.address.trim_start_matches("http://"));
        }
        Front::run_haproxy(folder, &config)
    }

    fn run_haproxy(folder: TempDir, config: &str) -> Front {
        let command = ["/usr/sbin/haproxy", "-db", "-f"];
        Front::start(folder, &command, |port| replaced(config, "bind :80", &format!("bind 127.0.0.1:{port}")))
    }

    /// Runs a command, followed by a file with the configuration for a free port, and waits until
    /// it passes on Avalon's answers.
    fn start(folder: TempDir, command: &[&str], config: impl Fn(u16) -> String) -> Front {
        let (file, log) = (folder.path().join("config"), folder.path().join("log"));
        // Another process may be quicker to use the port.
        let started = before_deadline(|| {
            let port = free_port();
            fs::write(&file, config(port)).expect("a file");
            let log = fs::File::create(&log).expect("a file");
            let mut proxy = Command::new(command[0]);
            proxy.args(&command[1..]).arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
            let mut process = proxy.spawn().expect("a proxy: scripts/install-test-deps installs it");
            let address = format!("http://127.0.0.1:{port}");
            let serves = eventually("the proxy to serve or to end", || {
                let ended = process.try_wait().expect("a child").is_some();
                (ended || Connection::open(&address).is_ok()).then_some(!ended)
            });
            serves.then_some((process, address))
        });
        let log = fs::read_to_string(&log).unwrap_or_default();
        let (process, address) = started.unwrap_or_else(|| panic!("the proxy does not start: {log}"));
        let front = Front { folder, process, address };
        eventually("an answer through the proxy", || {
            let answer = Connection::open(&front.address).ok()?.get("/avalon/heartbeat").ok()?;
            (answer.status == 200 && answer.text() == "OKOKOK").then_some(())
        });
        front
    }

    /// Asks with these header lines from an address that is no trusted proxy's.
    pub(crate) fn ask(&self, target: &str, fields: &[&str]) -> Answer {
        let mut connection = Connection::open_from(&self.address, CLIENT).expect("a connection");
        connection.request("GET", target, fields).expect("an answer")
    }

    /// A command to HAProxy's socket, and the answer.
    pub(crate) fn tell(&self, command: &str) -> String {
        let mut socket = UnixStream::connect(self.folder.path().join("admin.sock")).expect("the socket");
        socket.write_all(format!("{command}\n").as_bytes()).expect("a command");
        let mut answer = String::new();
        socket.read_to_string(&mut answer).expect("an answer");
        answer
    }

    /// Clients, as many requests as the limits for one address let pass.
    pub(crate) fn load(&self, plan: Plan) -> Load {
        let keepalive = Duration::from_secs(75);
        let load = Load::start(&Plan {
            address: self.address.clone(),
            keepalive,
            ..plan.clients(6, 3, Duration::from_millis(100))
        });
        load.wait_answers(30);
        load
    }
}

impl Drop for Front {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).expect("a pid");
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
        let _ = self.process.wait();
        if std::thread::panicking() {
            for name in ["log", "error.log"] {
                eprintln!(
                    "{name}: {}",
                    fs::read_to_string(self.folder.path().join(name)).unwrap_or_default()
                );
            }
        }
    }
}

/// The configuration with these servers in place of the first of its three; it loses the others.
fn before(config: &str, servers: &[&Server]) -> String {
    let mut config = config.to_owned();
    for (at, port) in (8000..8003).enumerate() {
        let ours = format!("127.0.0.1:{port}");
        config = match servers.get(at) {
            Some(server) => replaced(&config, &ours, server.address.trim_start_matches("http://")),
            None => {
                config.lines().filter(|line| !line.contains(&ours)).map(|line| format!("{line}\n")).collect()
            }
        };
    }
    config
}

/// # Panics
/// If there is nothing to replace: the configuration differs from the one that the test expects.
fn replaced(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from}");
    text.replace(from, to)
}
