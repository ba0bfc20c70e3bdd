//! Failures at the start, and while the collection is loaded: exit codes, messages, and no remains.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Uid;
use rusqlite::Connection as Sqlite;

use crate::harness::cgroup::Group;
use crate::harness::eventually;
use crate::harness::http::Connection;
use crate::harness::scheduling::{BATCH, OTHER, nice, policy, slice};
use crate::harness::server::{Server, Setup, collection};
use crate::harness::small_disk::SmallDisk;

/// Waits for the end, and looks whether it is the right one, said in one line, with no child
/// left.
fn assert_fails(mut server: Server, code: i32, words: &[&str]) {
    assert_eq!(server.wait_exit(), code, "{}", server.log());
    let log = server.log();
    let said: Vec<&str> = log.lines().filter(|line| words.iter().all(|word| line.contains(word))).collect();
    assert_eq!(said.len(), 1, "one line with {words:?} in:\n{log}");
    assert!(server.workers().is_empty());
}

#[test]
fn busy_address_ends_with_1() {
    let holder = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = holder.local_addr().expect("an address").to_string();
    let server = Setup::with(&collection(1)).without_flags().flag(&format!("--bind={address}")).spawn();
    assert_fails(server, 1, &["CRITICAL", &address, "in use"]);
}

#[test]
fn held_pid_file_ends_with_1_and_leaves_the_other_master_alone() {
    let first = Setup::with(&collection(1));
    let pidfile = first.path("pid").display().to_string();
    let first = first.flag(&format!("--pid={pidfile}")).start();
    let second = Setup::with(&collection(1)).flag(&format!("--pid={pidfile}")).spawn();
    assert_fails(second, 1, &["CRITICAL", "another master runs", &first.pid().to_string()]);
    assert_eq!(fs::read_to_string(&pidfile).expect("a pid file").trim(), first.pid().to_string());
    first.assert_clean_shutdown();
    assert!(!fs::exists(&pidfile).expect("a folder"));
}

#[test]
fn log_that_cannot_be_opened_ends_with_2() {
    let server = Setup::with(&collection(1)).flag("--log-file=/nowhere/at/all/log").spawn();
    assert_fails(server, 2, &["LOG_PATH", "/nowhere/at/all/log"]);
}

#[test]
fn unreachable_database_ends_with_4_and_hides_the_password() {
    let free = TcpListener::bind("127.0.0.1:0").expect("a port").local_addr().expect("an address").port();
    let server = Setup::new(&format!("postgresql://me:geheim@127.0.0.1:{free}/music")).spawn();
    let path = server.path("stderr");
    assert_fails(server_log_kept(server), 4, &["CRITICAL", "music", "127.0.0.1", &free.to_string()]);
    assert!(!fs::read_to_string(path).unwrap_or_default().contains("geheim"));
}

/// The log is looked at again after the server is gone: its folder goes with it.
fn server_log_kept(server: Server) -> Server {
    let log = eventually("the reason", || Some(server.log()).filter(|log| log.contains("CRITICAL")));
    assert!(!log.contains("geheim"), "{log}");
    server
}

#[test]
fn database_that_never_answers_ends_with_4_after_load_timeout() {
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = silent.local_addr().expect("an address").port();
    let server = Setup::new(&format!("postgresql://me@127.0.0.1:{port}/music?connect_timeout=0"))
        .variable("AVALON_LOAD_TIMEOUT", "1")
        .spawn();
    assert_fails(server, 4, &["CRITICAL", "LOAD_TIMEOUT"]);
}

#[test]
fn file_that_is_no_database_ends_with_4() {
    let setup = Setup::with(&collection(1));
    fs::write(setup.path("avalon.sqlite"), "this is no database, but long enough to be one").expect("a file");
    assert_fails(setup.spawn(), 4, &["CRITICAL", "avalon.sqlite", "no SQLite database"]);
}

#[test]
fn log_file_does_not_hide_the_reason_from_stderr() {
    let setup = Setup::with(&collection(1));
    fs::write(setup.path("avalon.sqlite"), "this is no database, but long enough to be one").expect("a file");
    let log = setup.path("log");
    let mut server = setup.flag(&format!("--log-file={}", log.display())).spawn();
    assert_eq!(server.wait_exit(), 4);
    assert!(server.log().contains("avalon-master: the server cannot start"), "{}", server.log());
    assert!(fs::read_to_string(log).expect("a log").contains("no SQLite database"));
}

#[test]
fn missing_snapshot_folder_ends_with_4() {
    let server = Setup::with(&collection(1)).flag("--snapshot-dir=/nowhere/at/all").spawn();
    assert_fails(server, 4, &["CRITICAL", "SNAPSHOT_DIR", "/nowhere/at/all"]);
}

#[test]
fn snapshot_folder_holds_no_file_while_it_serves() {
    let setup = Setup::with(&collection(20));
    let folder = setup.path("snapshots");
    fs::create_dir(&folder).expect("a folder");
    let server = setup.flag(&format!("--snapshot-dir={}", folder.display())).start();
    assert_eq!(server.get("/avalon/songs?limit=1000").success().len(), 200);
    server.reload();
    assert_eq!(server.get("/avalon/songs?limit=1000").success().len(), 200);
    assert_eq!(fs::read_dir(&folder).expect("a folder").count(), 0);
    server.assert_clean_shutdown();
}

#[test]
fn full_disk_ends_with_4_at_the_start_and_keeps_the_old_generation_at_a_reload() {
    let setup = Setup::with(&collection(100));
    let Some(disk) = SmallDisk::mount(setup.path("disk"), "64k") else {
        return crate::harness::skip("no file system can be mounted here");
    };
    let flag = format!("--snapshot-dir={}", disk.path().display());
    assert_fails(setup.flag(&flag).spawn(), 4, &["CRITICAL", "No space left"]);

    let small = Setup::with(&collection(1)).flag(&flag).start();
    let url = avalon::config::DatabaseUrl::parse(small.database_url()).expect("a URL");
    avalon::database::replace(&url, &collection(100)).expect("rows");
    small.signal(Signal::SIGHUP);
    small.wait_log("No space left");
    assert_eq!(small.get("/avalon/songs").success().len(), 10);
}

#[test]
fn workers_that_cannot_boot_end_with_3() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    let setup = readable_by_all(Setup::with(&collection(1)));
    // The worker is the one process its user may have, so it cannot have an accept thread.
    let setup = setup.wrapped(&["prlimit", "--nproc=1"]).flag("--user=65533").flag("--group=65533");
    let server = setup.spawn();
    server.wait_log("a worker cannot serve: a thread cannot be started: ");
    assert!(server.log().contains("RLIMIT_NPROC"), "{}", server.log());
    assert_fails(server, 3, &["CRITICAL", "a new worker did not come up"]);
}

#[test]
fn limit_of_processes_is_named() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("root itself has no limit, and only root can become another user");
    }
    let wrapper = ["setpriv", "--reuid=65530", "--regid=65530", "--clear-groups", "prlimit", "--nproc=1"];
    let setup = readable_by_all(Setup::with(&collection(1))).wrapped(&wrapper);
    assert_fails(setup.spawn(), 4, &["CRITICAL", "fork: ", "pids.max", "RLIMIT_NPROC"]);
}

/// In a container or a unit (TasksMax=) no process can be forked, and the present ones go on.
#[test]
fn limit_of_a_control_group_is_named_and_ends_nothing() {
    let Some(group) = Group::that_counts() else {
        return crate::harness::skip("no control group that counts processes can be made here");
    };
    let server = Setup::with(&collection(1)).start();
    let workers = server.wait_workers(2);
    eventually("the child that looks at names", || (!server.helpers().is_empty()).then_some(()));
    group.take(&[vec![server.pid()], workers.clone(), server.helpers()].concat());
    group.limit("1");
    kill(workers[0], Signal::SIGKILL).expect("a worker");
    let line = server.wait_log("fork: ");
    assert!(line.contains("pids.max") && line.contains("TasksMax"), "{line}");
    assert!(group.count() > 1);
    server.signal(Signal::SIGHUP);
    server.wait_log("reload failed, generation 1 goes on serving: ");
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
    group.limit("max");
    server.wait_workers(2);
    server.reload();
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
}

#[test]
fn missing_proc_is_named() {
    if let Some(obstacle) = crate::harness::host::obstacle() {
        return crate::harness::skip(obstacle);
    }
    let without = "mount -t tmpfs tmpfs /proc && exec \"$@\"";
    let setup = Setup::with(&collection(1)).wrapped(&["unshare", "--mount", "sh", "-c", without, "sh"]);
    assert_fails(setup.spawn(), 4, &["CRITICAL", "/proc/self/", "mount /proc"]);
}

fn readable_by_all(setup: Setup) -> Setup {
    let folder = setup.path("");
    fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).expect("permissions");
    fs::set_permissions(setup.path("avalon.sqlite"), fs::Permissions::from_mode(0o644)).expect("permissions");
    setup
}

#[test]
fn workers_and_loader_become_another_user_for_good() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    let setup = readable_by_all(Setup::with(&collection(1)));
    let database = setup.path("avalon.sqlite");
    let server = setup.flag("--user=65532").flag("--group=65531").start();
    let status = |pid| fs::read_to_string(format!("/proc/{pid}/status")).expect("a process");
    for worker in server.wait_workers(2) {
        let status = status(worker);
        for line in [
            "Uid:\t65532\t65532\t65532\t65532",
            "Gid:\t65531\t65531\t65531\t65531",
            "Groups:\t65531 ",
            "NoNewPrivs:\t1",
            "Seccomp:\t2",
        ] {
            assert!(status.contains(line), "{line:?} in {status}");
        }
    }
    assert!(status(server.pid()).contains("Uid:\t0\t0\t0\t0"));
    // The loader may not read it any more, as its user; root could.
    fs::set_permissions(database, fs::Permissions::from_mode(0o600)).expect("permissions");
    server.signal(Signal::SIGHUP);
    server.wait_log("reload failed, generation 1 goes on serving");
    assert_eq!(server.get("/avalon/songs").success().len(), 10);
}

#[test]
fn log_of_another_user_is_opened_again() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    let setup = readable_by_all(Setup::with(&collection(1)));
    let (log, moved) = (setup.path("log"), setup.path("log.1"));
    // In a folder that is not theirs.
    let server = setup
        .flag("--user=65532")
        .flag("--group=65531")
        .variable("AVALON_LOG_PATH", &log.display().to_string())
        .spawn();
    let line = eventually("an address", || {
        let text = fs::read_to_string(&log).unwrap_or_default();
        text.contains(" serves on ").then_some(text)
    });
    assert!(!line.contains("WARNING"), "{line}");
    fs::rename(&log, &moved).expect("a log");
    server.signal(Signal::SIGUSR1);
    let open = |pid| {
        let files = fs::read_dir(format!("/proc/{pid}/fd")).expect("descriptors");
        files.filter_map(|file| fs::read_link(file.ok()?.path()).ok()).collect::<Vec<_>>()
    };
    for pid in server.log_writers() {
        eventually("the new log", || {
            let open = open(pid);
            (open.contains(&log) && !open.contains(&moved)).then_some(())
        });
    }
    assert_eq!(fs::metadata(&log).expect("a log").uid(), 65532);
    assert!(!fs::read_to_string(&moved).expect("a log").contains("could not be reopened"));
}

/// A user who may write the folder of the log could have root write to another file.
#[test]
fn links_in_place_of_the_log_are_not_given_to_anybody() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("only root can start workers as another user");
    }
    for hard in [false, true] {
        let setup = readable_by_all(Setup::with(&collection(1)));
        let (log, target) = (setup.path("log"), setup.path("shadow"));
        fs::write(&target, "").expect("a file");
        match hard {
            false => std::os::unix::fs::symlink(&target, &log).expect("a link"),
            true => fs::hard_link(&target, &log).expect("a link"),
        }
        let server =
            setup.flag("--user=65532").variable("AVALON_LOG_PATH", &log.display().to_string()).spawn();
        eventually("a warning", || {
            let text = fs::read_to_string(&log).unwrap_or_default();
            text.contains("LOG_PATH cannot be given to USER").then_some(())
        });
        assert_eq!(fs::metadata(&target).expect("a file").uid(), 0);
        drop(server);
    }
}

#[test]
fn workers_are_confined_unless_that_is_switched_off() {
    for (sandbox, seccomp) in [("true", "Seccomp:\t2"), ("false", "Seccomp:\t0")] {
        let server = Setup::with(&collection(1)).variable("AVALON_SANDBOX", sandbox).start();
        for worker in server.wait_workers(2) {
            let status = fs::read_to_string(format!("/proc/{worker}/status")).expect("a process");
            assert!(status.contains(seccomp), "{sandbox}: {status}");
        }
        server.assert_clean_shutdown();
    }
}

/// A lock that keeps a loader waiting.
fn lock(setup_path: &std::path::Path) -> Sqlite {
    let database = Sqlite::open(setup_path).expect("a database");
    database.execute_batch("BEGIN EXCLUSIVE").expect("a lock");
    database
}

#[test]
fn heartbeat_waits_until_the_collection_is_loaded() {
    let setup = Setup::with(&collection(2));
    let lock = lock(&setup.path("avalon.sqlite"));
    let server = setup.spawn();
    let line = server.wait_log("listening on http://");
    let address = line.split("listening on ").nth(1).expect("an address").to_owned();
    let mut waiting = Connection::open(&address).expect("a place in the queue");
    waiting.send(b"GET /avalon/heartbeat HTTP/1.1\r\nHost: x\r\n\r\n").expect("sent");
    assert_eq!(server.count_log(" serves on "), 0);
    lock.execute_batch("COMMIT").expect("unlocked");
    assert_eq!(waiting.answer("GET").expect("an answer").text(), "OKOKOK");
    server.wait_log(" serves on ");
    server.assert_clean_shutdown();
}

#[test]
fn killed_loader_ends_a_start_with_4_and_changes_nothing_at_a_reload() {
    let setup = Setup::with(&collection(2));
    let held = lock(&setup.path("avalon.sqlite"));
    let server = setup.spawn();
    let loader = server.wait_workers(1)[0];
    kill(loader, Signal::SIGKILL).expect("a loader");
    assert_fails(server, 4, &["CRITICAL", "killed by SIGKILL"]);
    drop(held);

    let server = Setup::with(&collection(2)).start();
    let before = server.wait_workers(2);
    let _held = lock(&server.path("avalon.sqlite"));
    server.signal(Signal::SIGHUP);
    let loader = server.wait_loader();
    kill(loader, Signal::SIGKILL).expect("a loader");
    server.wait_log("reload failed, generation 1 goes on serving");
    assert_eq!(server.wait_workers(2), before);
    assert_eq!(server.get("/avalon/songs").success().len(), 20);
}

#[test]
fn loader_gives_way_only_to_workers_that_serve() {
    let setup = Setup::with(&collection(2));
    let held = lock(&setup.path("avalon.sqlite"));
    let server = setup.spawn();
    let loader = server.wait_workers(1)[0];
    let master = nice(server.pid());
    // The title is the loader's first sign, after its first steps.
    let title = || fs::read(format!("/proc/{loader}/cmdline")).expect("a process");
    eventually("the loader reads", || String::from_utf8_lossy(&title()).contains("loader").then_some(()));
    assert_eq!(nice(loader), master);
    drop(held);
    server.wait_log(" serves on ");
    server.wait_workers(2);
    let held = lock(&server.path("avalon.sqlite"));
    server.signal(Signal::SIGHUP);
    let loader = server.wait_loader();
    eventually("the loader is nicer", || (nice(loader) == (master + 10).min(19)).then_some(()));
    let usual = slice(nix::unistd::getpid());
    let longest = usual.map(|_| 100_000_000);
    assert_eq!([slice(server.pid()), slice(loader)], [longest, longest]);
    assert_eq!([policy(server.pid()), policy(loader)], [BATCH, BATCH]);
    drop(held);
    server.wait_log("generation 2 serves on ");
    let has_turns = |worker| nice(worker) == master && slice(worker) == usual && policy(worker) == OTHER;
    assert!(server.wait_workers(2).into_iter().all(has_turns));
    server.assert_clean_shutdown();
}

#[test]
fn stop_during_the_first_load_is_a_stop() {
    let setup = Setup::with(&collection(2));
    let _held = lock(&setup.path("avalon.sqlite"));
    for signal in [Signal::SIGTERM, Signal::SIGINT] {
        let other = Setup::new(setup.database_url());
        let mut server = other.spawn();
        server.wait_workers(1);
        server.signal(signal);
        assert_eq!(server.wait_exit(), 0, "{}", server.log());
        assert!(server.workers().is_empty());
    }
}
