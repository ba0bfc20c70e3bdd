//! Values before they are typed: the defaults, then the file, the environment and the
//! flags laid over them, each value with where it came from.

use std::collections::HashMap;
use std::ffi::OsString;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Origin};
use super::{DEFAULT_TOML, Overrides, World};

/// Prefix of the environment variables that set a key.
pub(super) const PREFIX: &str = "AVALON_";
/// Environment variable that names the configuration file.
const FILE_VARIABLE: &str = "AVALON_CONFIG";

/// A value as it was written.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Raw {
    /// A TOML string.
    Text(String),
    /// A TOML integer.
    Integer(i64),
    /// A TOML boolean.
    Boolean(bool),
    /// A TOML array of strings.
    List(Vec<String>),
    /// Text of the environment or a flag, whose type its key decides.
    Untyped(String),
    /// Anything else, by the name of its type.
    Other(&'static str),
}

/// A value and its origin.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Setting {
    pub(super) value: Raw,
    pub(super) origin: Origin,
}

/// The values that count, by key.
#[derive(Debug)]
pub(super) struct Layers {
    settings: HashMap<&'static str, Setting>,
    defaults: HashMap<&'static str, Setting>,
    /// Variables of the environment that look like settings but are none.
    pub(super) unknown_variables: Vec<(String, Option<&'static str>)>,
}

impl Layers {
    pub(super) fn read(overrides: &Overrides, world: &World<'_>) -> Result<Layers, ConfigError> {
        let mut layers =
            Layers { settings: HashMap::new(), defaults: HashMap::new(), unknown_variables: Vec::new() };
        layers.lay_toml(DEFAULT_TOML, |_| Origin::Default)?;
        layers.defaults = layers.settings.clone();
        if let Some((path, named_by)) = file(overrides)? {
            layers.lay_file(&path, named_by, world)?;
        }
        layers.lay_environment(overrides)?;
        for (key, value, flag) in &overrides.flags {
            let origin = Origin::Flag(flag.clone());
            layers.settings.insert(key, Setting { value: value.clone(), origin });
        }
        Ok(layers)
    }

    /// The setting of `key`, which is one of [`KEYS`]: the defaults name every key.
    pub(super) fn get(&self, key: &'static str) -> &Setting {
        &self.settings[key]
    }

    /// The default of `key`, which tells its type.
    pub(super) fn default(&self, key: &'static str) -> &Raw {
        &self.defaults[key].value
    }

    fn lay_file(&mut self, path: &Path, named_by: Origin, world: &World<'_>) -> Result<(), ConfigError> {
        let unreadable = |source| ConfigError::Unreadable { path: path.to_owned(), named_by, source };
        let text = world.text(path).map_err(unreadable)?;
        self.lay_toml(&text, |line| Origin::File(path.to_owned(), line))
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
            self.settings.insert(key, Setting { value: raw(value.get_ref()), origin });
        }
        Ok(())
    }

    fn lay_environment(&mut self, overrides: &Overrides) -> Result<(), ConfigError> {
        for (name, value) in environment(overrides) {
            let Some(key_text) = name.strip_prefix(PREFIX) else { continue };
            if name == FILE_VARIABLE {
                continue;
            }
            let Some(key) = known(key_text) else {
                self.unknown_variables.push((name.clone(), nearest(key_text)));
                continue;
            };
            let origin = Origin::Environment(name);
            let value = value.into_string().map_err(|_| ConfigError::Value {
                origin: origin.clone(),
                key,
                problem: "is not UTF-8".to_owned(),
            })?;
            self.settings.insert(key, Setting { value: Raw::Untyped(value), origin });
        }
        Ok(())
    }
}

/// The names of all keys, in the order of `config/default.toml`.
pub(super) static KEYS: LazyLock<Vec<&'static str>> = LazyLock::new(|| {
    DEFAULT_TOML
        .lines()
        .filter(|line| line.starts_with(|c: char| c.is_ascii_uppercase()))
        .filter_map(|line| line.split_once(" = ").map(|(key, _)| key))
        .collect()
});

fn known(name: &str) -> Option<&'static str> {
    KEYS.iter().copied().find(|key| *key == name)
}

/// The key that `name` was probably meant to be.
fn nearest(name: &str) -> Option<&'static str> {
    let name = name.to_ascii_uppercase();
    let likeness = |key: &&str| strsim::jaro_winkler(key, &name);
    KEYS.iter().copied().filter(|key| likeness(key) > 0.8).max_by(|a, b| likeness(a).total_cmp(&likeness(b)))
}

/// The configuration file, if one is named, and by whom.
fn file(overrides: &Overrides) -> Result<Option<(PathBuf, Origin)>, ConfigError> {
    if let Some(path) = &overrides.file {
        return Ok(Some((path.clone(), Origin::Flag("--config".to_owned()))));
    }
    let named = environment(overrides).find(|(name, _)| name == FILE_VARIABLE);
    Ok(named
        .filter(|(_, path)| !path.is_empty())
        .map(|(name, path)| (PathBuf::from(path), Origin::Environment(name))))
}

/// The process's environment with the variables of `-e` over it.
fn environment(overrides: &Overrides) -> impl Iterator<Item = (String, OsString)> + '_ {
    let replaced = |name: &str| overrides.variables.iter().any(|(other, _)| other == name);
    let inherited = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value)))
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
