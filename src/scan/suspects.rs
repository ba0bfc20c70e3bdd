//! Files whose size and time of change are unchanged while inode or time of attribute change
//! differ. A single suspect is a file that was restored, linked or retagged, and the scan reads it.
//! If most files of a root are suspects, the file system may invent new inodes at each mount: the
//! scan reads a sample to find out.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use super::previous::{Index, Previous};

/// Number of files of a root in a sample.
const SAMPLE: usize = 200;

/// The suspects of each root.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    waiting: HashMap<PathBuf, Vec<(Index, PathBuf)>>,
    sample: Option<Sample>,
}

/// A root whose sample is being read.
#[derive(Debug)]
struct Sample {
    root: PathBuf,
    rest: Vec<(Index, PathBuf)>,
    differs: bool,
}

/// The next step.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Read these files.
    Read(Vec<PathBuf>),
    /// The file system at this root invents its inodes. These files are unchanged.
    Unstable(PathBuf, Vec<(Index, PathBuf)>),
    /// There are no suspects left.
    Nothing,
}

impl Suspects {
    /// Adds a file below `root`.
    pub(super) fn push(&mut self, root: &Path, index: Index, path: PathBuf) {
        self.waiting.entry(root.to_owned()).or_default().push((index, path));
    }

    /// Records that the content of a file differs from the last scan.
    pub(super) fn differs(&mut self) {
        if let Some(sample) = &mut self.sample {
            sample.differs = true;
        }
    }

    /// Returns the next step. The survey calls it after everything else was read, and again after a
    /// sample.
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

    /// The last scan knows no file here, so any number is most of them.
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
