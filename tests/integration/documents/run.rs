//! `scripts/run`, as the README shows it, with the programs of this test in place of a release build.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use super::ROOT;

/// The server that the script becomes; it ends with the test, also with one that fails.
struct Script(Child);

impl Drop for Script {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn scripts_run_scans_and_serves() {
    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:///{}", folder.path().join("avalon.sqlite").display());
    let socket = folder.path().join("socket");
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_avalon-master"));
    for music in [None, Some(Path::new(ROOT).join("scripts/sample-music"))] {
        let script = Command::new(Path::new(ROOT).join("scripts/run"))
            .args(&music)
            .env("AVALON_PROGRAMS", programs.parent().expect("a folder"))
            .env("AVALON_DATABASE_URL", &url)
            .env("AVALON_BIND", format!("unix:{}", socket.display()))
            .env("AVALON_CONTROL", folder.path().join("control"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("scripts/run");
        let mut script = Script(script);
        let stderr = script.0.stderr.take().expect("its stderr");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let address = format!("unix:{}", socket.display());
        // Not before it answers.
        let told =
            lines.by_ref().find(|line| line.starts_with("The collection is on ")).expect("its address");
        assert!(told.contains(&format!(" {address}/avalon/ ")), "{told}");
        assert_eq!(crate::harness::http::get(&address, "/avalon/songs").success().len(), 24);
        assert_eq!(crate::harness::http::get(&address, "/avalon/").status, 200);
        let pid = nix::unistd::Pid::from_raw(script.0.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
        assert!(script.0.wait().expect("its end").success());
    }
}

#[test]
fn scripts_run_names_the_variable_where_its_address_is_taken() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = taken.local_addr().expect("an address").to_string();
    let folder = tempfile::tempdir().expect("a folder");
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_avalon-master"));
    let output = Command::new(Path::new(ROOT).join("scripts/run"))
        .env("AVALON_PROGRAMS", programs.parent().expect("a folder"))
        .env("AVALON_DATABASE_URL", format!("sqlite:///{}", folder.path().join("avalon.sqlite").display()))
        .env("AVALON_BIND", &address)
        .env("AVALON_CONTROL", folder.path().join("control"))
        .output()
        .expect("scripts/run");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && told.contains(&format!("{address} is in use; AVALON_BIND")),
        "{told}"
    );
    // Nothing was scanned in vain, and nothing is said to be served.
    assert!(!told.contains("Reading") && !told.contains("The collection is on"), "{told}");
    // The variable of the script is no setting.
    assert!(!told.contains("AVALON_PROGRAMS"), "{told}");
}
