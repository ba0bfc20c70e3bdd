//! Values before they are typed: the defaults, then the file, the environment and the flags laid
//! over them. Each value has its origin.

use std::collections::HashMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::migration::{Secrets, from_python};
use super::overrides::Overrides;
use super::problem::Problem;
use super::python;
use super::raw::Raw;
use super::settings::{self, DEFAULT_TOML};
use super::world::World;

/// Prefix of the environment variables that set a key.
pub(super) const PREFIX: &str = "AVALON_";
/// Environment variable that names the configuration file.
const FILE_VARIABLE: &str = "AVALON_CONFIG";

/// Name and value of an environment variable.
type Variable = (OsString, OsString);

/// A value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Value {
    pub(super) value: Raw,
    pub(super) origin: Origin,
}

/// The values in effect, by key.
#[derive(Debug)]
pub(super) struct Layers {
    values: HashMap<&'static str, Value>,
    defaults: HashMap<&'static str, Value>,
    /// Variables of the environment that look like settings and are not.
    pub(super) unknown_variables: Vec<(String, Option<&'static str>)>,
}

impl Layers {
    pub(super) fn read(overrides: &Overrides, world: &World<'_>) -> Result<Layers, ConfigError> {
        Layers::read_under(&std::env::vars_os().collect::<Vec<_>>(), overrides, world)
    }

    /// Reads the values of a process that has inherited these variables.
    fn read_under(
        inherited: &[Variable],
        overrides: &Overrides,
        world: &World<'_>,
    ) -> Result<Layers, ConfigError> {
        let mut layers =
            Layers { values: HashMap::new(), defaults: HashMap::new(), unknown_variables: Vec::new() };
        layers.lay_toml(DEFAULT_TOML, |_| Origin::Default)?;
        layers.defaults = layers.values.clone();
        layers.lay_platform(inherited)?;
        if let Some((path, named_by)) = file(inherited, overrides) {
            layers.lay_file(&path, named_by, world)?;
        }
        for (key, value) in &overrides.below {
            let origin = Origin::Environment(GUNICORN_ARGUMENTS.to_owned());
            layers.values.insert(key, Value { value: value.clone(), origin });
        }
        layers.lay_environment(inherited, overrides)?;
        for (key, value, flag) in &overrides.flags {
            let origin = Origin::Flag(flag.clone());
            layers.values.insert(key, Value { value: value.clone(), origin });
        }
        Ok(layers)
    }

    /// Returns the value of `key`, which is in the table: the defaults name every key.
    pub(super) fn get(&self, key: &'static str) -> &Value {
        &self.values[key]
    }

    /// Returns the default of `key`, which shows its type.
    pub(super) fn default(&self, key: &'static str) -> &Raw {
        &self.defaults[key].value
    }

    /// Reports whether no source sets `key`.
    pub(super) fn is_default(&self, key: &'static str) -> bool {
        self.get(key).origin == Origin::Default
    }

    fn lay_file(&mut self, path: &Path, named_by: Origin, world: &World<'_>) -> Result<(), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), named_by, source };
        let text = world.text(path).map_err(unreadable)?;
        let laid = self.lay_toml(&text, |line| Origin::File(path.to_owned(), line));
        match laid {
            Err(_) if path.extension().is_some_and(|it| it == "py") || python::is_likely(&text) => {
                let toml = from_python(&text, Secrets::Hidden).toml;
                Err(ConfigError::Python { path: path.to_owned(), toml })
            }
            laid => laid,
        }
    }

    fn lay_toml(&mut self, text: &str, origin: impl Fn(usize) -> Origin) -> Result<(), ConfigError> {
        let at = |span: Range<usize>| origin(line_of(text, span.start));
        let table = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: at(error.span().unwrap_or(0..0)),
            message: error.message().to_owned(),
        })?;
        for (name, value) in table.get_ref() {
            let origin = at(name.span());
            let Some(key) = known(name.get_ref()) else {
                let key = name.get_ref().to_string();
                return Err(ConfigError::UnknownKey { origin, nearest: nearest(&key), key });
            };
            self.values.insert(key, Value { value: raw(value.get_ref()), origin });
        }
        Ok(())
    }

    fn lay_environment(&mut self, inherited: &[Variable], overrides: &Overrides) -> Result<(), ConfigError> {
        for (name, value) in environment(inherited, overrides) {
            let Some(key_text) = name.strip_prefix(PREFIX) else { continue };
            if name == FILE_VARIABLE {
                continue;
            }
            let Some(key) = known(key_text) else {
                self.unknown_variables.push((name.clone(), nearest(key_text)));
                continue;
            };
            let origin = Origin::Environment(name);
            let value = Raw::Untyped(utf8(value, key, &origin)?);
            self.values.insert(key, Value { value, origin });
        }
        Ok(())
    }

    /// Lays the defaults that Gunicorn takes from variables that many platforms set. The variables
    /// of `-e` do not count: in Gunicorn they are for the application.
    fn lay_platform(&mut self, inherited: &[Variable]) -> Result<(), ConfigError> {
        for (name, key, prefix) in PLATFORM {
            let value = inherited.iter().find(|(other, _)| other == name).map(|(_, value)| value.clone());
            let Some(value) = value.filter(|value| !value.is_empty()) else { continue };
            let origin = Origin::Environment(name.to_owned());
            let value = Raw::Untyped(prefix.to_owned() + &utf8(value, key, &origin)?);
            self.values.insert(key, Value { value, origin });
        }
        Ok(())
    }

    /// Returns the settings that these variables set, in a sentence each.
    pub(super) fn platform_notes(&self) -> impl Iterator<Item = String> {
        PLATFORM.iter().filter_map(|(variable, key, _)| {
            let Value { value: Raw::Untyped(text), origin } = self.get(key) else { return None };
            let counts = *origin == Origin::Environment((*variable).to_owned());
            counts.then(|| format!("{key} is {text}, by the environment variable {variable}"))
        })
    }

    /// Returns likely mistakes in the environment, in a sentence each.
    pub(super) fn warnings(&self) -> Vec<String> {
        let unknown = self.unknown_variables.iter().map(|(name, nearest)| match nearest {
            Some(key) => format!("environment variable {name} is no setting; did you mean {PREFIX}{key}?"),
            None => format!("environment variable {name} is no setting"),
        });
        unknown.collect()
    }
}

/// Variables that Gunicorn takes defaults from, the key of each, and the text before its value.
const PLATFORM: [(&str, &str, &str); 3] = [
    ("PORT", "BIND", "0.0.0.0:"),
    ("WEB_CONCURRENCY", "WORKERS", ""),
    ("FORWARDED_ALLOW_IPS", "FORWARDED_ALLOW_IPS", ""),
];

/// The variable from which Gunicorn takes flags.
pub(super) const GUNICORN_ARGUMENTS: &str = "GUNICORN_CMD_ARGS";

fn utf8(value: OsString, key: &'static str, origin: &Origin) -> Result<String, ConfigError> {
    let wrong = |_| ConfigError::Value { origin: origin.clone(), key, problem: Box::new(Problem::NotUtf8) };
    value.into_string().map_err(wrong)
}

fn known(name: &str) -> Option<&'static str> {
    settings::find(name).map(|setting| setting.key)
}

/// Returns the key that `name` most likely means.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let likeness = |key: &&str| strsim::jaro_winkler(key, &name);
    let keys = settings::all().map(|setting| setting.key).filter(|key| likeness(key) > 0.8);
    keys.max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// Returns the configuration file, if one is named, and the place of its name.
fn file(inherited: &[Variable], overrides: &Overrides) -> Option<(PathBuf, Origin)> {
    if let Some(path) = &overrides.file {
        return Some((path.clone(), Origin::Flag("--config".to_owned())));
    }
    let named = environment(inherited, overrides).find(|(name, _)| name == FILE_VARIABLE);
    let named = named
        .filter(|(_, path)| !path.is_empty())
        .map(|(name, path)| (PathBuf::from(path), Origin::Environment(name)));
    let below = || {
        let by = Origin::Environment(GUNICORN_ARGUMENTS.to_owned());
        overrides.file_below.clone().map(|path| (path, by))
    };
    named.or_else(below)
}

/// Returns the inherited variables with those of `-e` over them.
fn environment<'v>(
    inherited: &'v [Variable],
    overrides: &'v Overrides,
) -> impl Iterator<Item = (String, OsString)> + 'v {
    let replaced = |name: &str| overrides.variables.iter().any(|(other, _)| other == name);
    let inherited = inherited
        .iter()
        .filter_map(|(name, value)| Some((name.to_str()?.to_owned(), value.clone())))
        .filter(move |(name, _)| !replaced(name));
    let given = overrides.variables.iter().map(|(name, value)| (name.clone(), OsString::from(value)));
    inherited.chain(given)
}

fn raw(value: &DeValue<'_>) -> Raw {
    match value {
        DeValue::String(text) => Raw::Text(text.to_string()),
        DeValue::Integer(digits) => match i64::from_str_radix(digits.as_str(), digits.radix()) {
            Ok(number) => Raw::Integer(number),
            Err(_) => Raw::Other("a number beyond 64 bits"),
        },
        DeValue::Array(items) => {
            let texts: Option<Vec<String>> =
                items.iter().map(|item| item.get_ref().as_str().map(str::to_owned)).collect();
            texts.map_or(Raw::Other("an array that holds something else than strings"), Raw::List)
        }
        DeValue::Float(_) => Raw::Other("a float"),
        DeValue::Boolean(truth) => Raw::Boolean(*truth),
        DeValue::Datetime(_) => Raw::Other("a date"),
        DeValue::Table(_) => Raw::Other("a table"),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.get(..offset).unwrap_or(text);
    before.matches('\n').count() + 1
}

#[cfg(test)]
mod tests;
