//! ID3v1: 128 bytes behind the sound.

use std::io;

use crate::scan::genre;
use crate::scan::read::source::Source;
use crate::scan::read::tags::{Field, Reading, Tags};
use crate::scan::read::text::{self, Encoding};

/// Bytes of an ID3v1 tag.
pub(in crate::scan::read) const V1_LEN: u64 = 128;

/// Reads the ID3v1 tag at the end of the view; `None` when there is none.
///
/// # Errors
/// Those of reading.
pub(in crate::scan::read) fn read_v1(source: &mut Source) -> io::Result<Option<Tags>> {
    let Some(at) = source.len().checked_sub(V1_LEN) else { return Ok(None) };
    Ok(parse(source.bytes(at, V1_LEN as usize)?))
}

fn parse(tag: &[u8]) -> Option<Tags> {
    let fields = tag.strip_prefix(b"TAG").filter(|fields| fields.len() == 125)?;
    let mut reading = Reading::default();
    for (field, from, to) in
        [(Field::Title, 0, 30), (Field::Artist, 30, 60), (Field::Album, 60, 90), (Field::Date, 90, 94)]
    {
        let value = fields[from..to].split(|byte| *byte == 0).next().unwrap_or_default().trim_ascii();
        if !value.is_empty() {
            reading.push(field, &text::decode(value, Encoding::Latin1).0);
        }
    }
    // Version 1.1 took the last two bytes of the comment for a zero and the track number.
    if fields[122] == 0 && fields[123] != 0 {
        reading.push(Field::Track, &fields[123].to_string());
    }
    if fields[124] != 255 {
        reading.push(Field::Genre, genre::name(fields[124].into()));
    }
    Some(reading.tags)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v1(comment_end: [u8; 2], genre: u8) -> Vec<u8> {
        let mut tag = vec![0; 128];
        tag[..3].copy_from_slice(b"TAG");
        tag[3..8].copy_from_slice(b" abc ");
        tag[33] = 0xe9;
        tag[93..97].copy_from_slice(b"1998");
        tag[97..125].copy_from_slice(&[b'c'; 28]);
        tag[125..127].copy_from_slice(&comment_end);
        tag[127] = genre;
        tag
    }

    #[test]
    fn version_1_at_the_end_of_a_file() {
        let file = [&[1; 500][..], &v1([0, 7], 17)].concat();
        let tags = read_v1(&mut Source::of(file)).expect("no I/O").expect("a tag");
        let first = |field| tags.first(field);
        assert_eq!((first(Field::Title), first(Field::Artist)), (Some("abc"), Some("\u{e9}")));
        assert_eq!((first(Field::Album), first(Field::Date)), (None, Some("1998")));
        assert_eq!((first(Field::Track), first(Field::Genre)), (Some("7"), Some("Rock")));
        let old = parse(&v1(*b"cs", 255)).expect("a tag");
        assert_eq!((old.first(Field::Track), old.first(Field::Genre)), (None, None));
        let odd = parse(&v1([0, 0], 200));
        assert_eq!(odd.as_ref().and_then(|tags| tags.first(Field::Genre)), Some("Unknown"));
        for none in [&b"TAG"[..], &[0; 128], b""] {
            assert_eq!(read_v1(&mut Source::of(none)).expect("no I/O"), None);
        }
    }
}
