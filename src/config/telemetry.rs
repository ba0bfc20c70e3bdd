//! The settings of logs and Sentry.

use std::path::Path;

use super::error::ConfigError;
use super::layers::Layers;
use super::problem::{Expected, Problem};
use super::raw::Raw;
use super::typed;
use crate::telemetry::sentry::{SentryDsnError, check_dsn};
use crate::telemetry::{self, AccessFormat, AccessSettings, LogFormat, LogSettings};

pub(super) fn log_settings(layers: &Layers) -> Result<LogSettings, ConfigError> {
    Ok(LogSettings {
        format: layers.text("LOG_FORMAT", LogFormat::parse)?,
        date_format: layers
            .text("LOG_DATE_FORMAT", |text| telemetry::check_date_format(text).map(|()| text.to_owned()))?,
        level: log_level(layers)?,
        // As in Gunicorn's --log-file.
        path: layers.path("LOG_PATH")?.filter(|path| path != Path::new("-")),
    })
}

/// Parses a level by name or by Python's number.
fn log_level(layers: &Layers) -> Result<slog::Level, ConfigError> {
    let parse = |text: &str| telemetry::parse_level(text).ok_or_else(|| Problem::not(Expected::Level, text));
    match &layers.get("LOG_LEVEL").value {
        Raw::Integer(number) => parse(&number.to_string())
            .map_err(|problem| typed::wrong("LOG_LEVEL", layers.get("LOG_LEVEL"), problem)),
        _ => layers.text("LOG_LEVEL", parse),
    }
}

/// Returns the settings of the access log, if it is turned on; its format is checked in any case.
pub(super) fn access_log(layers: &Layers) -> Result<Option<AccessSettings>, ConfigError> {
    let format = layers.text("ACCESS_LOGFORMAT", AccessFormat::parse)?;
    let path = layers.path("ACCESS_LOGFILE")?;
    Ok(path.map(|path| AccessSettings { path: Some(path).filter(|path| *path != Path::new("-")), format }))
}

/// Returns the name of a header field, in lower case; `None` for the empty text.
pub(super) fn header_name(text: &str) -> Result<Option<String>, Problem> {
    let is_token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
    match text.bytes().all(is_token) {
        true => Ok(Some(text.to_ascii_lowercase()).filter(|name| !name.is_empty())),
        false => Err(Problem::not(Expected::HeaderName, text)),
    }
}

pub(super) fn sentry_dsn(text: &str) -> Result<String, SentryDsnError> {
    if !text.is_empty() {
        check_dsn(text)?;
    }
    Ok(text.to_owned())
}
