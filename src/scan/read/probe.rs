//! The format of a file. Its content decides; only MPEG audio, ADTS and AC-3 have no clear mark:
//! there the name or an ID3 tag must vouch for a frame behind junk.

use std::io;
use std::path::Path;

use super::source::{Source, WINDOW};
use super::tags::Unread;
use super::{ac3, adts, mpeg, musepack};

/// A format that has a reader.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) enum Format {
    Ac3,
    Adts,
    Aiff,
    Amr,
    Asf,
    CoreAudio,
    Dsd,
    Flac,
    Matroska,
    Midi,
    MonkeysAudio,
    Mp4,
    Mpeg,
    Musepack,
    Ogg,
    OptimFrog,
    Riff,
    SunAudio,
    Tak,
    TrueAudio,
    WavPack,
}

impl Format {
    /// Reports whether APEv2 and ID3v1 tags stand behind the sound.
    pub(super) fn has_trailer(self) -> bool {
        use Format::*;
        matches!(self, Ac3 | Adts | MonkeysAudio | Mpeg | Musepack | OptimFrog | Tak | TrueAudio | WavPack)
    }

    /// Reports whether the mark of the format is too clear for a coincidence.
    pub(super) fn is_sure(self) -> bool {
        use Format::*;
        !matches!(self, Ac3 | Adts | Matroska | Mpeg | Mp4 | Musepack | MonkeysAudio)
    }
}

/// First bytes of formats, from an offset on.
const MARKS: [(u64, &[u8], Format); 28] = [
    (0, b"fLaC", Format::Flac),
    (0, b"OggS", Format::Ogg),
    (4, b"ftyp", Format::Mp4),
    // QuickTime before ftyp existed, and files whose ftyp is behind padding.
    (4, b"moov", Format::Mp4),
    (4, b"mdat", Format::Mp4),
    (4, b"wide", Format::Mp4),
    (4, b"free", Format::Mp4),
    (4, b"skip", Format::Mp4),
    (0, b"caff", Format::CoreAudio),
    (0, b"DSD ", Format::Dsd),
    (0, b"FRM8", Format::Dsd),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", Format::Asf),
    (0, b"MThd", Format::Midi),
    (0, b"TTA1", Format::TrueAudio),
    (0, b"TTA2", Format::TrueAudio),
    (0, b"MP+", Format::Musepack),
    (0, b"MPCK", Format::Musepack),
    (0, b"MAC ", Format::MonkeysAudio),
    (0, b"MACF", Format::MonkeysAudio),
    (0, b"wvpk", Format::WavPack),
    (0, b"tBaK", Format::Tak),
    (0, b"OFR ", Format::OptimFrog),
    (0, b"\x1a\x45\xdf\xa3", Format::Matroska),
    (0, b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb\x04\xc1\x00\x00", Format::Riff),
    (0, b"ADIF", Format::Adts),
    (8, b"RMID", Format::Midi),
    (0, b".snd", Format::SunAudio),
    (0, b"#!AMR", Format::Amr),
];

/// First bytes of formats that follow an ID3 tag, by which one is found behind a tag with a wrong
/// size. The readers of other formats search themselves, or have a place for the tag.
const SEARCHED: [&[u8]; 9] =
    [b"fLaC", b"OggS", b"TTA1", b"TTA2", b"MAC ", b"MPCK", b"wvpk", b"tBaK", b"OFR "];

/// First bytes of audio formats that have no reader.
const FOREIGN: [(&[u8], &str); 3] = [(b".RMF", "RealAudio"), (b".ra\xfd", "RealAudio"), (b"ajkg", "Shorten")];

/// Endings of names that promise audio, with the format where it has no reader.
const ENDINGS: [(&str, Option<&str>); 53] = [
    ("3ga", None),
    ("aa3", Some("ATRAC")),
    ("aac", None),
    ("ac3", None),
    ("aif", None),
    ("aifc", None),
    ("aiff", None),
    ("amr", None),
    ("ape", None),
    ("asf", None),
    ("au", None),
    ("bwf", None),
    ("caf", None),
    ("dff", None),
    ("dsf", None),
    ("dts", Some("DTS")),
    ("eac3", None),
    ("ec3", None),
    ("flac", None),
    ("kar", None),
    ("m4a", None),
    ("m4b", None),
    ("m4p", None),
    ("m4r", None),
    ("mid", None),
    ("midi", None),
    ("mka", None),
    ("mp+", None),
    ("mp1", None),
    ("mp2", None),
    ("mp3", None),
    ("mpc", None),
    ("mpga", None),
    ("mpp", None),
    ("ofr", None),
    ("ofs", None),
    ("oga", None),
    ("ogg", None),
    ("opus", None),
    ("ra", Some("RealAudio")),
    ("rf64", None),
    ("rmi", None),
    ("shn", Some("Shorten")),
    ("snd", None),
    ("spx", None),
    ("tak", None),
    ("tta", None),
    ("w64", None),
    ("wav", None),
    ("wave", None),
    ("weba", None),
    ("wma", None),
    ("wv", None),
];

/// The format that a file name promises.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::scan) struct Promise(Option<(&'static str, Option<&'static str>)>);

impl Promise {
    /// Reports whether the name promises audio.
    pub(in crate::scan) fn is_audio(self) -> bool {
        self.0.is_some()
    }

    fn is(self, endings: &[&str]) -> bool {
        self.0.is_some_and(|(ending, _)| endings.contains(&ending))
    }
}

/// Returns the promise of the name at `path`.
pub(in crate::scan) fn promise(path: &Path) -> Promise {
    let ending = path.extension().and_then(|ending| ending.to_str());
    Promise(
        ending.and_then(|ending| ENDINGS.into_iter().find(|(known, _)| known.eq_ignore_ascii_case(ending))),
    )
}

/// Returns the format by content. `tagged` says that an ID3v2 tag stood in front.
///
/// # Errors
/// Those of reading.
pub(super) fn format(source: &mut Source, promise: Promise, tagged: bool) -> io::Result<Option<Format>> {
    let head = source.bytes(0, 16)?;
    for (at, mark, format) in MARKS {
        if head.get(at as usize..).is_some_and(|rest| rest.starts_with(mark)) {
            return Ok(Some(format));
        }
    }
    match (head.get(..4), head.get(8..12)) {
        (Some(b"RIFF" | b"RIFX" | b"RF64" | b"BW64"), Some(b"WAVE")) => return Ok(Some(Format::Riff)),
        (Some(b"FORM"), Some(b"AIFF" | b"AIFC")) => return Ok(Some(Format::Aiff)),
        _ => {}
    }
    let vouched_mpeg = tagged || promise.is(&["mp1", "mp2", "mp3", "mpga"]);
    let vouched_adts = tagged || promise.is(&["aac"]);
    let vouched_ac3 = promise.is(&["ac3", "eac3", "ec3"]);
    // Of two formats without a mark the reader tries the promised one first.
    let order = match vouched_adts && !tagged {
        true => [Format::Ac3, Format::Adts, Format::Mpeg],
        false => [Format::Ac3, Format::Mpeg, Format::Adts],
    };
    // A format that begins without junk comes before all results of a search.
    for searches in [false, true] {
        for format in order {
            let begins = match format {
                Format::Ac3 if searches <= vouched_ac3 => ac3::begins(source, searches)?,
                Format::Mpeg if searches <= (vouched_mpeg || vouched_adts) => mpeg::begins(source, searches)?,
                Format::Adts if searches <= (vouched_mpeg || vouched_adts) => adts::begins(source, searches)?,
                _ => false,
            };
            if begins {
                return Ok(Some(format));
            }
        }
    }
    if promise.is(&["mpc", "mp+", "mpp"]) && musepack::begins_unmarked(source)? {
        return Ok(Some(Format::Musepack));
    }
    Ok(None)
}

/// Returns the offset of one of these marks, at `from` or some KB behind.
///
/// # Errors
/// Those of reading.
pub(super) fn find_mark(source: &mut Source, from: u64) -> io::Result<Option<u64>> {
    let bytes = source.bytes(from, WINDOW)?;
    let place = bytes.windows(4).position(|bytes| SEARCHED.contains(&bytes));
    Ok(place.map(|place| from + place as u64))
}

/// Returns the reason why a file without a known format gives no song.
///
/// # Errors
/// Those of reading.
pub(super) fn why_not(source: &mut Source, promise: Promise, tagged: bool) -> io::Result<Unread> {
    let head = source.bytes(0, 8)?;
    if let Some((_, format)) = FOREIGN.iter().find(|(mark, _)| head.starts_with(mark)) {
        return Ok(Unread::Unsupported(format));
    }
    Ok(match promise.0 {
        _ if tagged => Unread::Broken("no audio follows its ID3 tag".to_owned()),
        Some(_) if head.is_empty() => Unread::Broken("it is empty".to_owned()),
        Some((_, Some(format))) => Unread::Unsupported(format),
        Some((_, None)) => Unread::Broken("no audio was found in it".to_owned()),
        None => Unread::NotAudio,
    })
}
