//! The log of changes: the ids of the rows that each scan has changed. A server reads these rows alone if it serves a
//! revision from which the log reaches to that of the database without a gap.
//!
//! A scan vouches for each revision that it has counted, by an entry with its own id: either the ids of all rows that
//! have changed stand beside it, or it says that they do not. Other programs only count, and leave no entry, so that
//! their changes are a gap and never taken for none. An entry of a former life of the tables has the id of another
//! scan.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::difference::RowChanges;
use super::revision::Version;
use crate::model::{Kind, Owner, PerOwner};

/// Name of the table.
pub(super) const TABLE: &str = "avalon_changes";

/// The most ids of one scan. A server reads all rows after more.
const IDS_MAX: usize = 50_000;
/// The most revisions that one scan may count; triggers may count each row.
const COUNTED_MAX: u64 = 1_000;
/// The number of kept revisions, and of more that come before a scan deletes the old ones: most scans write no page of
/// theirs.
const REVISIONS_KEPT: i64 = 100;
const REVISIONS_MORE: i64 = 50;
/// The most entries that stay, in whole revisions.
pub(super) const ENTRIES_KEPT: usize = 200_000;
/// More are never there.
const ENTRIES_MAX: usize = ENTRIES_KEPT + IDS_MAX;

/// The kind of an entry that says that any row may have changed; its id is that of the scan.
const EVERYTHING: i64 = 0;
/// The kind of an entry that says that the log has all changes; its id is that of the scan.
const COMPLETE: i64 = 5;

/// The kind of an entry for a changed row.
fn number(kind: Kind) -> i64 {
    i64::from(kind.number()) + 1
}

/// An entry of the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) counter: i64,
    pub(super) kind: i64,
    pub(super) id: Uuid,
}

/// The statement that creates the table, with the database's type of ids.
pub(super) fn create(id_type: &str, by_key: &str) -> String {
    format!(
        "CREATE TABLE {TABLE} (counter BIGINT NOT NULL, kind INTEGER NOT NULL, id {id_type} NOT NULL, \
         PRIMARY KEY (counter, kind, id)){by_key}"
    )
}

/// The statement that makes room for the entries of revisions from `first` to `last`. Those from `first` on are of a
/// former life of the tables.
pub(super) fn make_room(first: u64, last: u64) -> String {
    let old = last.cast_signed() - REVISIONS_KEPT;
    format!(
        "DELETE FROM {TABLE} WHERE counter >= {first} OR counter <= {old} \
         AND EXISTS (SELECT 1 FROM {TABLE} WHERE counter <= {})",
        old - REVISIONS_MORE
    )
}

/// The statement that forgets the oldest revisions if there are too many entries.
pub(super) fn forget_oldest() -> String {
    format!(
        "DELETE FROM {TABLE} WHERE counter <= \
         (SELECT counter FROM {TABLE} ORDER BY counter DESC LIMIT 1 OFFSET {ENTRIES_KEPT})"
    )
}

/// The query for the entries that tell how the rows of `since` became those of `now`; `cast` adds the types of the
/// three columns.
pub(super) fn query(since: u64, now: u64, cast: fn(&str, &str) -> String) -> String {
    let columns = [cast("counter", "bigint"), cast("kind", "bigint"), cast("id", "uuid")].join(", ");
    format!(
        "SELECT {columns} FROM {TABLE} WHERE counter > {since} AND counter <= {now} \
         OR counter = {since} AND kind IN ({EVERYTHING}, {COMPLETE}) LIMIT {ENTRIES_MAX}"
    )
}

/// The rows that a scan changes.
#[derive(Debug, Default)]
pub(super) struct Touched {
    ids: BTreeSet<(i64, Uuid)>,
    is_everything: bool,
}

impl Touched {
    /// Those of all tables but written songs, which come [one by one](Touched::song).
    pub(super) fn of(changes: &RowChanges<'_>) -> Self {
        let mut touched = Touched { is_everything: changes.replace, ..Touched::default() };
        for owner in Owner::ALL {
            let ids = changes.names[owner].iter().map(|named| named.id);
            ids.chain(changes.removed_names[owner].iter().copied())
                .for_each(|id| touched.add(Kind::Of(owner), id));
        }
        changes.removed_songs.iter().for_each(|id| touched.song(*id));
        touched
    }

    /// Any row.
    pub(super) fn everything(&mut self) {
        (self.is_everything, self.ids) = (true, BTreeSet::new());
    }

    /// A song.
    pub(super) fn song(&mut self, id: Uuid) {
        self.add(Kind::Song, id);
    }

    fn add(&mut self, kind: Kind, id: Uuid) {
        if !self.is_everything {
            self.ids.insert((number(kind), id));
        }
        if self.ids.len() > IDS_MAX {
            self.everything();
        }
    }

    /// The entries of a scan that has counted the revisions from `first` to `last`.
    pub(super) fn entries(self, first: u64, last: u64, scan: Uuid) -> Vec<Entry> {
        let entry = |counter: u64, kind, id| Entry { counter: counter.cast_signed(), kind, id };
        if self.is_everything || last.saturating_sub(first) >= COUNTED_MAX {
            return vec![entry(last, EVERYTHING, scan)];
        }
        let ids = self.ids.into_iter().map(|(kind, id)| entry(last, kind, id));
        (first..=last).map(|counter| entry(counter, COMPLETE, scan)).chain(ids).collect()
    }
}

/// The rows that a server has.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Since {
    /// Their version.
    pub version: Version,
    /// The most changed rows that are worth less than a look at all.
    pub most: usize,
}

/// Why the rows that have changed are not known from the log.
pub type Unlogged = Cow<'static, str>;

/// The rows that may have changed.
#[derive(Debug, Default, PartialEq)]
pub(super) struct ChangedIds {
    pub(super) names: PerOwner<Vec<Uuid>>,
    pub(super) songs: Vec<Uuid>,
}

/// Returns the two revisions between which the log has the changes, if these can be compared.
pub(super) fn span(since: &Version, now: &Version) -> Result<(u64, u64), Unlogged> {
    match since.revision.zip(now.revision) {
        Some((from, to)) if from < to && since.is_comparable(now) => Ok((from, to)),
        _ => Err("as the database does not follow on the served revision".into()),
    }
}

/// The rows that have changed by these entries between two versions.
pub(super) fn changed(
    entries: impl Iterator<Item = Entry>,
    since: &Since,
    now: &Version,
) -> Result<ChangedIds, Unlogged> {
    let (from, to) = span(&since.version, now)?;
    let (mut scans, mut ids, mut count) = (BTreeMap::new(), BTreeSet::new(), 0);
    for Entry { counter, kind, id } in entries {
        count += 1;
        match kind {
            EVERYTHING | COMPLETE => {
                if scans.insert(counter.cast_unsigned(), id).is_some() {
                    return Err("as two scans vouch for one revision".into());
                }
                if kind == EVERYTHING && counter.cast_unsigned() > from {
                    return Err("as a scan has changed more rows than the log holds".into());
                }
            }
            _ if counter.cast_unsigned() > from => drop(ids.insert((kind, id))),
            _ => {}
        }
    }
    if count >= ENTRIES_MAX {
        return Err("as the log has too many entries".into());
    }
    let has = |counter: u64, version: &Version| {
        version.scan().is_some_and(|scan| scans.get(&counter) == Some(&scan))
    };
    if !has(from, &since.version) || !has(to, now) || !(from..=to).all(|counter| scans.contains_key(&counter))
    {
        return Err("as the log of changes has a gap".into());
    }
    if ids.len() > since.most {
        return Err("as too much has changed".into());
    }
    let mut changed = ChangedIds::default();
    for (kind, id) in ids {
        match Kind::ALL.into_iter().find(|of| number(*of) == kind) {
            Some(Kind::Of(owner)) => changed.names[owner].push(id),
            Some(Kind::Song) => changed.songs.push(id),
            None => return Err(format!("as the log has an entry of the unknown kind {kind}").into()),
        }
    }
    Ok(changed)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Named;

    fn id(number: u128) -> Uuid {
        Uuid::from_u128(number)
    }

    fn version(revision: u64, scan: u128) -> Version {
        Version { revision: Some(revision), mark: id(scan).to_string() }
    }

    fn since(revision: u64, scan: u128) -> Since {
        Since { version: version(revision, scan), most: 10 }
    }

    fn touched(songs: std::ops::Range<u128>) -> Touched {
        let mut touched = Touched::default();
        songs.for_each(|song| touched.song(id(song)));
        touched
    }

    /// Scans 101 to 104 have counted revisions 1 to 4, and 3 to 5 by triggers.
    fn entries() -> Vec<Entry> {
        let scans = [(1, 1, 101), (2, 2, 102), (3, 5, 103), (6, 6, 104)];
        let entries = scans.map(|(first, last, scan)| touched(scan..scan + 2).entries(first, last, id(scan)));
        entries.concat()
    }

    fn songs(since: &Since, now: &Version, entries: &[Entry]) -> Result<Vec<u128>, String> {
        let changed = changed(entries.iter().copied(), since, now).map_err(Cow::into_owned)?;
        Ok(changed.songs.iter().map(Uuid::as_u128).collect())
    }

    #[test]
    fn rows_between_two_revisions_are_those_of_the_scans_between() {
        let all = entries();
        for (from, scan, first) in [(1, 101, 102), (2, 102, 103), (5, 103, 104)] {
            let served = since(from, scan);
            let expected: Vec<u128> = (first..106).collect();
            assert_eq!(songs(&served, &version(6, 104), &all), Ok(expected), "{from}");
        }
    }

    #[test]
    fn revision_without_its_scan_is_a_gap() {
        let (all, gap) = (entries(), Err("as the log of changes has a gap".to_owned()));
        // Counted by another program: the served one, the last one, one between.
        for (from, to) in [(since(2, 999), version(6, 104)), (since(2, 102), version(6, 999))] {
            assert_eq!(songs(&from, &to, &all), gap);
        }
        let foreign = Version { revision: Some(6), mark: String::new() };
        assert_eq!(songs(&since(2, 102), &foreign, &all), gap);
        let served = Since { version: Version { revision: Some(2), mark: String::new() }, most: 10 };
        assert_eq!(songs(&served, &version(6, 104), &all), gap);
        for counter in 2..=6 {
            let without: Vec<Entry> = all
                .iter()
                .filter(|entry| entry.counter != counter || entry.kind != COMPLETE)
                .copied()
                .collect();
            assert_eq!(songs(&since(2, 102), &version(6, 104), &without), gap, "{counter}");
        }
        assert_eq!(songs(&since(6, 104), &version(7, 104), &all), gap);
        assert_eq!(songs(&since(1, 101), &version(6, 104), &[]), gap);
    }

    #[test]
    fn versions_that_do_not_follow_have_no_changes_between() {
        for (from, to) in [(6, 6), (6, 5), (0, 6)] {
            let served = Version { revision: Some(from).filter(|from| *from > 0), ..version(1, 101) };
            assert!(span(&served, &version(to, 104)).is_err(), "{from} {to}");
        }
        let of_file = |file: &str| Version { revision: Some(5), mark: format!("{file} {}", id(103)) };
        let now = Version { revision: Some(6), mark: format!("1:2 {}", id(104)) };
        assert!(span(&of_file("1:3"), &now).is_err());
        assert_eq!(span(&of_file("1:2"), &now), Ok((5, 6)));
        let served = Since { version: of_file("1:2"), most: 10 };
        assert_eq!(songs(&served, &now, &entries()), Ok(vec![104, 105]));
    }

    #[test]
    fn entries_that_are_odd_or_too_many_are_of_no_use() {
        let (served, now) = (since(2, 102), version(6, 104));
        let with = |kind, number| {
            let entry = Entry { counter: 6, kind, id: id(number) };
            songs(&served, &now, &[entries(), vec![entry]].concat())
        };
        assert!(with(1, 7).is_ok() && with(4, 7).is_ok());
        assert!(with(6, 7).is_err() && with(-1, 7).is_err() && with(EVERYTHING, 7).is_err());
        let few = Since { most: 2, ..served.clone() };
        assert_eq!(songs(&few, &now, &entries()), Err("as too much has changed".to_owned()));
        let many = (0..ENTRIES_MAX as u128).map(|song| Entry { counter: 6, kind: 4, id: id(song) });
        assert!(
            changed(entries().into_iter().chain(many), &Since { most: usize::MAX, ..served }, &now).is_err()
        );
    }

    #[test]
    fn change_of_everything_counts_unless_it_is_served() {
        let mut all = Touched::default();
        all.everything();
        all.song(id(1));
        let entries = [all.entries(1, 2, id(102)), touched(3..4).entries(3, 3, id(103))].concat();
        assert_eq!(entries[0], Entry { counter: 2, kind: EVERYTHING, id: id(102) });
        assert_eq!(songs(&since(2, 102), &version(3, 103), &entries), Ok(vec![3]));
        let before = [touched(0..1).entries(1, 1, id(101)), entries].concat();
        assert!(songs(&since(1, 101), &version(3, 103), &before).unwrap_err().contains("more rows"));
    }

    #[test]
    fn large_scan_is_a_change_of_everything() {
        let kinds = |touched: Touched, last| {
            let entries = touched.entries(1, last, id(1));
            (entries.len(), entries[0].kind)
        };
        assert_eq!(kinds(touched(0..50_000), 1), (50_001, COMPLETE));
        assert_eq!(kinds(touched(0..50_001), 1), (1, EVERYTHING));
        assert_eq!(kinds(touched(0..1), 1_000), (1_001, COMPLETE));
        assert_eq!(kinds(touched(0..1), 1_001), (1, EVERYTHING));
        let replaced = RowChanges { replace: true, ..RowChanges::default() };
        assert_eq!(kinds(Touched::of(&replaced), 1), (1, EVERYTHING));
        let mut changes = RowChanges::default();
        for owner in Owner::ALL {
            changes.names[owner].push(Named { id: id(7), name: String::new() });
            changes.removed_names[owner].extend([id(7), id(8)]);
        }
        changes.removed_songs.push(id(9));
        let entries = Touched::of(&changes).entries(1, 1, id(1));
        let found: Vec<_> = entries.iter().map(|entry| (entry.kind, entry.id.as_u128())).collect();
        assert_eq!(found, [(5, 1), (1, 7), (1, 8), (2, 7), (2, 8), (3, 7), (3, 8), (4, 9)]);
    }
}
