//! Settings of avalonms, and of Gunicorn, from a Python file to TOML.

use super::DatabaseUrl;
use super::gunicorn;
use super::notation::parse_mode;
use super::python::{self, Assigned, Literal, Statement};
use super::settings::{self, Kind, Setting};

/// Settings of avalonms that only concern its internals.
const NEEDLESS: [&str; 2] = ["JSONIFY_PRETTYPRINT_REGULAR", "LOGGER_NAME"];

/// Whether the output holds passwords and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Secrets {
    /// With secrets.
    Shown,
    /// Without secrets, for a message that a log may hold.
    Hidden,
}

/// The settings of a Python file, as TOML.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Converted {
    /// Lines of settings, and comments on statements that could not be taken over.
    pub toml: String,
    /// Statements that could matter and were not taken over.
    pub open: usize,
}

/// Converts the literals that a Python file assigns, without executing the file.
pub fn from_python(text: &str, secrets: Secrets) -> Converted {
    let mut lines: Vec<Line> = Vec::new();
    for statement in python::read(text) {
        let made = match statement {
            Statement::Assignment { line, name, value } => assignment(line, &name, value, secrets),
            Statement::Other { line, text } => {
                let shown = if secrets == Secrets::Shown { format!(": {text}") } else { String::new() };
                vec![Line::open(format!("# line {line} is no assignment of a value{shown}"))]
            }
        };
        // The last assignment counts.
        lines.retain(|line| line.key.is_none() || made.iter().all(|new| new.key != line.key));
        lines.extend(made);
    }
    let open = lines.iter().filter(|line| line.open).count();
    Converted { toml: lines.into_iter().map(|line| line.text + "\n").collect(), open }
}

struct Line {
    text: String,
    /// The setting of the line.
    key: Option<&'static str>,
    open: bool,
}

impl Line {
    fn comment(text: String) -> Line {
        Line { text, key: None, open: false }
    }

    fn open(text: String) -> Line {
        Line { text, key: None, open: true }
    }
}

fn assignment(line: usize, name: &str, value: Assigned, secrets: Secrets) -> Vec<Line> {
    if NEEDLESS.contains(&name) {
        return vec![Line::comment(format!("# {name} (line {line}) is not needed"))];
    }
    let key =
        if name.contains(|c: char| c.is_ascii_uppercase()) { name.to_owned() } else { gunicorn::key(name) };
    let Some(setting) = settings::find(&key) else {
        let why = gunicorn::reason(name);
        let why =
            why.map_or_else(|| "is no setting here".to_owned(), |why| format!("is not taken over: {why}"));
        return vec![Line::comment(format!("# {name} (line {line}) {why}"))];
    };
    let about = |line: Line| vec![Line { key: Some(setting.key), ..line }];
    let value = match value {
        Assigned::Literal(value) => value,
        // This line is in avalonms' own settings file.
        Assigned::Computed(source) if key == "DATABASE_URL" && source.contains("gettempdir()") => {
            return about(Line::comment(format!("# {key} (line {line}) is the default here as well")));
        }
        Assigned::Computed(source) => {
            let source = source.lines().next().unwrap_or_default();
            let shown = if secrets == Secrets::Shown { format!(": {source}") } else { String::new() };
            return about(Line::open(format!(
                "# {key} (line {line}) is computed; write its value here{shown}"
            )));
        }
    };
    let translated = match &value {
        Literal::Text(text) => match gunicorn::translated(setting.key, text) {
            Ok(pairs) => pairs.into_iter().map(|(key, text)| (key, Literal::Text(text))).collect(),
            Err(problem) => return about(Line::open(format!("# {key} (line {line}): {problem}"))),
        },
        _ => vec![(setting.key, value)],
    };
    translated.into_iter().map(|(key, value)| shown(line, key, &value, secrets)).collect()
}

fn shown(line: usize, key: &'static str, value: &Literal, secrets: Secrets) -> Line {
    let text = settings::find(key).and_then(|setting| toml(setting, value));
    let Some(text) = text else {
        let open = Line::open(format!("# {key} (line {line}) has a value that it cannot have here"));
        return Line { key: Some(key), ..open };
    };
    let text = match (key, value, secrets) {
        ("DATABASE_URL", Literal::Text(url), Secrets::Hidden) => {
            let url = DatabaseUrl::parse(url);
            quoted(&url.map_or_else(|_| "(hidden)".to_owned(), |url| url.to_string()))
        }
        ("SENTRY_DSN", Literal::Text(_), Secrets::Hidden) => quoted("(hidden)"),
        _ => text,
    };
    Line { text: format!("{key} = {text}"), key: Some(key), open: false }
}

fn quoted(text: &str) -> String {
    toml::Value::from(text).to_string()
}

/// Returns a value in TOML; `None` if the setting has no such values.
fn toml(setting: &Setting, value: &Literal) -> Option<String> {
    match (setting.kind, value) {
        (Kind::Text(_) | Kind::File | Kind::Folder, Literal::None) => Some(quoted("")),
        (Kind::Text(_) | Kind::File | Kind::Folder | Kind::Bytes, Literal::Text(text)) => Some(quoted(text)),
        (Kind::Integer(..) | Kind::Bytes | Kind::Text(_), Literal::Integer(number)) => {
            Some(number.to_string())
        }
        (Kind::Integer(..), Literal::Text(text)) => Some(text.trim().parse::<i64>().ok()?.to_string()),
        (Kind::Truth, Literal::Boolean(truth)) => Some(truth.to_string()),
        (Kind::Truth, Literal::Integer(number @ (0 | 1))) => Some((*number == 1).to_string()),
        (Kind::Truth, Literal::Text(text)) => {
            Some(text.to_ascii_lowercase().parse::<bool>().ok()?.to_string())
        }
        (Kind::Mode, Literal::Integer(bits)) => Some(format!("0o{bits:03o}")),
        (Kind::Mode, Literal::Text(text)) => Some(format!("0o{:03o}", parse_mode(text)?)),
        (Kind::List | Kind::Repeated, Literal::None) => Some("[]".to_owned()),
        (Kind::List | Kind::Repeated, Literal::Text(text)) => {
            Some(toml::Value::from(text.split(',').map(str::trim).collect::<Vec<_>>()).to_string())
        }
        (Kind::List | Kind::Repeated, Literal::List(items)) => {
            let texts: Option<Vec<&str>> = items
                .iter()
                .map(|item| if let Literal::Text(text) = item { Some(text.as_str()) } else { None })
                .collect();
            texts.map(|texts| toml::Value::from(texts).to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(python: &str, toml: &str, open: usize) {
        let converted = from_python(python, Secrets::Shown);
        assert_eq!((converted.toml.as_str(), converted.open), (toml, open), "{python}");
    }

    #[test]
    fn values_become_those_of_their_settings() {
        check("LOG_LEVEL = logging.WARN\nLOG_PATH = None\n", "LOG_LEVEL = 30\nLOG_PATH = \"\"\n", 0);
        check("STATSD_PORT = '9125'\nSTATSD_HOST = u'h:1'\n", "STATSD_HOST = \"h\"\nSTATSD_PORT = 1\n", 0);
        check(
            "workers = 4\nbind = '[::]:80'\numask = 0o7\n",
            "WORKERS = 4\nBIND = [\"[::]:80\"]\nUMASK = 0o007\n",
            0,
        );
        check("proxy_protocol = 'v2'\nreuse_port = True", "PROXY_PROTOCOL = true\nREUSE_PORT = true\n", 0);
        check("bind = ['a:1', 'b:2']\nerrorlog = '-'\n", "BIND = [\"a:1\", \"b:2\"]\nLOG_PATH = \"-\"\n", 0);
        check("WORKERS = 1\nWORKERS = 2\n", "WORKERS = 2\n", 0);
    }

    #[test]
    fn statements_that_are_not_taken_over_are_named() {
        check("X = 1\n", "# X (line 1) is no setting here\n", 0);
        check("\nWORKERS = None", "# WORKERS (line 2) has a value that it cannot have here\n", 1);
        check("LOG_PATH = f(1)", "# LOG_PATH (line 1) is computed; write its value here: f(1)\n", 1);
        check(
            "if x:\n  WORKERS = 1",
            "# line 1 is no assignment of a value: if x:\n# line 2 is no assignment of a value: WORKERS = 1\n",
            2,
        );
        check("LOGGER_NAME = x", "# LOGGER_NAME (line 1) is not needed\n", 0);
        let preload = "# preload_app (line 1) is not taken over: the collection is always read before workers are forked\n";
        check("preload_app = True", preload, 0);
    }

    #[test]
    fn secrets_can_be_hidden() {
        let python = "DATABASE_URL = 'postgresql://me:geheim@db/x'\nSENTRY_DSN = 'https://geheim@h/1'\n\
                      DATABASE_URL = 'mysql://geheim@db/x'\nLOG_PATH = 'geheim' + x\nf('geheim')\n";
        let converted = from_python(python, Secrets::Hidden);
        assert!(!converted.toml.contains("geheim"), "{}", converted.toml);
        let one = from_python("DATABASE_URL = 'postgresql://me:geheim@db/x'", Secrets::Hidden).toml;
        assert!(one.contains("db") && !one.contains("geheim"), "{one}");
    }
}
