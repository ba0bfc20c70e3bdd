//! stub
pub mod format;
pub use format::LogFormat;
use std::path::PathBuf;
/// stub
#[derive(Debug, Clone)]
pub struct LogSettings {
    /// stub
    pub format: LogFormat,
    /// stub
    pub date_format: String,
    /// stub
    pub level: slog::Level,
    /// stub
    pub path: Option<PathBuf>,
}
/// stub
pub fn check_date_format(_: &str) -> Result<(), String> {
    Ok(())
}
/// stub
pub fn parse_level(_: &str) -> Option<slog::Level> {
    Some(slog::Level::Info)
}
/// stub
pub mod sentry {
    /// stub
    pub fn check_dsn(_: &str) -> Result<(), String> {
        Ok(())
    }
}
