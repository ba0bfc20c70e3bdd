use super::source::Source;
use super::tags::{Reading, Unread};

pub(super) fn read(_source: &mut Source, _reading: &mut Reading, _promised: bool) -> Result<(), Unread> {
    Err(Unread::Unsupported("matroska"))
}
