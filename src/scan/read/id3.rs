use super::source::Source;
use super::tags::{Reading, Tags};

/// An ID3v2 tag.
#[derive(Debug, PartialEq)]
pub(super) struct V2 {
    /// What its frames say.
    pub(super) tags: Tags,
    /// Offset of the first byte after it.
    pub(super) end: u64,
}

/// Reads the ID3v2 tag at `at`; `None` when there is none.
pub(super) fn read_v2(_source: &mut Source, _at: u64, _reading: &mut Reading) -> std::io::Result<Option<V2>> {
    Ok(None)
}
