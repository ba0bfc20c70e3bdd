//! `avalon-scan --watch`: changes are in the database soon after, with and without events of the
//! kernel.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, Uid};
use rusqlite::Connection;

use super::{Home, good_song, id};
use crate::harness::notify::{Notified, fill};
use crate::harness::server::Setup;
use crate::harness::{DEADLINE, alone, eventually};

/// A watch over the music of a home; killed when dropped.
struct Watch<'a> {
    home: &'a Home,
    child: Child,
    notified: Notified,
}

impl<'a> Watch<'a> {
    /// Starts it, and waits until it is ready.
    fn start(home: &'a Home) -> Watch<'a> {
        Watch::over(home, &[], &[])
    }

    /// The same with a wrapper, such as unshare(1), and variables.
    fn over(home: &'a Home, wrapper: &[&str], variables: &[(&str, &str)]) -> Watch<'a> {
        let watch = Watch::spawn(home, wrapper, variables);
        watch.notified.until_ready();
        watch
    }

    fn spawn(home: &'a Home, wrapper: &[&str], variables: &[(&str, &str)]) -> Watch<'a> {
        let socket = home.path("notify");
        let _ = fs::remove_file(&socket);
        let notified = Notified::bind(&socket);
        let words: Vec<&str> = wrapper.iter().copied().chain([env!("CARGO_BIN_EXE_avalon-scan")]).collect();
        let mut command = Command::new(words[0]);
        command.env_clear().env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin").env("TMPDIR", home.folder.path());
        command.env("NOTIFY_SOCKET", socket).env("AVALON_LOG_LEVEL", "DEBUG").env("AVALON_CONTROL", "none");
        command.envs(variables.iter().copied()).args(&words[1..]);
        command.args(["--watch", "-d", &home.url()]).arg(home.music());
        command.stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(File::create(home.path("stderr")).expect("a file"));
        Watch { home, child: command.spawn().expect("avalon-scan starts"), notified }
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(i32::try_from(self.child.id()).expect("a pid"))
    }

    fn log(&self) -> String {
        String::from_utf8_lossy(&fs::read(self.home.path("stderr")).expect("a log")).into_owned()
    }

    fn count_log(&self, text: &str) -> usize {
        self.log().lines().filter(|line| line.contains(text)).count()
    }

    #[track_caller]
    fn wait_log(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || (self.count_log(text) > 0).then_some(()));
    }

    /// Waits until the database holds the songs at these paths and no others.
    #[track_caller]
    fn wait_songs(&self, paths: &[PathBuf]) {
        let mut expected: Vec<String> = paths.iter().map(|path| id(path)).collect();
        expected.sort();
        eventually("the songs", || (self.ids()? == expected).then_some(()));
    }

    /// The songs in the database, unless that is not there yet or is just being written.
    fn ids(&self) -> Option<Vec<String>> {
        let database = Connection::open(self.home.path("avalon.sqlite")).ok()?;
        let mut statement = database.prepare("SELECT id FROM tracks ORDER BY id").ok()?;
        let rows = statement.query_map([], |row| row.get(0)).ok()?;
        rows.collect::<Result<_, _>>().ok()
    }

    fn wait_status(&self, part: &str) {
        self.notified.until(part, |said| said.status().contains(part));
    }

    /// Sends a signal, and gives the exit code and the time until the end.
    fn end(&mut self, signal: Signal) -> (Option<i32>, Duration) {
        let begin = Instant::now();
        kill(self.pid(), signal).expect("the process is there");
        let status = eventually("the end", || self.child.try_wait().expect("a child"));
        (status.code(), begin.elapsed())
    }

    /// How often its threads have gone to sleep.
    fn sleeps(&self) -> u64 {
        let tasks = fs::read_dir(format!("/proc/{}/task", self.child.id())).expect("threads");
        let sleeps = |task: fs::DirEntry| {
            let status = fs::read_to_string(task.path().join("status")).unwrap_or_default();
            let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"));
            line.map_or(0, |count| count.trim().parse::<u64>().expect("a number"))
        };
        tasks.flatten().map(sleeps).sum()
    }

    /// Runs a command in its namespaces.
    fn inside(&self, script: &str) {
        let pid = self.child.id().to_string();
        let done = Command::new("nsenter").args(["-t", &pid, "-m", "sh", "-ec", script]).status();
        assert!(done.expect("nsenter").success(), "{script}");
    }
}

impl Drop for Watch<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("log of the watch:\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        }
    }
}

/// Puts so many songs into an album, and gives their paths.
fn add_album(home: &Home, album: &str, songs: usize) -> Vec<PathBuf> {
    (0..songs).map(|song| home.add(format!("{album}/{song}.mp3"))).collect()
}

fn join(parts: &[&[PathBuf]]) -> Vec<PathBuf> {
    parts.concat()
}

#[test]
fn an_album_that_is_copied_is_served_within_four_seconds() {
    let _alone = alone();
    let home = Home::new();
    let mut songs = add_album(&home, "first", 200);
    home.scan([home.music()]).assert_exited(0);
    let server = Setup::new(&home.url()).start();
    let control = server.path("control").display().to_string();
    let served = || server.get("/avalon/songs").success().len();
    assert_eq!(served(), 200);
    let mut times = Vec::new();
    // On a busy machine it may take longer, once.
    for attempt in 0..3 {
        // The first reload of a watch does not wait for a former one.
        let watch = Watch::over(&home, &[], &[("AVALON_CONTROL", &control)]);
        songs.extend(add_album(&home, &format!("artist/album {attempt}"), 12));
        let begin = Instant::now();
        eventually("the album", || (served() == songs.len()).then_some(()));
        times.push(begin.elapsed());
        watch.wait_songs(&songs);
        if begin.elapsed() <= Duration::from_secs(4) {
            // The server reads the rows that the watch has logged, and no others.
            assert_eq!(server.count_log("changed since revision"), attempt + 1, "{}", server.log());
            return;
        }
    }
    panic!("it took {times:?}");
}

#[test]
fn every_kind_of_change_is_taken_in() {
    let home = Home::new();
    let first = add_album(&home, "first", 3);
    let mut watch = Watch::start(&home);
    watch.wait_songs(&first);
    // New folders in new folders.
    let second = add_album(&home, "a/b/c", 2);
    watch.wait_songs(&join(&[&first, &second]));
    // A song that comes into a folder that has come.
    let third = add_album(&home, "a/b/c/d", 1);
    watch.wait_songs(&join(&[&first, &second, &third]));
    // A folder gets another name, and with it all below it.
    fs::rename(home.music().join("a"), home.music().join("z")).expect("rename");
    let second: Vec<PathBuf> = (0..2).map(|song| home.music().join(format!("z/b/c/{song}.mp3"))).collect();
    let third = vec![home.music().join("z/b/c/d/0.mp3")];
    watch.wait_songs(&join(&[&first, &second, &third]));
    watch.wait_log("3 moved");
    // Changes in it appear under the new name.
    fs::remove_file(&third[0]).expect("remove");
    watch.wait_songs(&join(&[&first, &second]));
    // Out of the music and back.
    fs::rename(home.music().join("z"), home.path("away")).expect("rename");
    watch.wait_songs(&first);
    fs::rename(home.path("away"), home.music().join("z")).expect("rename");
    watch.wait_songs(&join(&[&first, &second]));
    fs::remove_dir_all(home.music().join("z/b")).expect("remove");
    watch.wait_songs(&first);
    // A file is written again, and keeps its name.
    let file = home.music().join("first/0.mp3");
    let mut song = good_song();
    let title = song.windows(4).position(|bytes| bytes == b"TIT2").expect("a title");
    song[title + 11] = b'#';
    let before = home.songs();
    fs::write(&file, song).expect("file");
    eventually("another title", || (home.songs() != before).then_some(()));
    watch.wait_songs(&first);
    // Folders are excluded while it runs, and are not any more.
    fs::write(home.music().join(".avalonignore"), "/first\n").expect("patterns");
    let other = add_album(&home, "other", 1);
    watch.wait_songs(&other);
    fs::remove_file(home.music().join(".avalonignore")).expect("remove");
    watch.wait_songs(&join(&[&first, &other]));
    assert_eq!(watch.count_log("[ERROR]"), 0);
    assert_eq!(watch.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn a_burst_that_the_kernel_drops_events_of_is_taken_in_whole() {
    let _alone = alone();
    const FOLDERS: usize = 20;
    let home = Home::new();
    let song = home.add("song.mp3");
    let watch = Watch::start(&home);
    // It cannot take its events from the queue, which holds 16,384.
    kill(watch.pid(), Signal::SIGSTOP).expect("the process is there");
    for folder in 0..FOLDERS {
        let folder = home.music().join(folder.to_string());
        fs::create_dir(&folder).expect("folder");
    }
    for name in 0..20_000 {
        // In the first folder each is an event; the others are not watched yet.
        let folder = home.music().join(if name < 200 { (name % FOLDERS).to_string() } else { String::new() });
        fs::hard_link(&song, folder.join(format!("link {name}.mp3"))).expect("a link");
    }
    kill(watch.pid(), Signal::SIGCONT).expect("the process is there");
    eventually("all of them", || (watch.ids()?.len() == 20_001).then_some(()));
    watch.wait_log("Looking at everything: the kernel has dropped events");
    // The folders that came meanwhile are watched.
    let late = home.add("7/late.mp3");
    eventually("the late one", || watch.ids()?.contains(&id(&late)).then_some(()));
}

#[test]
fn folders_beyond_the_limit_of_watches_are_polled_and_one_warning_tells() {
    let home = Home::new();
    let mut songs: Vec<PathBuf> =
        (0..30).flat_map(|album| add_album(&home, &format!("{album:02}"), 1)).collect();
    // 31 folders, with the one that holds them.
    const LIMIT: &str = "echo 10 > /proc/sys/user/max_inotify_watches; exec \"$0\" \"$@\"";
    let wrapper = ["unshare", "--user", "--map-root-user", "sh", "-ec", LIMIT];
    let mut watch = Watch::over(&home, &wrapper, &[("AVALON_POLL", "1")]);
    watch.wait_songs(&songs);
    watch.wait_status("watching 10 folders, looking at 21 every 1 s");
    for round in 0..2 {
        // In each folder, whether it is watched or not.
        for album in 0..30 {
            songs.push(home.add(format!("{album:02}/more {round}.mp3")));
        }
        songs.extend(add_album(&home, &format!("new {round}"), 1));
        watch.wait_songs(&songs);
    }
    assert_eq!(watch.count_log("[WARNING]"), 1, "{}", watch.log());
    let warning = "only 10 of 31 folders; the others are looked at every 1 s. Raise the sysctl \
        fs.inotify.max_user_watches by at least 21";
    assert_eq!(watch.count_log(warning), 1, "{}", watch.log());
    assert_eq!(watch.end(Signal::SIGTERM).0, Some(0));
}

#[test]
fn a_file_system_that_others_change_is_polled() {
    if !Uid::effective().is_root() || !Path::new("/dev/fuse").exists() {
        return crate::harness::skip("mounting needs root and /dev/fuse");
    }
    let home = Home::new();
    let here = add_album(&home, "here", 2);
    fs::create_dir(home.music().join("share")).expect("folder");
    let far = home.path("far");
    fs::create_dir_all(far.join("album")).expect("folder");
    fs::copy(&here[0], far.join("album/0.mp3")).expect("a copy");
    let share = home.music().join("share");
    let script = format!("bindfs {} {}; exec \"$0\" \"$@\"", far.display(), share.display());
    let wrapper = ["unshare", "--mount", "sh", "-ec", &script];
    let watch = Watch::over(&home, &wrapper, &[("AVALON_POLL", "1")]);
    watch.wait_status("watching 2 folders, looking at 1 every 1 s");
    let mut songs = join(&[&here, &[share.join("album/0.mp3")]]);
    watch.wait_songs(&songs);
    // Behind the back of the kernel.
    fs::copy(&here[0], far.join("album/1.mp3")).expect("a copy");
    songs.push(share.join("album/1.mp3"));
    watch.wait_songs(&songs);
    fs::remove_file(far.join("album/0.mp3")).expect("remove");
    songs.retain(|song| *song != share.join("album/0.mp3"));
    watch.wait_songs(&songs);
    // The watch still finds the changes that the kernel reports.
    songs.extend(add_album(&home, "new", 1));
    watch.wait_songs(&songs);
}

#[test]
fn mounts_come_and_go_and_nothing_is_lost() {
    if !Uid::effective().is_root() {
        return crate::harness::skip("mounting needs root");
    }
    let home = Home::new();
    let here = add_album(&home, "here", 2);
    let (disk, point) = (home.path("disk"), home.music().join("disk"));
    fs::create_dir(&disk).expect("folder");
    fs::create_dir(&point).expect("folder");
    let song = here[0].display();
    let (disk, place) = (disk.display(), point.display());
    let script = format!(
        "mount -t tmpfs tmpfs {disk}; mkdir {disk}/a; cp {song} {disk}/a/0.mp3; cp {song} {disk}/a/1.mp3; \
         mount --bind {disk} {place}; exec \"$0\" \"$@\""
    );
    let watch = Watch::over(&home, &["unshare", "--mount", "sh", "-ec", &script], &[]);
    let mut songs = join(&[&here, &[point.join("a/0.mp3"), point.join("a/1.mp3")]]);
    watch.wait_songs(&songs);
    watch.inside(&format!("umount {place}"));
    watch.wait_log("something was mounted or unmounted");
    watch.wait_log("2 songs of");
    watch.wait_status("could not be reached");
    watch.wait_songs(&songs);
    // The changes while it was away, and those after it is back.
    watch.inside(&format!("cp {song} {disk}/a/2.mp3; mount --bind {disk} {place}"));
    songs.push(point.join("a/2.mp3"));
    watch.wait_songs(&songs);
    watch.inside(&format!("mkdir {place}/b; cp {song} {place}/b/3.mp3"));
    songs.push(point.join("b/3.mp3"));
    watch.wait_songs(&songs);
}

#[test]
fn a_refused_loss_is_one_error_and_the_watch_goes_on() {
    let home = Home::new();
    let mut songs = add_album(&home, "big", 40);
    let watch = Watch::over(&home, &[], &[("AVALON_POLL", "1")]);
    for song in songs.iter().skip(5) {
        fs::remove_file(song).expect("remove");
    }
    songs.extend(add_album(&home, "beside", 1));
    watch.wait_status("refused, too much would be lost: 35 of 40 songs");
    watch.wait_songs(&songs);
    // All other changes are stored, also those that come together with a loss.
    songs.extend(add_album(&home, "new", 1));
    watch.wait_songs(&songs);
    // A pass of the watch may hold the database just now.
    let forced = || home.scan(["--force".into(), home.music()]).output.status.success();
    eventually("a scan that is let in", || forced().then_some(()));
    songs.retain(|song| song.exists());
    watch.wait_songs(&songs);
    watch.wait_log("The scan can store the collection again");
    watch.notified.until("a good status", |said| !said.status().contains("refused"));
    assert_eq!(watch.count_log("[ERROR]"), 1, "{}", watch.log());
}

#[test]
fn a_database_that_is_away_or_held_by_another_scan_is_waited_for() {
    let home = Home::new();
    let mut songs = add_album(&home, "first", 2);
    let database = home.path("avalon.sqlite");
    fs::create_dir(&database).expect("a folder in its place");
    let watch = Watch::over(&home, &[], &[]);
    watch.wait_log("[ERROR]");
    fs::remove_dir(&database).expect("remove");
    watch.wait_log("The scan can store the collection again");
    watch.wait_songs(&songs);
    let lock = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(home.path("avalon.sqlite.scan"))
        .expect("the lock");
    lock.lock().expect("a lock");
    // Process, begin and machine of the other scan.
    (&lock).write_all(b"7 1700000000 elsewhere\n").expect("written");
    songs.extend(add_album(&home, "second", 2));
    watch.wait_status("trying again: another scan holds");
    drop(lock);
    watch.wait_songs(&songs);
    assert_eq!(watch.count_log("[ERROR]"), 1, "{}", watch.log());
}

/// The lock tells that a pass has begun although it is not due. It takes in what comes until then.
#[test]
fn a_pass_begins_while_files_still_come_and_takes_them_in() {
    let home = Home::new();
    // Without a song, the next pass would look at everything, and that does not begin early.
    let former = home.add("0.mp3");
    let watch = Watch::start(&home);
    let lock = home.path("avalon.sqlite.scan");
    eventually("no lock", || (!lock.exists()).then_some(()));
    let first = home.add("a/1.mp3");
    eventually("the lock", || lock.exists().then_some(()));
    let second = home.add("b/2.mp3");
    watch.wait_songs(&[former, first, second]);
    watch.wait_log("2 songs added");
    eventually("no lock", || (!lock.exists()).then_some(()));
}

/// Also with the database in the watched folder: the writes of a pass must not begin another.
#[test]
fn while_nothing_changes_it_sleeps() {
    for database in ["avalon.sqlite", "music/avalon.sqlite"] {
        let home = Home::new();
        add_album(&home, "first", 3);
        let url = format!("sqlite:///{}", home.path(database).display());
        // The last -d counts.
        let script = format!("exec \"$0\" \"$@\" -d {url}");
        let watch = Watch::over(&home, &["sh", "-ec", &script], &[]);
        // Longer than the quiet before a pass, so one that comes again and again is seen.
        eventually("five seconds of sleep", || {
            let before = watch.sleeps();
            let said = watch.notified.next_within(Duration::from_secs(5));
            (said.is_none() && watch.sleeps() == before).then_some(())
        });
        assert_eq!(watch.count_log("[INFO] Watching 2 folders"), 1, "{}", watch.log());
    }
}

#[test]
fn a_signal_ends_it_within_a_second() {
    for signal in [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP] {
        let home = Home::new();
        add_album(&home, "first", 1);
        let mut watch = Watch::start(&home);
        let (code, time) = watch.end(signal);
        assert_eq!(code, Some(0), "{}", watch.log());
        assert!(time < Duration::from_secs(1), "{time:?}");
        watch.notified.until("STOPPING=1", |said| said.get("STOPPING") == Some("1"));
        assert_eq!(watch.count_log(&format!("ended by {signal}")), 1, "{}", watch.log());
    }
}

#[test]
fn a_systemd_that_does_not_listen_holds_nothing_up() {
    let home = Home::new();
    let first = home.add("first/song.mp3");
    let mut watch = Watch::start(&home);
    fill(&home.path("notify"));
    let second = home.add("second/song.mp3");
    watch.wait_songs(&[first.clone(), second.clone()]);
    let third = home.add("third/song.mp3");
    watch.wait_songs(&[first, second, third]);
    let (code, _) = watch.end(Signal::SIGTERM);
    assert_eq!(code, Some(0), "{}", watch.log());
}

/// A root that is not there when it starts, as before a disk is mounted at boot.
#[test]
fn folders_that_are_not_there_yet_are_waited_for() {
    let home = Home::new();
    let song = home.add("first/song.mp3");
    fs::rename(home.music(), home.path("away")).expect("rename");
    let watch = Watch::over(&home, &[], &[("AVALON_POLL", "1")]);
    watch.wait_log("[ERROR]");
    fs::rename(home.path("away"), home.music()).expect("rename");
    watch.wait_songs(&[song]);
    assert_eq!(watch.count_log("[ERROR]"), 1, "{}", watch.log());
}

#[test]
fn flags_that_contradict_it_are_refused() {
    let home = Home::new();
    home.add("song.mp3");
    for flag in ["--only", "--dry-run", "--force", "--full", "--expect-loss=/music"] {
        home.scan(["--watch".into(), flag.into(), home.music()]).assert_exited(2).assert_says("--watch");
    }
    home.scan(["--watch"]).assert_exited(2).assert_says("COLLECTION");
}

/// A server that does not answer must not keep the watch from its work.
#[test]
fn a_server_that_does_not_answer_is_asked_again_later() {
    let home = Home::new();
    let mut songs = add_album(&home, "first", 1);
    let control = home.path("control");
    let listener = UnixListener::bind(&control).expect("a socket");
    let watch = Watch::over(&home, &[], &[("AVALON_CONTROL", &control.display().to_string())]);
    let (client, _) = listener.accept().expect("the watch asks");
    watch.wait_log("Could not ask the server to read the collection again");
    drop(client);
    songs.extend(add_album(&home, "second", 1));
    watch.wait_songs(&songs);
    assert!(DEADLINE > Duration::from_secs(60), "it is asked again within the deadline");
}
