//! Stored texts.

use std::borrow::Cow;

/// Stored text. It was UTF-8 when it was written.
pub(super) fn text(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The length of a text. No database holds a text of 4 GiB; only the beginning of it would be kept.
pub(super) fn len_of(text: impl AsRef<[u8]>) -> u32 {
    u32::try_from(text.as_ref().len()).unwrap_or(u32::MAX)
}
