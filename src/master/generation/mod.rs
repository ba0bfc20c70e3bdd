//! Generations: how one is configured, loaded, served and left to the next master. In order of use: logs, the
//! loader, the table of generations, the child that asks for a configuration, the restored snapshot, and the workers.

pub(crate) mod asking;
pub(crate) mod before;
mod beside;
mod drafts;
mod failed;
pub(crate) mod freshness;
pub(crate) mod generations;
pub(crate) mod loader;
pub(crate) mod loading;
pub(crate) mod logs;
mod merging;
pub(crate) mod note;
pub(crate) mod reading;
pub(crate) mod restored;
pub(crate) mod saver;
mod sealed;
pub(crate) mod served;
pub(crate) mod watcher;
mod watcher_session;
pub(crate) mod workers;
