//! Rows on their way to a database.

use std::io;

/// Rows one by one, so that a million of them need not be in memory at once. Reading them from their storage
/// may fail.
pub type Stream<'a, T> = Box<dyn Iterator<Item = io::Result<T>> + Send + 'a>;

/// Looks at the first row of a stream, without losing it.
pub(super) fn is_at_end<'a, T: Send + 'a>(stream: &mut Option<Stream<'a, T>>) -> bool {
    let Some(mut rows) = stream.take() else {
        return true;
    };
    let Some(first) = rows.next() else {
        return true;
    };
    *stream = Some(Box::new(std::iter::once(first).chain(rows)));
    false
}
