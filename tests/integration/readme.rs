//! The README works as it says: every command in it is run, and every answer that it shows is
//! given.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::server::{Server, Setup};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// Where the README's server is.
const ADDRESS: &str = "http://127.0.0.1:8000";

/// A command, and its output as the README shows it.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// Returns the lines of code blocks: those after `$ ` are commands, followed by their output; in a
/// block without any, all are commands. Blocks that name a language hold no commands.
fn commands(readme: &str) -> Vec<Shown> {
    let mut blocks: Vec<Vec<&str>> = Vec::new();
    let (mut fenced, mut block) = (false, Vec::new());
    for line in readme.lines() {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if let (false, Some(code)) = (fenced, line.strip_prefix("    ")) {
            block.push(code);
            continue;
        }
        blocks.extend((!block.is_empty()).then(|| std::mem::take(&mut block)));
    }
    let mut shown: Vec<Shown> = Vec::new();
    for block in blocks {
        let prompts = block.iter().any(|line| line.starts_with("$ "));
        for line in block {
            match (line.strip_prefix("$ "), shown.last_mut()) {
                (None, Some(last)) if prompts => last.output.push(line.to_owned()),
                (command, _) => {
                    let command = command.unwrap_or(line).split(" # ").next().unwrap_or_default().trim();
                    shown.push(Shown { command: command.to_owned(), output: Vec::new() });
                }
            }
        }
    }
    shown
}

/// A server over the sample collection, as scripts/run makes one.
pub(crate) fn sample_server() -> Server {
    let setup = Setup::new("");
    let url = format!("sqlite:///{}", setup.path("avalon.sqlite").display());
    let scan = Command::new(env!("CARGO_BIN_EXE_avalon-scan"))
        .args(["--quiet", "--database", &url])
        .arg(Path::new(ROOT).join("scripts/sample-music"))
        .env_clear()
        .status()
        .expect("avalon-scan");
    assert!(scan.success());
    setup.variable("AVALON_DATABASE_URL", &url).start()
}

/// Runs a command in a shell that finds the programs, asks `server` where the README's is asked,
/// and has the README's folder as its own.
fn run(server: &Server, command: &str) -> (bool, String) {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_avalon-master"));
    let programs = programs.parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let output = Command::new("/bin/sh")
        .args(["-c", &command.replace(ADDRESS, &server.address)])
        .current_dir(ROOT)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("AVALON_CONTROL", server.path("control"))
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (output.status.success(), text + &String::from_utf8_lossy(&output.stderr))
}

/// A song's id is made of the path of its file, which is another in each clone.
fn without_song_ids(text: &str) -> Option<Value> {
    let mut json: Value = serde_json::from_str(text).ok()?;
    for entity in
        json["success"].as_array_mut().into_iter().flatten().filter(|entity| entity["track"].is_u64())
    {
        entity["id"] = Value::Null;
    }
    Some(json)
}

#[test]
fn commands_of_the_readme_work_and_print_the_shown_output() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let shown = commands(&readme);
    assert!(shown.iter().filter(|shown| !shown.output.is_empty()).count() >= 6, "{shown:?}");
    let server = sample_server();
    for Shown { command, output } in &shown {
        if elsewhere(command) {
            continue;
        }
        let (done, text) = run(&server, command);
        assert!(done, "{command}:\n{text}");
        if !output.is_empty() {
            let expected = output.join("\n");
            match without_song_ids(&expected) {
                Some(json) => assert_eq!(without_song_ids(&text), Some(json), "{command}"),
                None => assert_eq!(text.trim_end(), expected, "{command}"),
            }
        }
    }
}

/// Commands that this test cannot run, each with the reason; any other is run.
fn elsewhere(command: &str) -> bool {
    match command {
        // Runs this test. `.ci/run` is nothing else.
        "scripts/test" => true,
        // `scripts_run_scans_and_serves`, below.
        "scripts/run" | "scripts/run ~/Music" => true,
        // `package::in_a_clean_debian` runs them where they change nothing of this machine.
        "dpkg -i avalon-music-server_*.deb"
        | "systemctl enable --now avalon.socket avalon-scan.timer"
        | "systemctl start avalon-scan.service" => true,
        // The tests of `deploy` do, with two hosts of their own.
        "scripts/deploy clean build install restart -H one,deploy@two:2222"
        | "scripts/deploy status -H one,two"
        | "scripts/deploy rollback -H one,two" => true,
        _ => false,
    }
}

/// Flags that the text names between its lines are flags of the programs that it names with them.
#[test]
fn flags_in_the_readme_exist() {
    let readme = fs::read_to_string(Path::new(ROOT).join("README.md")).expect("the README");
    let server = sample_server();
    let programs = ["avalon-scan", "avalon-master", "avalonctl", "avalon-echo-config", "scripts/bench"];
    let mut count = 0;
    for code in readme.split('`').skip(1).step_by(2) {
        let Some(program) = programs.into_iter().find(|program| code.split(' ').next() == Some(program))
        else {
            continue;
        };
        // In a table alternatives stand behind `\|`. A subcommand has a help of its own.
        for part in code[program.len()..].split("\\|").map(str::trim) {
            let subcommand = part.split(' ').next().filter(|_| program == "avalonctl").unwrap_or_default();
            let (_, help) = run(&server, &format!("{program} {subcommand} --help"));
            let words = part.split_whitespace().map(|word| word.trim_matches(['[', ']', '.']));
            for flag in words.filter(|word| word.starts_with("--")) {
                assert!(help.contains(flag), "`{code}`: {program} has no {flag}\n{help}");
                count += 1;
            }
        }
    }
    assert!(count >= 8, "{count}");
}

/// As the README says, with the programs of this test instead of a release build.
#[test]
fn scripts_run_scans_and_serves() {
    use std::io::{BufRead, BufReader};
    use std::process::Stdio;

    let folder = tempfile::tempdir().expect("a folder");
    let url = format!("sqlite:///{}", folder.path().join("avalon.sqlite").display());
    let socket = folder.path().join("socket");
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_avalon-master"));
    for music in [None, Some(Path::new(ROOT).join("scripts/sample-music"))] {
        let mut script = Command::new(Path::new(ROOT).join("scripts/run"))
            .args(&music)
            .env("AVALON_PROGRAMS", programs.parent().expect("a folder"))
            .env("AVALON_DATABASE_URL", &url)
            .env("AVALON_BIND", format!("unix:{}", socket.display()))
            .env("AVALON_CONTROL", folder.path().join("control"))
            .stderr(Stdio::piped())
            .spawn()
            .expect("scripts/run");
        let stderr = script.stderr.take().expect("its stderr");
        let mut lines = BufReader::new(stderr).lines().map_while(Result::ok);
        let address = format!("unix:{}", socket.display());
        // Not before it answers.
        let told =
            lines.by_ref().find(|line| line.starts_with("The collection is on ")).expect("its address");
        assert!(told.contains(&format!(" {address}/avalon/ ")), "{told}");
        assert_eq!(crate::harness::http::get(&address, "/avalon/songs").success().len(), 24);
        assert_eq!(crate::harness::http::get(&address, "/avalon/").status, 200);
        let pid = nix::unistd::Pid::from_raw(script.id() as i32);
        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).expect("a signal");
        assert!(script.wait().expect("its end").success());
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
