//! Sound that is a chain of frames, each with a header that states its length: MPEG audio, ADTS and
//! AC-3. A header is a few bits that random data can hold too, so that only headers that lead to
//! each other count.

use std::io;
use std::time::Duration;

use super::source::{Source, WINDOW};
use super::tags::Reading;

/// The distance within which the first frame may follow junk; mutagen searches as far.
pub(super) const JUNK_MAX: u64 = 1 << 20;
/// Length of a chain of frames that is no coincidence.
const ENOUGH: usize = 4;
/// Length of a chain that counts as sound if no longer one is found.
const FEW: usize = 2;
/// Most bytes that look like the start of a frame without being one, in a walk over all frames.
const TRIES_MAX: usize = 16 << 20;
/// Bytes that are fetched at once to walk over all frames.
const BULK: usize = 4 * WINDOW;
/// No frame of these formats is longer than this, including the header of the next frame.
const REACH: usize = 9 * 1024;
/// Places of a file where bit rates are compared, besides its end.
const PROBES: u64 = 4;

/// The fields of a frame header.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Bytes of the frame, its header included; never 0.
    pub(super) len: usize,
    /// Samples that the frame adds to the length.
    pub(super) samples: u32,
    /// Samples per second.
    pub(super) sample_rate: u32,
    /// Bits per second; 0 if the header does not state it.
    pub(super) bit_rate: u32,
    pub(super) channels: u16,
    /// The fields that all frames of one stream share, as a number.
    pub(super) kind: u32,
    /// Whether the frame has a mark that is no coincidence.
    pub(super) is_sure: bool,
}

/// Reads the frame that begins where the bytes begin. The bytes may end early.
pub(super) type Parse = fn(&[u8]) -> Option<Frame>;

/// A frame, and where it begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) at: u64,
    pub(super) frame: Frame,
}

/// Returns the first frame, at most `junk_max` bytes behind the start of the view.
///
/// # Errors
/// Those of reading.
pub(super) fn find(source: &mut Source, junk_max: u64, parse: Parse) -> io::Result<Option<Found>> {
    // Behind a short ID3 tag these bytes were read together with it.
    let head = source.bytes(0, WINDOW / 2)?;
    if let Some(frame) = parse(head)
        && chain(head, parse) >= ENOUGH
    {
        return Ok(Some(Found { at: 0, frame }));
    }
    let mut few = None;
    let mut from = 0;
    while from < junk_max.min(source.len()) {
        let bytes = source.vec(from, 2 * WINDOW as u64, 2 * WINDOW)?;
        for offset in 0..bytes.len().min(WINDOW) {
            let Some(frame) = parse(&bytes[offset..]) else { continue };
            let found = Found { at: from + offset as u64, frame };
            match chain(&bytes[offset..], parse) {
                ENOUGH.. => return Ok(Some(found)),
                FEW.. => few = few.or(Some(found)),
                _ => {}
            }
        }
        from += WINDOW as u64;
    }
    Ok(few)
}

/// Returns the number of frames of one stream that follow each other from the start of `bytes`, at
/// most [`ENOUGH`]. A chain that reaches the end is long enough if it ends there exactly or has
/// [`FEW`] frames.
fn chain(bytes: &[u8], parse: Parse) -> usize {
    let Some(first) = parse(bytes) else { return 0 };
    if first.is_sure {
        return ENOUGH;
    }
    let (mut count, mut at) = (0, 0);
    while let Some(frame) = bytes.get(at..).and_then(parse)
        && frame.kind == first.kind
        && count < ENOUGH
    {
        count += 1;
        at += frame.len;
    }
    let ends = at == bytes.len() || (at > bytes.len() && count >= FEW);
    if ends { ENOUGH } else { count }
}

/// The result of a walk over all frames.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(super) struct Count {
    pub(super) samples: u64,
    /// Bytes of the frames, without the bytes between them.
    pub(super) bytes: u64,
    /// Whether the walk ended early, because too many bytes are not frames.
    is_cut: bool,
}

/// Walks over all frames of the kind of `first`, which may lie apart. Reads the view once.
///
/// # Errors
/// Those of reading.
pub(super) fn count(source: &mut Source, first: Found, parse: Parse) -> io::Result<Count> {
    let mut count = Count::default();
    let (mut base, mut bytes) = (first.at, Vec::new());
    let (mut at, mut in_step, mut tries) = (first.at, true, 0);
    let mark = source.bytes(first.at, 1)?.first().copied().unwrap_or(0);
    while at < source.len() {
        let buffered = base + bytes.len() as u64;
        if at + REACH as u64 > buffered && buffered < source.len() {
            // The bytes of the next frame that are present are not read again.
            bytes.drain(..usize::try_from(at - base).unwrap_or(usize::MAX).min(bytes.len()));
            base = at;
            let next = at + bytes.len() as u64;
            bytes.extend(source.vec(next, BULK as u64, BULK)?);
        }
        let rest = usize::try_from(at - base).ok().and_then(|offset| bytes.get(offset..)).unwrap_or_default();
        if rest.is_empty() {
            break;
        }
        let frame = parse(rest).filter(|frame| frame.kind == first.frame.kind);
        // A cut last frame counts: players play it.
        match frame.filter(|_| in_step || chain(rest, parse) >= FEW) {
            Some(frame) => {
                count.samples += u64::from(frame.samples);
                count.bytes += frame.len.min(rest.len()) as u64;
                at += frame.len as u64;
                in_step = true;
            }
            None => {
                tries += 1;
                if tries > TRIES_MAX {
                    count.is_cut = true;
                    break;
                }
                // All frames of a stream begin with the same byte. Bytes without it hold no frame:
                // unfinished downloads have holes of many MB.
                at += match rest[1..].contains(&mark) {
                    true => rest[1..].iter().take_while(|byte| **byte != mark).count() as u64 + 1,
                    false => rest.len() as u64,
                };
                in_step = false;
            }
        }
    }
    Ok(count)
}

/// Reports whether a sample of frames all have the bit rate of `first`.
///
/// # Errors
/// Those of reading.
pub(super) fn has_one_bit_rate(source: &mut Source, first: Found, parse: Parse) -> io::Result<bool> {
    let len = source.len() - first.at;
    let tail = source.len().saturating_sub(WINDOW as u64).max(first.at);
    for at in (0..PROBES).map(|part| first.at + len / PROBES * part).chain([tail]) {
        let bytes = source.bytes(at.min(tail), WINDOW)?;
        let fits = |frame: &Frame| frame.kind == first.frame.kind;
        let mut offset = 0;
        let mut in_step = false;
        while let Some(rest) = bytes.get(offset..).filter(|rest| !rest.is_empty()) {
            match parse(rest).filter(fits).filter(|_| in_step || chain(rest, parse) >= ENOUGH) {
                Some(frame) if frame.bit_rate != first.frame.bit_rate => return Ok(false),
                Some(frame) => (offset, in_step) = (offset + frame.len, true),
                None => (offset, in_step) = (offset + 1, false),
            }
        }
    }
    Ok(true)
}

/// States the length of a stream that begins with `first` and has no index: from its size
/// if it has one bit rate, else by walking over it.
///
/// # Errors
/// Those of reading.
pub(super) fn guess(
    source: &mut Source,
    reading: &mut Reading,
    first: Found,
    parse: Parse,
) -> io::Result<()> {
    let bit_rate = first.frame.bit_rate;
    if bit_rate > 0 && has_one_bit_rate(source, first, parse)? {
        reading.sound.length = duration(source.len() - first.at, bit_rate);
        reading.sound.bit_rate = bit_rate;
        reading.guess = Some("from its size and bit rate");
        return Ok(());
    }
    let count = count(source, first, parse)?;
    reading.set_samples(count.samples, first.frame.sample_rate);
    reading.sound.bit_rate = bit_rate_of(count.bytes, reading.sound.length);
    reading.guess = Some("by counting its frames");
    if count.is_cut {
        reading.lose("length", format!("more than {TRIES_MAX} bytes are no sound; the rest is not counted"));
    }
    Ok(())
}

/// Returns the time that `bytes` play at a bit rate.
pub(super) fn duration(bytes: u64, bit_rate: u32) -> Option<Duration> {
    let nanos = (u128::from(bytes) * 8_000_000_000).checked_div(u128::from(bit_rate))?;
    u64::try_from(nanos).ok().map(Duration::from_nanos)
}

/// Bits per second of `bytes` that play for a time; 0 where that is unknown.
pub(super) fn bit_rate_of(bytes: u64, length: Option<Duration>) -> u32 {
    let millis = length.map_or(0, |length| length.as_millis());
    let rate = (u128::from(bytes) * 8000).checked_div(millis).unwrap_or(0);
    u32::try_from(rate).unwrap_or(u32::MAX)
}

/// States the length and bit rate of a file of `bytes`, from the number of samples per channel and
/// the rate in its header. Without one of them the length is lost.
pub(super) fn state(reading: &mut Reading, samples: u64, rate: u32, bytes: u64) {
    reading.sound.sample_rate = rate;
    match (samples, rate) {
        (_, 0) => reading.lose("length", "its header states no sample rate"),
        (0, _) => reading.lose("length", "its header states no samples"),
        _ => reading.set_samples(samples, rate),
    }
    reading.sound.bit_rate = bit_rate_of(bytes, reading.sound.length);
}

#[cfg(test)]
mod tests;
