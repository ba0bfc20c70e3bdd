//! Reused buffers in which bodies are gathered. malloc is slow with blocks of some kilobytes, because it
//! tidies its lists with every freed block.

use std::cell::RefCell;

use bytes::Bytes;

/// Buffers that a thread keeps.
const KEPT: usize = 8;
/// Larger buffers are not kept. Together the kept ones take half a megabyte of a worker at most.
const KEPT_BYTES: usize = 64 * 1024;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Returns an empty buffer for `len` bytes.
pub(in crate::worker) fn take(len: usize) -> Vec<u8> {
    let mut buffer = FREE.with_borrow_mut(Vec::pop).unwrap_or_default();
    buffer.reserve(len);
    buffer
}

/// Returns the content of a buffer. The buffer is reused when the last reference to the content is
/// dropped.
pub(in crate::worker) fn freeze(buffer: Vec<u8>) -> Bytes {
    Bytes::from_owner(Buffer(buffer))
}

struct Buffer(Vec<u8>);

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let mut buffer = std::mem::take(&mut self.0);
        if buffer.capacity() > KEPT_BYTES {
            return;
        }
        buffer.clear();
        // A thread that is ending cannot keep it.
        let _ = FREE.try_with(|free| {
            let mut free = free.borrow_mut();
            if free.len() < KEPT {
                free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_used_again_and_large_ones_given_back() {
        let mut buffer = take(5_000);
        buffer.extend_from_slice(b"text");
        let (place, bytes) = (buffer.as_ptr(), freeze(buffer));
        let rest = bytes.slice(2..);
        drop(bytes);
        assert_eq!(&rest[..], b"xt");
        drop(rest);
        let again = take(100);
        assert!(again.is_empty() && again.as_ptr() == place);
        drop(freeze(take(KEPT_BYTES + 1)));
        assert_eq!(FREE.with_borrow(Vec::len), 0);
        let many: Vec<Bytes> = (0..20).map(|_| freeze(take(10))).collect();
        drop(many);
        assert_eq!(FREE.with_borrow(Vec::len), KEPT);
    }
}
