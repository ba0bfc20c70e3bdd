//! From changed rows to the entities that go and those that come, in default order.

use std::cmp::Ordering;
use std::collections::{HashMap, HashSet};

use uuid::Uuid;

use super::error::MergeError;
use super::stored;
use super::weave::{Member, Weave};
use crate::model::{Kind, Named, Owner, PerOwner};
use crate::rows::delta::{Edits, SongRow};
use crate::snapshot::open::{Entities, Snapshot};
use crate::snapshot::query::galloping::partition_point;

/// Albums, artists or genres that come and go.
pub(super) struct NamesPlan<'a> {
    pub(super) old: &'a Entities<'a>,
    pub(super) weave: Weave,
    /// The new ones, in default order.
    pub(super) added: Vec<Named>,
    /// Those of the old ones that have another name now.
    renamed: Vec<u32>,
    /// The places of the new ones in `added`, by id.
    places: HashMap<Uuid, u32>,
}

/// A new or changed song.
pub(super) struct NewSong {
    pub(super) row: SongRow,
    /// Next indexes of its owners.
    pub(super) owners: PerOwner<u32>,
}

/// Songs that come and go.
pub(super) struct SongsPlan {
    pub(super) weave: Weave,
    /// The new ones, in default order.
    pub(super) added: Vec<NewSong>,
}

impl<'a> NamesPlan<'a> {
    pub(super) fn new(old: &'a Entities<'a>, edits: Edits<Named>) -> Result<Self, MergeError> {
        let mut gone: Vec<u32> = edits.gone.iter().filter_map(|id| old.index_of(id.as_bytes())).collect();
        let (mut added, mut renamed) = (Vec::new(), Vec::new());
        for named in edits.present {
            match old.index_of(named.id.as_bytes()) {
                Some(at) if stored::name(old.json.get(at)).as_deref() == Some(named.name.as_bytes()) => {
                    continue;
                }
                Some(at) => renamed.push(at),
                None => {}
            }
            added.push(named);
        }
        gone.extend(&renamed);
        gone.sort_unstable();
        gone.dedup();
        added.sort_unstable_by(|a, b| (&a.name, a.id).cmp(&(&b.name, b.id)));
        let compare = |at: u32, named: &Named| {
            let name = stored::name(old.json.get(at)).unwrap_or_default();
            (&*name, &old.ids[at as usize]).cmp(&(named.name.as_bytes(), named.id.as_bytes()))
        };
        let before =
            added.iter().map(|named| partition_point(old.count, |at| compare(at, named) == Ordering::Less));
        let weave = Weave::new(old.count, gone, before.collect());
        let places: HashMap<Uuid, u32> = added.iter().map(|named| named.id).zip(0..).collect();
        if places.len() != added.len() {
            return Err(MergeError::Torn);
        }
        Ok(NamesPlan { old, weave, added, renamed, places })
    }

    /// The next index of the one with this id.
    fn find(&self, id: Uuid) -> Option<u32> {
        match self.places.get(&id) {
            Some(&new) => Some(self.weave.added()[new as usize]),
            None => self.old.index_of(id.as_bytes()).and_then(|at| self.weave.next(at)),
        }
    }

    /// Id and name of the one with this next index.
    pub(super) fn named(&self, next: u32) -> (Uuid, std::borrow::Cow<'_, [u8]>) {
        match self.weave.member(next) {
            Member::New(new) => {
                let named = &self.added[new as usize];
                (named.id, named.name.as_bytes().into())
            }
            Member::Kept(at) => {
                let name = stored::name(self.old.json.get(at)).unwrap_or_default();
                (Uuid::from_bytes(self.old.ids[at as usize]), name)
            }
        }
    }
}

impl SongsPlan {
    pub(super) fn new(
        old: &Snapshot<'_>,
        names: &PerOwner<NamesPlan<'_>>,
        mut edits: Edits<SongRow>,
    ) -> Result<Self, MergeError> {
        let entities = &old.songs.entities;
        let index = |id: &Uuid| entities.index_of(id.as_bytes());
        let mut gone: Vec<u32> = edits.gone.iter().filter_map(index).collect();
        gone.extend(edits.present.iter().filter_map(|row| index(&row.id)));
        gone.sort_unstable();
        gone.dedup();
        let also = songs_of_renamed(old, names, &gone);
        edits.present.extend(also.iter().map(|&at| row(old, at)));
        gone.extend(also);
        gone.sort_unstable();

        let mut added = Vec::with_capacity(edits.present.len());
        for row in edits.present {
            let owners =
                PerOwner::try_new(|owner| names[owner].find(row.owners[owner]).ok_or(MergeError::Torn))?;
            added.push(NewSong { row, owners });
        }
        let ids: HashSet<Uuid> = added.iter().map(|song| song.row.id).collect();
        if ids.len() != added.len() {
            return Err(MergeError::Torn);
        }
        added.sort_unstable_by(compare_new);
        let before = added
            .iter()
            .map(|song| partition_point(entities.count, |at| compare(old, names, at, song).is_lt()));
        let weave = Weave::new(entities.count, gone, before.collect());
        Ok(SongsPlan { weave, added })
    }
}

/// The old songs, ascending, that show another name of an owner and are not among `gone` (ascending).
fn songs_of_renamed(old: &Snapshot<'_>, names: &PerOwner<NamesPlan<'_>>, gone: &[u32]) -> Vec<u32> {
    let mut songs = Vec::new();
    for (owner, names) in names.iter() {
        let table = &old.names[owner];
        for &at in &names.renamed {
            let range = table.songs_range(at);
            match table.songs {
                None => songs.extend(range),
                Some(list) => songs.extend(range.map(|place| list[place as usize].get())),
            }
        }
    }
    songs.sort_unstable();
    songs.dedup();
    songs.retain(|at| gone.binary_search(at).is_err());
    songs
}

/// The row of an old song.
fn row(old: &Snapshot<'_>, at: u32) -> SongRow {
    let stored::Own { name, length, track, year } = stored::own(old.songs.entities.json.get(at));
    let owner_id = |owner: Owner| {
        let of = old.songs.owners[owner][at as usize].get();
        Uuid::from_bytes(old.entities(Kind::Of(owner)).ids[of as usize])
    };
    let id = Uuid::from_bytes(old.songs.entities.ids[at as usize]);
    SongRow { id, name, length, track, year, owners: PerOwner::new(owner_id) }
}

/// The default order of new songs.
fn compare_new(a: &NewSong, b: &NewSong) -> Ordering {
    let key = |song: &NewSong| (song.owners[Owner::Artist], song.owners[Owner::Album], song.row.track);
    key(a).cmp(&key(b)).then_with(|| (&a.row.name, a.row.id).cmp(&(&b.row.name, b.row.id)))
}

/// Whether an old song stands before or behind a new one.
fn compare(old: &Snapshot<'_>, names: &PerOwner<NamesPlan<'_>>, at: u32, song: &NewSong) -> Ordering {
    let by = |owner: Owner| {
        let of = old.songs.owners[owner][at as usize].get();
        names[owner].weave.compare_place(of, song.owners[owner])
    };
    by(Owner::Artist).then_with(|| by(Owner::Album)).then_with(|| {
        let stored::Own { name, track, .. } = stored::own(old.songs.entities.json.get(at));
        let id = Uuid::from_bytes(old.songs.entities.ids[at as usize]);
        (track, &name, id).cmp(&(song.row.track, &song.row.name, song.row.id))
    })
}
