//! All programs in one file, as packages install them: the name by which the file is called selects the
//! program.

#[path = "avalonctl.rs"]
mod ctl;
#[path = "avalon-echo-config.rs"]
mod echo;
#[path = "avalon-master.rs"]
mod master;
#[path = "avalon-scan.rs"]
mod scan;

use std::env;
use std::ffi::OsStr;
use std::path::Path;
use std::process::ExitCode;

type Main = fn() -> ExitCode;

const PROGRAMS: [(&str, Main); 4] = [
    ("avalon-echo-config", echo::main),
    ("avalon-master", master::main),
    ("avalon-scan", scan::main),
    ("avalonctl", ctl::main),
];

fn main() -> ExitCode {
    let called = env::args_os().next().unwrap_or_default();
    let name = Path::new(&called).file_name().unwrap_or(OsStr::new("avalon"));
    if let Some((_, main)) = PROGRAMS.iter().find(|(program, _)| name == *program) {
        return main();
    }
    let names = PROGRAMS.map(|(program, _)| program).join(", ");
    eprintln!(
        "{}: this file is several programs: call it by the name of one of them: {names}",
        name.display()
    );
    ExitCode::from(2)
}
