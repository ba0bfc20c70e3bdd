use super::source::Source;
use super::tags::{Reading, Unread};

pub(super) fn read(_source: &mut Source, _reading: &mut Reading) -> Result<(), Unread> {
    Err(Unread::Unsupported("adts"))
}

pub(super) fn begins(_source: &mut Source, _vouched: bool) -> std::io::Result<bool> {
    Ok(false)
}
