//! APEv2 tags: items of a key and UTF-8 text between a header and a footer, either of which
//! may be missing.

use std::io;

use super::names;
use super::source::{Source, WINDOW};
use super::tags::{ENCODED_MAX, Field, Reading, Tags};
use super::text::{self, Encoding};

/// Name of the tag in messages.
const TAG: &str = "APE tag";
/// First bytes of a header and of a footer.
const MARK: &[u8; 8] = b"APETAGEX";
/// Bytes of a header, and of a footer.
pub(super) const HEADER_LEN: u64 = 32;
/// The bit of a header.
const IS_HEADER: u32 = 1 << 29;
/// The bit of a tag without a footer.
const HAS_NO_FOOTER: u32 = 1 << 30;
/// Most items of a tag that are read.
const ITEMS_MAX: usize = 10_000;
/// Bytes of an item before its key.
const ITEM_HEAD_LEN: usize = 8;
/// Most bytes of a key; its NUL comes behind.
const KEY_MAX: usize = 255;
/// Most searches in a tag for the item that follows one with a wrong size.
const SEARCHES_MAX: usize = 64;

/// A header or a footer.
#[derive(Debug, Clone, Copy)]
struct Ends {
    /// Bytes of the items and the footer.
    size: u64,
    count: u32,
    flags: u32,
}

impl Ends {
    fn at(source: &mut Source, at: u64) -> io::Result<Option<Ends>> {
        let Some(bytes) = source.array::<{ HEADER_LEN as usize }>(at)? else { return Ok(None) };
        let number = |at: usize| u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
        let ends = Ends { size: number(12).into(), count: number(16), flags: number(20) };
        Ok(bytes.starts_with(MARK).then_some(ends))
    }
}

/// Reads the tag at the start of the view. Returns its values, and the offset behind it.
///
/// # Errors
/// Those of reading.
pub(super) fn read_at_start(source: &mut Source, reading: &mut Reading) -> io::Result<Option<(Tags, u64)>> {
    let Some(header) = Ends::at(source, 0)? else { return Ok(None) };
    let footer_len = if header.flags & HAS_NO_FOOTER == 0 { HEADER_LEN } else { 0 };
    let end = HEADER_LEN.saturating_add(header.size).min(source.len());
    if header.size > source.len() - HEADER_LEN {
        reading.lose(TAG, "it claims more bytes than the file has");
    }
    let tags = read_items(source, HEADER_LEN, end.saturating_sub(footer_len), header.count, reading)?;
    Ok(Some((tags, end)))
}

/// Reads the tag at the end of the view. Returns its values, and the offset where it begins.
///
/// # Errors
/// Those of reading.
pub(super) fn read_at_end(source: &mut Source, reading: &mut Reading) -> io::Result<Option<(Tags, u64)>> {
    let Some(footer_at) = source.len().checked_sub(HEADER_LEN) else { return Ok(None) };
    let Some(footer) = Ends::at(source, footer_at)? else { return Ok(None) };
    let claimed = source.len().checked_sub(footer.size).filter(|at| *at <= footer_at);
    let items_at = match claimed {
        Some(at) if has_header(source, at)? || leads_on(source, at, footer_at)? => Some(at),
        _ => {
            reading.lose(TAG, format!("its size of {} bytes cannot be", footer.size));
            header_before(source, footer_at)?.map(|header| header + HEADER_LEN)
        }
    };
    let Some(items_at) = items_at else { return Ok(Some((Tags::default(), footer_at))) };
    let tags = read_items(source, items_at, footer_at, footer.count, reading)?;
    // Some taggers write a header, and a footer without the flag for it.
    let header_len = if has_header(source, items_at)? { HEADER_LEN } else { 0 };
    Ok(Some((tags, items_at - header_len)))
}

/// Reports whether items that begin at `at` have a header.
fn has_header(source: &mut Source, at: u64) -> io::Result<bool> {
    let Some(header_at) = at.checked_sub(HEADER_LEN) else { return Ok(false) };
    Ok(Ends::at(source, header_at)?.is_some_and(|ends| ends.flags & IS_HEADER != 0))
}

/// Returns the offset of a header shortly before `end`.
fn header_before(source: &mut Source, end: u64) -> io::Result<Option<u64>> {
    let from = end.saturating_sub(WINDOW as u64 / 2);
    let bytes = source.bytes(from, WINDOW / 2)?;
    let marks = memchr::memmem::rfind_iter(bytes, MARK).map(|offset| from + offset as u64);
    let at: Vec<u64> = marks.filter(|at| *at < end).take(4).collect();
    for at in at {
        if has_header(source, at + HEADER_LEN)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// The head of an item: its key, and the place of its value.
#[derive(Debug)]
struct Item {
    key: String,
    /// 0 for text, 1 for bytes, 2 for a link.
    kind: u32,
    value: u64,
    size: u64,
}

impl Item {
    fn parse(bytes: &[u8], at: u64) -> Option<Item> {
        let (head, rest) = bytes.split_first_chunk::<ITEM_HEAD_LEN>()?;
        let [size, flags] =
            [0, 4].map(|at| u32::from_le_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
        let key_len = rest.iter().take(KEY_MAX + 1).position(|byte| *byte == 0).filter(|len| *len > 0)?;
        let key = std::str::from_utf8(&rest[..key_len]).ok()?;
        let value = at + (ITEM_HEAD_LEN + key_len + 1) as u64;
        let is_key = key.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        is_key.then(|| Item { key: key.to_owned(), kind: flags >> 1 & 3, value, size: size.into() })
    }

    fn end(&self) -> u64 {
        self.value + self.size
    }
}

/// Reads the items between two offsets. Of two items with one key the last one counts, as in
/// avalonms. The tag states their number as well, but often wrongly.
fn read_items(
    source: &mut Source,
    from: u64,
    to: u64,
    count: u32,
    reading: &mut Reading,
) -> io::Result<Tags> {
    let mut tags = Strengths::default();
    let (mut at, mut items, mut searches) = (from, 0, 0);
    while at < to {
        if items == ITEMS_MAX {
            reading.lose(TAG, format!("it has more than {ITEMS_MAX} items"));
            break;
        }
        let head = source.bytes(at, head_len(at, to))?;
        if head.iter().all(|byte| *byte == 0) {
            break;
        }
        items += 1;
        let item = Item::parse(head, at);
        let fits = match &item {
            Some(item) => item.end() == to || leads_on(source, item.end(), to)?,
            None => false,
        };
        if fits {
            let Some(item) = item else { break };
            keep(source, &item, item.size, &mut tags, reading)?;
            at = item.end();
            continue;
        }
        searches += 1;
        let start = item.as_ref().map_or(at + 1, |item| item.value);
        let next = if searches > SEARCHES_MAX { None } else { search(source, start, to)? };
        let end = next.unwrap_or(to);
        match &item {
            Some(item) if item.end() <= end => reading.lose(TAG, "bytes that are no item stand in it"),
            Some(item) => reading.lose(format!("APE item {}", item.key), "its size is wrong"),
            None => reading.lose(TAG, "bytes that are no item stand in it"),
        }
        if let Some(item) = item {
            keep(source, &item, item.size.min(end.saturating_sub(item.value)), &mut tags, reading)?;
        }
        let Some(next) = next else { break };
        at = next;
    }
    if u64::from(count) > items as u64 && items < ITEMS_MAX {
        reading.lose(TAG, format!("it claims {count} items and has {items}"));
    }
    Ok(tags.all())
}

/// Bytes at `at` in which the head of an item fits.
fn head_len(at: u64, to: u64) -> usize {
    let most = ITEM_HEAD_LEN + KEY_MAX + 1;
    usize::try_from(to.saturating_sub(at)).unwrap_or(most).min(most)
}

/// Reports whether an item or padding is at `at`.
fn leads_on(source: &mut Source, at: u64, to: u64) -> io::Result<bool> {
    if at >= to {
        return Ok(at == to);
    }
    let head = source.bytes(at, head_len(at, to))?;
    Ok(Item::parse(head, at).is_some() || head.iter().all(|byte| *byte == 0))
}

/// Returns the next item near `from` that leads to another one.
fn search(source: &mut Source, from: u64, to: u64) -> io::Result<Option<u64>> {
    let bytes = source.vec(from, to.saturating_sub(from), WINDOW / 2)?;
    for offset in 0..bytes.len() {
        let at = from + offset as u64;
        let plain =
            bytes.get(offset + 4..offset + 8).is_some_and(|flags| flags[1..] == [0; 3] && flags[0] < 8);
        let Some(item) = Item::parse(&bytes[offset..], at).filter(|item| plain && item.end() <= to) else {
            continue;
        };
        if leads_on(source, item.end(), to)? {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Values by how much they count.
#[derive(Debug, Default)]
struct Strengths {
    strong: Tags,
    weak: Tags,
}

impl Strengths {
    fn all(mut self) -> Tags {
        self.strong.fill_from(self.weak);
        self.strong
    }
}

/// Returns the field of a key, and whether another key is better. avalonms knew only the names of
/// Vorbis comments for number and date; those of APEv2 are Track and Year.
fn meaning(key: &str) -> Option<(Field, bool)> {
    let strong = |field| Some((field, false));
    match key.to_ascii_lowercase().as_str() {
        "title" => strong(Field::Title),
        "album" => strong(Field::Album),
        "artist" => strong(Field::Artist),
        "genre" => strong(Field::Genre),
        "tracknumber" => strong(Field::Track),
        "date" => strong(Field::Date),
        "track" => Some((Field::Track, true)),
        "year" => Some((Field::Date, true)),
        _ => names::field(key).map(|field| (field, false)),
    }
}

fn keep(
    source: &mut Source,
    item: &Item,
    size: u64,
    tags: &mut Strengths,
    reading: &mut Reading,
) -> io::Result<()> {
    if item.kind == 1 {
        reading.has_cover |= item.key.to_ascii_lowercase().starts_with("cover art") && size > 0;
        return Ok(());
    }
    let Some((field, is_weak)) = meaning(&item.key).filter(|_| item.kind == 0) else { return Ok(()) };
    let bytes = source.vec(item.value, size, ENCODED_MAX)?;
    let is_cut = size > bytes.len() as u64;
    let bytes = if is_cut { text::without_torn_end(&bytes, Encoding::Utf8) } else { &bytes };
    let lost = reading.losses.len() + reading.more_losses;
    let outer = std::mem::take(&mut reading.tags);
    reading.push_encoded(field, bytes, Encoding::Utf8);
    let own = std::mem::replace(&mut reading.tags, outer);
    if is_cut && lost == reading.losses.len() + reading.more_losses {
        reading.lose(field.name(), "it is too long; its end is cut");
    }
    if is_weak {
        tags.weak.override_by(own)
    } else {
        tags.strong.override_by(own)
    }
    Ok(())
}

#[cfg(test)]
mod tests;
