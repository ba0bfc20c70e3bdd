//! scripts/deploy against real SSH servers: releases come and go while requests are answered.

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

use crate::harness::free_port;
use crate::harness::host::{Hosts, binaries, obstacle, scripts};
use crate::harness::load::{Load, Plan, status_200};

const NAMES: [&str; 2] = ["one", "two"];
const BOTH: [&str; 2] = ["-H", "one,two"];

/// Two hosts on which nothing is installed; none where there cannot be any.
fn hosts() -> Option<Hosts> {
    if let Some(obstacle) = obstacle() {
        crate::harness::skip(obstacle);
        return None;
    }
    Some(Hosts::start(&NAMES))
}

/// Installs a release on both hosts and has it serve; its name.
fn serve(hosts: &Hosts, second: u32) -> String {
    let programs = binaries(&hosts.path(""), second);
    hosts.deploy_ok(&[["install", "restart"], BOTH].concat(), &programs);
    hosts.host("one").link("current").expect("a release")
}

fn load(address: &str) -> Load {
    let targets = ["songs", "artists", "heartbeat"].map(|of| format!("/avalon/{of}"));
    let plan = Plan::standard(address, &targets.each_ref().map(String::as_str), status_200);
    // As the hosts' servers have it, so that former ones are gone soon.
    let keepalive = Duration::from_secs(1);
    Load::start(&Plan { keepalive, ..plan.clients(6, 3, Duration::from_millis(20)) })
}

fn loads(hosts: &Hosts) -> Vec<Load> {
    let loads: Vec<Load> = NAMES.map(|name| load(&hosts.host(name).address())).into();
    loads.iter().for_each(|load| load.wait_answers(50));
    loads
}

/// Asserts which release serves, and that it does so alone.
fn assert_runs(hosts: &Hosts, name: &str, release: &str) {
    let host = hosts.host(name);
    assert_eq!(host.running(), [release], "{name}: {}", host.log());
    assert_eq!(host.link("current").as_deref(), Some(release), "{name}");
}

#[test]
fn releases_follow_each_other_and_go_back_without_losing_a_request() {
    let Some(hosts) = hosts() else {
        return;
    };
    let first = serve(&hosts, 1);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &first));
    let loads = loads(&hosts);
    // An installed release does not serve before the order to do so.
    let programs = binaries(&hosts.path(""), 2);
    hosts.deploy_ok(&[["install"].as_slice(), &BOTH].concat(), &programs);
    let second = hosts.host("two").link("next").expect("a release");
    assert_ne!(first, second);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &first));
    let said = hosts.deploy_ok(&[["restart"].as_slice(), &BOTH].concat(), &programs);
    assert!(said.contains(&format!("one: {second} serves\ntwo: {second} serves\n")), "{said}");
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &second));
    // Nothing newer: the same once more, by another master.
    hosts.deploy_ok(&[["restart"].as_slice(), &BOTH].concat(), &programs);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &second));
    hosts.deploy_ok(&[["rollback"].as_slice(), &BOTH].concat(), &programs);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &first));
    let (code, said) = hosts.deploy(&[["rollback"].as_slice(), &BOTH].concat(), &programs);
    assert!(code == 1 && said.contains("there is no older release that has served"), "{said}");
    hosts.deploy_ok(&[["rollback", "--to", &second].as_slice(), &BOTH].concat(), &programs);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &second));
    for load in loads {
        load.wait_answers(50);
        load.assert_nothing_lost();
    }
    let said = hosts.deploy_ok(&[["status"].as_slice(), &BOTH].concat(), &programs);
    for name in NAMES {
        let host = format!("{name}: release {second}\n{name}: master {}, pid ", env!("CARGO_PKG_VERSION"));
        assert!(said.contains(&host), "{said}");
        assert!(said.contains(&format!(", serving, of {second}\n{name}: heartbeat OKOKOK\n")), "{said}");
    }
}

#[test]
fn release_that_does_not_start_stays_on_no_host() {
    let Some(hosts) = hosts() else { return };
    let first = serve(&hosts, 1);
    let loads = loads(&hosts);
    let programs = scripts(&hosts.path(""), 2, "echo 'no such library' >&2; exit 3");
    hosts.deploy_ok(&[["install"].as_slice(), &BOTH].concat(), &programs);
    let second = hosts.host("two").link("next").expect("a release");
    let before = hosts.host("two").snapshot();
    let (code, said) = hosts.deploy(&[["restart"].as_slice(), &BOTH].concat(), &programs);
    assert_eq!(code, 5, "{said}");
    assert!(said.contains(&format!("one: {second} does not start; {first} goes on serving")), "{said}");
    assert!(said.contains("exit code 3") && said.contains("stopped at one"), "{said}");
    assert!(!said.contains("two:"), "{said}");
    assert_eq!(hosts.host("two").snapshot(), before);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &first));
    assert_eq!(hosts.host("one").link("next"), None);
    // A rollback does not return to a release that never served.
    let third = serve(&hosts, 3);
    hosts.deploy_ok(&[["rollback"].as_slice(), &BOTH].concat(), &programs);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &first));
    assert!(first < second && second < third);
    loads.into_iter().for_each(Load::assert_nothing_lost);
}

/// A release may take over and then not be the one that answers. It has ended the former master
/// already.
#[test]
fn release_that_took_over_is_replaced_by_the_former_one() {
    let Some(hosts) = hosts() else { return };
    let first = serve(&hosts, 1);
    let loads = loads(&hosts);
    fs::copy(
        hosts.host("one").path("opt/avalon/releases").join(&first).join("bin/avalon-master"),
        hosts.host("one").path("opt/other"),
    )
    .expect("a copy");
    // Not dash, which has no -a: the next upgrade is by the path that it tells.
    let other =
        "exec /bin/bash -c 'exec -a /opt/avalon/current/bin/avalon-master /opt/other \"$@\"' - \"$@\"";
    let programs = scripts(&hosts.path(""), 2, other);
    fs::copy(hosts.path("build-1/avalonctl"), programs.join("avalonctl")).expect("a copy");
    hosts.deploy_ok(&["install", "-H", "one"], &programs);
    let mut restart = hosts.command(&["restart", "-H", "one"], &programs);
    let output = restart.env("DEPLOY_PATIENCE", "10").output().expect("scripts/deploy");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(5), "{said}");
    assert!(said.contains("is /opt/other: the service has to start /opt/avalon/current/bin/"), "{said}");
    assert!(said.contains(&format!("{first} goes on serving")), "{said}");
    assert_runs(&hosts, "one", &first);
    loads.into_iter().for_each(Load::assert_nothing_lost);
}

#[test]
fn host_that_cannot_be_reached_is_named() {
    let Some(hosts) = hosts() else { return };
    let absent = format!("127.0.0.1:{}", free_port());
    let programs = scripts(&hosts.path(""), 1, "exit 3");
    let list = format!("one,{absent},two");
    let (code, said) = hosts.deploy(&["install", "--hosts", &list], &programs);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains(&format!("deploy: {absent} cannot be reached")), "{said}");
    assert!(said.contains("Connection refused"), "{said}");
    assert_eq!((hosts.host("one").releases().len(), hosts.host("two").releases().len()), (1, 0));
    // A status is that of all others as well.
    let (code, said) = hosts.deploy(&["status", "-H", &list], &programs);
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("two: no master answers at /run/avalon/control"), "{said}");
}

#[test]
fn full_disk_leaves_nothing_behind() {
    let Some(hosts) = hosts() else { return };
    let programs = binaries(&hosts.path(""), 1);
    // Too few bytes is seen before anything is sent; too few files only when it has happened.
    for (name, option, reason) in
        [("one", "size=8m", "the disk is full"), ("two", "size=200m,nr_inodes=8", "the copy has failed")]
    {
        hosts.on(name, &format!("mkdir /opt/avalon && mount -t tmpfs -o {option} tmpfs /opt/avalon"));
        let (code, said) = hosts.deploy(&["install", "-H", name], &programs);
        assert_eq!(code, 4, "{said}");
        assert!(said.contains(reason) && said.contains(&format!("stopped at {name}")), "{said}");
        assert_eq!(hosts.on(name, "cd /opt/avalon && find . -mindepth 1 | sort"), "./.lock\n./releases\n");
    }
}

#[test]
fn a_release_that_arrives_cut_or_does_not_run_is_not_installed() {
    let Some(hosts) = hosts() else { return };
    let nothing_installed = |said: &str| {
        assert!(said.contains("nothing was installed"), "{said}");
        let left = hosts.on("one", "cd /opt/avalon && find . -mindepth 1 | sort");
        assert_eq!(left, "./.lock\n./releases\n");
    };
    // A connection that ends in the middle.
    let cut = hosts.path("cut");
    let ssh = format!("head -c 300000 | ssh -F {} \"$@\"\n", hosts.path("ssh_config").display());
    fs::write(&cut, ssh).expect("a script");
    let mut install = hosts.command(&["install", "-H", "one"], &binaries(&hosts.path(""), 1));
    let output = install.env("DEPLOY_SSH", format!("sh {}", cut.display())).output().expect("scripts/deploy");
    let said = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(4), "{said}");
    nothing_installed(&said);
    // Programs for another machine.
    let programs = scripts(&hosts.path(""), 2, "");
    fs::write(programs.join("avalonctl"), "\u{7f}ELF for a toaster").expect("a file");
    let (code, said) = hosts.deploy(&["install", "-H", "one"], &programs);
    assert!(code == 4 && said.contains("avalonctl of the release does not run on this host"), "{said}");
    nothing_installed(&said);
}

#[test]
fn only_one_deploy_at_a_time() {
    let Some(hosts) = hosts() else { return };
    let programs = scripts(&hosts.path(""), 1, "exit 3");
    hosts.deploy_ok(&["install", "-H", "one"], &programs);
    let file = fs::File::open(hosts.host("one").path("opt/avalon/.lock")).expect("the lock");
    let held = Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|(_, errno)| errno);
    let held = held.expect("a lock that is free again");
    let (code, said) = hosts.deploy(&["install", "-H", "one"], &programs);
    assert!(code == 1 && said.contains("another deploy is at work"), "{said}");
    drop(held);
    hosts.deploy_ok(&["install", "-H", "one"], &programs);
}

#[test]
fn steps_can_be_repeated_and_five_releases_are_kept() {
    let Some(hosts) = hosts() else { return };
    let host = hosts.host("one");
    let served = serve(&hosts, 1);
    let before = host.snapshot();
    // The serving release is not sent, and not chosen.
    let programs = hosts.path("build-1");
    let said = hosts.deploy_ok(&["install", "-H", "one"], &programs);
    assert!(said.contains(&format!("one: {served} is there already")), "{said}");
    assert_eq!(host.snapshot(), before);
    for second in 2..9 {
        hosts.deploy_ok(&["install", "-H", "one"], &scripts(&hosts.path(""), second, "exit 3"));
    }
    let kept = host.releases();
    assert_eq!((kept.len(), &kept[0]), (6, &served), "{kept:?}");
    assert!(kept[1].starts_with("20261124T120004Z-") && kept[5].starts_with("20261124T120008Z-"), "{kept:?}");
    assert_eq!(host.link("next").as_ref(), kept.last());
    let before = host.snapshot();
    hosts.deploy_ok(&["install", "-H", "one"], &hosts.path("build-8"));
    assert_eq!(host.snapshot().len(), before.len());
    // Choosing the serving release revokes the choice of another.
    hosts.deploy_ok(&["install", "-H", "one"], &programs);
    assert_eq!(host.link("next"), None);
    assert_runs(&hosts, "one", &served);
    // One that has been changed since is not used.
    fs::write(host.path("opt/avalon/releases").join(&kept[5]).join("bin/avalon-scan"), "x").expect("a file");
    for words in [["install", "-H", "one"].as_slice(), &["rollback", "--to", &kept[5], "-H", "one"]] {
        let (code, said) = hosts.deploy(words, &hosts.path("build-8"));
        assert!(code == 4 && said.contains("is damaged"), "{said}");
    }
    assert_runs(&hosts, "one", &served);
}

#[test]
fn dry_run_changes_nothing() {
    let Some(hosts) = hosts() else { return };
    let programs = scripts(&hosts.path(""), 9, "exit 3");
    let all = [["build", "install", "restart", "--dry-run"].as_slice(), &BOTH].concat();
    let said = hosts.deploy_ok(&all, &programs);
    assert!(said.contains("two: would have 20261124T120009Z-"), "{said}");
    assert!(!hosts.host("one").path("opt/avalon").exists());
    let first = serve(&hosts, 1);
    let second = serve(&hosts, 2);
    let before = NAMES.map(|name| hosts.host(name).snapshot());
    let said = hosts.deploy_ok(&all, &programs);
    assert!(said.contains("one: would upload ") && said.contains(&format!("in place of {second}")), "{said}");
    let rollback = [["rollback", "-n"].as_slice(), &BOTH].concat();
    let said = hosts.deploy_ok(&rollback, &programs);
    assert!(said.contains(&format!("two: would have {first} serve in place of {second}")), "{said}");
    assert_eq!(NAMES.map(|name| hosts.host(name).snapshot()), before);
    NAMES.iter().for_each(|name| assert_runs(&hosts, name, &second));
}

/// scripts/deploy of a tree of its own.
fn deploy_in(tree: &Path, words: &[&str]) -> (i32, String) {
    let mut command = Command::new(tree.join("scripts/deploy"));
    let output = command.args(words).env_remove("DEPLOY_BINARIES").output().expect("scripts/deploy");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap_or(-1), String::from_utf8_lossy(&text).into_owned())
}

#[test]
fn clean_refuses_a_tree_with_changes() {
    let folder = tempfile::tempdir().expect("a folder");
    let tree = folder.path();
    fs::create_dir(tree.join("scripts")).expect("a folder");
    for script in ["deploy", "deploy-host"] {
        let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(script);
        fs::copy(from, tree.join("scripts").join(script)).expect("a copy");
    }
    assert_eq!(deploy_in(tree, &["clean", "--dry-run"]).0, 1);
    for words in [["init", "-q"].as_slice(), &["add", "."], &["commit", "-qm", "All"]] {
        let identity = ["-c", "user.name=x", "-c", "user.email=x@localhost"];
        let status = Command::new("git").arg("-C").arg(tree).args(identity).args(words).status();
        assert!(status.expect("git").success());
    }
    let (code, said) = deploy_in(tree, &["clean", "build", "--dry-run"]);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("would run: cargo clean ") && said.contains("would run: cargo build "), "{said}");
    assert!(said.contains(" --release --locked"), "{said}");
    for (file, mark) in [("scripts/deploy-host", " M "), ("stray", "?? ")] {
        fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(tree.join(file))
            .and_then(|mut file| file.write_all(b"\n"))
            .expect("a change");
        let (code, said) = deploy_in(tree, &["clean"]);
        assert!(code == 1 && said.contains(&format!("{mark}{file}")), "{said}");
    }
}

#[test]
fn wrong_command_lines_are_told() {
    let tree = Path::new(env!("CARGO_MANIFEST_DIR"));
    for (words, part) in [
        ([].as_slice(), "which step?"),
        (&["dance", "-H", "one"], "unknown: dance"),
        (&["restart"], "restart needs -H HOST"),
        (&["install", "-H"], "-H needs a value"),
        (&["install", "-H", "one", "--to", "x"], "--to belongs to rollback"),
        (&["rollback", "-H", "one", "--to", "../.."], "no name of a release"),
    ] {
        let (code, said) = deploy_in(tree, words);
        assert!(code == 2 && said.contains(part), "{words:?}: {code} {said}");
    }
    let (code, help) = deploy_in(tree, &["--help"]);
    assert_eq!(code, 0);
    for exit_code in 0..=6 {
        assert!(help.contains(&format!("\n  {exit_code}  ")), "{exit_code}");
    }
}
