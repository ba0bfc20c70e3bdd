//! Tags in every order behind a sound of sevens.

use super::*;
use crate::scan::read::tags::Field;
use proptest::prelude::*;

const SOUND: usize = 300;

fn v1() -> Vec<u8> {
    let mut tag = [&b"TAG"[..], &[0; 125]].concat();
    tag[3..8].copy_from_slice(b"title");
    tag
}

fn ape() -> Vec<u8> {
    let item = [&6_u32.to_le_bytes()[..], &[0; 4], b"Artist\0artist"].concat();
    let size = item.len() as u32 + 32;
    [&item, &b"APETAGEX\xd0\x07\0\0"[..], &size.to_le_bytes(), &[1, 0, 0, 0], &[0; 12]].concat()
}

fn lyrics_2() -> Vec<u8> {
    b"LYRICSBEGININD0000200000021LYRICS200".to_vec()
}

fn lyrics_1() -> Vec<u8> {
    b"LYRICSBEGIN[00:01]abcLYRICSEND".to_vec()
}

fn extended() -> Vec<u8> {
    [&b"TAG+"[..], &[0; 223], &v1()].concat()
}

fn id3v2() -> Vec<u8> {
    let frame = b"TIT2\0\0\0\x06\0\0\x03title";
    [&b"ID3\x04\0\x10\0\0\0\x10"[..], frame, b"3DI\x04\0\x10\0\0\0\x10"].concat()
}

fn read_from(file: &[u8]) -> (Trailer, u64) {
    let mut source = Source::of(file);
    let trailer = read(&mut source, &mut Reading::default()).expect("no I/O");
    (trailer, source.len())
}

#[test]
fn tags_stand_in_any_order() {
    for (parts, has_v1, has_ape) in [
        (&[v1()][..], true, false),
        (&[ape()], false, true),
        (&[ape(), v1()], true, true),
        (&[v1(), ape()], true, true),
        (&[ape(), lyrics_2(), v1()], true, true),
        (&[lyrics_2(), ape(), v1()], true, true),
        (&[ape(), lyrics_1(), v1()], true, true),
        (&[ape(), extended()], true, true),
        (&[ape(), ape(), v1(), v1()], true, true),
        (&[id3v2()], true, false),
        (&[id3v2(), ape(), v1()], true, true),
        (&[], false, false),
    ] {
        let (trailer, len) = read_from(&[vec![7; SOUND], parts.concat()].concat());
        assert_eq!(len, SOUND as u64, "{has_v1} {has_ape}");
        assert_eq!(trailer.v1.first(Field::Title), has_v1.then_some("title"));
        assert_eq!(trailer.ape.first(Field::Artist), has_ape.then_some("artist"));
    }
}

#[test]
fn lyrics_of_a_wrong_size_are_sound() {
    let file = [&[7; SOUND][..], b"LYRICSBEGININD0000200000099LYRICS200"].concat();
    assert_eq!(read_from(&file), (Trailer::default(), file.len() as u64));
}

#[test]
fn one_read_fetches_them_all() {
    let mut source = Source::of([vec![7; 1_000_000], ape(), lyrics_2(), v1()].concat());
    read(&mut source, &mut Reading::default()).expect("no I/O");
    // The first read of a file fills the window of its head.
    assert!(source.traffic().1 <= 2, "{:?}", source.traffic());
}

proptest! {
    #[test]
    fn any_bytes_end(parts in prop::collection::vec(0_usize..7, 0..8), bytes: Vec<u8>, cut in 0..50_usize) {
        let parts = parts.into_iter().map(|part| match part {
            0 => v1(),
            1 => ape(),
            2 => lyrics_1(),
            3 => lyrics_2(),
            4 => extended(),
            5 => [id3v2(), b"000009LYRICS200".to_vec()].concat(),
            _ => bytes.clone(),
        });
        let mut file = parts.collect::<Vec<_>>().concat();
        file.truncate(file.len().saturating_sub(cut));
        let (_, len) = read_from(&file);
        prop_assert!(len <= file.len() as u64);
    }
}
