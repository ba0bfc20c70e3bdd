//! Texts without gaps, stored outside of memory, and the offset of each.

use super::error::BuildError;
use crate::rows::scratch::{Folder, Scratch, Stored};

/// Collects texts.
pub(super) struct TextsWriter {
    bytes: Scratch,
    starts: Vec<u64>,
}

impl TextsWriter {
    /// Begins without a text; the caller adds `count` of them.
    pub(super) fn new(count: u32, folder: &Folder) -> Self {
        let mut starts = Vec::with_capacity(count as usize + 1);
        starts.push(0);
        TextsWriter { bytes: Scratch::new(folder), starts }
    }

    pub(super) fn push(&mut self, text: &[u8]) -> Result<(), BuildError> {
        self.bytes.push(text)?;
        self.starts.push(self.bytes.size());
        Ok(())
    }

    pub(super) fn finish(self) -> Result<Texts, BuildError> {
        Ok(Texts { bytes: self.bytes.finish()?, starts: self.starts })
    }
}

/// Texts by their index.
pub(super) struct Texts {
    bytes: Stored,
    starts: Vec<u64>,
}

impl Texts {
    /// The number of texts.
    pub(super) fn count(&self) -> u32 {
        // Each text has the index of an entity.
        (self.starts.len() - 1) as u32
    }

    /// The text at `at`, which is below the count.
    #[allow(
        clippy::cast_possible_truncation,
        reason = "the texts are mapped, so their offsets fit into a usize"
    )]
    pub(super) fn get(&self, at: u32) -> &[u8] {
        let at = at as usize;
        &self.bytes[self.starts[at] as usize..self.starts[at + 1] as usize]
    }
}
