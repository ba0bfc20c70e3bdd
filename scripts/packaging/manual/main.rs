//! Man pages and completions of the programs, from what `--help` and `avalon-echo-config` print:
//!
//!     cargo run --example manual -- FOLDER
//!
//! fills FOLDER as /usr/share is. For scripts/package; no shipped program has any of it.

mod page;
mod settings;

// The command lines of these stand beside the programs that they are of, so the programs come along.
#[allow(dead_code)]
#[path = "../../../src/bin/avalonctl.rs"]
mod ctl;
#[allow(dead_code)]
#[path = "../../../src/bin/avalon-master.rs"]
mod master;

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use avalon::{config::echo, scan::command as scan};
use clap::{Command, CommandFactory};
use clap_complete::Shell;

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

/// The file of settings, as its page is called.
const SETTINGS: &str = "avalon.toml";

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1) else {
        eprintln!("usage: manual FOLDER");
        return ExitCode::from(2);
    };
    match write(&PathBuf::from(folder)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("manual: {error}");
            ExitCode::FAILURE
        }
    }
}

fn write(folder: &Path) -> io::Result<()> {
    for ((name, section), text) in pages()? {
        let path = folder.join(format!("man/man{section}/{name}.{section}"));
        store(&path, text.as_bytes())?;
    }
    for program in &PROGRAMS {
        let mut command = visible(&(program.command)());
        let name = command.get_name().to_owned();
        for (shell, path) in [
            (Shell::Bash, format!("bash-completion/completions/{name}")),
            (Shell::Zsh, format!("zsh/vendor-completions/_{name}")),
            (Shell::Fish, format!("fish/vendor_completions.d/{name}.fish")),
        ] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, &name, &mut script);
            store(&folder.join(path), &script)?;
        }
    }
    Ok(())
}

/// A command line without the flags that help does not show, for which clap_complete has no eye.
fn visible(command: &Command) -> Command {
    let text = |text: Option<&clap::builder::StyledStr>| text.map(ToString::to_string).unwrap_or_default();
    Command::new(command.get_name().to_owned())
        .about(text(command.get_about()))
        .version(env!("CARGO_PKG_VERSION"))
        .args(command.get_arguments().filter(|argument| !argument.is_hide_set()).cloned())
        .subcommands(command.get_subcommands().cloned())
}

/// All pages in roff.
fn pages() -> io::Result<Vec<(Title, String)>> {
    let mut titles: Vec<Title> = Vec::new();
    for program in &PROGRAMS {
        titles.push(((program.command)().get_name().to_owned(), program.section));
    }
    titles.push((SETTINGS.to_owned(), 5));
    let others = |own: &str| titles.iter().filter(|(name, _)| name != own).cloned().collect::<Vec<_>>();
    let mut pages = Vec::new();
    for (program, title) in PROGRAMS.iter().zip(&titles) {
        let text = page::of_program((program.command)(), program.section, &others(&title.0))?;
        pages.push((title.clone(), text));
    }
    let text = settings::page(avalon::config::DEFAULT_TOML, &others(SETTINGS));
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

#[cfg(test)]
mod tests {
    use std::process::Command as Process;

    use super::*;

    /// A page as it is read, without a warning.
    fn read(text: &str) -> String {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("page");
        fs::write(&path, text).expect("a file");
        let output = Process::new("man")
            .args(["--warnings", "--no-hyphenation", "--no-justification", "--local-file"])
            .arg(&path)
            .envs([("MANWIDTH", "120"), ("MANPAGER", "cat"), ("LC_ALL", "C.UTF-8")])
            .output()
            .expect("man (scripts/install-test-deps)");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}\n{text}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }

    fn page(name: &str) -> String {
        let pages = pages().expect("pages");
        read(&pages.iter().find(|((title, _), _)| title == name).expect("a page").1)
    }

    fn flags(command: &Command) -> Vec<String> {
        let own = command.get_arguments().filter(|argument| !argument.is_hide_set());
        let mut all: Vec<String> = own.filter_map(|flag| Some(format!("--{}", flag.get_long()?))).collect();
        all.extend(command.get_subcommands().flat_map(flags));
        all
    }

    #[test]
    fn pages_of_programs_name_each_flag_and_command() {
        for program in &PROGRAMS {
            let mut command = (program.command)();
            command.build();
            let text = page(command.get_name());
            for flag in flags(&command) {
                assert!(text.contains(&flag), "{flag}: {text}");
            }
            for action in command.get_subcommands().filter(|action| action.get_name() != "help") {
                assert!(text.contains(&format!("{} {}", command.get_name(), action.get_name())), "{text}");
            }
        }
    }

    #[test]
    fn the_page_of_the_settings_has_each_key_with_its_default_and_text() {
        let text = page(SETTINGS);
        let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
        let found = words(&text);
        for line in avalon::config::DEFAULT_TOML.lines() {
            let line = line.strip_prefix('#').unwrap_or(line);
            if line.starts_with(" ------") {
                continue;
            }
            assert!(found.contains(&words(line)), "{line:?}: {text}");
        }
    }

    #[test]
    fn exit_codes_and_signals_are_sections() {
        let text = page("avalon-master");
        assert!(text.contains("\nSIGNALS\n") && text.contains("\nEXIT STATUS\n"), "{text}");
        assert!(text.contains("  TTIN, TTOU one worker more, one worker less\n"), "{text}");
        assert!(page("avalonctl").contains("\nEXIT STATUS\n"));
    }

    #[test]
    fn completions_propose_values_and_no_hidden_flags() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        for file in [
            "bash-completion/completions/avalon-master",
            "zsh/vendor-completions/_avalon-master",
            "fish/vendor_completions.d/avalon-master.fish",
        ] {
            let text = fs::read_to_string(folder.path().join(file)).expect(file);
            let words = |text: &str| {
                text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>()
            };
            assert!(words(&text).iter().any(|word| word == "critical"), "{file}");
            assert!(text.contains("statsd-host") && !text.contains("certfile"), "{file}");
        }
        let bash = "source bash-completion/completions/avalon-master; COMP_WORDS=(avalon-master --log-level w); \
                    COMP_CWORD=2; $(complete -p avalon-master | sed 's/.* -F \\([^ ]*\\) .*/\\1/') avalon-master w --log-level; echo \"${COMPREPLY[@]}\"";
        let output =
            Process::new("bash").args(["-c", bash]).current_dir(folder.path()).output().expect("bash");
        let said = String::from_utf8_lossy(&output.stdout);
        assert!(said.contains("warning"), "{said} {}", String::from_utf8_lossy(&output.stderr));
    }

    #[test]
    fn defaults_and_variables_are_in_the_page() {
        let text = page("avalon-master").split_whitespace().collect::<Vec<_>>().join(" ");
        assert!(text.contains("[default: 3] [env: AVALON_WORKERS]"), "{text}");
        assert!(!text.contains("certfile"), "{text}");
    }

    #[test]
    fn each_shell_has_a_file_per_program() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path()).expect("written");
        for program in &PROGRAMS {
            let command = (program.command)();
            let name = command.get_name();
            for file in [
                format!("bash-completion/completions/{name}"),
                format!("zsh/vendor-completions/_{name}"),
                format!("fish/vendor_completions.d/{name}.fish"),
            ] {
                let text = fs::read_to_string(folder.path().join(&file)).expect(&file);
                assert!(text.contains(name) && text.contains("help"), "{file}: {text}");
            }
            let line = format!("source bash-completion/completions/{name} && complete -p {name}");
            let bash = Process::new("bash").args(["-c", &line]).current_dir(folder.path()).output();
            let bash = bash.expect("bash");
            assert!(bash.status.success(), "{}", String::from_utf8_lossy(&bash.stderr));
        }
    }
}
