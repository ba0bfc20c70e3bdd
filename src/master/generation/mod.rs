//! Generations: how one is configured, loaded and served.

pub(crate) mod asking;
pub(crate) mod generations;
pub(crate) mod loader;
pub(crate) mod logs;
pub(crate) mod refresh;
pub(crate) mod restored;
pub(crate) mod saver;
pub(crate) mod workers;
