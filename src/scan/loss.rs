//! Places that would lose too many songs.

use std::fmt;
use std::path::PathBuf;

/// A place that would lose too much.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loss {
    /// The root or mount; `None` for rows of a database whose folders are not recorded.
    pub place: Option<PathBuf>,
    /// Songs that would disappear.
    pub lost: usize,
    /// Songs that the last scan found there.
    pub of: usize,
    /// The folders with most of them, and how many.
    pub folders: Vec<(PathBuf, usize)>,
}

impl fmt::Display for Loss {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Some(place) => write!(f, "{} of {} songs below {}", self.lost, self.of, place.display())?,
            None => write!(f, "{} of {} songs that another program stored", self.lost, self.of)?,
        }
        for (index, (folder, lost)) in self.folders.iter().enumerate() {
            write!(f, "{}{} ({lost})", if index == 0 { ", most in " } else { ", " }, folder.display())?;
        }
        Ok(())
    }
}
