//! The page of a program: clap_mangen's sections, the commands of a program that has some with
//! their options in the same page, and what follows the options in `--help` under its headings.

use std::io;

use clap::{Arg, Command};
use clap_mangen::Man;
use roff::{Roff, bold, roman};

use super::{Date, Title, examples};

/// Headings in the text after the options, and the manual's words for them.
const HEADINGS: [(&str, &str); 2] = [("Signals:", "SIGNALS"), ("Exit codes:", "EXIT STATUS")];

/// The page in roff.
pub(crate) fn of_program(command: Command, section: u8, others: &[Title], date: Date) -> io::Result<String> {
    let command = told(command);
    let after = command.get_after_long_help().or(command.get_after_help()).map(ToString::to_string);
    let actions: Vec<Command> = command.get_subcommands().cloned().collect();
    let name = command.get_name().to_owned();
    // The list of commands that clap would add has a section here.
    let man = Man::new(command.disable_help_subcommand(true))
        .title(name.to_uppercase())
        .section(section.to_string())
        .date(date)
        .source(source())
        .manual(MANUAL);
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    man.render_options_section(&mut page)?;
    if !actions.is_empty() {
        Roff::new().control("SH", ["COMMANDS"]).to_writer(&mut page)?;
    }
    for action in actions {
        of_action(&name, action, &mut page)?;
    }
    let mut end = Roff::new();
    for (heading, lines) in sections(after.as_deref().unwrap_or_default()) {
        end.control("SH", [heading]);
        prose(&mut end, &lines, "PP");
    }
    examples::of_program(&mut end, &name);
    see_also(&mut end, others);
    page.extend(end.render().into_bytes());
    String::from_utf8(page).map_err(io::Error::other)
}

/// `command`, whose flags all have a long help: clap_mangen shows no other one of a flag that `-h` leaves out.
fn told(command: Command) -> Command {
    let long = |argument: Arg| match (argument.get_long_help(), argument.get_help().cloned()) {
        (None, Some(help)) => argument.long_help(help),
        _ => argument,
    };
    command.mut_args(long).mut_subcommands(told)
}

/// The manual that all pages are of.
pub(crate) const MANUAL: &str = "Avalon Music Server";

/// What the foot of a page says.
pub(crate) fn source() -> String {
    format!("avalon {}", env!("CARGO_PKG_VERSION"))
}

/// A command of a program, with its options.
fn of_action(program: &str, action: Command, page: &mut Vec<u8>) -> io::Result<()> {
    let action = action.disable_help_flag(true);
    let name = format!("{program} {}", action.get_name());
    let about = action.get_long_about().or(action.get_about()).map(ToString::to_string).unwrap_or_default();
    let options = action.get_arguments().next().is_some();
    let mut text = Roff::new();
    text.control("SS", [name.as_str()]);
    prose(&mut text, &about.lines().collect::<Vec<_>>(), "PP");
    text.to_writer(page)?;
    if !options {
        return Ok(());
    }
    let mut section = Vec::new();
    Man::new(action).render_options_section(&mut section)?;
    // Its options belong below it, not into a section of their own.
    let section = String::from_utf8(section).map_err(io::Error::other)?;
    let lines = section.lines().filter(|line| !line.starts_with(".SH"));
    page.extend(lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes());
    Ok(())
}

/// The text after the options, by headings.
fn sections(text: &str) -> Vec<(&'static str, Vec<&str>)> {
    let mut sections = vec![("NOTES", Vec::new())];
    for line in text.lines() {
        let heading =
            HEADINGS.iter().find_map(|(name, title)| Some((*title, line.strip_prefix(name)?.trim())));
        if let Some((title, rest)) = heading {
            sections.push((title, Vec::from_iter((!rest.is_empty()).then_some(rest))));
        } else if let Some((_, lines)) = sections.last_mut() {
            lines.push(line);
        }
    }
    sections.retain(|(_, lines)| lines.iter().any(|line| !line.is_empty()));
    sections
}

/// Paragraphs: an empty line begins a new one (with the macro `paragraph`), indented lines stay
/// as they are.
pub(crate) fn prose(roff: &mut Roff, lines: &[&str], paragraph: &str) {
    let mut verbatim = false;
    for line in lines {
        if line.is_empty() {
            continue_filled(roff, &mut verbatim);
            roff.control(paragraph, []);
            continue;
        }
        if line.starts_with("  ") {
            if !verbatim {
                roff.control("nf", []);
            }
            verbatim = true;
        } else {
            continue_filled(roff, &mut verbatim);
        }
        roff.text([roman(*line)]);
    }
    continue_filled(roff, &mut verbatim);
}

fn continue_filled(roff: &mut Roff, verbatim: &mut bool) {
    if std::mem::take(verbatim) {
        roff.control("fi", []);
    }
}

/// The other pages, the last section.
pub(crate) fn see_also(roff: &mut Roff, others: &[Title]) {
    roff.control("SH", ["SEE ALSO"]);
    let mut line = Vec::new();
    for (index, (name, section)) in others.iter().enumerate() {
        let end = if index + 1 < others.len() { ", " } else { "" };
        line.extend([bold(name), roman(format!("({section}){end}"))]);
    }
    roff.text(line);
}
