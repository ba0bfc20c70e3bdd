//! Completions for bash, zsh and fish.

use clap::Command;
use clap_complete::Shell;

/// The scripts of a program, with their places below /usr/share.
pub(crate) fn of_program(command: &Command) -> [(String, Vec<u8>); 3] {
    let name = command.get_name();
    let script = |shell| {
        let mut command = visible(command);
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut command, name, &mut script);
        script
    };
    [
        (format!("bash-completion/completions/{name}"), with_files(script(Shell::Bash))),
        (format!("zsh/vendor-completions/_{name}"), script(Shell::Zsh)),
        (format!("fish/vendor_completions.d/{name}.fish"), script(Shell::Fish)),
    ]
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

/// For bash, clap_complete proposes flags wherever a word begins, and placeholders such as `[PATH]...` among them. Bash
/// itself proposes files where the script says nothing, which suits commands that have no commands of their own.
fn with_files(script: Vec<u8>) -> Vec<u8> {
    let mut takes_commands = true;
    let mut text = String::new();
    for line in String::from_utf8_lossy(&script).lines() {
        if let Some(words) = line.trim_start().strip_prefix("opts=\"") {
            let words = words.trim_end_matches('"').split(' ');
            let words: Vec<&str> = words.filter(|word| !word.starts_with(['[', '<'])).collect();
            takes_commands = words.iter().any(|word| !word.starts_with('-'));
            text += &format!("opts=\"{}\"\n", words.join(" "));
            continue;
        }
        let is_asked = line.trim_start().starts_with("if [[ ${cur} == -* ||");
        text += if is_asked && !takes_commands { "if [[ ${cur} == -* ]] ; then" } else { line };
        text.push('\n');
        // Without this it would propose all flags after the values of each.
        if line.trim() == "esac" && !takes_commands {
            text += "return 0\n";
        }
    }
    text.into_bytes()
}
