//! File systems that are soon full.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// A file system in memory, at a folder of its own.
pub(crate) struct SmallDisk(PathBuf);

impl SmallDisk {
    /// One of this `size`, as mount(8) takes it; `None` where none can be mounted.
    pub(crate) fn mount(path: PathBuf, size: &str) -> Option<Self> {
        fs::create_dir(&path).expect("a folder");
        let mount = ["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"];
        let status = Command::new("mount").args(mount).arg(&path).status();
        status.is_ok_and(|status| status.success()).then_some(SmallDisk(path))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    /// Gives it another size.
    pub(crate) fn grow(&self, size: &str) {
        let options = format!("remount,size={size}");
        let status = Command::new("mount").args(["-o", &options]).arg(&self.0).status();
        assert!(status.expect("mount").success());
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}
