//! Who can connect from where, and how many workers there are, with the same flags and variables.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::Command;

use nix::unistd::Pid;

use super::{Gunicorn, open_to_all};
use crate::harness::eventually;
use crate::harness::server::{Server, Setup, collection, workers_of};

/// Commands in the namespaces of both servers before they start. HERE is a folder of the case.
const PLAIN: &str = "";
const ONLY_V6: &str = "echo 1 > /proc/sys/net/ipv6/bindv6only;";
const LOCALHOST_IS_V6_FIRST: &str =
    "printf '::1 localhost\\n127.0.0.1 localhost\\n' > HERE/hosts; mount --bind HERE/hosts /etc/hosts;";

/// Prelude, flags and variables. A Unix socket is HERE/socket.
type Case = (&'static str, &'static [&'static str], &'static [(&'static str, &'static str)]);

const CASES: [Case; 26] = [
    (PLAIN, &["-e", "PORT=8001", "-e", "WEB_CONCURRENCY=2"], &[]),
    (PLAIN, &[], &[]),
    (PLAIN, &["-b", "127.0.0.1:8000"], &[]),
    (PLAIN, &["-b", "127.0.0.2"], &[]),
    (PLAIN, &["-b", ":8000"], &[]),
    (PLAIN, &["-b", "tcp://0.0.0.0:8000"], &[]),
    (PLAIN, &["-b", "[::]:8000"], &[]),
    (PLAIN, &["-b", "[::]"], &[]),
    (PLAIN, &["-b", "[::1]:8000"], &[]),
    (PLAIN, &["-b", "localhost:8000"], &[]),
    (PLAIN, &["-b", "127.0.0.1:8000", "-b", "[::1]:8000", "-b", "unix:HERE/socket"], &[]),
    (ONLY_V6, &["-b", "[::]:8000"], &[]),
    (ONLY_V6, &["-b", "[::]:8000", "-b", "0.0.0.0:8000"], &[]),
    (LOCALHOST_IS_V6_FIRST, &["-b", "localhost:8000"], &[]),
    (PLAIN, &[], &[("PORT", "8000"), ("WEB_CONCURRENCY", "3")]),
    (PLAIN, &["-w", "2", "-b", "127.0.0.2:8000"], &[("PORT", "8000"), ("WEB_CONCURRENCY", "3")]),
    (PLAIN, &["-b", "unix:HERE/socket"], &[]),
    (PLAIN, &["-b", "unix://HERE/socket", "-m", "007"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-m", "0o077"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-m", "63"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-m", "0x3f"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-u", "nobody"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-u", "nobody", "-g", "www-data", "-m", "0o117"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-g", "www-data", "--umask", "7"], &[]),
    (PLAIN, &["-b", "unix:HERE/socket", "-u", "65534", "-g", "33", "-m", "0"], &[("PORT", "8000")]),
    (PLAIN, &["--bind", "unix:HERE/socket", "--user", "www-data", "-m", "022"], &[]),
];

/// User and group of those who try to connect to a Unix socket.
const CALLERS: [(u32, u32); 4] = [(0, 0), (65534, 65534), (33, 33), (1234, 33)];

#[test]
fn the_same_callers_are_let_in_as_by_gunicorn() {
    if !nix::unistd::geteuid().is_root() {
        return crate::harness::skip("it needs root, for namespaces and other users");
    }
    for case in CASES {
        let [mut theirs, ours] = [start_gunicorn(case), start_avalon(case)];
        // A user's own group comes along here, which a line at the start says; `start_avalon` sees to it.
        if let (true, Some((_, user, group))) = (brings_group(case), &mut theirs.socket) {
            *group = *user;
        }
        assert_eq!(ours, theirs, "{case:?}");
        // An address that no client can reach would prove nothing.
        assert!(ours.reachable.iter().any(|(_, reached)| *reached), "{case:?}: {ours:?}");
    }
}

/// A server seen from outside.
#[derive(Debug, PartialEq)]
struct Seen {
    /// Caller and address, and whether it was answered.
    reachable: Vec<(String, bool)>,
    /// Mode, user and group of the Unix socket.
    socket: Option<(u32, u32, u32)>,
    workers: usize,
}

/// Whether a user is named and no group.
fn brings_group((_, flags, _): Case) -> bool {
    let has = |names: [&str; 2]| flags.iter().any(|flag| names.contains(flag));
    has(["-u", "--user"]) && !has(["-g", "--group"])
}

/// Returns the words before a command that run it in new namespaces.
fn wrapper(here: &Path, prelude: &str) -> Vec<String> {
    let script = format!("ip link set lo up && {prelude} exec \"$0\" \"$@\"")
        .replace("HERE", &here.display().to_string());
    ["unshare", "--net", "--mount", "sh", "-c", &script].map(str::to_owned).to_vec()
}

/// The flags of a case in its folder, and how many workers they mean.
fn flags(here: &Path, (_, flags, variables): Case) -> (Vec<String>, usize) {
    let flags: Vec<String> =
        flags.iter().map(|flag| flag.replace("HERE", &here.display().to_string())).collect();
    let value = |name: &str| variables.iter().find(|(other, _)| *other == name).map(|(_, value)| *value);
    let given = flags.iter().skip_while(|flag| *flag != "-w").nth(1).map(String::as_str);
    let workers = given.or(value("WEB_CONCURRENCY")).map(|count| count.parse().expect("a number"));
    (flags, workers.unwrap_or(1))
}

fn start_gunicorn(case: Case) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    open_to_all(folder.path());
    let (flags, workers) = flags(folder.path(), case);
    let words: Vec<&str> = flags.iter().map(String::as_str).collect();
    let gunicorn = Gunicorn::start(&wrapper(folder.path(), case.0), &words, case.2, workers);
    look(gunicorn.pid(), folder.path(), workers)
}

fn start_avalon(case: Case) -> Seen {
    let folder = tempfile::tempdir().expect("a folder");
    open_to_all(folder.path());
    let (flags, workers) = flags(folder.path(), case);
    let setup = Setup::with(&collection(1)).without_flags();
    open_to_all(&setup.path(""));
    let wrapper = wrapper(folder.path(), case.0);
    let setup = setup.wrapped(&wrapper.iter().map(String::as_str).collect::<Vec<_>>());
    let setup = flags.iter().fold(setup, |setup, flag| setup.flag(flag));
    let mut setup = case.2.iter().fold(setup, |setup, (name, value)| setup.variable(name, value));
    setup = setup.variable("PATH", &std::env::var("PATH").unwrap_or_default());
    // The default of Gunicorn is one.
    if workers == 1 {
        setup = setup.flag("--workers=1");
    }
    let server: Server = setup.start();
    let seen = look(server.pid().as_raw().unsigned_abs(), folder.path(), workers);
    for (name, _) in case.2 {
        let told = server.log().contains(&format!("by the environment variable {name}"));
        let counts = !flags.iter().any(|flag| flag == if *name == "PORT" { "-b" } else { "-w" });
        assert_eq!(told, counts, "{name}: {}", server.log());
    }
    assert_eq!(server.count_log("the group of USER; with Gunicorn it is"), usize::from(brings_group(case)));
    server.assert_clean_shutdown();
    seen
}

fn look(pid: u32, here: &Path, workers: usize) -> Seen {
    let found = || workers_of(Pid::from_raw(pid.cast_signed())).len();
    eventually("as many workers", || (found() == workers).then_some(()));
    let socket = here.join("socket");
    let mut reachable = Vec::new();
    for host in ["127.0.0.1", "127.0.0.2", "[::1]"] {
        let url = format!("http://{host}:8000/avalon/heartbeat");
        reachable.push((url.clone(), is_answered(pid, (0, 0), &[&url])));
    }
    for caller in CALLERS {
        let path = socket.display().to_string();
        let answered = is_answered(pid, caller, &["--unix-socket", &path, "http://x/avalon/heartbeat"]);
        reachable.push((format!("{caller:?}"), answered));
    }
    let metadata = fs::symlink_metadata(&socket).ok();
    let socket = metadata.map(|metadata| (metadata.mode() & 0o7777, metadata.uid(), metadata.gid()));
    Seen { reachable, socket, workers: found() }
}

/// Whether a user is answered by the server, in its network.
fn is_answered(pid: u32, (user, group): (u32, u32), arguments: &[&str]) -> bool {
    let output = Command::new("nsenter")
        .arg(format!("--net=/proc/{pid}/ns/net"))
        .args(["setpriv", "--reuid", &user.to_string(), "--regid", &group.to_string(), "--clear-groups"])
        .args(["curl", "--silent", "--max-time", "10", "--noproxy", "*"])
        .args(arguments)
        .output()
        .expect("nsenter(1), setpriv(1) and curl(1)");
    output.status.success() && output.stdout == b"OKOKOK"
}

/// Where Gunicorn cannot be had at both, IPv4 and IPv6 are served beside each other.
#[test]
fn all_of_ipv4_and_all_of_ipv6_are_served_with_one_port() {
    let port = crate::harness::free_port();
    let setup = Setup::with(&collection(1)).without_flags().flag("--workers=1");
    let server = setup.flag(&format!("--bind=[::]:{port}")).flag(&format!("--bind=0.0.0.0:{port}")).start();
    for host in ["127.0.0.1", "[::1]"] {
        let answer = crate::harness::http::get(&format!("http://{host}:{port}"), "/avalon/heartbeat");
        assert_eq!(answer.text(), "OKOKOK");
    }
    server.assert_clean_shutdown();
}
