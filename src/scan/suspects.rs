//! Files whose size and time of change are as they were while inode or time of attribute change
//! is not. One is a file that was restored, linked or retagged, and is read. Most of a root at
//! once is a file system that makes up new inodes at each mount: a sample tells.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::previous::{Index, Previous};

/// Files that are read of a root to find out.
const SAMPLE: usize = 200;

/// The suspects of each root.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    waiting: HashMap<PathBuf, Vec<(Index, PathBuf)>>,
    sample: Option<Sample>,
}

/// A root of which a sample is being read.
#[derive(Debug)]
struct Sample {
    root: PathBuf,
    rest: Vec<(Index, PathBuf)>,
    differs: bool,
}

/// What to do next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read these.
    Read(Vec<PathBuf>),
    /// The file system at this root makes up its inodes. These files are as they were.
    Unstable(PathBuf, Vec<(Index, PathBuf)>),
    /// There are no suspects left.
    Nothing,
}

impl Suspects {
    /// Adds a file below `root`.
    pub(super) fn push(&mut self, root: &Path, index: Index, path: PathBuf) {
        self.waiting.entry(root.to_owned()).or_default().push((index, path));
    }

    /// Notes that a file does not hold what it held when the last scan read it.
    pub(super) fn differs(&mut self) {
        if let Some(sample) = &mut self.sample {
            sample.differs = true;
        }
    }

    /// Called when everything else was read, and the sample.
    pub(super) fn next(&mut self, previous: &Previous) -> Next {
        if let Some(Sample { root, rest, differs }) = self.sample.take() {
            return match differs {
                true => Next::Read(rest.into_iter().map(|(_, path)| path).collect()),
                false => Next::Unstable(root, rest),
            };
        }
        let Some(root) = self.waiting.keys().min().cloned() else { return Next::Nothing };
        let suspects = self.waiting.remove(&root).unwrap_or_default();
        if suspects.len() <= SAMPLE || 2 * suspects.len() <= previous.files_below(&root) {
            return Next::Read(suspects.into_iter().map(|(_, path)| path).collect());
        }
        let step = suspects.len() / SAMPLE;
        let (mut sample, mut rest) = (Vec::new(), Vec::new());
        for (number, (index, path)) in suspects.into_iter().enumerate() {
            match number % step == 0 && sample.len() < SAMPLE {
                true => sample.push(path),
                false => rest.push((index, path)),
            }
        }
        self.sample = Some(Sample { root, rest, differs: false });
        Next::Read(sample)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suspects(count: usize) -> Suspects {
        let mut suspects = Suspects::default();
        for number in 0..count {
            suspects.push(Path::new("/m"), number, format!("/m/{number}").into());
        }
        suspects
    }

    fn read(next: Next) -> usize {
        match next {
            Next::Read(paths) => paths.len(),
            other => panic!("{other:?}"),
        }
    }

    /// No file of the last scan is known here, so any number is most of them.
    #[test]
    fn a_sample_decides_about_most_of_a_root() {
        let previous = Previous::default();
        let mut few = suspects(SAMPLE);
        assert_eq!(read(few.next(&previous)), SAMPLE);
        assert_eq!(few.next(&previous), Next::Nothing);

        let mut stable = suspects(1000);
        assert_eq!(read(stable.next(&previous)), SAMPLE);
        let Next::Unstable(root, rest) = stable.next(&previous) else { panic!("not told") };
        assert_eq!((root.as_path(), rest.len()), (Path::new("/m"), 1000 - SAMPLE));
        assert_eq!(stable.next(&previous), Next::Nothing);

        let mut changed = suspects(1000);
        assert_eq!(read(changed.next(&previous)), SAMPLE);
        changed.differs();
        assert_eq!(read(changed.next(&previous)), 1000 - SAMPLE);
        assert_eq!(changed.next(&previous), Next::Nothing);
    }
}
