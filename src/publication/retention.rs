//! The choice of the objects in a store that no server needs any more.

use std::collections::HashSet;
use std::time::{Duration, SystemTime};

use super::object::hash_of;
use super::pointer::{KEPT, Pointer};
use super::store::Listed;

/// A publisher may remove an object of this age. No other publisher can be about to point to it: it would
/// write such an object again before that.
pub(super) const AGE_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// The objects that may be removed: older than [`AGE_MAX`], not in the pointer, and not among the last ones
/// that were written. Files other than objects are never among them.
pub(super) fn removable<'a>(listed: &'a [Listed], pointer: &Pointer, now: SystemTime) -> Vec<&'a Listed> {
    let named: HashSet<u128> =
        [&pointer.object].into_iter().chain(&pointer.former).map(|object| object.hash).collect();
    let mut objects: Vec<(&Listed, u128)> =
        listed.iter().filter_map(|object| Some((object, hash_of(&object.key)?))).collect();
    objects.sort_by_key(|(object, _)| std::cmp::Reverse(object.written));
    let is_old = |object: &Listed| now.duration_since(object.written).is_ok_and(|age| age > AGE_MAX);
    let rest = objects.into_iter().skip(KEPT);
    rest.filter(|(object, hash)| is_old(object) && !named.contains(hash)).map(|(object, _)| object).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::object::{Object, key};
    use super::*;

    fn object(hash: u128) -> Object {
        Object { hash, checksum: 7, length: 100, compressed_length: 50, songs: 3, created: 9 }
    }

    proptest! {
        /// Against the rule as the documentation says it, for each object by itself.
        #[test]
        fn only_what_is_old_and_not_needed_is_removed(
            ages in proptest::collection::vec(0_u64..20, 0..20),
            pointed in 0_u128..20,
            former in proptest::collection::vec(0_u128..20, 0..4),
        ) {
            let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1_000_000_000);
            let day = |age: u64| now - Duration::from_secs(age * 24 * 3600 + 1);
            let listed: Vec<Listed> = ages
                .iter()
                .enumerate()
                .map(|(hash, age)| Listed { key: key(2, hash as u128), written: day(*age) })
                .chain([Listed { key: "v2/notes.txt".to_owned(), written: day(99) }])
                .collect();
            let mut pointer = Pointer::after(None, object(pointed), None);
            pointer.former = former.iter().map(|hash| object(*hash)).collect();
            let removed: Vec<u128> =
                removable(&listed, &pointer, now).iter().map(|it| hash_of(&it.key).unwrap()).collect();
            for (hash, age) in ages.iter().enumerate() {
                let younger = ages.iter().filter(|other| *other < age).count();
                let not_older = ages.iter().filter(|other| *other <= age).count();
                let needed = hash as u128 == pointed || former.contains(&(hash as u128)) || *age < 7;
                let is_removed = removed.contains(&(hash as u128));
                prop_assert!(!(is_removed && needed), "{hash} is needed");
                prop_assert!(!(is_removed && not_older <= KEPT), "{hash} is one of the last");
                prop_assert!(is_removed || needed || younger < KEPT, "{hash} stays for ever");
            }
        }
    }
}
