//! The pages as `man` shows them, and completions as the shells make them.

use std::collections::BTreeSet;
use std::process::Command as Process;

use avalon::config::{self, Overrides, flags::Flags};
use clap::FromArgMatches;

use super::*;

const DATE: Date = "2026-11-28";

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
    let pages = pages(DATE).expect("pages");
    read(&pages.iter().find(|((title, _), _)| title == name).expect("a page").1)
}

/// A folder with all that is written.
fn written() -> tempfile::TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    write(folder.path(), DATE).expect("written");
    folder
}

/// The output of a script of a shell, in a folder with the files `songs.toml` and `notes` and the folder `music`.
fn shell(shell: &str, script: &str, arguments: &[&str]) -> String {
    let folder = written();
    let place = folder.path().join("place");
    fs::create_dir_all(place.join("music")).expect("a folder");
    for name in ["songs.toml", "notes"] {
        fs::write(place.join(name), "").expect("a file");
    }
    // A shell that waits for input ends all the same.
    let mut process = Process::new("timeout");
    process
        .args(["30", shell])
        .args(if shell == "zsh" { &["-f"][..] } else { &[] })
        .args(["-c", script, shell]);
    process.args(arguments).current_dir(&place).env("HOME", &place).env("TERM", "dumb");
    let output =
        process.output().unwrap_or_else(|error| panic!("{shell} (scripts/install-test-deps): {error}"));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{script}: {:?} {said}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// What bash proposes for the last word of a line: words, and the options with which it shows others.
fn bash(line: &str) -> BTreeSet<String> {
    let script = r#"
        compopt() { echo "option:$2"; }
        source "../bash-completion/completions/$1"
        COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
        function=$(complete -p "$1" | sed 's/.* -F \([^ ]*\) .*/\1/')
        "$function" "$1" "${@: -1}" "${@: -2:1}"
        printf '%s\n' "${COMPREPLY[@]}""#;
    let words: Vec<&str> = line.split(' ').collect();
    shell("bash", script, &words).lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

fn fish(line: &str) -> BTreeSet<String> {
    let script =
        "source ../fish/vendor_completions.d/(string split ' ' -- $argv[1])[1].fish; complete -C $argv[1]";
    let said = Process::new("fish").arg("--version").output().expect("fish (scripts/install-test-deps)");
    assert!(said.status.success());
    let text = shell("fish", &script.replace("$argv[1]", &format!("'{line}'")), &[]);
    text.lines().filter_map(|line| line.split('\t').next()).map(str::to_owned).collect()
}

/// What zsh lists on its terminal, up to the text `last`.
fn zsh(line: &str, last: &str) -> String {
    let script = r#"
        zmodload zsh/zpty
        zpty shell zsh -f -i
        zpty -w shell "PS1= PS2=; fpath=($PWD/../zsh/vendor-completions \$fpath); autoload -Uz compinit"
        zpty -w shell "compinit -D -u; bindkey '^I' list-choices; echo we are re''ady"
        zpty -r shell text '*we are ready*'
        zpty -w -n shell "$1"$'\t'
        zpty -r shell text "*$2*"
        print -r -- $text"#;
    shell("zsh", script, &[line, last])
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
    write(folder.path(), DATE).expect("written");
    for file in [
        "bash-completion/completions/avalon-master",
        "zsh/vendor-completions/_avalon-master",
        "fish/vendor_completions.d/avalon-master.fish",
    ] {
        let text = fs::read_to_string(folder.path().join(file)).expect(file);
        let words =
            |text: &str| text.split(|c: char| !c.is_alphanumeric()).map(str::to_owned).collect::<Vec<_>>();
        assert!(words(&text).iter().any(|word| word == "critical"), "{file}");
        assert!(text.contains("statsd-host") && !text.contains("certfile"), "{file}");
    }
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
    write(folder.path(), DATE).expect("written");
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

#[test]
fn each_flag_has_a_text_in_its_page() {
    for ((name, _), roff) in pages(DATE).expect("pages") {
        let lines: Vec<&str> = roff.lines().collect();
        let entries = || lines.windows(3).filter(|three| three[0] == ".TP" && three[1].contains("\\-\\-"));
        assert!(name == SETTINGS || entries().count() > 2, "{roff}");
        for entry in entries() {
            assert!(!entry[2].is_empty() && !entry[2].starts_with('.'), "{entry:?}: {roff}");
        }
        let text = read(&roff);
        assert!(text.contains(DATE) && text.contains("Avalon Music Server"), "{text}");
    }
}

#[test]
fn bash_completes_values() {
    let set = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<BTreeSet<_>>();
    assert_eq!(bash("avalon-master --log-level w"), set(&["warning"]));
    assert_eq!(bash("avalon-master --log-level ").len(), 5);
    assert_eq!(bash("avalon-master --forwarded-headers f"), set(&["forwarded"]));
    assert_eq!(bash("avalon-master --sandbox "), set(&["true", "false"]));
    assert_eq!(bash("avalon-master --pid so"), set(&["option:filenames", "songs.toml"]));
    assert_eq!(bash("avalon-scan -c n"), set(&["option:filenames", "notes"]));
    assert_eq!(bash("avalon-master --snapshot-dir "), set(&["option:plusdirs"]));
    assert_eq!(bash("avalon-master --workers "), set(&["option:nospace"]));
    assert_eq!(bash("avalon-scan --dry"), set(&["--dry-run"]));
    // Bash proposes files by itself then.
    assert_eq!(bash("avalon-scan "), set(&[]));
    assert_eq!(bash("avalonctl inspect "), set(&[]));
    assert!(bash("avalonctl ").is_superset(&set(&["status", "reload", "--socket"])));
    assert!(bash("avalonctl reload --r").contains("--revision"));
}

#[test]
fn fish_completes_values() {
    let levels = fish("avalon-master --log-level ");
    assert_eq!(levels.len(), 5, "{levels:?}");
    assert!(levels.contains("critical"));
    assert!(fish("avalon-master --pid so").contains("songs.toml"));
    let folders = fish("avalon-master --snapshot-dir ");
    assert!(folders.contains("music/") && !folders.contains("notes"), "{folders:?}");
    assert!(fish("avalon-master --workers ").is_empty());
    assert!(fish("avalonctl re").contains("reload"));
}

#[test]
fn zsh_completes_values() {
    for (line, first, last) in [
        ("avalon-master --log-level ", "critical", "warning"),
        ("avalon-master --snapshot-dir ", "music", "music"),
        ("avalon-scan --config ", "notes", "songs.toml"),
    ] {
        let text = zsh(line, last);
        assert!(text.contains(first), "{line}: {text}");
    }
}

/// The words of an example, without the file that it prints to.
fn words(example: &str) -> Vec<String> {
    let command = example.split(" > ").next().unwrap_or_default();
    let file = concat!(env!("CARGO_MANIFEST_DIR"), "/systemd/avalon.toml");
    command.split(' ').map(|word| word.replace("/etc/avalon/avalon.toml", file)).collect()
}

#[test]
fn programs_take_the_examples_of_their_pages() {
    for (program, (name, examples)) in PROGRAMS.iter().zip(examples::OF_PROGRAMS) {
        assert_eq!(name, (program.command)().get_name());
        let text = page(name);
        assert!(text.contains("\nEXAMPLES\n"), "{text}");
        for (what, example) in examples {
            assert!(
                text.contains(what) && text.contains(&format!("           {example}\n")),
                "{example}: {text}"
            );
            let matches = (program.command)().try_get_matches_from(words(example));
            let matches = matches.unwrap_or_else(|error| panic!("{example}: {error}"));
            if name == "avalon-master" {
                let flags = Flags::from_arg_matches(&matches).expect(example);
                config::load(&flags.overrides()).unwrap_or_else(|error| panic!("{example}: {error}"));
            }
        }
    }
}

#[test]
fn the_example_of_a_file_is_a_configuration() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    fs::write(&file, examples::SETTINGS).expect("written");
    let mut overrides = Overrides::default();
    overrides.set_file(file.path().to_owned());
    let config = config::load(&overrides).expect("a configuration");
    assert_eq!(config.workers, 4);
    assert!(page(SETTINGS).contains("WORKERS = 4"));
}
