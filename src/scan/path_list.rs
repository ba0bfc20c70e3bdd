//! A list of paths from another program: a hook, a tagger, `find -print0`.

use std::error::Error;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The reason why the list cannot be used.
#[derive(Debug)]
pub enum PathListError {
    /// The file cannot be read.
    Unreadable {
        /// The file; `-` for standard input.
        file: PathBuf,
        /// The cause.
        source: io::Error,
    },
    /// The command line names paths as well, and not as paths to look at alone.
    WithPaths,
}

impl fmt::Display for PathListError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PathListError::Unreadable { file, .. } => {
                write!(f, "--files-from: cannot read the list of paths in {}", file.display())
            }
            PathListError::WithPaths => f.write_str(
                "--files-from looks at the paths of its list alone; to look at PATH as well, add --only",
            ),
        }
    }
}

impl Error for PathListError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            PathListError::Unreadable { source, .. } => Some(source),
            PathListError::WithPaths => None,
        }
    }
}

/// Reads the paths in a file; `-` is standard input.
///
/// # Errors
/// If it cannot be read.
pub fn read(file: &Path) -> Result<Vec<PathBuf>, PathListError> {
    let mut bytes = Vec::new();
    let outcome = match file == Path::new("-") {
        true => io::stdin().lock().read_to_end(&mut bytes).map(drop),
        false => fs::read(file).map(|read| bytes = read),
    };
    outcome.map_err(|source| PathListError::Unreadable { file: file.to_owned(), source })?;
    Ok(parse(&bytes))
}

/// Parses the paths in a text. A path may hold line breaks if NULs separate the paths. Only the
/// line end is removed: a name may end in a blank.
fn parse(text: &[u8]) -> Vec<PathBuf> {
    let separator = if text.contains(&0) { 0 } else { b'\n' };
    text.split(|byte| *byte == separator)
        .filter(|path| !path.is_empty())
        .map(|path| OsStr::from_bytes(path).into())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_or_nuls_separate_paths() {
        for (text, paths) in [
            (&b""[..], &[][..]),
            (b"\n\n", &[]),
            (b"a/b.mp3\n\n c \nd", &[&b"a/b.mp3"[..], b" c ", b"d"]),
            (b"a\nb.mp3\0c", &[b"a\nb.mp3", b"c"]),
            (b"one\0", &[b"one"]),
            (b"caf\xe9.mp3\n", &[b"caf\xe9.mp3"]),
        ] {
            let expected: Vec<PathBuf> = paths.iter().map(|path| OsStr::from_bytes(path).into()).collect();
            assert_eq!(parse(text), expected, "{:?}", String::from_utf8_lossy(text));
        }
    }
}
