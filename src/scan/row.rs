//! Rows of songs that no file explains.

use uuid::Uuid;

use crate::model::PerOwner;

/// A song row that no file explains.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Row {
    pub(super) id: Uuid,
    /// Id and name of album, artist and genre.
    pub(super) names: PerOwner<(Uuid, String)>,
}
