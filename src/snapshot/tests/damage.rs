//! Damaged and hostile bytes are refused, or read without a panic.

use proptest::prelude::*;
use proptest::sample::Index;
use xxhash_rust::xxh3::Xxh3;
use zerocopy::{FromBytes, IntoBytes};

use super::model::collection;
use super::questions::question;
use super::*;
use crate::model::Named;
use crate::snapshot::open::reader;

proptest! {
    #![proptest_config(crate::chance::cases(300))]

    #[test]
    fn any_changed_byte_is_refused(collection in collection(), at in any::<Index>(), mask in 1..=255_u8) {
        let mut bytes = snapshot_bytes(&collection);
        let at = at.index(bytes.len());
        bytes[at] ^= mask;
        prop_assert!(Snapshot::open(&bytes, Verify::Full).is_err());
    }

    /// Checks that hostile bytes with the right checksum and hash are refused, or answered without a panic.
    #[test]
    fn forged_bytes_are_never_read_out_of_bounds(
        collection in collection(),
        changes in prop::collection::vec((any::<Index>(), any::<u8>()), 1..6),
        questions in prop::collection::vec(question(), 1..6),
    ) {
        let mut bytes = snapshot_bytes(&collection);
        for (at, byte) in changes {
            let at = format::HEADER_LEN + at.index(bytes.len() - format::HEADER_LEN);
            bytes[at] = byte;
        }
        sign(&mut bytes);
        if let Ok(snapshot) = Snapshot::open(&bytes, Verify::Full) {
            for question in &questions {
                let query = Query {
                    words: question.words.clone(),
                    beginnings: question.beginnings.as_deref().map(beginnings),
                    filters: vec![(Owner::Album, Filter::LowerName("a".into()))],
                    order: question.order,
                    page: question.page,
                    ..Query::default()
                };
                if let Kind::Of(owner) = question.kind {
                    let all = snapshot.select(question.kind, &Query::default());
                    snapshot.song_counts(owner, &all, Some(&query));
                }
                for run in Runs::new(snapshot.select(question.kind, &query)) {
                    snapshot.json_run(question.kind, run.start, run.end);
                }
            }
        }
    }

    #[test]
    fn any_bytes_at_all_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(Snapshot::open(&bytes, Verify::Full).is_err());
        prop_assert!(Snapshot::open(&bytes, Verify::Structure).is_err());
    }
}

/// Writes the hash and the checksum that the bytes should have.
fn sign(bytes: &mut [u8]) {
    let mut header = header(bytes);
    let table = reader::table(bytes, &header).unwrap_or_default();
    let (hash, rest) = reader::hashed(bytes, &header, table);
    header.hash = hash.unwrap_or_default();
    write_header(bytes, header, rest);
}

fn header(bytes: &[u8]) -> format::Header {
    format::Header::read_from_prefix(bytes).unwrap().0
}

/// Writes the header with the checksum that the bytes should have, which `rest` begins.
fn write_header(bytes: &mut [u8], mut header: format::Header, rest: Xxh3) {
    header.checksum = format::checksum(rest, &header);
    bytes[..format::HEADER_LEN].copy_from_slice(header.as_bytes());
}

#[test]
fn truncated_snapshot_is_refused() {
    let bytes = snapshot_bytes(&small());
    for len in 0..bytes.len() {
        let error = Snapshot::open(&bytes[..len], Verify::Structure).unwrap_err();
        let expected = if len < format::HEADER_LEN {
            OpenError::TooShort { len }
        } else {
            OpenError::Length { expected: bytes.len() as u64, actual: len as u64 }
        };
        assert_eq!(error, expected);
    }
}

#[test]
fn other_magic_and_future_version_are_named() {
    let mut bytes = snapshot_bytes(&small());
    bytes[8] = 3;
    assert_eq!(Snapshot::open(&bytes, Verify::Full).unwrap_err(), OpenError::Version { found: 3 });
    bytes[0] = b'x';
    assert_eq!(Snapshot::open(&bytes, Verify::Full).unwrap_err(), OpenError::Magic);
}

/// Each section in turn: one byte changed is caught by the checksum; wrong sizes, offsets and
/// widths with a right checksum by the checks of the section.
#[test]
fn damage_in_every_section_is_refused() {
    let good = snapshot_bytes(&small());
    let table = u64::from_le_bytes(good[40..48].try_into().unwrap()) as usize;
    let entries = (good.len() - table) / 24;
    assert_eq!(entries, 4 * 9 + 3 * 4 + 2 + 3 + 9 + 3 + 4);
    for entry in 0..entries {
        let at = table + entry * 24;
        let field =
            |offset: usize| u64::from_le_bytes(good[at + offset..at + offset + 8].try_into().unwrap());
        let (offset, size) = (field(8) as usize, field(16) as usize);
        assert!(size > 0, "section {entry} of the small collection is empty");
        let mut torn = good.clone();
        torn[offset + size / 2] ^= 1;
        assert_eq!(Snapshot::open(&torn, Verify::Full).unwrap_err(), OpenError::Checksum);
        for (place, value) in [(0, 0xffff_u32), (4, 3), (8, u32::MAX), (16, size as u32 + 4), (20, u32::MAX)]
        {
            let mut forged = good.clone();
            forged[at + place..at + place + 4].copy_from_slice(&value.to_le_bytes());
            sign(&mut forged);
            let opened = Snapshot::open(&forged, Verify::Structure);
            assert!(opened.is_err(), "section {entry}: field at {place} set to {value}");
        }
    }
}

/// Every worker checks the structure, so that must cost the same for any collection.
#[test]
fn places_of_songs_are_read_by_the_full_check_only() {
    let genres = (1..=3).map(|number| Named { id: Uuid::from_u128(number), name: number.to_string() });
    let mut bytes = snapshot_bytes(&Collection { genres: genres.collect(), ..Collection::default() });
    let header = header(&bytes);
    let table = <[format::SectionEntry]>::ref_from_bytes(&bytes[header.table.get() as usize..]).unwrap();
    let id = format::section_id(Owner::Genre.into(), format::Column::SongOffsets);
    let entry = table.iter().find(|entry| entry.id.get() == id).unwrap();
    let second = entry.offset.get() as usize + 4;
    bytes[second..second + 4].copy_from_slice(&1_u32.to_le_bytes());
    sign(&mut bytes);
    assert!(matches!(Snapshot::open(&bytes, Verify::Full), Err(OpenError::Section { .. })));
    assert!(Snapshot::open(&bytes, Verify::Structure).is_ok());
}

/// Servers would take a snapshot with the hash of other rows for those rows.
#[test]
fn wrong_hash_of_the_content_is_refused() {
    let good = snapshot_bytes(&small());
    let mut forged = good.clone();
    let mut header = header(&good);
    let table = reader::table(&good, &header).unwrap();
    let (_, rest) = reader::hashed(&good, &header, table);
    header.hash[0] ^= 1;
    write_header(&mut forged, header, rest);
    for verify in [Verify::Full, Verify::Hash] {
        assert_eq!(Snapshot::open(&forged, verify).unwrap_err(), OpenError::Hash);
    }
}
