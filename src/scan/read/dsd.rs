//! One-bit sound: Sony's DSF, with an ID3 tag at its end, and Philips' DSDIFF, whose sound
//! may be packed (DST).

use std::io;
use std::time::Duration;

use super::chunks::{self, Chunk, Chunks, Layout, number, number16, number32, read_text};
use super::source::Source;
use super::tags::{Field, Reading, Unread};
use super::text::ByteOrder;

/// Bytes of the first chunk of DSF.
const DSF_HEAD_LEN: u64 = 28;
/// Bytes of the body of DSF's `fmt `.
const DSF_FORMAT_LEN: u64 = 40;
/// Bytes in front of the first chunk of DSDIFF.
const DSDIFF_HEAD_LEN: u64 = 16;
/// Bytes of an entry of the index of packed frames.
const INDEX_ENTRY_LEN: u64 = 12;
/// Packed frames in a second, as all known files have.
const FRAMES_PER_SECOND: u16 = 75;
/// Most packed frames from which the number of all is estimated.
const FRAMES_MAX: u64 = 500;
/// Explanation of the length if the sound is shorter than stated.
const COUNTED: &str = "its number of samples is wrong: they are counted by their bytes";

pub(super) fn read(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    match source.bytes(0, 4)? {
        b"DSD " => read_dsf(source, reading),
        _ => read_dsdiff(source, reading),
    }
}

fn read_dsf(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let head = source.bytes(0, DSF_HEAD_LEN as usize)?;
    let pointer = number(head, 20, 8, ByteOrder::Little);
    let mut chunks = Chunks::new(Layout::DSF, DSF_HEAD_LEN, source.len());
    let (mut format, mut data) = (None, None);
    while data.is_none() {
        let wanted: &[u8] = if format.is_none() { b"fmt " } else { b"data" };
        let Some(chunk) = chunks.next_or_find(source, reading, Some(wanted))? else { break };
        match chunk.name() {
            b"fmt " => format = Some(chunk.bytes(source, DSF_FORMAT_LEN)?.to_vec()),
            b"data" => data = Some(chunk),
            _ => {}
        }
    }
    let (Some(format), Some(data)) = (format, data) else {
        return Err(Unread::Broken("its fmt or its data chunk is missing".to_owned()));
    };
    let (channels, rate) =
        (number32(&format, 12, ByteOrder::Little), number32(&format, 16, ByteOrder::Little));
    let stated = number(&format, 24, 8, ByteOrder::Little);
    let there = (data.len() * 8).checked_div(channels.into());
    if there.is_some_and(|there| stated == 0 || stated > there) {
        reading.guess = Some(COUNTED);
    }
    let samples = there.filter(|there| stated == 0 || stated > *there).unwrap_or(stated);
    describe(reading, "dsd", channels, rate);
    measure(reading, samples, rate);
    read_dsf_tag(source, pointer, &data, reading)?;
    Ok(())
}

/// Reads the tag behind the sound of DSF: at the stated offset, else right behind the sound.
fn read_dsf_tag(source: &mut Source, pointer: u64, data: &Chunk, reading: &mut Reading) -> io::Result<()> {
    let end = source.len();
    let found = pointer > 0 && pointer < end && chunks::read_id3(source, pointer, end, reading)?;
    let found = found || (pointer != data.to && chunks::read_id3(source, data.to, end, reading)?);
    if !found && pointer > 0 {
        reading.lose("ID3 tag", format!("there is none at byte {pointer}, where the head points to"));
    }
    Ok(())
}

/// The fields of DSDIFF's property chunk.
#[derive(Debug, Clone, Copy)]
struct Properties {
    rate: u32,
    channels: u16,
    /// How the sound is packed; its chunk has that name.
    packing: [u8; 4],
}

impl Default for Properties {
    fn default() -> Properties {
        Properties { rate: 0, channels: 0, packing: *b"DSD " }
    }
}

fn read_dsdiff(source: &mut Source, reading: &mut Reading) -> Result<(), Unread> {
    let mut chunks = Chunks::new(Layout::DSDIFF, DSDIFF_HEAD_LEN, source.len());
    let (mut properties, mut sound) = (None, None);
    loop {
        let wanted = match (&properties, &sound) {
            (None, _) => Some(*b"PROP"),
            (Some(Properties { packing, .. }), None) => Some(*packing),
            _ => None,
        };
        let wanted = wanted.as_ref().map(|name| &name[..]);
        let Some(chunk) = chunks.next_or_find(source, reading, wanted)? else { break };
        match chunk.name() {
            b"PROP" if properties.is_none() => {
                properties = Some(read_properties(&chunk, source, reading)?);
                // The packing has the same name as the chunk of the sound.
                chunks.search_from(chunk.to);
            }
            b"DSD " | b"DST " if sound.is_none() => sound = Some(chunk),
            b"DSTI" => {
                let frames = chunk.len() / INDEX_ENTRY_LEN;
                set_frames(reading, frames, FRAMES_PER_SECOND);
            }
            b"DIIN" => read_edited_master(&chunk, source, reading)?,
            b"ID3 " | b"id3 " => {
                chunks::read_id3(source, chunk.from, chunk.to, reading)?;
            }
            _ => {}
        }
    }
    let Some(sound) = sound else {
        return Err(Unread::Broken("it has no sound: its DSD or DST chunk is missing".to_owned()));
    };
    let Properties { rate, channels, .. } = properties.unwrap_or_default();
    if sound.name() == b"DST " {
        describe(reading, "dst", channels.into(), rate);
        measure_packed(&sound, source, reading)?;
    } else {
        describe(reading, "dsd", channels.into(), rate);
        match (sound.len() * 8).checked_div(channels.into()) {
            Some(samples) => measure(reading, samples, rate),
            None => reading.lose("length", "it does not state its channels"),
        }
        if sound.is_cut() && reading.sound.length.is_some() {
            reading.guess = Some(COUNTED);
        }
    }
    Ok(())
}

fn read_properties(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<Properties> {
    let mut properties = Properties::default();
    let mut inner = Chunks::new(Layout::DSDIFF, chunk.from + 4, chunk.to);
    while let Some(part) = inner.next(source, reading)? {
        match part.name() {
            b"FS  " => properties.rate = number32(part.bytes(source, 4)?, 0, ByteOrder::Big),
            b"CHNL" => properties.channels = number16(part.bytes(source, 2)?, 0, ByteOrder::Big),
            b"CMPR" if part.bytes(source, 4)? == b"DST " => properties.packing = *b"DST ",
            _ => {}
        }
    }
    Ok(properties)
}

/// Reads the names in `DIIN`: each is a length and a text.
fn read_edited_master(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    let mut inner = Chunks::new(Layout::DSDIFF, chunk.from, chunk.to);
    while let Some(part) = inner.next(source, reading)? {
        let field = match part.name() {
            b"DITI" => Field::Title,
            b"DIAR" => Field::Artist,
            _ => continue,
        };
        let stated = number32(part.bytes(source, 4)?, 0, ByteOrder::Big);
        let from = (part.from + 4).min(part.to);
        let to = (from + u64::from(stated)).min(part.to);
        if part.is_cut() || u64::from(stated) > to - from {
            reading.lose(field.name(), format!("it claims {stated} bytes, of which {} are there", to - from));
        }
        read_text(source, (from, to), field, reading)?;
    }
    Ok(())
}

/// Finds the length of packed sound: by its head, its index, or its first frames.
fn measure_packed(sound: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    let mut frames = Chunks::new(Layout::DSDIFF, sound.from, sound.to);
    let (mut seen, mut seen_to, mut per_second) = (0, sound.from, FRAMES_PER_SECOND);
    while seen < FRAMES_MAX {
        let Some(part) = frames.next(source, reading)? else { break };
        match part.name() {
            b"FRTE" => {
                let head = part.bytes(source, 6)?;
                let stated = number32(head, 0, ByteOrder::Big);
                per_second = match number16(head, 4, ByteOrder::Big) {
                    0 => FRAMES_PER_SECOND,
                    rate => rate,
                };
                if stated > 0 && !sound.is_cut() {
                    set_frames(reading, stated.into(), per_second);
                    return Ok(());
                }
            }
            b"DSTF" => (seen, seen_to) = (seen + 1, part.to),
            _ => {}
        }
        if seen > 0 && reading.sound.length.is_some() && !sound.is_cut() {
            return Ok(());
        }
    }
    if seen == 0 && reading.sound.length.is_none() {
        reading.lose("length", "neither the head of the packed sound nor its index tells it");
    } else if seen > 0 {
        let whole = (sound.len() as f64 * seen as f64 / (seen_to - sound.from) as f64) as u64;
        set_frames(reading, whole, per_second);
        reading.guess = Some("the length is guessed from the size of the first packed frames");
    }
    Ok(())
}

fn set_frames(reading: &mut Reading, frames: u64, per_second: u16) {
    reading.sound.length = Duration::try_from_secs_f64(frames as f64 / f64::from(per_second)).ok();
}

fn describe(reading: &mut Reading, codec: &'static str, channels: u32, rate: u32) {
    let sound = &mut reading.sound;
    (sound.codec, sound.sample_rate, sound.bit_depth) = (codec, rate, 1);
    sound.channels = u16::try_from(channels).unwrap_or(0);
    if codec == "dsd" {
        sound.bit_rate = rate.saturating_mul(channels);
    }
}

fn measure(reading: &mut Reading, samples: u64, rate: u32) {
    reading.set_samples(samples, rate);
    if rate == 0 {
        reading.lose("length", "its sample rate is 0");
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const DSF: Layout = Layout::DSF;
    const DFF: Layout = Layout::DSDIFF;
    const RATE: u32 = 2_822_400;

    /// DSF in stereo with a stated number of samples and a real number of bytes; `pointer` is that
    /// of the tag.
    fn dsf(rate: u32, channels: u32, samples: u64, bytes: usize, pointer: u64) -> Vec<u8> {
        let head = DSF.chunk(b"DSD ", &[0_u64, pointer].map(u64::to_le_bytes).concat());
        let numbers = [1, 0, 2, channels, rate, 1].map(u32::to_le_bytes).concat();
        let format = [&numbers[..], &samples.to_le_bytes(), &[0; 8]].concat();
        [head, DSF.chunk(b"fmt ", &format), DSF.chunk(b"data", &vec![0x69; bytes])].concat()
    }

    fn properties(rate: u32, channels: u16) -> Vec<u8> {
        let parts = [
            b"SND ".to_vec(),
            DFF.chunk(b"FS  ", &rate.to_be_bytes()),
            DFF.chunk(b"CHNL", &[&channels.to_be_bytes()[..], b"SLFTSRGT"].concat()),
            DFF.chunk(b"CMPR", b"DSD \x0fnot compressed"),
        ];
        DFF.chunk(b"PROP", &parts.concat())
    }

    fn dff(chunks: &[Vec<u8>]) -> Vec<u8> {
        let head = [&b"FRM8\0\0\0\0\0\0\0\0DSD "[..], &DFF.chunk(b"FVER", &[1, 5, 0, 0])].concat();
        [head, chunks.concat()].concat()
    }

    fn read_file(file: Vec<u8>) -> Result<Reading, Unread> {
        let mut reading = Reading::default();
        read(&mut Source::of(file), &mut reading).map(|()| reading)
    }

    fn seconds(reading: &Reading) -> Option<f64> {
        reading.sound.length.map(|length| length.as_secs_f64())
    }

    #[test]
    fn the_length_of_dsf_is_that_of_the_samples_that_are_there() {
        for (rate, channels, samples, bytes, due, guessed) in [
            (RATE, 2, 1_411_200, 352_800, Some(0.5), false),
            (RATE, 2, 1_400_000, 352_800, Some(1_400_000.0 / 2_822_400.0), false),
            (RATE, 2, u64::MAX, 352_800, Some(0.5), true),
            (RATE, 2, 0, 352_800, Some(0.5), true),
            (RATE, 0, 1_411_200, 352_800, Some(0.5), false),
            (0, 2, 1_411_200, 352_800, None, false),
        ] {
            let reading = read_file(dsf(rate, channels, samples, bytes, 0)).unwrap();
            let length = seconds(&reading);
            assert!(
                length.zip(due).map_or(length == due, |(a, b)| (a - b).abs() < 1e-6),
                "{length:?} {due:?}"
            );
            assert_eq!((reading.guess.is_some(), reading.losses.is_empty()), (guessed, due.is_some()));
            assert_eq!((reading.sound.codec, reading.sound.channels), ("dsd", channels as u16));
        }
        let reading = read_file(dsf(RATE, 2, 1_411_200, 352_800, 1 << 40)).unwrap();
        assert_eq!((seconds(&reading), &*reading.losses[0].what), (Some(0.5), "ID3 tag"));
        for len in [0, 28, 70] {
            let cut = dsf(RATE, 2, 1000, 1000, 0)[..len].to_vec();
            assert!(matches!(read_file([b"DSD ".to_vec(), cut].concat()), Err(Unread::Broken(_))));
        }
    }

    /// A tag of version 2.3 with a title.
    fn id3() -> Vec<u8> {
        b"ID3\x03\0\0\0\0\0\x10TIT2\0\0\0\x06\0\0\0Title".to_vec()
    }

    #[test]
    fn id3_tags_are_read_where_they_are() {
        let sound_end = dsf(RATE, 2, 1000, 1000, 0).len() as u64;
        for pointer in [0, 5, sound_end, sound_end + 9, u64::MAX] {
            let reading = read_file([dsf(RATE, 2, 1000, 1000, pointer), id3()].concat()).unwrap();
            assert_eq!(reading.tags.first(Field::Title), Some("Title"), "{pointer}");
            assert_eq!(reading.losses, []);
        }
        let behind = [properties(RATE, 2), DFF.chunk(b"DSD ", &[0x69; 100]), DFF.chunk(b"ID3 ", &id3())];
        assert_eq!(read_file(dff(&behind)).unwrap().tags.first(Field::Title), Some("Title"));
    }

    #[test]
    fn names_and_length_of_dsdiff_are_read() {
        let text = |text: &[u8]| [&(text.len() as u32).to_be_bytes()[..], text].concat();
        let names = [DFF.chunk(b"DIAR", &text(b"Artist")), DFF.chunk(b"DITI", &text(b"caf\xe9"))].concat();
        let sound = DFF.chunk(b"DSD ", &[0x69; 352_800]);
        for chunks in [
            [properties(RATE, 2), sound.clone(), DFF.chunk(b"DIIN", &names)],
            [DFF.chunk(b"DIIN", &names), properties(RATE, 2), sound.clone()],
        ] {
            let reading = read_file(dff(&chunks)).unwrap();
            assert_eq!((seconds(&reading), reading.guess), (Some(0.5), None));
            assert_eq!(reading.weak.first(Field::Artist), Some("Artist"));
            assert_eq!(reading.weak.first(Field::Title), Some("caf\u{fffd}"));
            assert_eq!((reading.losses.len(), reading.sound.bit_rate), (1, 5_644_800));
        }
        let open = [DFF.head(b"DSD ", u64::MAX), vec![0x69; 352_800]].concat();
        let reading = read_file(dff(&[properties(RATE, 2), open])).unwrap();
        assert_eq!((seconds(&reading), reading.guess), (Some(0.5), Some(COUNTED)));
        let lies = DFF.chunk(b"DIIN", &DFF.chunk(b"DITI", b"\xff\xff\xff\xffTitle"));
        let reading = read_file(dff(&[properties(RATE, 0), sound, lies])).unwrap();
        assert_eq!((seconds(&reading), reading.losses.len()), (None, 2));
        assert_eq!(reading.weak.first(Field::Title), Some("Title"));
        assert!(matches!(read_file(dff(&[properties(RATE, 2)])), Err(Unread::Broken(_))));
        // A tag that claims all the rest hides no sound.
        for lies in [b"ID3 ", b"DIIN"].map(|name| [DFF.head(name, 1 << 40), b"TAG DSD ".to_vec()].concat()) {
            let sound = DFF.chunk(b"DSD ", &[0x69; 352_800]);
            let reading = read_file(dff(&[properties(RATE, 2), lies, sound])).unwrap();
            assert_eq!((seconds(&reading), reading.losses.is_empty()), (Some(0.5), false));
        }
    }

    #[test]
    fn packed_sound_tells_its_length_in_one_of_three_ways() {
        let rate = |frames: u32| DFF.chunk(b"FRTE", &[&frames.to_be_bytes()[..], &[0, 75]].concat());
        let frames =
            |count| [DFF.chunk(b"DSTF", &[7; 101]), DFF.chunk(b"DSTC", &[0; 4])].concat().repeat(count);
        let index = DFF.chunk(b"DSTI", &[0; 12 * 300]);
        let cut = [DFF.head(b"DST ", 1 << 40), rate(9000), frames(150)].concat();
        for (chunks, due, guessed, losses) in [
            (vec![DFF.chunk(b"DST ", &[rate(150), frames(3)].concat())], Some(2), false, 0),
            (vec![DFF.chunk(b"DST ", &[rate(0), frames(150)].concat()), index.clone()], Some(4), false, 0),
            (vec![DFF.chunk(b"DST ", &[rate(0), frames(1500)].concat())], Some(20), true, 0),
            (vec![DFF.chunk(b"DST ", &frames(150))], Some(2), true, 0),
            (vec![cut], Some(2), true, 0),
            (vec![DFF.chunk(b"DST ", &rate(0))], None, false, 1),
        ] {
            let reading = read_file(dff(&[properties(RATE, 2), chunks.concat()])).unwrap();
            assert_eq!(seconds(&reading).map(|length| length.round() as u32), due);
            assert_eq!((reading.guess.is_some(), reading.losses.len()), (guessed, losses), "{due:?}");
            assert_eq!(reading.sound.codec, "dst");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_end(bytes in prop::collection::vec(any::<u8>(), 0..200), at in 0..200_usize) {
            let dff = dff(&[properties(RATE, 2), DFF.chunk(b"DST ", &bytes), DFF.chunk(b"DIIN", &bytes)]);
            for mut file in [dsf(RATE, 2, 1000, 100, 192), dff] {
                let end = (at + bytes.len()).min(file.len());
                file.splice(at.min(end)..end, bytes.clone());
                let _ = read_file(file);
            }
        }
    }
}
