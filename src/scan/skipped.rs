//! The files and folders that gave no song, and the reasons.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Most examples that are kept for each reason.
const EXAMPLES_MAX: usize = 10;

/// The reason why a file or folder gives no song.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The file is no audio.
    NotAudio,
    /// Audio in a format that is not supported.
    Unsupported,
    /// Damaged audio, or a file or folder that could not be reached.
    Unreadable,
    /// A link that leads nowhere or to itself.
    BrokenLink,
    /// A link to a folder.
    LinkedFolder,
    /// A pipe, a socket or a device.
    Special,
    /// An Apple double file (`._x`).
    AppleDouble,
    /// A pattern excludes it.
    Excluded,
}

impl Reason {
    /// All reasons, in the order of their numbers.
    pub const ALL: [Reason; 8] = [
        Reason::NotAudio,
        Reason::Unsupported,
        Reason::Unreadable,
        Reason::BrokenLink,
        Reason::LinkedFolder,
        Reason::Special,
        Reason::AppleDouble,
        Reason::Excluded,
    ];

    /// Returns the name of the reason in the report.
    pub fn key(self) -> &'static str {
        [
            "not_audio",
            "unsupported",
            "unreadable",
            "broken_links",
            "linked_folders",
            "special",
            "apple_double",
            "excluded",
        ][self as usize]
    }

    /// Returns the name of the reason for people.
    pub fn text(self) -> &'static str {
        [
            "no audio",
            "unsupported format",
            "unreadable",
            "broken link",
            "link to a folder",
            "pipe, socket or device",
            "Apple double",
            "excluded",
        ][self as usize]
    }
}

/// The number of skipped files and folders, by reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Skipped {
    /// Files that are no audio.
    pub not_audio: usize,
    /// Audio in formats that are not supported.
    pub unsupported: usize,
    /// Audio that is damaged, and files and folders that could not be reached.
    pub unreadable: usize,
    /// Links that lead nowhere or to themselves.
    pub broken_links: usize,
    /// Links to folders, which are not followed.
    pub linked_folders: usize,
    /// Pipes, sockets and devices.
    pub special: usize,
    /// Apple double files (`._x`).
    pub apple_double: usize,
    /// Files and folders that the patterns pass over.
    pub excluded: usize,
}

impl Skipped {
    /// Returns the total.
    pub fn total(&self) -> usize {
        Reason::ALL.into_iter().map(|reason| self.of(reason)).sum()
    }

    /// Returns the number for this reason.
    pub fn of(&self, reason: Reason) -> usize {
        match reason {
            Reason::NotAudio => self.not_audio,
            Reason::Unsupported => self.unsupported,
            Reason::Unreadable => self.unreadable,
            Reason::BrokenLink => self.broken_links,
            Reason::LinkedFolder => self.linked_folders,
            Reason::Special => self.special,
            Reason::AppleDouble => self.apple_double,
            Reason::Excluded => self.excluded,
        }
    }

    pub(super) fn of_mut(&mut self, reason: Reason) -> &mut usize {
        match reason {
            Reason::NotAudio => &mut self.not_audio,
            Reason::Unsupported => &mut self.unsupported,
            Reason::Unreadable => &mut self.unreadable,
            Reason::BrokenLink => &mut self.broken_links,
            Reason::LinkedFolder => &mut self.linked_folders,
            Reason::Special => &mut self.special,
            Reason::AppleDouble => &mut self.apple_double,
            Reason::Excluded => &mut self.excluded,
        }
    }
}

/// The total, and in parentheses each reason that occurred.
impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.total())?;
        let reasons: Vec<String> = Reason::ALL
            .into_iter()
            .filter(|reason| self.of(*reason) > 0)
            .map(|reason| format!("{} {}", self.of(reason), reason.text()))
            .collect();
        if reasons.is_empty() { Ok(()) } else { write!(f, " ({})", reasons.join(", ")) }
    }
}

/// Skipped paths, each with a note beyond the reason if there is one.
pub type Examples = BTreeMap<PathBuf, Option<String>>;

/// The skipped files and folders: the number for each reason, and the first paths in order.
#[derive(Debug, Clone, Default)]
pub struct Skips {
    /// The numbers.
    pub counts: Skipped,
    examples: [Examples; 8],
}

impl Skips {
    /// Counts `path`.
    pub(super) fn add(&mut self, reason: Reason, path: &Path, why: Option<&str>) {
        *self.counts.of_mut(reason) += 1;
        let examples = &mut self.examples[reason as usize];
        if examples.len() >= EXAMPLES_MAX {
            match examples.last_entry() {
                Some(last) if path < last.key() => drop(last.remove_entry()),
                _ => return,
            }
        }
        examples.insert(path.to_owned(), why.map(str::to_owned));
    }

    /// Returns the first paths in order that were skipped for this reason.
    pub fn examples(&self, reason: Reason) -> &Examples {
        &self.examples[reason as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_in_the_order_of_their_numbers() {
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }

    #[test]
    fn all_are_counted_and_the_first_by_path_are_examples() {
        let mut skips = Skips::default();
        for number in [7, 3, 12, 0, 9, 1, 11, 2, 10, 8, 4, 6, 5] {
            skips.add(Reason::Special, Path::new(&format!("/m/{number:02}")), Some("a pipe"));
        }
        assert_eq!((skips.counts.special, skips.counts.total()), (13, 13));
        let expected: Vec<PathBuf> = (0..10).map(|number| format!("/m/{number:02}").into()).collect();
        assert_eq!(skips.examples(Reason::Special).keys().cloned().collect::<Vec<_>>(), expected);
        assert!(skips.examples(Reason::Excluded).is_empty());
    }
}
