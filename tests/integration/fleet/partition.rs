//! The network between a node and its database is cut, in namespaces of the test.

use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

use nix::sched::{CloneFlags, setns};
use nix::sys::signal::Signal;

use super::nodes::{Music, watcher};
use super::source::{HEALED_WITHIN, Mode, Source, assert_heals, assert_stale};
use crate::harness::postgres::Postgres;
use crate::harness::server::Setup;
use crate::harness::{alone, eventually, skip};

/// The promise for a load that was under way.
const NOTICED_WITHIN: Duration = Duration::from_secs(30);

/// Of the database's end of the cable.
const HARDWARE_ADDRESS: &str = "02:00:00:00:00:01";

/// A network namespace, for as long as a process holds it.
struct Namespace(Child);

impl Namespace {
    fn new() -> io::Result<Namespace> {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", "echo ready; exec cat"]);
        let mut holder =
            command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        BufReader::new(holder.stdout.take().expect("stdout is piped")).read_line(&mut line)?;
        let namespace = Namespace(holder);
        match line.is_empty() {
            true => Err(io::Error::other("no network namespace can be made here")),
            false => Ok(namespace),
        }
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }

    /// Runs ip(8) in it.
    fn ip(&self, arguments: &str) -> io::Result<()> {
        let mut command = Command::new("nsenter");
        command.args(["-t", &self.pid(), "-n", "ip"]).args(arguments.split(' '));
        let output = command.output()?;
        match output.status.success() {
            true => Ok(()),
            false => Err(io::Error::other(String::from_utf8_lossy(&output.stderr).into_owned())),
        }
    }

    /// Listens in it at 10.9.0.1:5432, and passes each connection on to the Unix socket of a server.
    fn relay_to(&self, socket: std::path::PathBuf) {
        let namespace = File::open(format!("/proc/{}/ns/net", self.pid())).expect("a namespace");
        let (listens, is_listening) = mpsc::channel();
        thread::spawn(move || {
            // Of this thread alone, and those that it starts.
            setns(&namespace, CloneFlags::CLONE_NEWNET).expect("enter the namespace");
            let listener = TcpListener::bind("10.9.0.1:5432").expect("a port");
            listens.send(()).expect("the test waits");
            for client in listener.incoming().flatten() {
                let server = UnixStream::connect(&socket).expect("PostgreSQL");
                pass_on(&client, &server);
            }
        });
        is_listening.recv().expect("a relay");
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Both ways, until one side ends.
fn pass_on(client: &TcpStream, server: &UnixStream) {
    let clones = || Ok::<_, io::Error>((client.try_clone()?, server.try_clone()?));
    let ((mut from_client, mut to_server), (mut to_client, mut from_server)) =
        clones().and_then(|one| Ok((one, clones()?))).expect("descriptors");
    thread::spawn(move || {
        let _ = io::copy(&mut from_client, &mut to_server);
        let _ = to_server.shutdown(Shutdown::Both);
    });
    thread::spawn(move || {
        let _ = io::copy(&mut from_server, &mut to_client);
        let _ = to_client.shutdown(Shutdown::Both);
    });
}

/// Two namespaces with a cable between them: of the database and of the node.
fn cabled() -> io::Result<(Namespace, Namespace)> {
    let (database, node) = (Namespace::new()?, Namespace::new()?);
    let peer = format!("peer name database address {HARDWARE_ADDRESS} netns {}", database.pid());
    node.ip(&format!("link add node type veth {peer}"))?;
    for (namespace, link, address) in [(&database, "database", "10.9.0.1/24"), (&node, "node", "10.9.0.2/24")]
    {
        namespace.ip("link set lo up")?;
        namespace.ip(&format!("addr add {address} dev {link}"))?;
        namespace.ip(&format!("link set {link} up"))?;
    }
    // Else the kernel would learn, as no machine behind a router can, that there is no neighbour any more.
    node.ip(&format!("neigh replace 10.9.0.1 lladdr {HARDWARE_ADDRESS} dev node nud permanent"))?;
    Ok((database, node))
}

#[test]
fn partition_in_the_middle_of_a_load_is_noticed_and_heals() {
    let (database, node) = match cabled() {
        Ok(both) => both,
        Err(error) => return skip(error),
    };
    let cluster = Postgres::shared();
    let source = Source::new(cluster, 3);
    database.relay_to(cluster.file(&format!(".s.PGSQL.{}", cluster.port())));
    let pid = node.pid();
    let url = format!("postgresql://avalon@10.9.0.1:5432/{}?sslmode=disable", source.0.name);
    let server = Setup::new(&url).wrapped(&["nsenter", "-t", &pid, "-n"]).start();

    source.set(Mode::Hangs);
    source.remove_artist();
    server.signal(Signal::SIGHUP);
    source.wait_hanging();
    database.ip("link set database down").expect("the cable is cut");
    let cut = Instant::now();
    let line = server.wait_log("reload failed, generation 1 goes on serving: ");
    let noticed = cut.elapsed();
    assert!(noticed <= NOTICED_WITHIN, "noticed after {noticed:?}");
    // The kernel has noticed, not the limit of a fetch.
    assert_stale(&server, &line, "Connection timed out");
    assert_eq!(server.status()["source"]["up"], false);
    source.set(Mode::Works);
    database.ip("link set database up").expect("the cable is whole");
    assert_heals(&server, 20, Instant::now());
    server.assert_clean_shutdown();
}

/// The promise for a node that watches its database.
const SEEN_WITHIN: Duration = Duration::from_secs(5);

#[test]
fn partition_is_seen_by_the_watcher_and_heals() {
    let (database, node) = match cabled() {
        Ok(both) => both,
        Err(error) => return skip(error),
    };
    let _alone = alone();
    let cluster = Postgres::shared();
    let place = cluster.create_database();
    let mut music = Music::new();
    music.scan(&place.url());
    database.relay_to(cluster.file(&format!(".s.PGSQL.{}", cluster.port())));
    let pid = node.pid();
    let url = format!("postgresql://avalon@10.9.0.1:5432/{}?sslmode=disable", place.name);
    let setup = Setup::new(&url).variable("AVALON_RELOAD_ON_CHANGE", "true");
    let server = setup.wrapped(&["nsenter", "-t", &pid, "-n"]).start();
    let source = || server.status()["source"].clone();
    eventually("the revision", || (source()["revision"] == 1).then_some(()));

    database.ip("link set database down").expect("the cable is cut");
    let cut = Instant::now();
    eventually("a source that is down", || (source()["up"] == false).then_some(()));
    let down = cut.elapsed();
    eventually("stale data", || (source()["stale"] == true).then_some(()));
    let stale = cut.elapsed();
    println!("after the cut: down {down:.1?}, stale {stale:.1?}");
    assert!(down <= SEEN_WITHIN && stale <= SEEN_WITHIN, "{down:?}, {stale:?}");
    let wanted = music.scan(&place.url());
    // Until several tries have failed.
    let first = watcher(&server);
    eventually("another watcher", || (watcher(&server) != first).then_some(()));
    database.ip("link set database up").expect("the cable is whole");
    let healed = Instant::now();
    eventually("the new rows", || {
        let status = server.status();
        (status["snapshot"]["revision"] == wanted && status["source"]["stale"] == false).then_some(())
    });
    println!("fresh {:.1?} after the cable was whole", healed.elapsed());
    assert!(healed.elapsed() <= HEALED_WITHIN, "{:?}", healed.elapsed());
    server.assert_clean_shutdown();
}
