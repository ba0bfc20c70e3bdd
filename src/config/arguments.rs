//! Flags in the variable `GUNICORN_CMD_ARGS`, as Gunicorn reads them: over the configuration file,
//! under the command line. Variables named `AVALON_` take precedence, because they are meant for
//! this program.

use std::env;

use clap::{ArgMatches, Args, Command, FromArgMatches};

use super::error::{ArgumentsProblem, ConfigError};
use super::flags::Flags;
use super::gunicorn;
use super::layers::GUNICORN_ARGUMENTS as VARIABLE;
use super::overrides::Overrides;

/// Returns the overrides of the command line, with the flags of the variable under them.
///
/// # Errors
/// If the variable holds flags that cannot be used.
pub(super) fn under(overrides: &Overrides) -> Result<Overrides, ConfigError> {
    let Some(text) = env::var_os(VARIABLE) else { return Ok(overrides.clone()) };
    let wrong = |problem| ConfigError::Arguments { variable: VARIABLE, problem };
    let text = text.into_string().map_err(|_| wrong(ArgumentsProblem::NotUtf8))?;
    let below = parse(&text).map_err(wrong)?;
    Ok(laid_under(overrides, below))
}

fn parse(text: &str) -> Result<Overrides, ArgumentsProblem> {
    let words = words(text)?;
    let command = Flags::augment_args(Command::new("avalon-master").no_binary_name(true));
    let command = command.args_override_self(true).disable_help_flag(true).disable_version_flag(true);
    let parsed = command.try_get_matches_from(words).and_then(|mut matches: ArgMatches| {
        // Gunicorn ignores the application there.
        let _ = matches.remove_many::<String>(gunicorn::APPLICATION);
        Flags::from_arg_matches(&matches)
    });
    parsed.map(Flags::overrides).map_err(|error| {
        let text = error.to_string();
        let lines = text.lines().map(str::trim).take_while(|line| !line.starts_with("Usage:"));
        let said: Vec<&str> = lines.filter(|line| !line.is_empty()).collect();
        ArgumentsProblem::Flags(said.join("; ").trim_start_matches("error: ").to_owned())
    })
}

fn laid_under(overrides: &Overrides, below: Overrides) -> Overrides {
    let mut both = overrides.clone();
    let mut keys: Vec<&str> = below.flags.iter().map(|(key, ..)| *key).collect();
    keys.dedup();
    if !keys.is_empty() {
        both.notes.push(format!("{VARIABLE} sets {}", keys.join(", ")));
    }
    both.notes.extend(below.notes);
    both.below = below.flags.into_iter().map(|(key, value, _)| (key, value)).collect();
    both.file_below = below.file;
    // A list on the command line replaces this one, as in Gunicorn.
    if both.variables.is_empty() {
        both.variables = below.variables;
    }
    both
}

/// Splits a text into words by the rules of Python's `shlex.split`: quotes, and backslashes outside
/// of single quotes.
fn words(text: &str) -> Result<Vec<String>, ArgumentsProblem> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote: Option<char> = None;
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        match (quote, character) {
            (Some(open), _) if open == character => quote = None,
            (Some('"'), '\\') => {
                let next = characters.next().ok_or(ArgumentsProblem::Backslash)?;
                let word = word.get_or_insert_default();
                if !['"', '\\'].contains(&next) {
                    word.push('\\');
                }
                word.push(next);
            }
            (Some(_), _) => word.get_or_insert_default().push(character),
            (None, '"' | '\'') => {
                quote = Some(character);
                word.get_or_insert_default();
            }
            (None, '\\') => {
                let next = characters.next().ok_or(ArgumentsProblem::Backslash)?;
                word.get_or_insert_default().push(next);
            }
            (None, ' ' | '\t' | '\r' | '\n') => words.extend(word.take()),
            (None, _) => word.get_or_insert_default().push(character),
        }
    }
    match quote {
        Some(quote) => Err(ArgumentsProblem::Quote(quote)),
        None => {
            words.extend(word);
            Ok(words)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The words are the results of Python 3.11.
    #[test]
    fn words_are_those_of_a_shell() {
        for (text, expected) in [
            ("", &[][..]),
            ("  --workers 3\t-b\n:80 ", &["--workers", "3", "-b", ":80"]),
            ("--access-logformat='%(h)s \"%(r)s\"'", &["--access-logformat=%(h)s \"%(r)s\""]),
            (r#"-e "A=b \"c\" \d""#, &["-e", r#"A=b "c" \d"#]),
            (r"a\ b '' c\'d '\'", &["a b", "", "c'd", r"\"]),
            ("a#b #c", &["a#b", "#c"]),
        ] {
            assert_eq!(words(text).unwrap(), expected, "{text}");
        }
        for text in ["'", "a \"b", "a\\", "\"a\\"] {
            assert!(words(text).is_err(), "{text}");
        }
    }

    #[test]
    fn flags_lie_under_those_of_the_command_line() {
        let below = parse("app:application -w 9 -b :80 -b :81 -c file:/x -e A=b --preload").unwrap();
        let both = laid_under(&Overrides::default(), below);
        let keys: Vec<&str> = both.below.iter().map(|(key, _)| *key).collect();
        assert_eq!((keys, both.flags.len()), (vec!["BIND", "WORKERS"], 0));
        assert_eq!(both.file_below.as_deref(), Some(std::path::Path::new("/x")));
        assert_eq!(both.variables, [("A".to_owned(), "b".to_owned())]);
        assert_eq!(both.notes.len(), 2, "{:?}", both.notes);
        for (text, part) in [
            ("--certfile x", "--certfile: the server speaks HTTP without TLS"),
            ("--worker 3", "unexpected argument '--worker' found; tip: "),
            ("--check-config", "unexpected argument"),
            ("'", "the quote ' has no end"),
        ] {
            let error = parse(text).unwrap_err().to_string();
            assert!(error.starts_with(part) && !error.contains('\n'), "{error}");
        }
    }
}
