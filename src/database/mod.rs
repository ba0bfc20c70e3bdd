//! stub
use crate::config::DatabaseUrl;
use crate::model::Collection;
/// stub
#[derive(Debug)]
pub struct Loaded {
    /// stub
    pub collection: Collection,
}
/// stub
#[derive(Debug)]
pub struct DatabaseError;
impl std::fmt::Display for DatabaseError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("stub")
    }
}
impl std::error::Error for DatabaseError {}
/// stub
pub fn load(_url: &DatabaseUrl) -> Result<Loaded, DatabaseError> {
    Err(DatabaseError)
}
/// stub
pub fn replace(_url: &DatabaseUrl, _collection: &Collection) -> Result<(), DatabaseError> {
    Err(DatabaseError)
}
