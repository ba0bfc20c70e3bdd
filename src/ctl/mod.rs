//! `avalonctl`: shows the state of a running `avalon-master`, and controls it.

mod command;
mod exit;
mod inspect;
mod publish;

use std::time::Duration;

use serde::Deserialize;

use crate::cli::{chain, print};
use crate::config::{self, Overrides};
use crate::control::{self, Command, ControlError, Reload, Status};
use crate::fleet::{Fleet, NodeUrl};

use command::Action;
pub use command::Arguments;
pub use exit::Exit;

/// Longest wait for an answer that a master gives at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// Runs the command of the command line, and shows the outcome.
pub fn main(arguments: Arguments) -> Exit {
    let mut overrides = Overrides::default();
    if let Some(path) = arguments.config {
        overrides.set_file(path);
    }
    let is_json = matches!(arguments.action, Action::Status { json: true });
    let (command, patience) = match arguments.action {
        Action::Fleet { servers, json } => return fleet(&servers, json),
        Action::Inspect { snapshot, database } => {
            return show_outcome(inspect::report(&overrides, snapshot, database));
        }
        Action::Publish(publish) => return show_outcome(publish.run(&mut overrides)),
        Action::Status { .. } => (Command::Status, Some(PATIENCE)),
        Action::Reload { wait, revision, timeout, accept_older } => {
            let timeout = revision.map(|_| timeout);
            let reload = Reload { wait, revision, timeout, accept_older };
            (Command::Reload(reload), (!wait).then_some(PATIENCE))
        }
        Action::Stop { wait } => (Command::Stop { wait }, (!wait).then_some(PATIENCE)),
        Action::Upgrade => (Command::Upgrade, None),
        Action::Workers { count } => (Command::Workers { count }, Some(PATIENCE)),
    };
    let Some(socket) = arguments.socket.or_else(|| config::control_socket(&overrides)) else {
        eprintln!(
            "avalonctl: the configuration names no control socket (CONTROL, XDG_RUNTIME_DIR); use --socket"
        );
        return Exit::NoAnswer;
    };
    let is_status = matches!(command, Command::Status);
    match control::call(&socket, command, patience) {
        Ok(answer) if is_json => show(&format!("{answer:#}\n")),
        Ok(answer) if is_status => match Status::deserialize(answer) {
            Ok(status) => show(&status.to_string()),
            Err(error) => {
                eprintln!("avalonctl: the status of the master cannot be read, try status --json: {error}");
                Exit::Failed
            }
        },
        Ok(_) => Exit::Done,
        Err(error) => {
            eprintln!("avalonctl: {}", chain(&error));
            match error {
                ControlError::Refused(_) => Exit::Failed,
                ControlError::Late(_) => Exit::Late,
                ControlError::Connection { .. } => Exit::NoAnswer,
            }
        }
    }
}

/// Shows the text of a command that asks no master, or its error.
fn show_outcome(outcome: Result<String, (Exit, String)>) -> Exit {
    match outcome {
        Ok(text) => show(&text),
        Err((exit, message)) => {
            eprintln!("avalonctl: {message}");
            exit
        }
    }
}

fn fleet(servers: &[NodeUrl], json: bool) -> Exit {
    let fleet = Fleet::ask(servers);
    let shown = match serde_json::to_string_pretty(&fleet) {
        Ok(text) if json => show(&(text + "\n")),
        Err(error) if json => {
            eprintln!("avalonctl: {error}");
            Exit::Failed
        }
        _ => show(&fleet.to_string()),
    };
    match shown {
        Exit::Done if !fleet.is_equal => Exit::Failed,
        shown => shown,
    }
}

fn show(text: &str) -> Exit {
    match print(text) {
        Err(error) => {
            eprintln!("avalonctl: {error}");
            Exit::Failed
        }
        Ok(()) => Exit::Done,
    }
}
