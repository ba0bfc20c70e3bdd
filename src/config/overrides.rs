//! Settings on the command line.

use std::path::PathBuf;

use super::raw::Raw;

/// The settings of the command line: flags, `-e` variables and `-c`.
#[derive(Debug, Default, Clone)]
pub struct Overrides {
    pub(super) file: Option<PathBuf>,
    pub(super) variables: Vec<(String, String)>,
    pub(super) flags: Vec<(&'static str, Raw, String)>,
    /// Flags of GUNICORN_CMD_ARGS, between the file and the environment, and the file that they name.
    pub(super) below: Vec<(&'static str, Raw)>,
    pub(super) file_below: Option<PathBuf>,
    /// Sentences about flags that have no effect here.
    pub(super) notes: Vec<String>,
}

impl Overrides {
    /// Sets `key` by the flag called `--` and its name in lower case with hyphens.
    pub fn set(&mut self, key: &'static str, value: String) {
        let flag = format!("--{}", key.to_ascii_lowercase().replace('_', "-"));
        self.set_by(key, Raw::Untyped(value), flag);
    }

    /// Reads this file instead of the one that `AVALON_CONFIG` names.
    pub fn set_file(&mut self, path: PathBuf) {
        self.file = Some(path);
    }

    /// Lays a variable over the environment, as Gunicorn's `-e` does.
    pub fn set_variable(&mut self, name: String, value: String) {
        self.variables.push((name, value));
    }

    /// Returns a path in the environment, `-e` included; `None` if it is empty.
    pub(super) fn variable(&self, name: &str) -> Option<PathBuf> {
        let given = self.variables.iter().rev().find(|(other, _)| other == name);
        let value = given.map(|(_, value)| value.into()).or_else(|| std::env::var_os(name));
        value.filter(|value| !value.is_empty()).map(PathBuf::from)
    }

    pub(super) fn set_by(&mut self, key: &'static str, value: Raw, flag: String) {
        self.flags.push((key, value, flag));
    }
}
