//! Settings as flags, made from the table of settings, under Gunicorn's names if it has one; and
//! Gunicorn's other flags, which are ignored or refused.

use std::ffi::OsStr;
use std::path::PathBuf;

use clap::builder::{PossibleValue, StringValueParser, TypedValueParser};
use clap::error::ErrorKind;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, Error, FromArgMatches, ValueHint, value_parser};

use super::gunicorn::{self, Refusal};
use super::layers;
use super::overrides::Overrides;
use super::problem::{Expected, Problem};
use super::raw::Raw;
use super::settings::{self, Kind, Setting};

/// The flags of `avalon-master` that set a setting, and those of Gunicorn that do not.
/// `config/default.toml` documents each setting with its default.
#[derive(Debug, Default)]
pub struct Flags(Overrides);

impl Flags {
    /// Returns the settings that these flags set.
    pub fn overrides(self) -> Overrides {
        self.0
    }
}

impl Args for Flags {
    fn augment_args(command: Command) -> Command {
        let config = Arg::new(CONFIG).short('c').long("config").value_name("FILE");
        let config = config.value_parser(value_parser!(PathBuf)).value_hint(ValueHint::FilePath);
        let env = Arg::new(ENV).short('e').long("env").value_name("NAME=VALUE").action(ArgAction::Append);
        let env = env.value_parser(variable);
        let command = command
            .arg(config.help("Configuration file").long_help("Configuration file\n[env: AVALON_CONFIG]"))
            .arg(env.long_help("Set a variable over the environment; may be repeated").hide_short_help(true));
        let command = settings::GROUPS.iter().fold(command, |command, group| {
            command.args(group.settings.iter().map(|setting| argument(setting).help_heading(group.title)))
        });
        gunicorn::augment(command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

impl FromArgMatches for Flags {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, Error> {
        let mut flags = Flags::default();
        flags.update_from_arg_matches(matches)?;
        Ok(flags)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), Error> {
        let overrides = &mut self.0;
        let refused = |refusal: Refusal| Error::raw(ErrorKind::ValueValidation, refusal);
        if let Some(file) = matches.get_one::<PathBuf>(CONFIG) {
            overrides.file = Some(gunicorn::config_file(file).map_err(refused)?);
        }
        overrides.variables = matches.get_many(ENV).into_iter().flatten().cloned().collect();
        for setting in settings::all() {
            let values: Vec<String> = matches.get_many(setting.key).into_iter().flatten().cloned().collect();
            let flag = format!("--{}", setting.flag());
            let Some(last) = values.last() else { continue };
            match setting.kind {
                Kind::Repeated => overrides.set_by(setting.key, Raw::List(values), flag),
                _ => {
                    for (key, value) in gunicorn::translated(setting.key, last).map_err(refused)? {
                        overrides.set_by(key, Raw::Untyped(value), flag.clone());
                    }
                }
            }
        }
        let taken = gunicorn::take(matches).map_err(refused)?;
        if taken.no_control {
            overrides.set_by("CONTROL", Raw::Untyped("none".to_owned()), "--no-control-socket".to_owned());
        }
        overrides.notes.extend(taken.notes);
        Ok(())
    }
}

const CONFIG: &str = "config";
const ENV: &str = "env";

/// Makes a flag of another program stand for a setting: its help states default and variable, and a shell
/// completes its values, as with the flag of `avalon-master`.
///
/// A key that the table lacks changes nothing.
pub fn stands_for(key: &'static str) -> impl FnOnce(Arg) -> Arg {
    move |arg| match settings::find(key) {
        Some(setting) => {
            let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
            documented(arg, setting, &help).value_name(setting.value)
        }
        None => arg,
    }
}

fn argument(setting: &'static Setting) -> Arg {
    let arg = Arg::new(setting.key)
        .long(setting.flag())
        .aliases(setting.aliases)
        .value_name(setting.value)
        .hide_short_help(!setting.brief)
        // A negative number is refused with the range of its setting.
        .allow_negative_numbers(true);
    let arg = documented(arg, setting, setting.help);
    let arg = match setting.short {
        Some(short) => arg.short(short),
        None => arg,
    };
    match setting.kind {
        Kind::Text(words) => arg.value_parser(Words(words)),
        Kind::Repeated => arg.action(ArgAction::Append),
        Kind::Truth if setting.is_on() => arg.value_parser(Words(TRUTHS)),
        Kind::Truth => gunicorn::switch(setting.key, arg.value_parser(Words(TRUTHS))),
        _ => arg,
    }
}

/// Adds range, default and variable to the help of `arg`.
fn documented(arg: Arg, setting: &Setting, help: &str) -> Arg {
    let default = match setting.default() {
        text if text.is_empty() => String::new(),
        text => format!("[default: {text}] "),
    };
    let range = match setting.kind {
        Kind::Integer(least, most) => format!(" ({least} to {most})"),
        _ => String::new(),
    };
    arg.help(format!("{help} {default}").trim_end().to_owned())
        .long_help(format!("{help}{range}\n{default}[env: {}{}]", layers::PREFIX, setting.key))
        .value_hint(setting.hint())
}

const TRUTHS: &[&str] = &["true", "false"];

/// A parser for any text, with the words that a shell offers.
#[derive(Clone)]
struct Words(&'static [&'static str]);

impl TypedValueParser for Words {
    type Value = String;

    fn parse_ref(&self, command: &Command, arg: Option<&Arg>, value: &OsStr) -> Result<String, Error> {
        StringValueParser::new().parse_ref(command, arg, value)
    }

    fn possible_values(&self) -> Option<Box<dyn Iterator<Item = PossibleValue> + '_>> {
        match self.0 {
            [] => None,
            words => Some(Box::new(words.iter().map(PossibleValue::new))),
        }
    }
}

fn variable(text: &str) -> Result<(String, String), Problem> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(Problem::no(Expected::Variable)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_well_defined() {
        Flags::augment_args(Command::new("avalon-master")).debug_assert();
    }
}
