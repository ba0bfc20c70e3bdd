//! `SCAN_EVERY`: one process scans and serves.

mod changes;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use crate::harness::eventually;
use crate::harness::load::{Load, Plan, status_200};
use crate::harness::postgres::Postgres;
use crate::harness::server::{Server, Setup, run};
use crate::harness::shim;
use crate::scan::good_song;
use crate::upgrade::Successor;

/// A server that has yet to be started, with one song in its folder of music and no database.
pub(crate) fn setup() -> Setup {
    let setup = Setup::new("");
    fs::create_dir(setup.path("music")).expect("a folder");
    add(&setup.path("music"), "a.mp3");
    let url = format!("sqlite:///{}", setup.path("avalon.sqlite").display());
    let music = setup.path("music").display().to_string();
    setup.variable("AVALON_DATABASE_URL", &url).variable("AVALON_COLLECTION", &music)
}

fn add(music: &Path, name: &str) {
    fs::write(music.join(name), good_song()).expect("a file");
}

/// Waits until so many songs are served, first by the generation that serves: an old worker may still answer
/// for a moment.
fn wait_songs(server: &Server, count: usize) {
    let current = || server.status()["snapshot"]["songs"] == count;
    eventually(&format!("a snapshot of {count} songs"), || current().then_some(()));
    eventually(&format!("{count} songs"), || {
        (server.get("/avalon/songs").success().len() == count).then_some(())
    });
}

/// How nice a process is.
fn niceness(pid: Pid) -> i32 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process of ours");
    let fields = stat.rsplit(") ").next().expect("fields").split(' ');
    fields.skip(16).find_map(|field| field.parse().ok()).expect("a number")
}

/// The last scan, once it meets a condition.
fn wait_last(server: &Server, what: &str, condition: impl Fn(&Value) -> bool) -> Value {
    eventually(what, || {
        Some(server.status()["scan"]["last"].clone()).filter(|last| last.is_object() && condition(last))
    })
}

/// Waits for the end of a scan that begins from now on.
fn wait_next(server: &Server) -> Value {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("a time");
    wait_last(server, "another scan", |last| last["started"].as_f64() > Some(now.as_secs_f64()))
}

/// Waits for a scan that has nothing to do, and gives the generation that serves then. A file that was written
/// within the last two seconds is read again, and that it is settled is stored.
fn wait_settled(server: &Server) -> u64 {
    wait_next(server);
    wait_last(server, "a scan with nothing to do", |last| {
        last["exit_code"] == 0 && ["added", "changed", "removed"].iter().all(|count| last[count] == 0)
    });
    eventually("the last reload", || {
        let status = server.status();
        status["generation"].as_u64().filter(|_| status["state"] == "serving")
    })
}

fn ctl_status(server: &Server) -> String {
    let socket = server.path("control").display().to_string();
    let (code, stdout, stderr) = run(env!("CARGO_BIN_EXE_avalonctl"), &["--socket", &socket, "status"], &[]);
    assert_eq!(code, 0, "{stderr}");
    stdout
}

/// Waits until a scan hangs, and gives it.
fn wait_hanging(server: &Server) -> Pid {
    let mark = server.path("hanging");
    eventually("a scan that hangs", || mark.exists().then_some(()));
    fs::remove_file(mark).expect("the mark");
    let is_scan = |pid: &Pid| {
        fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| line.starts_with(b"avalon: scan\0"))
    };
    eventually("the scan", || server.workers().into_iter().find(is_scan))
}

/// A server whose scans hang, with two workers.
fn start_hanging() -> Server {
    let setup = setup().flag("--scan-every=1").variable("AVALON_FILE_TIMEOUT", "2000");
    let [song, mark] = ["music/a.mp3", "hanging"].map(|name| setup.path(name).display().to_string());
    let setup = setup.variable("LD_PRELOAD", &shim::errors().display().to_string());
    setup.variable("SHIM_CALL", "hang").variable("SHIM_PATH", &song).variable("SHIM_MARK", &mark).start()
}

#[test]
fn new_file_is_served_after_the_interval_and_nothing_new_reloads_nothing() {
    let server = setup().flag("--scan-every=1").start();
    wait_songs(&server, 1);
    let generation = wait_settled(&server);
    wait_next(&server);
    let last = wait_next(&server);
    assert_eq!((&last["exit_code"], &last["error"]), (&0.into(), &Value::Null));
    let counts = ["songs", "added", "changed", "removed", "moved", "kept", "unreachable"];
    assert_eq!(counts.map(|count| last[count].as_u64()), [1, 0, 0, 0, 0, 0, 0].map(Some));
    assert_eq!(server.status()["generation"], generation);
    add(&server.path("music"), "b.mp3");
    wait_songs(&server, 2);
    let generation = wait_settled(&server);
    fs::remove_file(server.path("music/a.mp3")).expect("a song");
    wait_songs(&server, 1);
    wait_next(&server);
    assert_eq!(server.status()["generation"], generation + 1);
    let shown = ctl_status(&server);
    assert!(shown.contains(": 1 songs, 0 added, ") && shown.contains("next scan in "), "{shown}");
    let public = server.get("/avalon/status").json();
    assert_eq!(public["scan"]["last"]["songs"], 1);
    let page = server.get("/avalon/metrics");
    let page = String::from_utf8_lossy(&page.body).into_owned();
    for line in ["avalon_last_scan_songs{fate=\"total\"} 1", "avalon_last_scan_exit_code 0"] {
        assert!(page.lines().any(|other| other == line), "{line} is not in {page}");
    }
    // Neither a scan nor a zombie is left between two of them.
    server.wait_workers(2);
    server.assert_clean_shutdown();
}

#[test]
fn failed_scan_leaves_everything_and_is_told_once() {
    let server = setup().flag("--scan-every=1").start();
    let generation = wait_settled(&server);
    let (music, away) = (server.path("music"), server.path("away"));
    fs::rename(&music, &away).expect("moved away");
    let line = server.wait_log("the scan has failed, the served rows stay: ");
    assert!(line.contains("[ERROR]") && line.contains("exit_code=4"), "{line}");
    let last = wait_next(&server);
    assert_eq!((last["exit_code"].as_u64(), last["songs"].as_u64()), (Some(4), None));
    assert!(last["error"].as_str().is_some_and(|error| error.contains("is it mounted?")), "{last}");
    assert!(ctl_status(&server).contains("ago with exit code 4: refused: all 1 songs"));
    server.wait_log("the scan has failed again");
    assert_eq!(server.count_log("the scan has failed, the served rows stay"), 1);
    wait_songs(&server, 1);
    fs::rename(&away, &music).expect("moved back");
    wait_last(&server, "a scan that went well", |last| last["error"].is_null());
    wait_songs(&server, 1);
    assert_eq!(server.status()["generation"], generation);
}

#[test]
fn hanging_scan_holds_nothing_up_and_holds_nothing() {
    let mut server = start_hanging();
    let scan = wait_hanging(&server);
    let held = fs::read_dir(format!("/proc/{scan}/fd")).expect("a process of ours");
    let held: Vec<String> = held
        .filter_map(|entry| Some(fs::read_link(entry.ok()?.path()).ok()?.to_string_lossy().into_owned()))
        .collect();
    let folder = server.path("").display().to_string();
    let is_own =
        |name: &String| name.starts_with(&folder) || name == "/dev/null" || name.starts_with("pipe:");
    assert!(held.iter().all(is_own), "{held:?}");
    assert_eq!(held.iter().filter(|name| name.starts_with("pipe:")).count(), 1, "{held:?}");
    assert_eq!(niceness(scan), (niceness(server.pid()) + 10).min(19));
    server.reload();
    assert_eq!(server.get("/avalon/songs").success().len(), 0);
    assert!(server.status()["scan"]["running_since"].is_f64());
    assert!(ctl_status(&server).contains("a scan has been running for "));
    // A scan that a signal ends is a failed one, and no other ran beside it.
    kill(scan, Signal::SIGKILL).expect("the scan");
    server.wait_log("the scan ended without a result (killed by SIGKILL)");
    let next = wait_hanging(&server);
    assert_ne!(scan, next);
    assert_eq!(server.status()["scan"]["last"]["exit_code"], 137);
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    assert!(kill(next, None).is_err(), "it has ended before its master");
    assert_eq!(server.count_log("interrupted by SIGTERM; the old collection is untouched"), 1);
}

#[test]
fn scan_that_does_not_end_is_killed_at_a_stop() {
    let mut server = start_hanging();
    let scan = wait_hanging(&server);
    kill(scan, Signal::SIGSTOP).expect("the scan");
    let begin = Instant::now();
    server.signal(Signal::SIGTERM);
    assert_eq!(server.wait_exit(), 0);
    assert!(begin.elapsed() < Duration::from_secs(5), "{:?}", begin.elapsed());
    let has_ended = || {
        let stat = fs::read_to_string(format!("/proc/{scan}/stat")).unwrap_or_default();
        // On a busy machine its master may have gone before it, so that another process reaps it.
        stat.rsplit(") ").next().is_none_or(|rest| rest.is_empty() || rest.starts_with('Z'))
    };
    eventually("the end of a scan that was killed", || has_ended().then_some(()));
}

#[test]
fn reload_changes_the_interval() {
    let setup = setup();
    let file = setup.path("settings.toml");
    let write = |every: &str| fs::write(&file, format!("SCAN_EVERY = {every}\n")).expect("a file");
    write("\"1h\"");
    let server = setup.flag(&format!("--config={}", file.display())).start();
    wait_songs(&server, 1);
    add(&server.path("music"), "b.mp3");
    let first = server.status()["scan"].clone();
    let due = |scan: &Value| scan["next"].as_f64().zip(scan["last"]["ended"].as_f64());
    assert!(due(&first).is_some_and(|(next, ended)| (next - ended - 3600.0).abs() < 5.0), "{first}");
    write("1");
    server.signal(Signal::SIGHUP);
    wait_songs(&server, 2);
    write("0");
    server.reload();
    eventually("no further scan", || {
        let scan = &server.status()["scan"];
        (scan["next"].is_null() && scan["running_since"].is_null()).then_some(())
    });
}

/// An hour is left until the next scan, but that scan would not look at the new folders.
#[test]
fn reload_with_other_folders_scans_at_once() {
    let setup = setup();
    let (file, more) = (setup.path("settings.toml"), setup.path("more"));
    fs::create_dir(&more).expect("a folder");
    add(&more, "b.mp3");
    let write = |folders: &[&Path], exclude: &str| {
        let folders: Vec<String> = folders.iter().map(|folder| format!("\"{}\"", folder.display())).collect();
        let text = format!("COLLECTION = [{}]\nEXCLUDE = [{exclude}]\n", folders.join(", "));
        fs::write(&file, text).expect("a file");
    };
    let music = setup.path("music");
    write(&[&music], "");
    let setup = setup.without_variable("AVALON_COLLECTION").flag("--scan-every=1h");
    let server = setup.flag(&format!("--config={}", file.display())).start();
    wait_songs(&server, 1);
    write(&[&music, &more], "");
    server.signal(Signal::SIGHUP);
    wait_songs(&server, 2);
    write(&[&music, &more], "\"b.*\"");
    server.signal(Signal::SIGHUP);
    wait_songs(&server, 1);
    // And a reload that changes nothing of it begins no scan.
    let ended = server.status()["scan"]["last"]["ended"].clone();
    server.reload();
    let scan = server.status()["scan"].clone();
    assert_eq!((&scan["last"]["ended"], &scan["running_since"]), (&ended, &Value::Null));
    server.assert_clean_shutdown();
}

#[test]
fn postgresql_is_scanned_into_as_well() {
    let database = Postgres::shared().create_database();
    let server = setup().flag("--scan-every=1").variable("AVALON_DATABASE_URL", &database.url()).start();
    wait_songs(&server, 1);
    let generation = wait_settled(&server);
    wait_next(&server);
    assert_eq!(server.status()["generation"], generation);
    add(&server.path("music"), "b.mp3");
    wait_songs(&server, 2);
    // The scan corrects rows of another program, and the server finds those that it serves.
    let generation = wait_settled(&server);
    let unchanged = || server.count_log("nothing has changed, generation");
    let before = unchanged();
    database.execute("DELETE FROM tracks");
    eventually("the rows again", || {
        let row = database.client().query_one("SELECT count(*) FROM tracks", &[]).expect("a count");
        (row.get::<_, i64>(0) == 2).then_some(())
    });
    wait_songs(&server, 2);
    eventually("a reload", || (unchanged() > before).then_some(()));
    assert_eq!(server.status()["generation"], generation);
    server.assert_clean_shutdown();
}

/// A scan at work when another master takes over is ended with its master: all it did is undone, and the new
/// master scans.
#[test]
fn scan_under_way_at_an_upgrade_is_undone_and_made_again() {
    for on_postgresql in [false, true] {
        let database = on_postgresql.then(|| Postgres::shared().create_database());
        let setup = setup().flag("--scan-every=1").variable("AVALON_FILE_TIMEOUT", "2000");
        let setup = match &database {
            Some(database) => setup.variable("AVALON_DATABASE_URL", &database.url()),
            None => setup,
        };
        let [song, mark, until] =
            ["music/z.mp3", "hanging", "until"].map(|name| setup.path(name).display().to_string());
        let setup = setup.variable("LD_PRELOAD", &shim::errors().display().to_string());
        let setup = setup.variable("SHIM_CALL", "hang").variable("SHIM_PATH", &song);
        let server = setup.variable("SHIM_MARK", &mark).variable("SHIM_UNTIL", &until).start();
        wait_songs(&server, 1);
        for number in 0..20 {
            add(&server.path("music"), &format!("{number}.mp3"));
        }
        add(&server.path("music"), "z.mp3");
        let load = Load::start(&Plan::standard(
            &server.address,
            &["/avalon/heartbeat", "/avalon/songs"],
            status_200,
        ));
        let (old, socket) = (server.pid(), server.path("control").display().to_string());
        let ctl = |words: &[&str]| {
            run(env!("CARGO_BIN_EXE_avalonctl"), &[&["--socket", &socket], words].concat(), &[])
        };
        let scan = wait_hanging(&server);
        let (code, _, stderr) = ctl(&["upgrade"]);
        assert_eq!(code, 0, "{stderr}");
        let new = Successor::of(&server, old);
        server.wait_log("interrupted by SIGTERM; the old collection is untouched");
        eventually("the end of the scan", || kill(scan, None).is_err().then_some(()));
        // The old rows until the scan of the new master has come to its end.
        assert_eq!(server.get("/avalon/songs").success().len(), 1);
        eventually("a scan of the new master", || Path::new(&mark).exists().then_some(()));
        fs::write(&until, "").expect("a file");
        wait_songs(&server, 22);
        let last = wait_last(&server, "the scan", |last| last["songs"] == 22);
        assert_eq!((&last["exit_code"], &last["error"]), (&0.into(), &Value::Null));
        load.assert_nothing_lost();
        drop(new);
    }
}

#[test]
fn songs_that_cannot_be_reached_stay_and_that_is_told_once() {
    let setup = setup();
    let [music, more, away] = ["music", "more", "away"].map(|name| setup.path(name));
    fs::create_dir(&more).expect("a folder");
    add(&more, "b.mp3");
    let folders = format!("{},{}", music.display(), more.display());
    let server = setup.variable("AVALON_COLLECTION", &folders).flag("--scan-every=1").start();
    wait_songs(&server, 2);
    fs::rename(&more, &away).expect("moved away");
    let text = "1 places could not be reached by the scan, 1 songs stay as they were";
    server.wait_log(text);
    let last = wait_next(&server);
    assert_eq!(
        ["exit_code", "songs", "kept", "unreachable"].map(|key| last[key].as_u64()),
        [5, 2, 1, 1].map(Some)
    );
    assert_eq!(server.count_log(text), 1);
    wait_songs(&server, 2);
    server.assert_clean_shutdown();
}
