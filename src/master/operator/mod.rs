//! Where operators and the machine ask and hear: control socket, status, systemd, metrics, files.

pub(crate) mod control;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod pidfile;
pub(crate) mod status;
pub(crate) mod systemd;
pub(crate) mod terminal;
