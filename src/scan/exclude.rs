//! The files and folders that a scan passes over: the copies and the trash of file managers, NAS
//! systems and snapshots, the patterns of the setting `EXCLUDE`, and those of the file
//! `.avalonignore` in any folder. All patterns have the syntax of `.gitignore`.

use std::fmt;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use ignore::Match;
use ignore::gitignore::{Gitignore, GitignoreBuilder};
use nix::libc::O_NONBLOCK;

/// The name of a file with patterns for its folder and all below.
pub(super) const IGNORE_FILE: &str = ".avalonignore";
/// Largest size of this file, in bytes.
const IGNORE_FILE_MAX: u64 = 1 << 20;

/// Folders that hold copies of files that are elsewhere, or files that were thrown away. Other
/// hidden folders are scanned, as avalonms scanned them.
const DEFAULTS: [&str; 19] = [
    // Synology, QNAP, Buffalo, Netgear and FreeNAS
    "@eaDir/",
    "#recycle/",
    "#snapshot/",
    "@Recycle/",
    "@Recently-Snapshot/",
    ".@__thumb/",
    "trashbox/",
    ".zfs/",
    ".snapshot/",
    ".snapshots/",
    // Windows
    "$RECYCLE.BIN/",
    "RECYCLER/",
    "System Volume Information/",
    // Linux and macOS
    ".Trash/",
    ".Trash-*/",
    ".Trashes/",
    "lost+found/",
    // Syncthing and Nextcloud
    ".stversions/",
    ".trashed-*/",
];

/// The reason why patterns cannot be used.
#[derive(Debug)]
pub enum PatternError {
    /// This pattern is invalid.
    Pattern(String, ignore::Error),
    /// Each pattern is valid, but together they are too many or too large.
    All(ignore::Error),
}

impl fmt::Display for PatternError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PatternError::Pattern(pattern, error) => write!(f, "{pattern:?}: {error}"),
            PatternError::All(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for PatternError {}

/// The patterns that hold in one folder: its own, then those of the folders above it.
#[derive(Debug, Clone)]
pub(super) struct Patterns {
    own: Arc<Gitignore>,
    /// Whether a file may be passed over. The default patterns are for folders alone, so most
    /// collections match no pattern against each file.
    may_match_files: bool,
    above: Option<Arc<Patterns>>,
}

impl Patterns {
    /// Returns the patterns that hold everywhere: the default ones, then `more`, which may also
    /// revoke a default (`!lost+found/`).
    ///
    /// # Errors
    /// The first invalid pattern of `more`.
    pub(super) fn everywhere(more: &[String]) -> Result<Patterns, PatternError> {
        let mut builder = GitignoreBuilder::new("/");
        for pattern in DEFAULTS.into_iter().chain(more.iter().map(String::as_str)) {
            // A comment has no place in a list of patterns, and NAS systems have `#recycle`.
            let escape = if pattern.starts_with('#') { "\\" } else { "" };
            let line = format!("{escape}{pattern}");
            builder
                .add_line(None, &line)
                .map_err(|error| PatternError::Pattern(pattern.to_owned(), error))?;
        }
        let own = builder.build().map_err(PatternError::All)?;
        let may_match_files = !more.iter().all(|pattern| pattern.ends_with('/'));
        Ok(Patterns { own: Arc::new(own), may_match_files, above: None })
    }

    /// Returns the patterns of the file `.avalonignore` in `folder` followed by these, and the
    /// lines of the file that are not valid patterns. A folder, a pipe or a device of that name
    /// counts as an empty file.
    ///
    /// # Errors
    /// If the file is there and cannot be read.
    pub(super) fn below(self: &Arc<Patterns>, folder: &Path) -> io::Result<(Arc<Patterns>, Vec<String>)> {
        let Some(text) = read_up_to(&folder.join(IGNORE_FILE), IGNORE_FILE_MAX)? else {
            return Ok((self.clone(), Vec::new()));
        };
        let mut builder = GitignoreBuilder::new(folder);
        let mut bad = Vec::new();
        for (number, line) in String::from_utf8_lossy(&text).lines().enumerate() {
            let line = line.strip_prefix('\u{feff}').unwrap_or(line);
            if let Err(error) = builder.add_line(None, line) {
                bad.push(format!("line {}: {error}", number + 1));
            }
        }
        match builder.build() {
            Ok(own) => {
                let patterns =
                    Patterns { own: Arc::new(own), may_match_files: true, above: Some(self.clone()) };
                Ok((Arc::new(patterns), bad))
            }
            Err(error) => Ok((self.clone(), vec![error.to_string()])),
        }
    }

    /// Reports whether a pattern may pass over a file.
    pub(super) fn may_match_files(&self) -> bool {
        self.may_match_files
    }

    /// Reports whether the patterns pass over `path`, which lies below their folder. The nearest
    /// pattern decides.
    pub(super) fn exclude(&self, path: &Path, is_folder: bool) -> bool {
        let mut patterns = Some(self);
        while let Some(here) = patterns {
            match here.own.matched(path, is_folder) {
                Match::Ignore(_) => return true,
                Match::Whitelist(_) => return false,
                Match::None => patterns = here.above.as_deref(),
            }
        }
        false
    }
}

/// Reads at most `max` bytes of a regular file; `None` for any other kind of file. It does not wait
/// for a pipe.
fn read_up_to(path: &Path, max: u64) -> io::Result<Option<Vec<u8>>> {
    let file = OpenOptions::new().read(true).custom_flags(O_NONBLOCK).open(path)?;
    if !file.metadata()?.is_file() {
        return Ok(None);
    }
    let mut text = Vec::new();
    file.take(max).read_to_end(&mut text)?;
    Ok(Some(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn everywhere(more: &[&str]) -> Arc<Patterns> {
        let more: Vec<String> = more.iter().map(|pattern| (*pattern).to_owned()).collect();
        Arc::new(Patterns::everywhere(&more).expect("patterns"))
    }

    #[test]
    fn copies_and_trash_are_passed_over_and_hidden_folders_are_not() {
        let patterns = everywhere(&[]);
        for folder in [
            "@eaDir",
            "#recycle",
            "$RECYCLE.BIN",
            ".Trash-1000",
            "#snapshot",
            ".snapshots",
            ".stversions",
            "System Volume Information",
            "lost+found",
            ".zfs",
        ] {
            assert!(patterns.exclude(&Path::new("/music/a").join(folder), true), "{folder}");
            assert!(!patterns.exclude(&Path::new("/music").join(folder), false), "a file {folder}");
        }
        for folder in [".hidden", "recycle", "eaDir", "Trash", "snapshot"] {
            assert!(!patterns.exclude(&Path::new("/music").join(folder), true), "{folder}");
        }
    }

    #[test]
    fn the_setting_adds_patterns_and_takes_defaults_back() {
        let patterns = everywhere(&["*.wav", "/music/Podcasts/", "!lost+found/"]);
        assert!(patterns.exclude(Path::new("/music/a/b.wav"), false));
        assert!(patterns.exclude(Path::new("/music/Podcasts"), true));
        assert!(!patterns.exclude(Path::new("/other/music/Podcasts"), true));
        assert!(!patterns.exclude(Path::new("/music/lost+found"), true));
        let error = Patterns::everywhere(&["[z-a]".to_owned()]).expect_err("no pattern");
        assert!(error.to_string().starts_with("\"[z-a]\": "), "{error}");
    }

    #[test]
    fn folders_and_pipes_hold_no_patterns() {
        let home = tempfile::tempdir().expect("folder");
        let [folder, pipe] = ["folder", "pipe"].map(|name| home.path().join(name));
        std::fs::create_dir_all(folder.join(IGNORE_FILE)).expect("folder");
        std::fs::create_dir(&pipe).expect("folder");
        nix::unistd::mkfifo(&pipe.join(IGNORE_FILE), nix::sys::stat::Mode::S_IRWXU).expect("pipe");
        for place in [folder, pipe] {
            let (patterns, bad) = everywhere(&[]).below(&place).expect("patterns");
            assert!(bad.is_empty() && !patterns.exclude(&place.join("a.mp3"), false), "{place:?}");
        }
    }

    #[test]
    fn the_nearest_file_decides() {
        let folder = tempfile::tempdir().expect("folder");
        let sub = folder.path().join("sub");
        std::fs::create_dir(&sub).expect("folder");
        std::fs::write(folder.path().join(IGNORE_FILE), "# a comment\n*.flac\n/demo/\n[z-a]\n")
            .expect("file");
        std::fs::write(sub.join(IGNORE_FILE), "\u{feff}!keep.flac\n").expect("file");
        let (outer, bad) = everywhere(&[]).below(folder.path()).expect("patterns");
        assert_eq!(bad.len(), 1, "{bad:?}");
        assert!(bad[0].starts_with("line 4: "), "{bad:?}");
        let (inner, _) = outer.below(&sub).expect("patterns");
        assert!(outer.exclude(&folder.path().join("a.flac"), false));
        assert!(outer.exclude(&folder.path().join("demo"), true));
        assert!(!outer.exclude(&sub.join("demo"), true));
        assert!(inner.exclude(&sub.join("a.flac"), false));
        assert!(!inner.exclude(&sub.join("keep.flac"), false));
        assert!(!inner.exclude(&sub.join("a.mp3"), false));
        assert!(everywhere(&[]).below(&folder.path().join("missing")).is_err());
    }
}
