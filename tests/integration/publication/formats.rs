//! Two versions of the snapshot format in one fleet. The other programs are built with the feature `next-format`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{LazyLock, Mutex};

use nix::sys::signal::Signal;

use super::*;
use crate::control::{ctl, ctl_ok};
use crate::harness::front::Front;
use crate::harness::http::Answer;
use crate::harness::load::{Plan, Verdict, status_200};
use crate::upgrade::Successor;

/// The folder of the programs whose format is the next one. What they have in common with ours is not built again:
/// they share its `build-dir`, and have a folder of their own for what comes of it.
static NEXT: LazyLock<PathBuf> = LazyLock::new(|| {
    let ours = Path::new(env!("CARGO_BIN_EXE_avalonctl")).parent().expect("a folder");
    let target = ours.parent().expect("a target folder");
    let theirs = target.join("next-format");
    let mut cargo = Command::new(env!("CARGO"));
    cargo.args(["build", "--quiet", "--locked", "--features=next-format", "--bin=avalon-master"]);
    cargo.args(["--bin=avalonctl"]).current_dir(env!("CARGO_MANIFEST_DIR"));
    cargo.args(ours.ends_with("release").then_some("--release"));
    cargo.env("CARGO_TARGET_DIR", &theirs).env("CARGO_BUILD_BUILD_DIR", target);
    let output = cargo.output().expect("cargo");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    theirs.join(ours.file_name().expect("a profile"))
});

fn former() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_avalonctl")).parent().expect("a folder")
}

/// Has the next start of a node be of the program in this folder.
fn install(path: &Path, programs: &Path) {
    let _ = fs::remove_file(path);
    std::os::unix::fs::symlink(programs.join("avalon-master"), path).expect("a link");
}

/// A node that is started by the name `program` in its folder.
fn node(publisher: &Publisher) -> Server {
    let setup = publisher.node();
    install(&setup.path("program"), former());
    setup.wrapped(&["/bin/sh", "-c", "exec ./program \"$@\""]).start()
}

/// Runs `avalonctl publish --from-database` of the program that knows both formats.
fn publish_both(publisher: &Publisher) -> String {
    let avalonctl = NEXT.join("avalonctl");
    let database = publisher.database();
    let variables = [("AVALON_DATABASE_URL", database.as_str()), ("AVALON_SNAPSHOT_URL", publisher.url())];
    let arguments = ["publish", "--from-database", "--format=2", "--format=3"];
    let (code, out, err) = run(avalonctl.to_str().expect("UTF-8"), &arguments, &variables);
    assert_eq!((code, err.as_str()), (0, ""), "{out}");
    out
}

/// Replaces the program of a node by the one in this folder, while it serves.
fn upgrade(node: &mut Server, running: &mut Option<Successor>, programs: &Path) {
    install(&node.path("program"), programs);
    let before = running.as_ref().map_or_else(|| node.pid(), Successor::pid);
    ctl_ok(node, &["upgrade"]);
    let new = Successor::of(node, before);
    match running.replace(new) {
        None => assert_eq!(node.wait_exit(), 0),
        Some(former) => former.wait_end(),
    }
}

/// The version of the format that a node reads, as its log says of its last start.
fn assert_reads(node: &Server, format: u32) {
    let log = node.log();
    let line = log.lines().rfind(|line| line.contains("snapshot fetched")).expect("a line");
    assert!(line.contains(&format!("format={format}")), "{line}");
}

/// Takes an answer for right if all answers of the same collection have had the same ETag.
fn one_tag_for_each_collection() -> impl Fn(&Answer) -> Verdict {
    let tags: Mutex<BTreeMap<String, String>> = Mutex::default();
    move |answer| {
        status_200(answer)?;
        let field = |name: &str| answer.header(name).map(str::to_owned).ok_or(format!("no {name}"));
        let (snapshot, tag) = (field("x-avalon-snapshot")?, field("etag")?);
        let mut tags = tags.lock().map_err(|error| error.to_string())?;
        let first = tags.entry(snapshot.clone()).or_insert_with(|| tag.clone());
        if *first != tag {
            return Err(format!("{first} and {tag} of {snapshot}"));
        }
        match tags.len() {
            0..=2 => Ok(None),
            many => Err(format!("{many} collections")),
        }
    }
}

#[test]
fn nodes_go_to_the_next_format_and_back_under_load() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let mut nodes = [node(&publisher), node(&publisher), node(&publisher)];
    let mut running = [None, None, None];
    let front = Front::haproxy(&nodes.each_ref());
    let load = front.load(Plan::standard("", &["/avalon/songs?limit=3"], one_tag_for_each_collection()));
    let first = identity(&nodes[0]);

    // Nothing is published for the new program: it gives up, and the former one serves on.
    install(&nodes[0].path("program"), &NEXT);
    let (code, _, err) = ctl(&nodes[0], &["upgrade"]);
    assert!(code == 1 && err.contains("upgrade failed"), "{code} {err}");
    let told = nodes[0].wait_log("nothing is published there in format 3");
    let advice =
        "v3/current.json), the one that this program reads; publish with `avalonctl publish --format 3`";
    assert!(told.contains(publisher.url()) && told.contains(advice), "{told}");
    assert_eq!(identity(&nodes[0]), first);

    let published = publish_both(&publisher);
    assert!(published.contains("has it already") && published.contains("published hash="), "{published}");
    upgrade(&mut nodes[0], &mut running[0], &NEXT);
    assert_reads(&nodes[0], 3);
    // Rows change while both formats serve.
    publisher.fill(4);
    publish_both(&publisher);
    nodes.iter().for_each(Server::reload);
    let second = identity(&nodes[0]);
    assert!(second != first && nodes.iter().all(|node| identity(node) == second));
    for at in 1..3 {
        upgrade(&mut nodes[at], &mut running[at], &NEXT);
        assert_reads(&nodes[at], 3);
    }
    load.wait_answers(100);
    for (node, running) in nodes.iter_mut().zip(&mut running) {
        upgrade(node, running, former());
        assert_reads(node, 2);
        assert_eq!(identity(node), second);
    }
    load.wait_answers(100);
    load.stop().assert_nothing_lost(500);
}

#[test]
fn store_without_this_format_is_told_and_the_last_rows_serve() {
    let publisher = Publisher::to_folder();
    publisher.publish(3);
    let node = publisher.node().start();
    fs::rename(publisher.store(), publisher.store().with_file_name("v3")).expect("a folder");
    node.signal(Signal::SIGHUP);
    let told = node.wait_log("nothing is published there in format 2 (v2/current.json)");
    assert!(told.contains(publisher.url()) && told.contains("avalonctl publish --format 2"), "{told}");
    assert_eq!(artists(&node), 3);
    let (code, _, err) = publisher.run(&["--from-database", "--format=3"]);
    assert!(code == 2 && err.contains("this program writes format 2"), "{code} {err}");
}
