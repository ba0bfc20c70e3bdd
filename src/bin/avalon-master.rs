//! `avalon-master`: serves the collection with pre-forked workers.

use std::process::ExitCode;

use avalon::cli::{chain, exit_codes, print};
use avalon::config::trial;
use avalon::config::{self, Config, flags::Flags};
use avalon::master::{self, Dispositions, ExitCode as Exit};
use clap::Parser;

/// Serves the metadata of a music collection as JSON, by pre-forked workers.
#[derive(Parser)]
#[command(name = "avalon-master", version, args_override_self = true, after_help = SHORT, after_long_help = long())]
pub(crate) struct Arguments {
    /// Check the configuration, try its values, and exit
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

/// The end of `--help`, before the exit codes.
const SIGNALS: &str = "\
Every setting can stand in the file that AVALON_CONFIG or --config names, in the \
environment as AVALON_<KEY>, or here; `avalon-echo-config` prints all of them with their \
defaults and documentation.

Signals:
  HUP        reload: configuration, log files, collection; new workers replace the old
             ones when they are ready, and no request is lost. If anything is wrong, the
             old ones go on and the log says why
  TERM       stop: workers answer current requests first, within GRACEFUL_TIMEOUT
  INT, QUIT  stop at once
  TTIN, TTOU one worker more, one worker less
  USR1       reopen log files
  USR2       start the program again beside this one; `avalonctl upgrade` does all of it
  WINCH      drain all workers; HUP brings them back. Ignored with a terminal, which
             sends it when it is resized, and as process 1";

fn long() -> String {
    format!("{SIGNALS}\n\n{}", exit_codes(|code: &Exit| *code as u8))
}

pub(crate) fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The master sets the dispositions before it reads the configuration, which may take some time: an
    // operator who signals a process group to reload does not mean to end a server that is starting.
    let dispositions = (!arguments.print_config && !arguments.check_config).then(Dispositions::put_in_order);
    let overrides = arguments.flags.overrides();
    let config = match config::load(&overrides) {
        Ok(config) => config,
        Err(error) => {
            eprintln!("avalon-master: {}", chain(&error));
            return Exit::Configuration.into();
        }
    };
    if arguments.print_config {
        return match print(&config.print()) {
            Err(error) => {
                eprintln!("avalon-master: {error}");
                Exit::Failure.into()
            }
            Ok(()) => Exit::Stopped.into(),
        };
    }
    if arguments.check_config {
        return check(&config);
    }
    master::run(overrides, config, dispositions.unwrap_or_default()).into()
}

/// Prints the problems that a start with this configuration would meet.
fn check(config: &Config) -> ExitCode {
    let lines = config.notes.iter().chain(&config.warnings).map(String::as_str);
    lines.chain(config.unreachable()).for_each(|line| eprintln!("avalon-master: {line}"));
    let findings = trial::try_out(config);
    for finding in &findings {
        eprintln!("avalon-master: {}", chain(finding));
    }
    match findings.iter().any(|finding| finding.is_certain) {
        true => Exit::Configuration.into(),
        false => Exit::Stopped.into(),
    }
}
