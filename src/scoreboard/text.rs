//! A text in shared memory that one process writes and others read.

use std::sync::atomic::{AtomicU64, Ordering, fence};

/// Words of a text. `Default` exists for arrays up to this size.
const WORDS: usize = 32;
/// Most bytes of a text; a longer one is cut.
const TEXT_MAX: usize = WORDS * 8;
/// Most tries of a reader while the text changes, which takes the writer less than a microsecond.
const TRIES: usize = 100;

/// A text. A reader sees it whole, or not at all. All zero bytes are an empty text.
#[derive(Debug, Default)]
#[repr(C)]
pub struct Text {
    /// Odd while the text changes.
    version: AtomicU64,
    len: AtomicU64,
    words: [AtomicU64; WORDS],
}

impl Text {
    /// Sets the text, cut to [`TEXT_MAX`] bytes between two characters. Only one process may do so.
    pub fn set(&self, text: &str) {
        let fits = (0..=text.len().min(TEXT_MAX)).rev().find(|at| text.is_char_boundary(*at));
        let text = &text[..fits.unwrap_or_default()];
        let version = self.version.load(Ordering::Relaxed);
        self.version.store(version | 1, Ordering::Relaxed);
        fence(Ordering::Release);
        for (word, bytes) in self.words.iter().zip(text.as_bytes().chunks(8)) {
            let mut value = [0; 8];
            value[..bytes.len()].copy_from_slice(bytes);
            word.store(u64::from_le_bytes(value), Ordering::Relaxed);
        }
        self.len.store(text.len() as u64, Ordering::Relaxed);
        self.version.store((version | 1).wrapping_add(1), Ordering::Release);
    }

    /// Returns the text; `None` if it is empty, or its writer was killed while it wrote.
    pub fn get(&self) -> Option<String> {
        (0..TRIES).find_map(|_| self.try_get()).filter(|text| !text.is_empty())
    }

    fn try_get(&self) -> Option<String> {
        let version = self.version.load(Ordering::Acquire);
        let len = usize::try_from(self.len.load(Ordering::Relaxed)).ok()?.min(TEXT_MAX);
        let words = self.words.iter().flat_map(|word| word.load(Ordering::Relaxed).to_le_bytes());
        let bytes: Vec<u8> = words.take(len).collect();
        fence(Ordering::Acquire);
        let is_whole = version.is_multiple_of(2) && self.version.load(Ordering::Relaxed) == version;
        is_whole.then(|| String::from_utf8_lossy(&bytes).into_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_read_as_it_was_written_and_cut_between_characters() {
        let text = Text::default();
        assert_eq!(text.get(), None);
        for written in ["gone", "a longer reason of 33 characters!", "", "short"] {
            text.set(written);
            assert_eq!(text.get().unwrap_or_default(), written);
        }
        text.set(&"\u{e9}a".repeat(TEXT_MAX));
        let read = text.get().unwrap();
        assert!(read.len() <= TEXT_MAX && read.len() > TEXT_MAX - 3 && !read.contains('\u{fffd}'), "{read}");
    }

    #[test]
    fn reader_never_sees_two_texts_mixed() {
        let text = Text::default();
        text.set(&"a".repeat(200));
        std::thread::scope(|scope| {
            let writer = scope.spawn(|| {
                for round in 0..20_000_u32 {
                    let letter = ["a", "b"][round as usize % 2];
                    text.set(&letter.repeat(150 + (round % 100) as usize));
                }
            });
            while !writer.is_finished() {
                let Some(read) = text.get() else { continue };
                assert!(read.len() >= 150 && (!read.contains('a') || !read.contains('b')), "{read}");
            }
        });
    }

    #[test]
    fn text_whose_writer_was_killed_is_none() {
        let text = Text::default();
        text.set("old");
        text.version.store(text.version.load(Ordering::Relaxed) | 1, Ordering::Relaxed);
        assert_eq!(text.get(), None);
        text.set("new");
        assert_eq!(text.get().as_deref(), Some("new"));
    }
}
