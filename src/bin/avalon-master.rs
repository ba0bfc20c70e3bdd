//! `avalon-master`: serves the collection with pre-forked workers.

use std::process::ExitCode;

use avalon::cli::{chain, print};
use avalon::config::trial::{self, Finding};
use avalon::config::{self, Config, flags::Flags};
use avalon::master::{self, Dispositions};
use clap::Parser;

/// Serves the metadata of a music collection as JSON, by pre-forked workers.
#[derive(Parser)]
#[command(name = "avalon-master", version, args_override_self = true, after_help = SHORT, after_long_help = LONG)]
pub(crate) struct Arguments {
    /// Check the configuration, try what it names, and exit
    #[arg(long)]
    check_config: bool,
    /// Print the configuration without secrets, and exit
    #[arg(long)]
    print_config: bool,
    #[command(flatten)]
    flags: Flags,
}

const SHORT: &str = "\
All flags, signals and exit codes: --help. All settings: avalon-echo-config";

const LONG: &str = "\
Every setting can stand in the file that AVALON_CONFIG or --config names, in the \
environment as AVALON_<KEY>, or here; `avalon-echo-config` prints all of them with their \
defaults and documentation.

Signals:
  HUP        reload: configuration, log files, collection; new workers replace the old
             ones when they are ready, and no request is lost. If anything is wrong, the
             old ones go on and the log says why
  TERM       stop: what is under way is answered first, within GRACEFUL_TIMEOUT
  INT, QUIT  stop at once
  TTIN, TTOU one worker more, one worker less
  USR1       reopen log files
  USR2       start the program anew beside this one; `avalonctl upgrade` does all of it
  WINCH      drain all workers; HUP brings them back. Ignored with a terminal, which
             sends it when it is resized, and as process 1

Exit codes:
  0  stopped as told
  1  an address or the pid file could not be had, or the system failed
  2  wrong command line or configuration
  3  the workers did not come up, or die again and again (MAX_FAILURES)
  4  the collection could not be loaded: the database is unreachable or broken";

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Before the configuration is read, which may take its time: who tells a group to reload does not mean
    // to end a server that starts.
    let dispositions = (!arguments.print_config && !arguments.check_config).then(Dispositions::put_in_order);
    let overrides = arguments.flags.overrides();
    let config = match config::load(&overrides) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("avalon-master: {}", chain(&error));
            return ExitCode::from(2);
        }
    };
    if arguments.print_config {
        return match print(&config.print()) {
            Err(error) => {
                eprintln!("avalon-master: {error}");
                ExitCode::FAILURE
            }
            Ok(()) => ExitCode::SUCCESS,
        };
    }
    if arguments.check_config {
        return check(&config);
    }
    ExitCode::from(master::run(overrides, config, dispositions.unwrap_or_default()) as u8)
}

/// Says what a start with this configuration would meet.
fn check(config: &Config) -> ExitCode {
    let lines = config.notes.iter().chain(&config.warnings).map(String::as_str);
    lines.chain(config.unreachable()).for_each(|line| eprintln!("avalon-master: {line}"));
    let findings = trial::try_out(config);
    for Finding::Wrong(text) | Finding::Unsure(text) in &findings {
        eprintln!("avalon-master: {text}");
    }
    match findings.iter().any(|finding| matches!(finding, Finding::Wrong(_))) {
        true => ExitCode::from(2),
        false => ExitCode::SUCCESS,
    }
}
