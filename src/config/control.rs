//! `CONTROL`: the socket on which `avalonctl` reaches the master.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use nix::unistd::Uid;

use super::layers::Layers;
use super::overrides::Overrides;
use super::problem::Problem;
use super::world::World;
use super::{arguments, notation};

/// The reason why `avalonctl` cannot reach a master without a place for its socket.
pub(super) const UNREACHABLE: &str = "avalonctl cannot reach this server: neither RUNTIME_DIRECTORY nor XDG_RUNTIME_DIR is set, and there is no \
     /run/user/UID; set CONTROL to a path, or to none";

/// Returns the control socket: as it is set, or in the folder that systemd or the session provides.
pub(super) fn control(setting: &str, overrides: &Overrides) -> Result<Option<PathBuf>, Problem> {
    let folder = |name: &str| overrides.variable(name);
    Ok(match setting {
        "none" => None,
        // systemd may name several folders; the first one belongs to this service.
        "" => folder("RUNTIME_DIRECTORY")
            .and_then(|folders| {
                folders.to_str()?.split(':').next().map(|first| Path::new(first).join("control"))
            })
            // Root looks in the folder of the service, not of the session.
            .or_else(|| Uid::effective().is_root().then(|| PathBuf::from("/run/avalon/control")))
            .or_else(|| {
                folder("XDG_RUNTIME_DIR")
                    .or_else(own_runtime_folder)
                    .map(|folder| folder.join("avalon/control"))
            }),
        path => notation::path(path)?,
    })
}

/// Returns the folder that XDG_RUNTIME_DIR would name, for users who have a session and use su,
/// sudo or cron.
fn own_runtime_folder() -> Option<PathBuf> {
    let folder = PathBuf::from(format!("/run/user/{}", Uid::effective()));
    let found = std::fs::symlink_metadata(&folder).ok()?;
    (found.is_dir() && found.uid() == Uid::effective().as_raw()).then_some(folder)
}

/// Returns the socket on which a master with this configuration listens for `avalonctl`, even if
/// the rest of the configuration is wrong.
pub fn control_socket(overrides: &Overrides) -> Option<PathBuf> {
    let layers = arguments::under(overrides).and_then(|overrides| Layers::read(&overrides, &World::live()));
    match layers.and_then(|layers| layers.string("CONTROL")) {
        Ok(setting) => control(&setting, overrides),
        Err(_) => {
            let setting = overrides.variable("AVALON_CONTROL").unwrap_or_default();
            control(&setting.to_string_lossy(), overrides)
        }
    }
    .ok()?
}
