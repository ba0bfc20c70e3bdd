//! Converts a value as written to the type of its setting; the error names the expected type.

use std::net::IpAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::error::ConfigError;
use super::layers::{Layers, Value};
use super::notation::{parse_bytes, parse_interval, parse_mode, path};
use super::problem::{Expected, Problem};
use super::raw::Raw;
use super::settings::{self, Kind, Read};

impl Layers {
    /// Returns text, checked and converted by `convert`.
    pub(super) fn text<T, E: Into<Problem>>(
        &self,
        key: &'static str,
        convert: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<T, ConfigError> {
        let setting = self.get(key);
        match &setting.value {
            Raw::Text(text) | Raw::Untyped(text) => {
                convert(text).map_err(|problem| wrong(key, setting, problem))
            }
            _ => Err(unexpected(key, setting, Expected::Text)),
        }
    }

    /// Returns text unchanged.
    pub(super) fn string(&self, key: &'static str) -> Result<String, ConfigError> {
        self.text(key, |text| Ok::<_, Problem>(text.to_owned()))
    }

    /// Returns a path; `None` for the empty text.
    pub(super) fn path(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.text(key, path)
    }

    /// Returns a list of texts, each converted by `convert`; commas separate them outside a file.
    pub(super) fn list<T, E: Into<Problem>>(
        &self,
        key: &'static str,
        convert: impl Fn(&str) -> Result<T, E>,
    ) -> Result<Vec<T>, ConfigError> {
        let setting = self.get(key);
        let items: Vec<&str> = match &setting.value {
            Raw::List(items) => items.iter().map(String::as_str).collect(),
            Raw::Text(text) | Raw::Untyped(text) => text.split(',').map(str::trim).collect(),
            _ => return Err(unexpected(key, setting, Expected::Texts)),
        };
        let convert = |item: &str| {
            convert(item).map_err(|problem| {
                let problem = Box::new(problem.into());
                wrong(key, setting, Problem::Item { item: item.to_owned(), problem })
            })
        };
        items.into_iter().map(convert).collect()
    }

    /// Returns a whole number within the range in the table of settings.
    pub(super) fn integer(&self, key: &'static str) -> Result<i64, ConfigError> {
        let Some(Kind::Integer(least, most)) = settings::find(key).map(|setting| setting.kind) else {
            unreachable!("{key} is no number in the table of settings");
        };
        let setting = self.get(key);
        let number = match &setting.value {
            Raw::Integer(number) => Some(*number),
            Raw::Untyped(text) => text.trim().parse().ok(),
            _ => None,
        };
        number
            .filter(|number| (least..=most).contains(number))
            .ok_or_else(|| unexpected(key, setting, Expected::Integer(least, most)))
    }

    /// Returns a count or a number of bytes, as [`Layers::integer`]; the table allows no negative
    /// ones.
    pub(super) fn count(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.integer(key).map(|number| usize::try_from(number).unwrap_or_default())
    }

    /// Returns true or false, in any case outside a file, where Python's words are usual.
    pub(super) fn truth(&self, key: &'static str) -> Result<bool, ConfigError> {
        let setting = self.get(key);
        let truth = match &setting.value {
            Raw::Boolean(truth) => Some(*truth),
            Raw::Untyped(text) => text.trim().to_ascii_lowercase().parse().ok(),
            _ => None,
        };
        truth.ok_or_else(|| unexpected(key, setting, Expected::Truth))
    }

    /// Returns a number of bytes, from a number or from text with K, M or G for powers of 1024.
    pub(super) fn bytes(&self, key: &'static str) -> Result<u64, ConfigError> {
        let setting = self.get(key);
        let bytes = match &setting.value {
            Raw::Integer(number) => u64::try_from(*number).ok(),
            Raw::Text(text) | Raw::Untyped(text) => parse_bytes(text.trim()),
            _ => None,
        };
        bytes.ok_or_else(|| unexpected(key, setting, Expected::Bytes))
    }

    /// Returns whole seconds, as [`Layers::integer`].
    pub(super) fn seconds(&self, key: &'static str) -> Result<Duration, ConfigError> {
        self.integer(key).map(|seconds| Duration::from_secs(seconds.unsigned_abs()))
    }

    /// Returns a time between two repetitions, from a number of seconds or from text with s, m, h
    /// or d; `None` for 0 and the empty text.
    pub(super) fn interval(&self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        let Some(Kind::Interval(least, most)) = settings::find(key).map(|setting| setting.kind) else {
            unreachable!("{key} is no interval in the table of settings");
        };
        let setting = self.get(key);
        let seconds = match &setting.value {
            Raw::Integer(number) => Some(*number),
            Raw::Text(text) | Raw::Untyped(text) if text.trim().is_empty() => Some(0),
            Raw::Text(text) | Raw::Untyped(text) => parse_interval(text.trim()),
            _ => None,
        };
        match seconds {
            Some(0) => Ok(None),
            Some(seconds) if (least..=most).contains(&seconds) => {
                Ok(Some(Duration::from_secs(seconds.unsigned_abs())))
            }
            _ => Err(unexpected(key, setting, Expected::Interval(least, most))),
        }
    }

    /// Returns file mode bits; text is parsed as in Gunicorn, [`parse_mode`].
    pub(super) fn mode(&self, key: &'static str) -> Result<u32, ConfigError> {
        let setting = self.get(key);
        let bits = match &setting.value {
            Raw::Integer(number) => u32::try_from(*number).ok(),
            Raw::Text(text) | Raw::Untyped(text) => parse_mode(text),
            _ => None,
        };
        bits.filter(|bits| *bits <= 0o777).ok_or_else(|| unexpected(key, setting, Expected::Mode))
    }
}

impl Read<String> for Layers {
    fn read(&self, key: &'static str) -> Result<String, ConfigError> {
        self.string(key)
    }
}

impl Read<bool> for Layers {
    fn read(&self, key: &'static str) -> Result<bool, ConfigError> {
        self.truth(key)
    }
}

/// A port, or another number that the table keeps below 65536.
impl Read<u16> for Layers {
    fn read(&self, key: &'static str) -> Result<u16, ConfigError> {
        self.integer(key).map(|number| u16::try_from(number).unwrap_or(u16::MAX))
    }
}

impl Read<i32> for Layers {
    fn read(&self, key: &'static str) -> Result<i32, ConfigError> {
        self.integer(key).map(|number| i32::try_from(number).unwrap_or(i32::MAX))
    }
}

impl Read<usize> for Layers {
    fn read(&self, key: &'static str) -> Result<usize, ConfigError> {
        self.count(key)
    }
}

/// Mode bits.
impl Read<u32> for Layers {
    fn read(&self, key: &'static str) -> Result<u32, ConfigError> {
        self.mode(key)
    }
}

/// Bytes; 0 turns the setting off.
impl Read<Option<u64>> for Layers {
    fn read(&self, key: &'static str) -> Result<Option<u64>, ConfigError> {
        self.bytes(key).map(|bytes| Some(bytes).filter(|bytes| *bytes > 0))
    }
}

/// A number; 0 turns the setting off.
impl Read<Option<usize>> for Layers {
    fn read(&self, key: &'static str) -> Result<Option<usize>, ConfigError> {
        self.count(key).map(|count| Some(count).filter(|count| *count > 0))
    }
}

impl Read<Duration> for Layers {
    fn read(&self, key: &'static str) -> Result<Duration, ConfigError> {
        self.seconds(key)
    }
}

/// A time; 0 turns the setting off.
impl Read<Option<Duration>> for Layers {
    fn read(&self, key: &'static str) -> Result<Option<Duration>, ConfigError> {
        if let Some(Kind::Interval(..)) = settings::find(key).map(|setting| setting.kind) {
            return self.interval(key);
        }
        self.seconds(key).map(|time| Some(time).filter(|time| !time.is_zero()))
    }
}

impl Read<Option<PathBuf>> for Layers {
    fn read(&self, key: &'static str) -> Result<Option<PathBuf>, ConfigError> {
        self.path(key)
    }
}

/// Empty texts of the list are left out.
impl Read<Vec<PathBuf>> for Layers {
    fn read(&self, key: &'static str) -> Result<Vec<PathBuf>, ConfigError> {
        Ok(self.list(key, path)?.into_iter().flatten().collect())
    }
}

/// Empty texts of the list are left out.
impl Read<Vec<IpAddr>> for Layers {
    fn read(&self, key: &'static str) -> Result<Vec<IpAddr>, ConfigError> {
        let parse = |text: &str| match text {
            "" => Ok(None),
            text => text.parse().map(Some).map_err(|_| Problem::no(Expected::IpAddress)),
        };
        Ok(self.list(key, parse)?.into_iter().flatten().collect())
    }
}

/// Returns an error about the value of `key`.
pub(super) fn wrong(key: &'static str, setting: &Value, problem: impl Into<Problem>) -> ConfigError {
    ConfigError::Value { origin: setting.origin.clone(), key, problem: Box::new(problem.into()) }
}

fn unexpected(key: &'static str, setting: &Value, expected: Expected) -> ConfigError {
    wrong(key, setting, Problem::Unexpected { expected, got: Some(shown(&setting.value)) })
}

fn shown(raw: &Raw) -> String {
    match raw {
        Raw::Text(text) | Raw::Untyped(text) => format!("{text:?}"),
        Raw::Integer(number) => number.to_string(),
        Raw::Boolean(_) => "a boolean".to_owned(),
        Raw::List(_) => "a list".to_owned(),
        Raw::Other(name) => (*name).to_owned(),
    }
}
