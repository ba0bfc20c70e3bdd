//! Folders of music, and the edits of people and their programs in them.

use std::ffi::OsStr;
use std::fs::{self, File, FileTimes, Metadata, Permissions};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use walkdir::WalkDir;

use crate::harness::chance::Chance;

const ARTISTS: [&str; 5] = ["Abba", "ABBA", "abba", "Sigur Rós", "SIGUR RÓS"];
const ALBUMS: [&str; 4] = ["Gold", "gold", "( )", ""];
const GENRES: [&str; 4] = ["Pop", "POP", "(17)", "Post-Rock"];
const TRACKS: [&str; 4] = ["1", "7/12", "0", "x"];
const DATES: [&str; 4] = ["1977", "2002-10-28", "", "199"];
/// Bytes of a tag. Most songs have the same, so that one can take the place of another unseen.
const TAG_SIZES: [usize; 4] = [400, 400, 400, 700];
const NAMES: [&[u8]; 8] = [b"1.mp3", b"2.mp3", b"3.MP3", b"4", b"caf\xe9.mp3", b"5.mp3", b"A.mp3", b"a.mp3"];
const FOLDERS: [&[u8]; 5] = [b"a", b"b", b"B", b".c", b"d\xff"];
/// The song of each root that no edit touches: a root without a song is a disk that is not mounted.
const ANCHOR: &str = "anchor.mp3";
/// A link to a folder, whose songs are no songs of the link.
const LINKED_FOLDER: &str = "linked";
/// Holds patterns of files to pass over.
pub(super) const IGNORE_FILE: &str = ".avalonignore";
const IGNORED: [&str; 5] = ["1.mp3\n", "b/\n", "*.mp3\n!2.mp3\n!anchor.mp3\n", "[z-a]\n", "# nothing\n"];

/// A song with the sound of `sound`, and a title that tells it from all others.
fn song(chance: &mut Chance, sound: &[u8], number: u32) -> Vec<u8> {
    let frame = |name: &str, text: &str| {
        let mut frame = name.as_bytes().to_vec();
        frame.extend([0, 0, 0, u8::try_from(text.len() + 1).expect("a short text"), 0, 0, 3]);
        frame.extend(text.as_bytes());
        frame
    };
    let mut tag = frame("TIT2", &format!("Song {number:06}"));
    for (name, texts) in [
        ("TPE1", &ARTISTS[..]),
        ("TALB", &ALBUMS[..]),
        ("TCON", &GENRES[..]),
        ("TRCK", &TRACKS[..]),
        ("TDRC", &DATES[..]),
    ] {
        tag.extend(frame(name, chance.pick(texts).expect("a text")));
    }
    let size = *chance.pick(&TAG_SIZES).expect("a size");
    tag.resize(size, 0);
    let mut bytes = b"ID3\x04\x00\x00\x00\x00".to_vec();
    // Seven bits a byte.
    bytes.extend([(size >> 7) as u8, (size & 0x7f) as u8]);
    bytes.extend(tag);
    bytes.extend(sound);
    bytes
}

/// The folders of music, and chance.
pub(super) struct Tree {
    pub(super) roots: Vec<PathBuf>,
    /// A folder on the same disk, outside of the roots.
    aside: PathBuf,
    /// MPEG frames without tags.
    sound: Vec<u8>,
    /// Songs made so far.
    made: u32,
    pub(super) chance: Chance,
}

impl Tree {
    /// Some songs in each of the roots, which are made.
    pub(super) fn new(roots: Vec<PathBuf>, aside: PathBuf, chance: Chance) -> Tree {
        let good = super::super::good_song();
        let tag_len = good[6..10].iter().fold(0, |len, byte| len << 7 | usize::from(*byte)) + 10;
        let sound = good[tag_len..].to_vec();
        fs::create_dir_all(&aside).expect("folder");
        let mut tree = Tree { roots, aside, sound, made: 0, chance };
        for root in tree.roots.clone() {
            fs::create_dir_all(&root).expect("folder");
            fs::write(root.join(ANCHOR), tree.song()).expect("file");
        }
        for _ in 0..8 {
            let path = tree.new_path();
            tree.write(&path);
        }
        tree
    }

    fn song(&mut self) -> Vec<u8> {
        self.made += 1;
        song(&mut self.chance, &self.sound, self.made)
    }

    /// A song, or once in a while something else.
    fn content(&mut self) -> Vec<u8> {
        match self.chance.below(12) {
            0 => b"no music".to_vec(),
            1 => Vec::new(),
            2 => vec![0; 410 + self.sound.len()],
            _ => self.song(),
        }
    }

    /// Files, but for those that stay, in the same order on every disk.
    pub(super) fn files(&self) -> Vec<PathBuf> {
        self.list(|entry| entry.path().is_file() && entry.file_name() != ANCHOR)
    }

    /// Folders below the roots.
    pub(super) fn folders(&self) -> Vec<PathBuf> {
        let is_above_root = |path: &Path| self.roots.iter().any(|root| root.starts_with(path));
        self.list(|entry| entry.file_type().is_dir() && !is_above_root(entry.path()))
    }

    fn list(&self, is_wanted: impl Fn(&walkdir::DirEntry) -> bool) -> Vec<PathBuf> {
        let walks = self.roots.iter().flat_map(|root| WalkDir::new(root).sort_by_file_name());
        let entries = walks.map(|entry| entry.expect("an entry")).filter(|entry| is_wanted(entry));
        let mut paths: Vec<PathBuf> = entries.map(walkdir::DirEntry::into_path).collect();
        paths.sort();
        paths.dedup();
        paths
    }

    fn file(&mut self) -> Option<PathBuf> {
        let files = self.files();
        self.chance.pick(&files).cloned()
    }

    fn folder(&mut self) -> PathBuf {
        let mut folders = self.folders();
        folders.extend(self.roots.iter().cloned());
        let folder = self.chance.pick(&folders).expect("a root").clone();
        match self.chance.one_in(4) {
            true => folder.join(OsStr::from_bytes(self.chance.pick(&FOLDERS).expect("a name"))),
            false => folder,
        }
    }

    /// A path for a file; something may be there.
    fn new_path(&mut self) -> PathBuf {
        let name = OsStr::from_bytes(self.chance.pick(&NAMES).expect("a name"));
        self.folder().join(name)
    }

    /// Makes the folder above `path`, unless a file is in the way. Tells whether `path` can be a
    /// file then.
    fn make_room(&self, path: &Path) -> bool {
        path.parent().is_some_and(|folder| fs::create_dir_all(folder).is_ok()) && !path.is_dir()
    }

    fn write(&mut self, path: &Path) -> Option<()> {
        let bytes = self.content();
        self.make_room(path).then(|| fs::write(path, bytes).expect("file"))
    }

    /// Puts `bytes` in the place of `path` as programs do that write beside it first.
    fn replace(&mut self, path: &Path, bytes: &[u8], time: SystemTime) {
        let beside = self.aside.join("new");
        fs::write(&beside, bytes).expect("file");
        set_time(&beside, time);
        fs::rename(beside, path).expect("rename");
    }

    /// A path that a scan may be asked to look at: of a file, a folder, or of nothing.
    pub(super) fn place(&mut self) -> PathBuf {
        match self.chance.below(6) {
            0 | 1 => self.file().unwrap_or_else(|| self.new_path()),
            2 => self.new_path(),
            3 => self.folder().join(LINKED_FOLDER).join("1.mp3"),
            _ => self.folder(),
        }
    }

    /// Makes one edit by chance, and tells it; `None` if there was nothing to do it to.
    pub(super) fn edit(&mut self) -> Option<String> {
        let kind = self.chance.below(28);
        if kind < 4 {
            let path = self.new_path();
            self.write(&path)?;
            return Some(format!("write {}", path.display()));
        }
        let path = self.file()?;
        match kind {
            4..16 => Some(format!("{} {}", self.edit_file(kind, &path), path.display())),
            16..23 => self.edit_names(kind, &path),
            _ => self.edit_folders(kind, &path),
        }
    }

    /// Removes links that lead nowhere, as the songs of such links stay for ever.
    pub(super) fn remove_links_to_nothing(&self) {
        for link in self.list(|entry| entry.path_is_symlink() && !entry.path().exists()) {
            fs::remove_file(link).expect("remove");
        }
    }

    /// Edits that leave all names as they are.
    fn edit_file(&mut self, kind: u64, path: &Path) -> &'static str {
        let old = path.metadata().expect("a file");
        let time = old.modified().expect("a time");
        let long_ago = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000 + self.chance.below(1000));
        let year_2030 = SystemTime::UNIX_EPOCH + Duration::from_secs(1_893_456_000);
        let bytes = self.content();
        match kind {
            4 => {
                fs::write(path, bytes).expect("file");
                "edit"
            }
            5 | 6 => {
                fs::write(path, bytes).expect("file");
                set_time(path, time);
                "edit and put the time back"
            }
            7 => {
                fs::write(path, bytes).expect("file");
                set_time(path, year_2030);
                "edit in 2030"
            }
            8 => {
                self.replace(path, &bytes, long_ago);
                "move an older file over"
            }
            9 | 10 => {
                self.replace(path, &bytes, time);
                "move a file of the same time over"
            }
            11 => {
                set_time(path, SystemTime::now());
                "touch"
            }
            12 => {
                change_mode(path, &old);
                "chmod"
            }
            13 => {
                // The former contents, written by another program.
                let same = fs::read(path).expect("file");
                self.replace(path, &same, time);
                "restore"
            }
            14 => {
                fs::OpenOptions::new()
                    .write(true)
                    .open(path)
                    .and_then(|file| file.set_len(300))
                    .expect("cut");
                "cut"
            }
            _ => {
                let mut turned = fs::read(path).expect("file");
                turned.iter_mut().for_each(|byte| *byte = byte.rotate_left(4));
                fs::write(path, turned).expect("file");
                set_time(path, time);
                "turn to garbage"
            }
        }
    }

    /// Edits the names of files.
    fn edit_names(&mut self, kind: u64, path: &Path) -> Option<String> {
        let other = self.new_path();
        if other == path || !self.make_room(&other) || other.file_name() == Some(OsStr::new(ANCHOR)) {
            return None;
        }
        let beside = self.aside.join("link");
        let said = match kind {
            16 | 17 => {
                fs::rename(path, &other).expect("rename");
                "move"
            }
            18 => {
                fs::hard_link(path, &beside).expect("link");
                fs::rename(&beside, &other).expect("rename");
                // A rename of one name of a file over another name of it does nothing.
                let _ = fs::remove_file(&beside);
                "link"
            }
            19 => {
                let target = self.aside.join(format!("target{}", self.made));
                let bytes = self.song();
                fs::write(&target, bytes).expect("file");
                symlink(&target, &beside).expect("link");
                fs::rename(&beside, &other).expect("rename");
                "link to a file outside, not"
            }
            20 => {
                if !other.exists() {
                    return None;
                }
                fs::rename(path, &beside).expect("rename");
                fs::rename(&other, path).expect("rename");
                fs::rename(&beside, &other).expect("rename");
                "swap"
            }
            21 => {
                let away = self.aside.join("away");
                if away.exists() {
                    fs::rename(&away, &other).expect("rename");
                    "bring back, not"
                } else {
                    fs::rename(path, &away).expect("rename");
                    "take away"
                }
            }
            _ => {
                fs::remove_file(path).expect("remove");
                "delete"
            }
        };
        Some(format!("{said} {} and {}", path.display(), other.display()))
    }

    /// Edits whole folders, and the patterns of passed-over files.
    fn edit_folders(&mut self, kind: u64, path: &Path) -> Option<String> {
        let folders = self.folders();
        let folder = self.chance.pick(&folders)?.clone();
        let said = match kind {
            23 => {
                let name = OsStr::from_bytes(self.chance.pick(&FOLDERS).expect("a name"));
                let to = folder.parent()?.join(name);
                if to.exists() {
                    return None;
                }
                fs::rename(&folder, &to).expect("rename");
                format!("rename {} to {}", folder.display(), to.display())
            }
            24 => {
                fs::remove_dir_all(&folder).expect("remove");
                if self.chance.one_in(2) {
                    self.write(&folder);
                }
                format!("delete {}", folder.display())
            }
            25 => {
                fs::remove_file(path).expect("remove");
                self.write(&path.join("1.mp3"));
                format!("make a folder of {}", path.display())
            }
            26 => {
                let link = folder.join(LINKED_FOLDER);
                // There may be such a link already.
                let _ = fs::remove_file(&link);
                symlink(path.parent()?, &link).expect("link");
                format!("link the folder of {} as {}", path.display(), link.display())
            }
            _ => {
                let file = folder.join(IGNORE_FILE);
                // A folder of this name holds no patterns, and stays.
                if file.is_file() {
                    fs::remove_file(&file).expect("remove");
                } else if !file.is_dir() {
                    fs::write(&file, self.chance.pick(&IGNORED).expect("a pattern")).expect("file");
                }
                format!("exclude, or no more, in {}", folder.display())
            }
        };
        Some(said)
    }
}

fn set_time(path: &Path, time: SystemTime) {
    let file = File::options().write(true).open(path).expect("file");
    file.set_times(FileTimes::new().set_modified(time)).expect("times");
}

fn change_mode(path: &Path, old: &Metadata) {
    let mode = old.permissions().mode() ^ 0o044;
    fs::set_permissions(path, Permissions::from_mode(mode)).expect("mode");
}
