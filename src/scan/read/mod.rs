//! One file: whether it is audio, its playing time, and the values of its tags.
//!
//! `probe` finds the format by the content, and each format has its own reader. A reader asks
//! `source` for the bytes it needs and fills a [`Reading`]. This file reads the tags around the
//! sound of any format: ID3v2 in front, APEv2 and ID3v1 behind.

mod ac3;
mod adts;
mod aiff;
mod amr;
mod ape_tag;
mod asf;
#[cfg(test)]
mod audio_files;
mod chunks;
mod core_audio;
mod dsd;
mod flac;
mod frames;
mod id3;
mod matroska;
mod midi;
mod monkeys_audio;
mod mp4;
mod mpeg;
mod musepack;
mod names;
mod ogg;
mod optimfrog;
mod probe;
#[cfg(test)]
mod reported;
mod riff;
#[cfg(test)]
mod samples;
pub(super) mod source;
mod sun_audio;
pub(super) mod tags;
mod tak;
pub(super) mod text;
mod trailer;
mod true_audio;
mod vorbis_comment;
mod wavpack;

use std::fs::{File, Metadata, OpenOptions};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use nix::fcntl::{OFlag, PosixFadviseAdvice, posix_fadvise};

use probe::{Format, Promise};
use source::Source;
use tags::{Reading, Tags, Unread};

use crate::model::library::Stamps;

/// Version of the readers. Files that an older version read are read again.
pub(super) const READER: i64 = 1;

/// Stamps younger than this may hide a change that comes right after them.
const SETTLED_AFTER: Duration = Duration::from_secs(2);

/// The result of reading some bytes as a file, for tests that try any bytes.
#[derive(Debug)]
pub struct Trial {
    /// Length; `None` if unknown or not a song.
    pub length: Option<Duration>,
    /// Names of fields, and their values.
    pub values: Vec<(&'static str, String)>,
    /// Lost parts and the reasons; for a file that is not a song only the reason.
    pub losses: Vec<(String, String)>,
    /// Bytes that were read, and calls made for them.
    pub traffic: (u64, u64),
}

/// Reads `bytes` as a file of this name. The caller must handle a panic of a reader.
pub fn try_bytes(name: &Path, bytes: Vec<u8>) -> Trial {
    let len = bytes.len() as u64;
    let mut source = Source::new(Box::new(bytes), len);
    let outcome = read_any(&mut source, probe::promise(name));
    let (reading, refused) = match outcome {
        Ok(reading) => (reading, None),
        Err(unread) => (Reading::default(), Some((String::new(), format!("{unread:?}")))),
    };
    let losses = reading.losses.into_iter().map(|loss| (loss.what, loss.reason));
    Trial {
        length: reading.sound.length,
        losses: losses.chain(refused).collect(),
        traffic: source.traffic(),
        values: reading.tags.into_values(),
    }
}

/// The result of reading one file.
pub(super) struct Look {
    /// The stamps of the file before it was read.
    pub(super) stamps: Stamps,
    /// Whether its stamps are reliable.
    pub(super) settled: bool,
    /// The findings of the reader.
    pub(super) result: Result<Reading, Unread>,
}

/// Reads the file at `path`, with any content. A panic in a reader makes the file broken, and an
/// I/O error makes it unreachable, at any point. After an I/O error, or a change of the file
/// meanwhile, it is read a second time.
pub(super) fn look(path: &Path) -> Look {
    let (first, is_final) = look_once(path);
    if is_final { first } else { look_once(path).0 }
}

/// Reads the file, and returns whether the result is final.
fn look_once(path: &Path) -> (Look, bool) {
    let (file, stamps) = match open(path) {
        Ok(opened) => opened,
        Err(unread) => {
            let is_final = !matches!(unread, Unread::Unreachable(_));
            return (Look { stamps: Stamps::default(), settled: false, result: Err(unread) }, is_final);
        }
    };
    let now = SystemTime::now();
    let len = u64::try_from(stamps.size).unwrap_or(0);
    let result = read_source(&mut Source::new(Box::new(file.clone()), len), probe::promise(path));
    let is_same = file.metadata().is_ok_and(|after| stamps_of(&after) == stamps);
    let is_final = is_same && !matches!(result, Err(Unread::Unreachable(_)));
    (Look { stamps, settled: is_same && is_settled(&stamps, now), result }, is_final)
}

fn open(path: &Path) -> Result<(Arc<File>, Stamps), Unread> {
    // A pipe that replaced a file since the listing must not block the scan.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let open = |flags: OFlag| OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    // Reading should not even write the time of access; only the owner may ask for that.
    let file = match open(flags | OFlag::O_NOATIME) {
        Err(error) if error.raw_os_error() == Some(nix::libc::EPERM) => open(flags)?,
        opened => opened?,
    };
    // Without this advice the kernel fetches much more than the windows.
    let _ = posix_fadvise(&file, 0, 0, PosixFadviseAdvice::POSIX_FADV_RANDOM);
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(Unread::Special);
    }
    Ok((Arc::new(file), stamps_of(&found)))
}

/// Returns the stamps of a file.
pub(super) fn stamps_of(found: &Metadata) -> Stamps {
    let nanos = |seconds: i64, nanos: i64| seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
    Stamps {
        size: i64::try_from(found.size()).unwrap_or(i64::MAX),
        mtime_ns: nanos(found.mtime(), found.mtime_nsec()),
        ctime_ns: nanos(found.ctime(), found.ctime_nsec()),
        ino: found.ino().cast_signed(),
    }
}

/// Reports whether a change after `now` is sure to give other stamps. The clock of a file system
/// advances in steps, so a change right after the last one may keep its stamp.
fn is_settled(stamps: &Stamps, now: SystemTime) -> bool {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let limit = i64::try_from(now.saturating_sub(SETTLED_AFTER).as_nanos()).unwrap_or(i64::MAX);
    stamps.ctime_ns < limit
}

/// Reads a file whose name promises `promise`.
pub(super) fn read_source(source: &mut Source, promise: Promise) -> Result<Reading, Unread> {
    let outcome = catch_unwind(AssertUnwindSafe(|| read_any(source, promise))).unwrap_or_else(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str);
        let said = said.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(Unread::Broken(format!("its reader failed: {said}")))
    });
    match source.take_error() {
        Some(error) => Err(Unread::Unreachable(error)),
        None => outcome,
    }
}

fn read_any(source: &mut Source, promise: Promise) -> Result<Reading, Unread> {
    let mut reading = Reading::default();
    let (front, tagged) = read_front(source, &mut reading)?;
    let Some(format) = probe::format(source, promise, tagged)? else {
        return Err(probe::why_not(source, promise, tagged)?);
    };
    let behind = match format.has_trailer() {
        true => trailer::read(source, &mut reading)?,
        false => trailer::Trailer::default(),
    };
    match read_format(format, source, &mut reading, promise) {
        Ok(()) => {}
        Err(Unread::Broken(_)) if !(promise.is_audio() || tagged || format.is_sure()) => {
            return Err(Unread::NotAudio);
        }
        Err(other) => return Err(other),
    }
    for tags in in_order(format, front, behind) {
        reading.tags.fill_from(tags);
    }
    let weak = std::mem::take(&mut reading.weak);
    reading.tags.fill_from(weak);
    Ok(reading)
}

/// Reads the ID3v2 tags in front of the sound, and an APEv2 tag that is there by mistake, and
/// removes them from the view. Returns whether there was one.
fn read_front(source: &mut Source, reading: &mut Reading) -> Result<(Tags, bool), Unread> {
    let mut tags = Tags::default();
    let mut tagged = false;
    loop {
        let (found, end) = match id3::read_v2(source, 0, reading)? {
            Some(tag) => (tag.tags, tag.end),
            None => match ape_tag::read_at_start(source, reading)? {
                Some(tag) => tag,
                None => return Ok((tags, tagged)),
            },
        };
        tags.fill_from(found);
        tagged = true;
        let len = source.len();
        source.narrow(end, len);
    }
}

/// Returns the tags around the sound, the most capable kind first.
fn in_order(format: Format, front: Tags, behind: trailer::Trailer) -> [Tags; 3] {
    match format {
        Format::MonkeysAudio | Format::Musepack | Format::WavPack | Format::Tak | Format::OptimFrog => {
            [behind.ape, front, behind.v1]
        }
        _ => [front, behind.ape, behind.v1],
    }
}

fn read_format(
    format: Format,
    source: &mut Source,
    reading: &mut Reading,
    promise: Promise,
) -> Result<(), Unread> {
    match format {
        Format::Ac3 => ac3::read(source, reading),
        Format::Adts => adts::read(source, reading),
        Format::Aiff => aiff::read(source, reading),
        Format::Amr => amr::read(source, reading),
        Format::Asf => asf::read(source, reading),
        Format::CoreAudio => core_audio::read(source, reading),
        Format::Dsd => dsd::read(source, reading),
        Format::Flac => flac::read(source, reading),
        Format::Matroska => matroska::read(source, reading, promise.is_audio()),
        Format::Midi => midi::read(source, reading),
        Format::MonkeysAudio => monkeys_audio::read(source, reading),
        Format::Mp4 => mp4::read(source, reading),
        Format::Mpeg => mpeg::read(source, reading),
        Format::Musepack => musepack::read(source, reading),
        Format::Ogg => ogg::read(source, reading),
        Format::OptimFrog => optimfrog::read(source, reading),
        Format::Riff => riff::read(source, reading),
        Format::SunAudio => sun_audio::read(source, reading),
        Format::Tak => tak::read(source, reading),
        Format::TrueAudio => true_audio::read(source, reading),
        Format::WavPack => wavpack::read(source, reading),
    }
}
