//! Man pages and completions of the programs, from what `--help` and `avalon-echo-config` print:
//!
//!     cargo run --example manual -- FOLDER DATE
//!
//! fills FOLDER as /usr/share is; DATE stands at the foot of the pages. For scripts/package; no shipped program has any of it.

mod completions;
mod examples;
mod page;
mod settings;
#[cfg(test)]
mod tests;

// Its command line stands beside the program, so the program comes along.
#[allow(dead_code)]
#[path = "../../../src/bin/avalon-master.rs"]
mod master;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use avalon::{config::echo, ctl, scan::command as scan};
use clap::{Command, CommandFactory};

/// A program, and the section of the manual that its page is in.
struct Program {
    command: fn() -> Command,
    section: u8,
}

const PROGRAMS: [Program; 4] = [
    Program { command: master::Arguments::command, section: 8 },
    Program { command: scan::Arguments::command, section: 8 },
    Program { command: ctl::Arguments::command, section: 8 },
    Program { command: echo::Arguments::command, section: 1 },
];

/// What a page is called, and in which section it is.
type Title = (String, u8);

/// The date of the pages, such as 2026-11-28.
type Date<'d> = &'d str;

/// The file of settings, as its page is called.
const SETTINGS: &str = "avalon.toml";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, date] = &arguments[..] else {
        eprintln!("usage: manual FOLDER DATE");
        return ExitCode::from(2);
    };
    match write(&PathBuf::from(folder), date) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path, date: Date) -> io::Result<()> {
    for ((name, section), text) in pages(date)? {
        let path = folder.join(format!("man/man{section}/{name}.{section}"));
        store(&path, text.as_bytes())?;
    }
    for program in &PROGRAMS {
        for (path, script) in completions::of_program(&(program.command)()) {
            store(&folder.join(path), &script)?;
        }
    }
    Ok(())
}

/// All pages in roff.
fn pages(date: Date) -> io::Result<Vec<(Title, String)>> {
    let mut titles: Vec<Title> = Vec::new();
    for program in &PROGRAMS {
        titles.push(((program.command)().get_name().to_owned(), program.section));
    }
    titles.push((SETTINGS.to_owned(), 5));
    let others = |own: &str| titles.iter().filter(|(name, _)| name != own).cloned().collect::<Vec<_>>();
    let mut pages = Vec::new();
    for (program, title) in PROGRAMS.iter().zip(&titles) {
        let text = page::of_program((program.command)(), program.section, &others(&title.0), date)?;
        pages.push((title.clone(), text));
    }
    let text = settings::page(avalon::config::DEFAULT_TOML, &others(SETTINGS), date);
    pages.push(((SETTINGS.to_owned(), 5), text));
    Ok(pages)
}

fn store(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let told = |error: io::Error| io::Error::new(error.kind(), format!("{}: {error}", path.display()));
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder).map_err(told)?;
    }
    fs::write(path, bytes).map_err(told)
}
