use super::source::Source;
use super::tags::{Reading, Tags};

/// The tags behind the sound.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Trailer {
    /// What the APEv2 tag says.
    pub(super) ape: Tags,
    /// What the ID3v1 tag says.
    pub(super) v1: Tags,
}

/// Reads the tags behind the sound, and takes them out of view.
pub(super) fn read(_source: &mut Source, _reading: &mut Reading) -> std::io::Result<Trailer> {
    Ok(Trailer::default())
}
