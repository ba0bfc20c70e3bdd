//! The INFO list of RIFF: names in chunks of their own. The encoding is stated nowhere.

use std::io;

use crate::scan::read::chunks::{Chunk, Chunks, Layout, read_text_chunk};
use crate::scan::read::source::Source;
use crate::scan::read::tags::{Field, Reading, Tags};
use crate::scan::read::text::ByteOrder;

/// Reads a LIST chunk, if it is one of names.
///
/// # Errors
/// Those of reading.
pub(in crate::scan::read) fn read_list(
    chunk: &Chunk,
    layout: Layout,
    source: &mut Source,
    reading: &mut Reading,
) -> io::Result<()> {
    if chunk.bytes(source, 4)? != b"INFO" {
        return Ok(());
    }
    // Wave64 keeps the items of RIFF.
    let items = if layout.order == ByteOrder::Big { Layout::IFF } else { Layout::RIFF };
    read_items(Chunks::new(items, chunk.from + 4, chunk.to), source, reading)
}

/// Reads the names of a Wave64 file, whose number precedes them.
///
/// # Errors
/// Those of reading.
pub(super) fn read_summary(chunk: &Chunk, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    read_items(Chunks::new(Layout::SUMMARY, chunk.from + 4, chunk.to), source, reading)
}

fn read_items(mut items: Chunks, source: &mut Source, reading: &mut Reading) -> io::Result<()> {
    // Of the two names of the track number IPRT counts first, in any order.
    let mut numbers = Tags::default();
    while let Some(item) = items.next(source, reading)? {
        let Some(field) = field(item.name()) else { continue };
        let second = item.name().eq_ignore_ascii_case(b"ITRK");
        if second {
            std::mem::swap(&mut reading.weak, &mut numbers);
        }
        let outcome = read_text_chunk(source, &item, field, reading);
        if second {
            std::mem::swap(&mut reading.weak, &mut numbers);
        }
        outcome?;
    }
    reading.weak.fill_from(numbers);
    Ok(())
}

fn field(name: &[u8]) -> Option<Field> {
    Some(match &name.to_ascii_uppercase()[..] {
        b"INAM" => Field::Title,
        b"IPRD" => Field::Album,
        b"IART" => Field::Artist,
        b"IGNR" => Field::Genre,
        b"IPRT" | b"ITRK" => Field::Track,
        b"ICRD" => Field::Date,
        b"IMUS" => Field::Composer,
        _ => return None,
    })
}
