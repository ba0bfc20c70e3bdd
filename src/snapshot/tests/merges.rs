//! A merge gives the bytes of a build, after any edits.

use std::collections::BTreeMap;
use std::io::Cursor;

use proptest::prelude::*;
use proptest::sample::Index;

use super::model::{RawSong, id, name, raw_song};
use super::*;
use crate::model::PerOwner;
use crate::rows::delta::{Delta, Edits, SongRow};
use crate::rows::scratch::Folder;
use crate::snapshot::build::{Levels, build_with};
use crate::snapshot::merge::{Merge, MergeError, compare, settle};

const LEVELS: Levels = Levels { gzip: 1, zstd: 1 };

/// The rows by id.
#[derive(Debug, Clone, Default)]
struct Table {
    names: PerOwner<BTreeMap<Uuid, String>>,
    songs: BTreeMap<Uuid, SongRow>,
}

/// The edits of the rows.
#[derive(Debug, Clone)]
enum Edit {
    AddName(Owner, Uuid, String),
    Rename(Owner, Index, String),
    /// Together with its songs.
    RemoveName(Owner, Index),
    /// All songs of one owner move to another one.
    MoveName(Owner, Index, Index),
    AddSong(RawSong),
    ChangeSong(Index, RawSong),
    /// Only one value, which also another song has.
    LikeAnother(Index, Index, usize),
    RemoveSong(Index),
    /// The first or the last one in default order.
    RemoveEnd(bool),
    RemoveSongs,
    RemoveAll,
    /// To the rows of an earlier step.
    Back(Index),
}

fn owner() -> impl Strategy<Value = Owner> {
    prop::sample::select(&Owner::ALL[..])
}

fn edit() -> impl Strategy<Value = Edit> {
    let index = any::<Index>;
    prop_oneof![
        4 => (owner(), id(), name()).prop_map(|(owner, id, name)| Edit::AddName(owner, id, name)),
        4 => (owner(), index(), name()).prop_map(|(owner, at, name)| Edit::Rename(owner, at, name)),
        2 => (owner(), index()).prop_map(|(owner, at)| Edit::RemoveName(owner, at)),
        2 => (owner(), index(), index()).prop_map(|(owner, from, to)| Edit::MoveName(owner, from, to)),
        8 => raw_song().prop_map(Edit::AddSong),
        6 => (index(), raw_song()).prop_map(|(at, raw)| Edit::ChangeSong(at, raw)),
        4 => (index(), index(), 0..5_usize).prop_map(|(at, other, what)| Edit::LikeAnother(at, other, what)),
        6 => index().prop_map(Edit::RemoveSong),
        2 => any::<bool>().prop_map(Edit::RemoveEnd),
        1 => Just(Edit::RemoveSongs),
        1 => Just(Edit::RemoveAll),
        1 => index().prop_map(Edit::Back),
    ]
}

/// A key of the map, if there is any.
fn pick<V>(map: &BTreeMap<Uuid, V>, at: Index) -> Option<Uuid> {
    (!map.is_empty()).then(|| *map.keys().nth(at.index(map.len())).unwrap())
}

impl Table {
    fn row(&self, raw: RawSong) -> Option<SongRow> {
        let (id, name, length, track, year, owners) = raw;
        let owners = PerOwner::try_new(|owner| pick(&self.names[owner], owners[owner as usize]).ok_or(()));
        Some(SongRow { id, name, length, track, year, owners: owners.ok()? })
    }

    fn edit(&mut self, edit: Edit, before: &[Table]) -> Option<()> {
        match edit {
            Edit::AddName(owner, id, name) => drop(self.names[owner].insert(id, name)),
            Edit::Rename(owner, at, name) => {
                let id = pick(&self.names[owner], at)?;
                self.names[owner].insert(id, name);
            }
            Edit::RemoveName(owner, at) => {
                let id = pick(&self.names[owner], at)?;
                self.names[owner].remove(&id);
                self.songs.retain(|_, song| song.owners[owner] != id);
            }
            Edit::MoveName(owner, from, to) => {
                let (from, to) = (pick(&self.names[owner], from)?, pick(&self.names[owner], to)?);
                let moved = self.songs.values_mut().filter(|song| song.owners[owner] == from);
                moved.for_each(|song| song.owners[owner] = to);
            }
            Edit::AddSong(raw) => {
                let row = self.row(raw)?;
                self.songs.insert(row.id, row);
            }
            Edit::ChangeSong(at, raw) => {
                let id = pick(&self.songs, at)?;
                let row = self.row(raw)?;
                self.songs.insert(id, SongRow { id, ..row });
            }
            Edit::LikeAnother(at, other, what) => {
                let other = self.songs[&pick(&self.songs, other)?].clone();
                let song = self.songs.get_mut(&pick(&self.songs, at)?)?;
                match what {
                    0 => song.name = other.name,
                    1 => song.length = other.length,
                    2 => song.track = other.track,
                    3 => song.year = other.year,
                    _ => song.owners = other.owners,
                }
            }
            Edit::RemoveSong(at) => drop(self.songs.remove(&pick(&self.songs, at)?)),
            Edit::RemoveEnd(is_last) => {
                let key = |song: &&SongRow| {
                    let name = |owner: Owner| (&self.names[owner][&song.owners[owner]], song.owners[owner]);
                    (name(Owner::Artist), name(Owner::Album), song.track, song.name.clone(), song.id)
                };
                let end = match is_last {
                    true => self.songs.values().max_by_key(key),
                    false => self.songs.values().min_by_key(key),
                };
                let id = end?.id;
                self.songs.remove(&id);
            }
            Edit::RemoveSongs => self.songs.clear(),
            Edit::RemoveAll => *self = Table::default(),
            Edit::Back(at) => *self = before.get(at.index(before.len().max(1)))?.clone(),
        }
        Some(())
    }

    fn collection(&self) -> Collection {
        let named = |owner: Owner| {
            let names = self.names[owner].iter();
            names.map(|(id, name)| Named { id: *id, name: name.clone() }).collect()
        };
        let song = |song: &SongRow| {
            let at = |owner: Owner| self.names[owner].range(..song.owners[owner]).count() as u32;
            let SongRow { id, ref name, length, track, year, .. } = *song;
            let [album, artist, genre] = Owner::ALL.map(at);
            Song { id, name: name.clone(), length, track, year, album, artist, genre }
        };
        Collection {
            albums: named(Owner::Album),
            artists: named(Owner::Artist),
            genres: named(Owner::Genre),
            songs: self.songs.values().map(song).collect(),
        }
    }

    fn rows(&self) -> Rows {
        Rows::of(&self.collection()).unwrap()
    }

    fn build(&self) -> Vec<u8> {
        let mut out = Cursor::new(Vec::new());
        build_with(&self.rows(), VERSION, LEVELS, usize::MAX, &mut out).unwrap();
        out.into_inner()
    }

    /// The changes since `before` by id, as a log has them: of some ids the rows are the same.
    fn logged(&self, before: &Table) -> Delta {
        let names = PerOwner::new(|owner| {
            let (old, new) = (&before.names[owner], &self.names[owner]);
            let gone = old.keys().filter(|id| !new.contains_key(id)).copied().collect();
            let named = |(id, name): (&Uuid, &String)| Named { id: *id, name: name.clone() };
            let is_listed = |id: &Uuid| old.get(id) != new.get(id) || id.as_bytes()[1].is_multiple_of(4);
            Edits { gone, present: new.iter().filter(|(id, _)| is_listed(id)).map(named).collect() }
        });
        let gone = before.songs.keys().filter(|id| !self.songs.contains_key(id)).copied();
        let is_listed =
            |id: &Uuid| before.songs.get(id) != self.songs.get(id) || id.as_bytes()[1].is_multiple_of(4);
        let present = self.songs.values().filter(|song| is_listed(&song.id)).cloned().collect();
        Delta { names, songs: Edits { gone: gone.chain([Uuid::nil()]).collect(), present } }
    }
}

/// The changes in one order.
fn sorted(mut delta: Delta) -> Delta {
    for owner in Owner::ALL {
        let Edits { gone, present } = &mut delta.names[owner];
        gone.sort_unstable();
        present.sort_unstable_by_key(|named| named.id);
    }
    delta.songs.gone.sort_unstable();
    delta.songs.present.sort_unstable_by_key(|song| song.id);
    delta
}

fn merged(old: &[u8], delta: Delta) -> Vec<u8> {
    let old = Snapshot::open(old, Verify::Structure).unwrap();
    let merge = Merge::new(&old, delta).unwrap();
    let mut out = Cursor::new(Vec::new());
    merge.write_with(LEVELS, &Folder::default(), &mut out).unwrap();
    out.into_inner()
}

/// The sections that differ, for a message.
fn differences(a: &[u8], b: &[u8]) -> String {
    let table = |bytes| Snapshot::sections(bytes).unwrap();
    let (a_table, b_table) = (table(a), table(b));
    let ids = a_table.iter().zip(&b_table).filter(|(a, b)| a != b).map(|(a, b)| format!("{a:?} {b:?}"));
    format!("{} and {} bytes: {}", a.len(), b.len(), ids.collect::<Vec<_>>().join(", "))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn merge_gives_the_bytes_of_a_build(
        // Sets begin with more than one song of 64, and with more than two of 128.
        count in prop_oneof![0..10_usize, 60..68_usize, 124..132_usize],
        names in prop::collection::vec((owner(), id(), name()), 3..20),
        raw in prop::collection::vec(raw_song(), 132),
        steps in prop::collection::vec(prop::collection::vec(edit(), 0..6), 1..6),
    ) {
        let mut table = Table::default();
        let first = names.into_iter().map(|(owner, id, name)| Edit::AddName(owner, id, name));
        for edit in first.chain(raw.into_iter().take(count).map(Edit::AddSong)) {
            table.edit(edit, &[]);
        }
        let mut snapshot = table.build();
        let mut tables = vec![table.clone()];
        for edits in steps {
            edits.into_iter().for_each(|edit| {
                let _ = table.edit(edit, &tables);
            });
            let built = table.build();
            let old = Snapshot::open(&snapshot, Verify::Full).unwrap();
            let compared = compare(&old, &table.rows(), usize::MAX).unwrap();
            let settled = settle(&old, table.logged(tables.last().unwrap()));
            prop_assert_eq!(sorted(settled), sorted(compared.clone()));
            let by_rows = merged(&snapshot, compared);
            prop_assert!(by_rows == built, "compared: {}", differences(&by_rows, &built));
            let by_log = merged(&snapshot, table.logged(tables.last().unwrap()));
            prop_assert!(by_log == built, "logged: {}", differences(&by_log, &built));
            snapshot = by_rows;
            tables.push(table.clone());
        }
    }
}

/// Enough names for lists that are compressed, and songs for sets.
fn large() -> Table {
    let mut table = Table::default();
    let id = |kind: u128, at: u128| Uuid::from_u128((at * 7919 % 1009) << 100 | kind);
    for at in 0..300 {
        for owner in Owner::ALL {
            table.names[owner].insert(id(owner as u128, at), format!("Name {} of {at}", at * 31 % 97));
        }
    }
    for at in 0..1000 {
        let owners = PerOwner::new(|owner| id(owner as u128, at * (owner as u128 + 3) % 300));
        let row = SongRow {
            id: id(9, at),
            name: Some(format!("Song {} about {}", at * 13 % 50, at % 9)),
            length: Some(at as i64 % 40),
            track: Some(at as i64 % 12),
            year: None,
            owners,
        };
        table.songs.insert(row.id, row);
    }
    table
}

#[test]
fn compressed_lists_are_those_of_a_build() {
    let before = large();
    let old = before.build();
    let changed = |edit: &dyn Fn(&mut Table)| {
        let mut table = before.clone();
        edit(&mut table);
        let (bytes, built) = (merged(&old, table.logged(&before)), table.build());
        assert!(bytes == built, "{}", differences(&bytes, &built));
        let back = merged(&bytes, before.logged(&table));
        assert!(back == old, "{}", differences(&back, &old));
    };
    fn first<V>(map: &BTreeMap<Uuid, V>) -> Uuid {
        *map.keys().next().unwrap()
    }
    changed(&|table| drop(table.songs.remove(&first(&table.songs))));
    changed(&|table| drop(table.names[Owner::Album].insert(Uuid::from_u128(5), "New".into())));
    changed(&|table| {
        let id = first(&table.names[Owner::Artist]);
        table.names[Owner::Artist].insert(id, "Renamed".into());
    });
    changed(&|table| table.songs.clear());
    changed(&|table| *table = Table::default());
    // Lists below 16 KiB are not compressed.
    changed(&|table| {
        let few: Vec<Uuid> = table.names[Owner::Genre].keys().skip(200).copied().collect();
        table.songs.retain(|_, song| !few.contains(&song.owners[Owner::Genre]));
        few.iter().for_each(|id| drop(table.names[Owner::Genre].remove(id)));
    });
}

#[test]
fn changes_that_do_not_fit_are_refused() {
    let table = large();
    let old = table.build();
    let old = Snapshot::open(&old, Verify::Full).unwrap();
    let refused = |delta: Delta| {
        let merge = Merge::new(&old, delta);
        let written = merge.and_then(|merge| merge.write(&Folder::default(), Cursor::new(Vec::new())));
        assert!(matches!(written, Err(MergeError::Torn)), "{written:?}");
    };
    let album = *table.names[Owner::Album].keys().next().unwrap();
    let song = table.songs.values().next().unwrap().clone();
    // The album goes, its songs stay.
    let mut delta = Delta::default();
    delta.names[Owner::Album].gone.push(album);
    refused(delta);
    // A song of an album that is not there.
    let mut owners = song.owners;
    owners[Owner::Album] = Uuid::max();
    refused(Delta {
        songs: Edits { gone: vec![], present: vec![SongRow { owners, ..song.clone() }] },
        ..Delta::default()
    });
    // Two rows with one id.
    refused(Delta {
        songs: Edits { gone: vec![], present: vec![SongRow { track: Some(99), ..song.clone() }, song] },
        ..Delta::default()
    });
}

#[test]
fn comparison_ends_once_too_much_has_changed() {
    let mut table = large();
    let old = table.build();
    let old = Snapshot::open(&old, Verify::Full).unwrap();
    table.songs.values_mut().take(7).for_each(|song| song.year = Some(1994));
    assert_eq!(compare(&old, &table.rows(), 6), None);
    let delta = compare(&old, &table.rows(), 7).unwrap();
    assert_eq!((delta.songs.present.len(), delta.songs.gone.len()), (7, 0));
    assert!(delta.names.values().all(Edits::is_empty));
}
