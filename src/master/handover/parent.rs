//! Whether the parent of this process would take its end for the end of the server, although another master
//! has taken over. In that case the master refuses an upgrade.

use std::env;
use std::fs;

use nix::unistd::{Pid, getppid, getsid};

use crate::master::processes::fork::own_pid;

/// Programs that adopt orphans as process 1 and do not depend on their end.
const INITS: [&str; 3] = ["systemd", "init", "openrc-init"];
/// Programs that watch the single process that they have started.
const SUPERVISORS: [&str; 15] = [
    "catatonit",
    "circusd",
    "conmon",
    "docker-init",
    "dumb-init",
    "monit",
    "pause",
    "perpd",
    "runit",
    "runsv",
    "s6-supervise",
    "supervise",
    "supervisord",
    "tini",
    "tini-static",
];

/// The process that started this one.
pub(crate) struct Parent {
    pid: Pid,
    unit: Unit,
}

/// The way in which systemd, or another manager with its protocol, watches this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// It listens, and so learns which process is the main one.
    Listens,
    /// It has started this very process, and does not listen.
    Deaf,
    None,
}

/// The facts when an operator asks for an upgrade.
struct Situation {
    own: i32,
    /// `None`: the parent has gone, and another process has adopted this one.
    parent: Option<i32>,
    /// Its name, if the system shows it.
    name: Option<String>,
    /// Whether it leads a session, as after setsid(1).
    leads_session: bool,
    unit: Unit,
}

impl Parent {
    /// Reads the facts about the parent. Call it at the start.
    pub(crate) fn of_this_process() -> Self {
        let started_by_systemd = env::var("SYSTEMD_EXEC_PID").is_ok_and(|pid| pid == own_pid().to_string());
        let unit = match (env::var_os("NOTIFY_SOCKET"), started_by_systemd) {
            (Some(_), _) => Unit::Listens,
            (None, true) => Unit::Deaf,
            (None, false) => Unit::None,
        };
        Parent { pid: getppid(), unit }
    }

    /// The reason why no process beside this one can replace it.
    pub(crate) fn obstacle(&self) -> Option<String> {
        let parent = Some(getppid()).filter(|parent| *parent == self.pid).map(Pid::as_raw);
        let name = parent.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/comm")).ok());
        let name = name.map(|name| name.trim_end().to_owned());
        let own = own_pid().as_raw();
        let leads_session = getsid(None).is_ok_and(|session| session.as_raw() == own);
        obstacle(&Situation { own, parent, name, leads_session, unit: self.unit })
    }
}

fn obstacle(of: &Situation) -> Option<String> {
    const INSTEAD: &str = "start a server with the new program in place of this one instead, or reload \
        if only the configuration or the collection is new";
    let name = of.name.as_deref().unwrap_or("unknown");
    if of.own == 1 {
        return Some(format!(
            "this master is process 1 of its container, and the kernel ends all of it with that one; {INSTEAD}"
        ));
    }
    // This check comes before the one of the parent's name, which a unit may hide (ProtectProc=).
    match of.unit {
        Unit::None => {}
        Unit::Listens => return None,
        Unit::Deaf => return Some(
            "systemd's unit is not of Type=notify, so that the end of this master would be the end of the \
             service; use Type=notify, or restart it"
                .to_owned(),
        ),
    }
    match of.parent {
        Some(0) => Some(format!(
            "this master's parent is outside of its container, and takes the end of this process for the end \
             of the server; {INSTEAD}"
        )),
        // Process 1 may only have adopted a process that went to the background.
        Some(1) if !INITS.contains(&name) && (SUPERVISORS.contains(&name) || !of.leads_session) => {
            Some(format!(
                "process 1 ({name}) is this master's parent, and takes its end for the end of the container; {INSTEAD}"
            ))
        }
        Some(parent) if SUPERVISORS.contains(&name) => Some(format!(
            "the supervisor {name} (pid {parent}) takes the end of this process for the end of the server; \
             {INSTEAD}"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(own: i32, parent: Option<i32>, name: &str) -> Situation {
        Situation { own, parent, name: Some(name.to_owned()), leads_session: false, unit: Unit::None }
    }

    #[test]
    fn parent_that_watches_this_process_alone_is_an_obstacle() {
        for situation in [
            of(1, Some(0), ""),
            of(7, Some(0), ""),
            of(7, Some(1), "tini"),
            of(7, Some(1), "sh"),
            Situation { leads_session: true, ..of(7, Some(1), "dumb-init") },
            of(99, Some(98), "runsv"),
            of(99, Some(98), "s6-supervise"),
            Situation { name: None, ..of(7, Some(1), "") },
            Situation { unit: Unit::Deaf, ..of(99, Some(1), "systemd") },
        ] {
            assert!(obstacle(&situation).is_some(), "{:?} {:?}", situation.parent, situation.name);
        }
    }

    #[test]
    fn shells_inits_and_adoptive_parents_are_no_obstacle() {
        for situation in [
            of(99, Some(98), "bash"),
            of(99, Some(1), "systemd"),
            of(99, Some(1), "init"),
            of(99, None, "tini"),
        ] {
            assert_eq!(obstacle(&situation), None);
        }
        assert_eq!(obstacle(&Situation { leads_session: true, ..of(99, Some(1), "sshd") }), None);
        let hidden = Situation { name: None, unit: Unit::Listens, ..of(99, Some(1), "") };
        assert_eq!(obstacle(&hidden), None);
        assert!(obstacle(&Situation { own: 1, ..hidden }).is_some());
    }
}
