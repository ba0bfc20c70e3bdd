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
