//! One file: is it audio, how long is it, and what do its tags say?
//!
//! What kind of file it is, its content tells. Only MPEG audio has no clear mark of its
//! own: there the name or an ID3 tag must vouch for a frame that stands behind junk.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::os::unix::fs::OpenOptionsExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::Duration;

use lofty::config::{GlobalOptions, ParseOptions, apply_global_options};
use lofty::file::FileType;
use lofty::probe::Probe;
use nix::fcntl::OFlag;

use super::{formats, id3};

/// How far to look for the first frame of MPEG audio behind junk; mutagen looks as far.
const JUNK_MAX: usize = 1 << 20;
/// Most bytes that lofty may take for one item of a tag. Covers of 20 MiB exist.
const ITEM_MAX: usize = 64 << 20;
/// Bytes of an Ogg page that tell what stream it holds.
const OGG_HEAD_LEN: u64 = 36;
/// Endings of names that promise audio, with the format where we cannot read it.
const ENDINGS: [(&str, Option<&str>); 41] = [
    ("aac", None),
    ("ac3", Some("AC-3")),
    ("aif", None),
    ("aifc", None),
    ("aiff", None),
    ("amr", Some("AMR")),
    ("ape", None),
    ("au", Some("Sun audio")),
    ("caf", Some("Core Audio")),
    ("dff", Some("DSDIFF")),
    ("dsf", Some("DSF")),
    ("dts", Some("DTS")),
    ("flac", None),
    ("kar", Some("MIDI")),
    ("m4a", None),
    ("m4b", None),
    ("m4p", None),
    ("m4r", None),
    ("mid", Some("MIDI")),
    ("midi", Some("MIDI")),
    ("mka", Some("Matroska")),
    ("mp+", None),
    ("mp1", None),
    ("mp2", None),
    ("mp3", None),
    ("mpc", None),
    ("mpga", None),
    ("mpp", None),
    ("oga", None),
    ("ofr", Some("OptimFROG")),
    ("ogg", None),
    ("opus", None),
    ("ra", Some("RealAudio")),
    ("shn", Some("Shorten")),
    ("snd", Some("Sun audio")),
    ("spx", None),
    ("tak", Some("TAK")),
    ("tta", Some("True Audio")),
    ("wav", None),
    ("wma", Some("WMA")),
    ("wv", None),
];
/// First bytes of audio formats that we cannot read.
const FOREIGN: [(&[u8], &str); 8] = [
    (b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA"),
    (b"MThd", "MIDI"),
    (b"TTA1", "True Audio"),
    (b"TTA2", "True Audio"),
    (b"DSD ", "DSF"),
    (b"FRM8", "DSDIFF"),
    (b"OFR ", "OptimFROG"),
    (b"caff", "Core Audio"),
];

/// What the tags of a file say, as it stands there. `None` means that no tag says it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Tags {
    pub(super) title: Option<String>,
    pub(super) album: Option<String>,
    pub(super) artist: Option<String>,
    /// Genre by name: numbers are translated where the format has them.
    pub(super) genre: Option<String>,
    /// Track number, perhaps with a total.
    pub(super) track: Option<String>,
    /// Date or year of release.
    pub(super) date: Option<String>,
}

impl Tags {
    /// These, with what they lack from `weaker`.
    pub(super) fn or(self, weaker: Tags) -> Tags {
        Tags {
            title: self.title.or(weaker.title),
            album: self.album.or(weaker.album),
            artist: self.artist.or(weaker.artist),
            genre: self.genre.or(weaker.genre),
            track: self.track.or(weaker.track),
            date: self.date.or(weaker.date),
        }
    }
}

/// An audio file.
#[derive(Debug, PartialEq)]
pub(super) struct Audio {
    pub(super) tags: Tags,
    /// How long it plays.
    pub(super) duration: Duration,
    /// Why some of its tags could not be read.
    pub(super) damage: Option<String>,
}

/// Why a file gives no song.
#[derive(Debug, PartialEq)]
pub(super) enum Unread {
    /// It is no audio, by content and by name.
    NotAudio,
    /// It is audio in this format, which is not supported.
    Unsupported(&'static str),
    /// It is a pipe, a socket or a device.
    Special,
    /// It should be audio and cannot be read: why.
    Broken(String),
}

impl From<io::Error> for Unread {
    fn from(error: io::Error) -> Unread {
        Unread::Broken(error.to_string())
    }
}

/// Reads the file at `path`, whatever it holds: a panic in the tag library is a broken file.
pub(super) fn read(path: &Path) -> Result<Audio, Unread> {
    // A pipe that took the place of a file since it was listed must not make us wait.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(Unread::Special);
    }
    apply_global_options(GlobalOptions::new().allocation_limit(ITEM_MAX));
    catch_unwind(AssertUnwindSafe(|| read_open(path, file))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Unread::Broken(format!("the tag library failed: {said}")))
    })
}

fn read_open(path: &Path, file: File) -> Result<Audio, Unread> {
    let mut reader = BufReader::new(file);
    let mut tags = Tags::default();
    let mut start = 0;
    while let Some(id3) = id3::read_v2(&mut reader)? {
        tags = tags.or(id3.tags);
        start = id3.end;
        reader.seek(SeekFrom::Start(start))?;
    }
    let mut rest = Rest { reader, start };
    let ending = ending(path);
    if let Some(format) = foreign(&mut rest)? {
        return Err(Unread::Unsupported(format));
    }
    let vouched = start > 0 || matches!(ending, Some(("aac" | "mp1" | "mp2" | "mp3" | "mpga", _)));
    let Some(file_type) = file_type(&mut rest, vouched)? else {
        return Err(why_not(&mut rest, start > 0, ending)?);
    };
    rest.rewind()?;
    formats::read(file_type, &mut rest, tags).map_err(|error| {
        if ending.is_some() || start > 0 || is_sure(file_type) {
            Unread::Broken(error)
        } else {
            Unread::NotAudio
        }
    })
}

/// The format by content.
fn file_type(rest: &mut (impl Read + Seek), vouched: bool) -> io::Result<Option<FileType>> {
    rest.rewind()?;
    let options = ParseOptions::new().max_junk_bytes(if vouched { JUNK_MAX } else { 0 });
    let file_type = Probe::new(&mut *rest).options(options).guess_file_type()?.file_type();
    if vouched || file_type != Some(FileType::Mpeg) {
        return Ok(file_type);
    }
    // UTF-16 text begins with a mark (ff fe) that is the head of a frame of layer I too.
    let layer_one = head(rest, 2)?.get(1).is_some_and(|byte| byte & 0b110 == 0b110);
    Ok(file_type.filter(|_| !layer_one))
}

/// Whether the mark of a format is too clear for anything else to begin so by chance.
fn is_sure(file_type: FileType) -> bool {
    !matches!(file_type, FileType::Aac | FileType::Ape | FileType::Mp4 | FileType::Mpc | FileType::Mpeg)
}

/// The format by content, if it is one that we cannot read.
fn foreign(rest: &mut (impl Read + Seek)) -> io::Result<Option<&'static str>> {
    let head = head(rest, 8)?;
    Ok(FOREIGN.iter().find(|(mark, _)| head.starts_with(mark)).map(|(_, format)| *format))
}

/// Why a file without a known format gives no song.
fn why_not(
    rest: &mut (impl Read + Seek),
    tagged: bool,
    ending: Option<(&str, Option<&'static str>)>,
) -> io::Result<Unread> {
    let head = head(rest, OGG_HEAD_LEN)?;
    Ok(match ending {
        _ if tagged => Unread::Broken("no audio follows its ID3 tag".to_owned()),
        _ if head.starts_with(b"OggS") && head.len() as u64 == OGG_HEAD_LEN => {
            Unread::Unsupported("Ogg that is neither Vorbis, Opus nor Speex")
        }
        Some(_) if head.is_empty() => Unread::Broken("it is empty".to_owned()),
        Some((_, Some(format))) => Unread::Unsupported(format),
        Some((_, None)) => Unread::Broken("no audio was found in it".to_owned()),
        None => Unread::NotAudio,
    })
}

fn head(rest: &mut (impl Read + Seek), len: u64) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    rest.rewind()?;
    rest.take(len).read_to_end(&mut head)?;
    Ok(head)
}

/// The ending of a name that promises audio.
fn ending(path: &Path) -> Option<(&'static str, Option<&'static str>)> {
    let ending = path.extension()?.to_str()?;
    ENDINGS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(ending))
}

/// A file without the ID3v2 tags at its start.
struct Rest {
    reader: BufReader<File>,
    /// Offset in the file where the rest begins.
    start: u64,
}

impl Read for Rest {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

impl Seek for Rest {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        let at = match to {
            SeekFrom::Start(offset) => {
                self.reader.seek(SeekFrom::Start(offset.saturating_add(self.start)))?
            }
            SeekFrom::End(offset) => self.reader.seek(SeekFrom::End(offset))?,
            // Unlike the others this keeps what is buffered.
            SeekFrom::Current(offset) => {
                self.reader.seek_relative(offset)?;
                self.reader.stream_position()?
            }
        };
        at.checked_sub(self.start).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))
    }
}
