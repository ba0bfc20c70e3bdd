//! Whether a file is as it was, by its stamps alone. Equal counts, never earlier or later: a
//! retag that keeps the time of change, an older file moved over a song and a clock that
//! was wrong are all seen.

use crate::model::library::Stamps;

/// Kinds of file systems (statfs) without a time of attribute change or an inode that lasts.
const FAT: [i64; 2] = [0x4d44, 0x2011_bab0];
const WITHOUT_INODES: [i64; 4] = [0x6573_5546, 0xff53_4d42, 0xfe53_4d42, 0x0102_1997];
/// ext2 to ext4, XFS, Btrfs, F2FS, ZFS, tmpfs: a file keeps its inode at every mount, and the time of
/// attribute change tells a change and nothing else.
const SURE: [i64; 6] = [0xef53, 0x5846_5342, 0x9123_683e, 0xf2f5_2010, 0x2fc1_2fc1, 0x0102_1994];
/// FAT counts time in steps of two seconds.
const STEP_NS: i64 = 2_000_000_000;

/// Stored as the kind of a file system whose inodes and times of attribute change turned out to
/// differ at each look.
pub(super) const UNSTABLE: i64 = -1;

/// Which stamps of a file system can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stamping {
    /// All of them, without a doubt: where most differ, most files were touched.
    Sure,
    /// All of them, until most differ at once.
    Exact,
    /// Size and time of change (FUSE, SMB, 9p).
    SizeAndTime,
    /// Size, and time of change in steps (FAT).
    Coarse,
}

impl Stamping {
    /// Of a file system of this kind.
    pub(super) fn of(fs_type: i64) -> Stamping {
        // The type of the number differs between machines; 32 bits count.
        match fs_type & 0xffff_ffff {
            _ if fs_type == UNSTABLE => Stamping::SizeAndTime,
            kind if FAT.contains(&kind) => Stamping::Coarse,
            kind if SURE.contains(&kind) => Stamping::Sure,
            kind if WITHOUT_INODES.contains(&kind) => Stamping::SizeAndTime,
            _ => Stamping::Exact,
        }
    }

    /// Whether stamps that differ are sure to mean that the file was touched.
    pub(super) fn is_sure(self) -> bool {
        self == Stamping::Sure
    }

    /// Whether a file with the stamps `old` that has the stamps `new` now is the same.
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

/// Whether two looks differ only in what a change of attributes, or a file system that makes up
/// its inodes, changes.
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
        // NFS may make up its inodes.
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
