//! Detection of unchanged files by their stamps alone. A file is unchanged if the stamps are equal;
//! earlier or later does not matter. This detects a retag that keeps the time of change, an older
//! file moved over a song, and a clock that was wrong.

use crate::model::library::Stamps;

/// Kinds of file systems (statfs) without a time of attribute change or an inode that lasts.
const FAT: [i64; 2] = [0x4d44, 0x2011_bab0];
const WITHOUT_INODES: [i64; 4] = [0x6573_5546, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
/// ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs: a file keeps its inode at every mount, and the time
/// of attribute change moves only with a change.
const SURE: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994];
/// FAT counts time in steps of two seconds.
const STEP_NS: i64 = 2_000_000_000;

/// The stored kind of a file system whose inodes and times of attribute change differ each time.
pub(super) const UNSTABLE: i64 = -1;

/// The stamps of a file system that are reliable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamping {
    /// All of them, always: if most differ, most files were touched.
    Sure,
    /// All of them, unless most differ at once.
    Exact,
    /// Size and time of change (FUSE, SMB, 9p).
    SizeAndTime,
    /// Size, and time of change in steps (FAT).
    Coarse,
}

impl Stamping {
    /// Returns the stamping of a file system of this kind.
    pub(super) fn of(fs_type: i64) -> Stamping {
        // The type of the number differs between machines; the low 32 bits count.
        match fs_type & 0xffff_ffff {
            _ if fs_type == UNSTABLE => Stamping::SizeAndTime,
            kind if FAT.contains(&kind) => Stamping::Coarse,
            kind if SURE.contains(&kind) => Stamping::Sure,
            kind if WITHOUT_INODES.contains(&kind) => Stamping::SizeAndTime,
            _ => Stamping::Exact,
        }
    }

    /// Reports whether different stamps always mean that the file was touched.
    pub(super) fn is_sure(self) -> bool {
        self == Stamping::Sure
    }

    /// Reports whether stamps of `old` and `new` mean an unchanged file.
    pub(super) fn is_same(self, old: &Stamps, new: &Stamps) -> bool {
        match self {
            Stamping::Sure | Stamping::Exact => old == new,
            Stamping::SizeAndTime => (old.size, old.mtime_ns) == (new.size, new.mtime_ns),
            Stamping::Coarse => {
                old.size == new.size && old.mtime_ns.saturating_sub(new.mtime_ns).abs() < STEP_NS
            }
        }
    }
}

/// Reports whether the stamps differ only in inode and time of attribute change. A change of
/// attributes causes this, and so does a file system that invents its inodes.
pub(super) fn is_suspect(old: &Stamps, new: &Stamps) -> bool {
    old != new && (old.size, old.mtime_ns) == (new.size, new.mtime_ns)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_of_any_stamp_counts_where_stamps_can_be_believed() {
        let old = Stamps { size: 1, mtime_ns: 10_000_000_000, ctime_ns: 3, ino: 4 };
        let later = |ns| Stamps { mtime_ns: old.mtime_ns + ns, ..old };
        for (new, exact, size_and_time, coarse) in [
            (old, true, true, true),
            (Stamps { size: 2, ..old }, false, false, false),
            (Stamps { ctime_ns: 0, ..old }, false, true, true),
            (Stamps { ino: 0, ..old }, false, true, true),
            (later(1_999_999_999), false, false, true),
            (later(-1_999_999_999), false, false, true),
            (later(2_000_000_000), false, false, false),
        ] {
            for (fs_type, same) in [
                (0xef53, exact),
                (0x6969, exact),
                (0x6573_5546, size_and_time),
                (UNSTABLE, size_and_time),
                (0x4d44, coarse),
            ] {
                assert_eq!(Stamping::of(fs_type).is_same(&old, &new), same, "{new:?} on {fs_type:x}");
            }
        }
        // NFS may invent its inodes.
        assert!(
            Stamping::of(0xef53).is_sure()
                && !Stamping::of(0x6969).is_sure()
                && !Stamping::of(UNSTABLE).is_sure()
        );
        // SMB's number does not fit into 31 bits.
        assert_eq!(Stamping::of(i64::from(0xff53_4d42_u32.cast_signed())), Stamping::SizeAndTime);
        assert!(is_suspect(&old, &Stamps { ino: 0, ..old }) && !is_suspect(&old, &later(1)));
    }
}
