//! The end of a scan: the reload of the server, the report, the exit code.

use std::error::Error;
use std::path::Path;

use slog::{Logger, info, warn};

use crate::cli::{self, chain};
use crate::database::Holder;
use crate::scan::json::{self, Reload};
use crate::scan::reload::{Reloaded, reload};
use crate::scan::{Account, Exit, Interrupt, Job, Loss, Report};

/// The end of a scan.
pub(super) struct End<'a> {
    pub(super) exit: Exit,
    pub(super) report: Option<&'a Report>,
    pub(super) losses: &'a [Loss],
    /// The reason of its failure.
    pub(super) error: Option<String>,
    pub(super) reload: Reload,
}

impl End<'_> {
    pub(super) fn new(exit: Exit) -> Self {
        End { exit, report: None, losses: &[], error: None, reload: Reload::NotAsked }
    }

    pub(super) fn failed(exit: Exit, error: &dyn Error) -> Self {
        End { error: Some(chain(error)), ..End::new(exit) }
    }

    /// Asks the server to load the collection, if the collection has changed.
    pub(super) fn ask_to_reload(&mut self, socket: Option<&Path>, interrupt: &Interrupt, log: &Logger) {
        self.reload = Reload::NotNeeded;
        if !self.report.is_some_and(|report| report.is_new) {
            return;
        }
        let Some(socket) = socket else {
            warn!(log, "No server was asked to reload: the configuration names no control socket (CONTROL)");
            self.reload = Reload::NoServer;
            return;
        };
        interrupt.begin_to_reload();
        let revision = self.report.and_then(|report| report.revision);
        self.reload = match reload(socket, revision) {
            Ok(Reloaded::Serves) => {
                info!(log, "The server serves the new collection");
                Reload::Done
            }
            Ok(Reloaded::NoServer) => {
                info!(log, "No server answers at {}; the next one reads the database", socket.display());
                Reload::NoServer
            }
            Err(error) => {
                (self.exit, self.error) = (Exit::Failed, Some(chain(&error)));
                Reload::Failed
            }
        };
    }
}

/// Writes the report and returns the exit code.
pub(super) fn write_report(me: &Holder, job: Option<&Job>, account: Option<&Account>, end: &End<'_>) -> Exit {
    let End { exit, report, losses, ref error, reload } = *end;
    let end = json::End { report, losses, error: error.as_deref(), reload, exit_code: exit.code() };
    match print_report(&json::object(me, job, account, &end)) {
        Err(error) => say(Exit::Failed, &error),
        Ok(()) => exit,
    }
}

/// Writes a report to standard output.
///
/// # Errors
/// The kernel's error for standard output.
pub(super) fn print_report(report: &serde_json::Value) -> std::io::Result<()> {
    cli::print(&format!("{report}\n"))
}

/// Writes an error to stderr and returns its exit code.
pub(super) fn say(exit: Exit, error: &dyn Error) -> Exit {
    eprintln!("avalon-scan: {}", chain(error));
    exit
}
