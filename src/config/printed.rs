//! The printed form of a configuration.

use super::layers::Layers;
use super::raw::Raw;
use super::{DatabaseUrl, SnapshotUrl, notation, settings};

/// Returns the keys, and their values in TOML; secrets are hidden.
pub(super) fn shown(
    layers: &Layers,
    database_url: &DatabaseUrl,
    snapshot_url: Option<&SnapshotUrl>,
) -> Vec<(&'static str, String)> {
    let quoted = |text: &str| toml::Value::from(text).to_string();
    let value = |key: &'static str| match (&layers.get(key).value, key) {
        (_, "DATABASE_URL") => quoted(&database_url.to_string()),
        (_, "SNAPSHOT_URL") => quoted(&snapshot_url.map(SnapshotUrl::to_string).unwrap_or_default()),
        (Raw::Text(text) | Raw::Untyped(text), "SENTRY_DSN") if !text.is_empty() => quoted("(hidden)"),
        (Raw::Integer(number), "UMASK") => format!("0o{number:03o}"),
        (Raw::Untyped(text) | Raw::Text(text), "UMASK") => {
            format!("0o{:03o}", notation::parse_mode(text).unwrap_or_default())
        }
        (Raw::Integer(number), _) => number.to_string(),
        (Raw::Boolean(truth), _) => truth.to_string(),
        (Raw::List(items), _) => toml::Value::from(items.clone()).to_string(),
        (Raw::Text(text), _) => quoted(text),
        (Raw::Untyped(text), _) => match layers.default(key) {
            Raw::Boolean(_) => text.trim().to_ascii_lowercase(),
            Raw::List(_) if text.trim().is_empty() => "[]".to_owned(),
            Raw::List(_) => {
                let items: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
                toml::Value::from(items).to_string()
            }
            _ => text.trim().parse::<i64>().map_or_else(|_| quoted(text), |number| number.to_string()),
        },
        (Raw::Other(name), _) => (*name).to_owned(),
    };
    settings::all().map(|setting| (setting.key, value(setting.key))).collect()
}
