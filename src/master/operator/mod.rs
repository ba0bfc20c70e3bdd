//! The connections of a master to operators and to the machine: control socket, status, systemd, metrics, pid
//! file. All of them together are the desk.

pub(crate) mod control;
pub(crate) mod desk;
pub(crate) mod lookout;
pub(crate) mod metrics;
pub(crate) mod names;
pub(crate) mod pidfile;
pub(crate) mod status;
pub(crate) mod systemd;
