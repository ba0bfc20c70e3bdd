//! The trial of `--check-config`, beyond reading: whether the addresses, folders and hosts in the
//! configuration can be used. It opens, creates and connects nothing that other processes could
//! see.

mod finding;

use std::fs;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use nix::unistd::{AccessFlags, access};
use socket2::{Domain, Protocol, Socket, Type};

use super::database_url::{Backend, Host, Server};
use super::{Account, BindAddress, Config, SnapshotUrl, StorePlace, preferred};
pub use finding::{Finding, HostObstacle, Obstacle};

/// Longest wait for a host name.
const LOOK_UP_TIMEOUT: Duration = Duration::from_secs(5);

/// Tries all parts of `config` that can be tried. No findings mean that all is well.
pub fn try_out(config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = Vec::new();
    for (key, addresses) in [("BIND", &config.bind), ("METRICS_BIND", &config.metrics_bind)] {
        let tried = addresses.iter().filter_map(|address| try_address(key, address, &config.ipv4_ports()));
        findings.extend(tried);
    }
    // A server that fetches snapshots reads a database only if one is configured.
    if config.snapshot_url.is_none() || config.is_database_set {
        findings.extend(try_database(config));
    }
    findings.extend(config.snapshot_url.as_ref().and_then(try_store));
    let account = config.account.as_ref();
    let access_log = config.access_log.as_ref().and_then(|settings| settings.path.as_deref());
    for (key, path, account) in [
        ("LOG_PATH", config.log.path.as_deref(), None),
        ("ACCESS_LOGFILE", access_log, None),
        ("PIDFILE", config.pidfile.as_deref(), None),
        ("SNAPSHOT_PATH", config.snapshot_path.as_deref(), account),
    ] {
        findings.extend(path.and_then(|path| try_file(key, path, account)));
    }
    findings.extend(config.control.as_deref().and_then(try_control));
    if let Some(folder) = &config.snapshot_dir {
        findings.extend(wrong("SNAPSHOT_DIR", folder, writable_folder(folder, account)));
    }
    for folder in &config.collection {
        // COLLECTION concerns avalon-scan, which may run elsewhere.
        let listed =
            wrong("COLLECTION", folder, fs::read_dir(folder).map(drop).map_err(Obstacle::Unreadable));
        findings.extend(listed.map(|finding| Finding { is_certain: false, ..finding }));
    }
    if !config.statsd_host.is_empty() {
        let resolved = resolve(&config.statsd_host, config.statsd_port);
        let unsure = |host| found("STATSD_HOST", Obstacle::NoMetrics(host), false);
        findings.extend(resolved.err().map(unsure));
    }
    findings
}

fn wrong(key: &'static str, path: &Path, tried: Result<(), Obstacle>) -> Option<Finding> {
    let finding = |obstacle| Finding { key, path: Some(path.to_owned()), obstacle, is_certain: true };
    tried.err().map(finding)
}

fn found(key: &'static str, obstacle: Obstacle, is_certain: bool) -> Finding {
    Finding { key, path: None, obstacle, is_certain }
}

/// Returns the addresses of a host, within the time limit of a check.
fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, HostObstacle> {
    let (tell, told) = mpsc::channel();
    let name = host.to_owned();
    // The resolver cannot be interrupted; the thread ends with the process.
    let spawned = thread::Builder::new().spawn(move || {
        let _ = tell.send((name.as_str(), port).to_socket_addrs().map(Iterator::collect));
    });
    spawned.map_err(|error| HostObstacle::NoThread(host.to_owned(), error))?;
    match told.recv_timeout(LOOK_UP_TIMEOUT) {
        Ok(Ok(addresses)) => Ok(addresses),
        Ok(Err(error)) => Err(HostObstacle::NoAddress(host.to_owned(), error)),
        Err(_) => Err(HostObstacle::Silence(host.to_owned(), LOOK_UP_TIMEOUT.as_secs())),
    }
}

fn unresolved(key: &'static str, host: HostObstacle) -> Finding {
    let is_certain = host.is_certain();
    found(key, Obstacle::Unresolved(host), is_certain)
}

fn try_address(key: &'static str, address: &BindAddress, ipv4_ports: &[u16]) -> Option<Finding> {
    let BindAddress::Tcp { host, port } = address else {
        let BindAddress::Unix(path) = address else { return None };
        return wrong(key, path, try_unix(path));
    };
    let addresses = match resolve(host, *port) {
        Ok(addresses) => addresses,
        Err(host) => return Some(unresolved(key, host)),
    };
    match bind(preferred(&addresses)?, ipv4_ports.contains(port)) {
        Ok(()) => None,
        Err(error) if error.kind() == io::ErrorKind::AddrInUse => {
            Some(found(key, Obstacle::InUse(address.clone()), false))
        }
        Err(error) => Some(found(key, Obstacle::Listen(address.clone(), error), true)),
    }
}

/// Binds without listening, so no client can connect.
fn bind(address: SocketAddr, beside_ipv4: bool) -> io::Result<()> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() && beside_ipv4 {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())
}

fn try_unix(path: &Path) -> Result<(), Obstacle> {
    let is_other = |metadata: fs::Metadata| !metadata.file_type().is_socket();
    if fs::symlink_metadata(path).is_ok_and(is_other) {
        return Err(Obstacle::NoSocket);
    }
    // The kernel's limit, including the zero at the end.
    const PATH_MAX: usize = 108;
    if path.as_os_str().len() >= PATH_MAX {
        return Err(Obstacle::LongPath(PATH_MAX));
    }
    writable_folder(&parent(path), None)
}

/// Tries the control socket. The master makes its folder, if the one above exists.
fn try_control(path: &Path) -> Option<Finding> {
    let parent = parent(path);
    let nearest = parent.ancestors().find(|folder| folder.exists())?;
    if parent.exists() {
        return wrong("CONTROL", path, try_unix(path));
    }
    wrong("CONTROL", path, writable_folder(nearest, None))
}

fn try_file(key: &'static str, path: &Path, account: Option<&Account>) -> Option<Finding> {
    let tried = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Err(Obstacle::IsFolder),
        Ok(metadata) if account.is_none() || !metadata.is_file() => writable(path, None),
        _ => writable_folder(&parent(path), account),
    };
    wrong(key, path, tried)
}

fn parent(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn writable_folder(folder: &Path, account: Option<&Account>) -> Result<(), Obstacle> {
    is_folder(folder)?;
    writable(folder, account)
}

fn is_folder(path: &Path) -> Result<(), Obstacle> {
    match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(Obstacle::NoFolder(path.to_owned())),
        Err(error) => Err(Obstacle::Folder(path.to_owned(), error)),
    }
}

/// Checks that this process, or else `account`, may write to `path`.
fn writable(path: &Path, account: Option<&Account>) -> Result<(), Obstacle> {
    let Some(account) = account else {
        let tried = access(path, AccessFlags::W_OK);
        return tried.map_err(|errno| Obstacle::Unwritable(path.to_owned(), errno));
    };
    let metadata = fs::metadata(path).map_err(|error| Obstacle::Unseen(path.to_owned(), error))?;
    let bit = match () {
        () if account.uid.is_root() => return Ok(()),
        () if metadata.uid() == account.uid.as_raw() => 0o200,
        () if metadata.gid() == account.gid.as_raw() => 0o020,
        () => 0o002,
    };
    match metadata.mode() & bit {
        0 => Err(Obstacle::UnwritableBy(path.to_owned(), account.uid, account.gid)),
        _ => Ok(()),
    }
}

fn try_database(config: &Config) -> Vec<Finding> {
    let key = "DATABASE_URL";
    let path = match config.database_url.backend() {
        Backend::Sqlite(path) => path,
        Backend::Postgres(settings) => {
            let findings: Vec<_> = settings.servers.iter().filter_map(try_server).collect();
            // One working server is enough.
            let is_certain = findings.len() == settings.servers.len();
            return findings.into_iter().map(|finding| Finding { is_certain, ..finding }).collect();
        }
    };
    let found = match fs::metadata(path) {
        Ok(metadata) if metadata.is_dir() => wrong(key, path, Err(Obstacle::IsFolder)),
        Ok(_) => wrong(key, path, fs::File::open(path).map(drop).map_err(Obstacle::Unreadable)),
        // Before the first scan the file is missing.
        Err(_) => wrong(key, path, is_folder(&parent(path))),
    };
    found.into_iter().collect()
}

fn try_server(server: &Server) -> Option<Finding> {
    let key = "DATABASE_URL";
    match &server.host {
        _ if server.address.is_some() => None,
        Host::Tcp(host) => resolve(host, server.port).err().map(|host| unresolved(key, host)),
        Host::Unix(folder) => {
            wrong(key, folder, fs::metadata(folder).map(drop).map_err(Obstacle::Unreadable))
        }
    }
}

fn try_store(url: &SnapshotUrl) -> Option<Finding> {
    let key = "SNAPSHOT_URL";
    let server = match url.place() {
        StorePlace::Folder(folder) => {
            return wrong(key, folder, fs::read_dir(folder).map(drop).map_err(Obstacle::Unreadable));
        }
        StorePlace::Web(web) => &web.base,
        StorePlace::Bucket(bucket) => &bucket.endpoint,
    };
    let host = server.host_str()?.trim_matches(['[', ']']);
    resolve(host, server.port_or_known_default()?).err().map(|host| unresolved(key, host))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::chain;
    use crate::config::{Overrides, load};

    fn found(settings: &[(&'static str, String)]) -> Vec<Finding> {
        let mut overrides = Overrides::default();
        overrides.set("CONTROL", "none".to_owned());
        overrides.set("BIND", "127.0.0.1:0".to_owned());
        settings.iter().for_each(|(key, value)| overrides.set(key, value.clone()));
        try_out(&load(&overrides).unwrap())
    }

    #[track_caller]
    fn check_wrong(key: &'static str, value: impl Into<String>, part: &str) {
        let found = found(&[(key, value.into())]);
        let is_it =
            |finding: &Finding| finding.is_certain && finding.key == key && chain(finding).contains(part);
        assert!(found.len() == 1 && is_it(&found[0]), "{found:?}");
    }

    #[test]
    fn usable_settings_have_no_findings() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).display().to_string();
        let found = found(&[
            ("BIND", format!("127.0.0.1:0,[::]:0,localhost:0,unix:{}", path("socket"))),
            ("LOG_PATH", path("log")),
            ("PIDFILE", path("pid")),
            ("CONTROL", path("a/b/control")),
            ("SNAPSHOT_DIR", path("")),
            ("SNAPSHOT_PATH", path("snapshot")),
            ("COLLECTION", path("")),
            ("DATABASE_URL", format!("sqlite:///{}", path("avalon.sqlite"))),
        ]);
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn unusable_settings_are_told_with_key_and_reason() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let file = file.path().display();
        check_wrong("BIND", "192.0.2.1:8000", "cannot listen on 192.0.2.1:8000");
        check_wrong("BIND", "no-such-host.invalid:80", "no-such-host.invalid");
        check_wrong("BIND", "unix:/no/such/folder/socket", "/no/such/folder");
        check_wrong("BIND", format!("unix:{file}"), "something else than a socket");
        check_wrong("BIND", format!("unix:/tmp/{}", "x".repeat(108)), "less than 108 bytes");
        check_wrong("METRICS_BIND", "192.0.2.1:0", "cannot listen");
        check_wrong("LOG_PATH", "/no/such/folder/log", "/no/such/folder");
        check_wrong("ACCESS_LOGFILE", "/", "it is a folder");
        check_wrong("PIDFILE", format!("{file}/pid"), "is no folder");
        check_wrong("SNAPSHOT_DIR", "/no/such/folder", "No such file");
        check_wrong("SNAPSHOT_PATH", "/no/such/folder/snapshot", "No such file");
        check_wrong("CONTROL", format!("{file}/control"), "is no folder");
        check_wrong("DATABASE_URL", "sqlite:////no/such/folder/x", "No such file");
        check_wrong("DATABASE_URL", "sqlite:////", "it is a folder");
        check_wrong("DATABASE_URL", "postgresql://no-such-host.invalid/x", "no-such-host.invalid");
        check_wrong("DATABASE_URL", "postgresql:///x?host=/no/such/folder", "No such file");
        check_wrong("SNAPSHOT_URL", "file:///no/such/folder", "No such file");
        check_wrong(
            "SNAPSHOT_URL",
            "s3://music?endpoint=http://no-such-host.invalid",
            "no-such-host.invalid",
        );
    }

    #[test]
    fn uncertain_findings_are_told_as_such() {
        let other = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let bind = other.local_addr().unwrap().to_string();
        for (key, value) in [
            ("BIND", bind.as_str()),
            ("COLLECTION", "/no/such/folder"),
            ("STATSD_HOST", "no-such-host.invalid"),
        ] {
            let found = found(&[(key, value.to_owned())]);
            let [finding] = &found[..] else { panic!("{found:?}") };
            assert!(finding.key == key && !finding.is_certain, "{finding:?}");
        }
    }
}
