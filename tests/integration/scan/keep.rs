//! `--keep-state`: a first scan of a slow share that is interrupted goes on where it was.

use std::fs;
use std::process::Stdio;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::report::assert_valid;
use super::safety::Store;
use super::{Home, Scan};
use crate::harness::eventually;
use crate::harness::shim;

#[test]
fn files_kept_by_an_interrupted_scan_are_not_read_again() {
    let home = Home::new();
    for store in Store::both(&home) {
        let _ = fs::remove_dir_all(home.music());
        for song in 0..30 {
            home.add(format!("a/{song}.mp3"));
        }
        fs::write(home.music().join("a/cover.jpg"), b"\xff\xd8\xff\xe0 no music").expect("file");
        age(&home);
        let hangs = home.add("z/hangs.mp3");
        // With as many readers no file waits behind the one that hangs.
        let interrupted = |flags: &[&str]| {
            let mut command = home.command();
            command
                .args(["--json", "--jobs", "64", "--file-timeout", "2000", "-d", &store.url()])
                .args(flags)
                .arg(home.music());
            command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", &hangs).env("SHIM_CALL", "hang");
            let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("avalon-scan");
            eventually("files that are kept", || (store.count("avalon_files") >= 31).then_some(()));
            let sent = Instant::now();
            kill(Pid::from_raw(child.id().cast_signed()), Signal::SIGINT).expect("kill");
            let scan = Scan { output: child.wait_with_output().expect("an end") };
            assert!(sent.elapsed() < Duration::from_secs(1), "{:?}", sent.elapsed());
            scan
        };
        let scan = interrupted(&["--keep-state"]);
        scan.assert_exited(130)
            .assert_says("the old collection is untouched; 31 files need not be read again");
        assert_eq!(store.songs().len(), 0);
        let report = scan.report();
        // Songs that go before the next scan were never in the collection, and are no loss.
        for song in 0..25 {
            fs::remove_file(home.music().join(format!("a/{song}.mp3"))).expect("remove");
        }
        let mut command = home.command();
        let next = Scan::of(command.args(["--json", "-d", &store.url()]).arg(home.music()));
        let next = next.assert_exited(0).report();
        let counts = &next["counts"];
        for (count, number) in [("read", 1), ("unchanged", 6), ("added", 6), ("removed", 0), ("moved", 0)] {
            assert_eq!(counts[count], number, "{count}: {next}");
        }
        assert_eq!(store.songs().len(), 6);
        // Of both scans one entry stays for each.
        assert_eq!(store.count("avalon_scans"), 2);
        let full = home.report(["--full", &home.music_text()]);
        assert_eq!(full["collection"], next["collection"]);
        let mut command = home.command();
        let last = Scan::of(command.args(["--json", "-d", &store.url()]).arg(home.music())).report();
        assert_eq!(last["database"]["differs"], last["counts"]["read"] != 0, "{last}");
        assert_valid(&[report, next, last]);
    }
}

/// Waits until the files are older than the time for which a scan distrusts stamps. There is no
/// other way to age a time of change.
fn age(home: &Home) {
    let newest = home.music().join("a/cover.jpg");
    let age = || fs::metadata(&newest).expect("a file").modified().expect("a time").elapsed();
    eventually("files that are old enough", || {
        age().is_ok_and(|age| age > Duration::from_millis(2100)).then_some(())
    });
}

/// The rows then do not follow from the files, and the files that the scan itself has kept are
/// among those of the last scan.
#[test]
fn new_files_beside_rows_of_another_program_lose_no_song() {
    let home = Home::new();
    for store in Store::both(&home) {
        let _ = fs::remove_dir_all(home.music());
        for song in ["1", "3", "5"] {
            home.add(format!("a/{song}.mp3"));
        }
        let scan = |flags: &[&str], hangs: Option<&std::path::Path>| {
            let mut command = home.command();
            command.args(["--json", "-d", &store.url()]).args(flags).arg(home.music());
            if let Some(path) = hangs {
                command.env("LD_PRELOAD", shim::errors()).env("SHIM_PATH", path).env("SHIM_CALL", "hang");
            }
            Scan::of(&mut command)
        };
        scan(&[], None).assert_exited(0);
        store.execute("UPDATE tracks SET name = 'of another program'");
        for song in ["0", "2", "4"] {
            home.add(format!("a/{song}.mp3"));
        }
        let hangs = home.add("z/hangs.mp3");
        // The records are stored after two seconds, and the file that hangs makes the scan last
        // longer.
        let flags = ["--keep-state", "--jobs", "64", "--file-timeout", "4"];
        let report = scan(&flags, Some(&hangs)).assert_exited(5).report();
        assert_eq!(report["counts"]["removed"], 0, "{report}");
        let songs = store.songs();
        assert_eq!(songs.len(), 6, "{songs:?}");
        fs::remove_file(&hangs).expect("remove");
        scan(&["--full"], None).assert_exited(0);
        assert_eq!(store.songs(), songs);
    }
}
