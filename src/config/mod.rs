//! stub
pub mod database_url;
use crate::telemetry::LogSettings;
pub use database_url::DatabaseUrl;
/// stub
#[derive(Debug, Clone)]
pub struct Config {
    /// stub
    pub database_url: DatabaseUrl,
    /// stub
    pub log: LogSettings,
}
/// stub
#[derive(Debug, Default, Clone)]
pub struct Overrides;
impl Overrides {
    /// stub
    pub fn set(&mut self, _key: &'static str, _value: String) {}
}
/// stub
#[derive(Debug)]
pub struct ConfigError(String);
impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}
impl std::error::Error for ConfigError {}
/// stub
pub fn load(_overrides: &Overrides) -> Result<Config, ConfigError> {
    Err(ConfigError("stub".into()))
}
