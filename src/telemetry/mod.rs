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
