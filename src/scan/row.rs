//! Rows of songs that no file explains.

use uuid::Uuid;

/// A song row that no file explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Uuid,
    /// Id and name of album, artist and genre.
    pub(super) names: [(Uuid, String); 3],
}
