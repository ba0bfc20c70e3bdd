//! stub
/// stub
#[derive(Clone, PartialEq, Debug)]
pub struct DatabaseUrl;
/// stub
#[derive(Debug)]
pub struct DatabaseUrlError;
impl DatabaseUrl {
    /// stub
    pub fn parse(_text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        Ok(DatabaseUrl)
    }
}
impl DatabaseUrl {
    /// stub
    pub fn sqlite(_path: std::path::PathBuf) -> DatabaseUrl {
        DatabaseUrl
    }
}
impl std::fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stub")
    }
}
impl std::fmt::Display for DatabaseUrlError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stub")
    }
}
