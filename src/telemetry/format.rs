//! stub
/// stub
#[derive(Debug, Clone)]
pub struct LogFormat;
impl LogFormat {
    /// stub
    pub fn parse(_: &str) -> Result<LogFormat, String> {
        Ok(LogFormat)
    }
}
