//! Control groups of tests, in the hierarchy of cgroups(7) that a machine has: version 1, 2, or both.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};

use nix::unistd::Pid;

use super::eventually;

/// A group with processes of one test; they leave it when it is dropped.
pub(crate) struct Group {
    folder: PathBuf,
    /// Where they go then.
    parent: PathBuf,
    is_v2: bool,
}

impl Group {
    /// Groups that can be frozen, one of each version that there is; none where a test may make none.
    pub(crate) fn that_freeze() -> Vec<Group> {
        let old = Group::below("/sys/fs/cgroup/freezer", "freezer.state", false);
        let new = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"]
            .map(|root| Group::below(root, "cgroup.freeze", true));
        old.into_iter().chain(new.into_iter().flatten()).collect()
    }

    /// One that counts processes; `None` where a test may make none.
    pub(crate) fn that_counts() -> Option<Group> {
        // In version 2 a controller must be given to the groups below first.
        let _ = fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids");
        Group::below("/sys/fs/cgroup/pids", "pids.max", false)
            .or_else(|| Group::below("/sys/fs/cgroup", "pids.max", true))
    }

    fn below(root: &str, file: &str, is_v2: bool) -> Option<Group> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("avalon-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let (parent, folder) = (PathBuf::from(root), Path::new(root).join(name));
        // The root of version 1 lists its groups in a tmpfs, where a folder is no group.
        if !parent.join("cgroup.procs").exists() || fs::create_dir(&folder).is_err() {
            return None;
        }
        let group = Group { folder, parent, is_v2 };
        group.folder.join(file).exists().then_some(group)
    }

    /// Moves processes into it.
    pub(crate) fn take(&self, pids: &[Pid]) {
        for pid in pids {
            self.write("cgroup.procs", &pid.to_string());
        }
    }

    /// Stops all of its processes, and waits until they stand still.
    pub(crate) fn freeze(&self) {
        self.set_frozen("FROZEN", "1");
    }

    /// Lets them go on.
    pub(crate) fn thaw(&self) {
        self.set_frozen("THAWED", "0");
    }

    fn set_frozen(&self, old: &str, new: &str) {
        let (file, value, told, expected) = match self.is_v2 {
            true => ("cgroup.freeze", new, "cgroup.events", format!("frozen {new}")),
            false => ("freezer.state", old, "freezer.state", old.to_owned()),
        };
        self.write(file, value);
        eventually(&expected, || {
            let text = fs::read_to_string(self.folder.join(told)).expect("a group");
            text.lines().any(|line| line == expected).then_some(())
        });
    }

    /// How many processes and threads there are.
    pub(crate) fn count(&self) -> u32 {
        let text = fs::read_to_string(self.folder.join("pids.current")).expect("a group");
        text.trim().parse().expect("a number")
    }

    /// How many there may be.
    pub(crate) fn limit(&self, most: &str) {
        self.write("pids.max", most);
    }

    fn write(&self, file: &str, value: &str) {
        let path = self.folder.join(file);
        fs::write(&path, value).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let _ = fs::write(self.folder.join("freezer.state"), "THAWED");
        let _ = fs::write(self.folder.join("cgroup.freeze"), "0");
        let left = fs::read_to_string(self.folder.join("cgroup.procs")).unwrap_or_default();
        for pid in left.split_whitespace() {
            let _ = fs::write(self.parent.join("cgroup.procs"), pid);
        }
        // The dead leave a moment after they were reaped.
        let _ = super::before_deadline(|| fs::remove_dir(&self.folder).ok());
    }
}
