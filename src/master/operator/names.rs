//! The care of paths that belong to the master: sockets and the pid file. Programs that clean /run and /tmp
//! remove them, and other programs take them; clients then cannot reach the server, and scripts cannot find
//! it. So the master checks them while it runs.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use slog::{Logger, error, warn};

use crate::config::Config;
use crate::master::error::{MasterError, Reason};
use crate::master::handover::paths::{Holder, Name, Seen};
use crate::master::operator::lookout::Lookout;

/// Time between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// The purpose of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// The pid file.
    PidFile,
    /// The control socket.
    Control,
    /// A Unix socket to serve on.
    Address,
}

impl Purpose {
    /// The setting that names the path.
    fn key(self) -> &'static str {
        match self {
            Purpose::PidFile => "PIDFILE",
            Purpose::Control => "CONTROL",
            Purpose::Address => "an address of BIND",
        }
    }
}

/// The child that looks, the time of the last look, and the problems that are logged.
#[derive(Default)]
pub(crate) struct Names {
    pub(crate) lookout: Lookout,
    looked: Option<Instant>,
    /// The paths with a problem in the log: another program has them, or the master cannot create them again.
    told: BTreeSet<PathBuf>,
}

impl Names {
    /// The files at the paths, as the last look found them, once it has ended.
    pub(crate) fn seen(&mut self) -> Vec<(Name, Seen)> {
        self.lookout.seen().unwrap_or_default()
    }

    /// Has a child, which works for `config`, look at `paths` if that is due.
    pub(crate) fn look(&mut self, paths: impl FnOnce() -> Vec<Name>, config: &Config, log: &Logger) {
        if self.is_time()
            && let Err(error) = self.lookout.ask(paths(), config)
            && self.is_news(Path::new(""))
        {
            warn!(log, "sockets and the pid file are not checked"; "error" => %error);
        }
    }

    /// Whether the next look is due.
    fn is_time(&mut self) -> bool {
        let is_time = self.looked.is_none_or(|looked| looked.elapsed() >= LOOK_EVERY);
        if is_time {
            self.looked = Some(Instant::now());
        }
        is_time
    }

    /// Creates a path again that a program has removed, and logs once that another program has taken one.
    /// Says whether it has created the path.
    pub(crate) fn look_after(
        &mut self,
        purpose: Purpose,
        path: &Path,
        holder: Holder,
        restore: impl FnOnce() -> Result<(), MasterError>,
        log: &Logger,
    ) -> bool {
        let key = purpose.key();
        match holder {
            Holder::Ours => {
                self.told.remove(path);
            }
            Holder::Unheld => match restore() {
                Ok(()) => {
                    warn!(log, "{} was removed, and is made again", key; "path" => %path.display());
                    return true;
                }
                Err(error) if self.is_news(path) => {
                    error!(log, "{} was removed, and cannot be made again: {}", key, Reason::from(error));
                }
                Err(_) => {}
            },
            Holder::Another if self.is_news(path) => {
                error!(log, "{} belongs to another program now; remove its file, or send SIGHUP", key;
                    "path" => %path.display());
            }
            Holder::Another => {}
        }
        false
    }

    /// Whether the log does not mention a problem with this path yet.
    fn is_news(&mut self, path: &Path) -> bool {
        self.told.insert(path.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_is_made_again_where_it_can_be() {
        let (mut names, log) = (Names::default(), Logger::root(slog::Discard, slog::o!()));
        let path = Path::new("/run/avalon.pid");
        let look = |names: &mut Names, holder, result: Result<(), MasterError>| {
            names.look_after(Purpose::PidFile, path, holder, || result, &log)
        };
        let failed = || Err(MasterError::Failed("no folder".to_owned()));
        assert!(look(&mut names, Holder::Unheld, Ok(())));
        assert!(!look(&mut names, Holder::Ours, failed()) && names.told.is_empty());
        assert!(!look(&mut names, Holder::Unheld, failed()) && names.told.contains(path));
        assert!(!names.is_news(path), "it was logged");
        look(&mut names, Holder::Ours, failed());
        assert!(!look(&mut names, Holder::Another, Ok(())) && names.told.contains(path));
    }

    #[test]
    fn looks_have_time_between_them() {
        let mut names = Names::default();
        assert!(names.is_time() && !names.is_time());
        names.looked = Instant::now().checked_sub(LOOK_EVERY);
        assert!(names.is_time());
    }
}
