//! The documents are right: the tests run the commands in them, and look for the settings, flags, metrics, exit codes
//! and files that they name.

mod names;
mod run;
pub(crate) mod text;

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::harness::server::{Server, sample};
use text::{Block, Page, pages};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// The address of the server in the documents.
const ADDRESS: &str = "http://127.0.0.1:8000";
/// Folders and files in the documents' commands.
const MUSIC: &str = "/srv/music";
const STAMP: &str = "/var/tmp/stamp";
/// How many commands may be marked as run by no test.
const NOT_RUN_MAX: usize = 12;

/// A command, and the part of its output that a page shows.
#[derive(Debug)]
struct Shown {
    command: String,
    output: Vec<String>,
}

/// The lines of a block: those after `$ ` are commands, followed by their output; in a block without any, all are
/// commands. A backslash at the end of a line continues it.
fn commands(block: &Block) -> Vec<Shown> {
    let has_prompts = block.lines.iter().any(|line| line.starts_with("$ "));
    let mut shown: Vec<Shown> = Vec::new();
    for line in block.lines.join("\n").replace("\\\n", " ").lines() {
        match (line.strip_prefix("$ "), shown.last_mut()) {
            (None, Some(last)) if has_prompts => last.output.push(line.to_owned()),
            (command, _) => {
                let command = command.unwrap_or(line).split(" # ").next().unwrap_or_default().trim();
                shown.push(Shown { command: command.to_owned(), output: Vec::new() });
            }
        }
    }
    shown
}

/// A server over the sample collection, as scripts/run makes one.
pub(crate) fn sample_server() -> Server {
    sample().start()
}

/// Runs a command in a shell that finds the programs, asks `server` where the documents ask theirs, and has the
/// README's folder as its own.
fn run(server: &Server, command: &str) -> (bool, String) {
    let programs = PathBuf::from(env!("CARGO_BIN_EXE_avalon-master"));
    let programs = programs.parent().expect("a folder");
    let path = std::env::var("PATH").unwrap_or_default();
    let music = Path::new(ROOT).join("scripts/sample-music");
    let command = command
        .replace(ADDRESS, &server.address)
        .replace(MUSIC, &music.display().to_string())
        .replace(STAMP, &server.path("avalon.sqlite").display().to_string());
    // A command that waits for ever fails.
    let output = Command::new("timeout")
        .args(["60", "/bin/sh", "-c", &command])
        .current_dir(ROOT)
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("AVALON_CONTROL", server.path("control"))
        .env("AVALON_DATABASE_URL", format!("sqlite:///{}", server.path("avalon.sqlite").display()))
        .env("AVALON_COLLECTION", &music)
        // Port 8000 may be taken.
        .env("AVALON_BIND", format!("unix:{}", server.path("documents").display()))
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

/// An indented block, which the reader may paste, is run here, on the server of `scripts/run`.
#[test]
fn commands_of_the_documents_work_and_give_what_is_shown() {
    let server = sample_server();
    let (mut run_here, mut answers) = (0, 0);
    for page in pages() {
        for Shown { command, output } in
            page.blocks.iter().filter(|block| block.info.is_none()).flat_map(commands)
        {
            let (done, text) = run(&server, &command);
            assert!(done, "{}: {command}:\n{text}", page.name);
            run_here += 1;
            if output.is_empty() {
                continue;
            }
            let expected = output.join("\n");
            match without_song_ids(&expected) {
                Some(json) => assert_eq!(without_song_ids(&text), Some(json), "{command}"),
                None => assert_eq!(text.trim_end(), expected, "{command}"),
            }
            answers += 1;
        }
    }
    assert!(run_here >= 15 && answers >= 8, "{run_here} {answers}");
}

/// A fenced block names its language. One of `sh` also says which tests run it (`run-by=MODULE`), or that none does
/// (`not-run`), as it needs a host, a download or an hour; that is rare.
#[test]
fn commands_that_are_not_run_here_say_so() {
    let tests = Path::new(ROOT).join("tests/integration");
    let mut not_run = Vec::new();
    for Page { name, blocks, .. } in pages() {
        for block in &blocks {
            let Some(info) = &block.info else { continue };
            let Some(mark) = info.strip_prefix("sh") else {
                assert!(!info.is_empty(), "{name}: a fence without a language: {:?}", block.lines);
                continue;
            };
            let shown = commands(block);
            match mark.trim().strip_prefix("run-by=") {
                Some(module) => {
                    let source = text::module(&tests, module);
                    for Shown { command, .. } in &shown {
                        let words: Vec<&str> =
                            command.split([' ', '/']).filter(|word| word.len() > 3).collect();
                        let known = words.iter().any(|word| source.contains(word));
                        assert!(known, "{name}: `{command}` is not in the tests of {module}");
                    }
                }
                None => {
                    assert_eq!(mark.trim(), "not-run", "{name}: {:?}", block.lines);
                    not_run.extend(shown.into_iter().map(|shown| shown.command));
                }
            }
        }
    }
    assert!(not_run.len() <= NOT_RUN_MAX, "{not_run:?}");
}
