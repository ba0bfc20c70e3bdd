//! The arbiter's decisions, case by case, in a world in memory: here starts, stops and signals.

mod deaths;
mod limits;
mod numbers;
mod properties;
mod reloads;
mod status;
mod world;

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use self::world::{World, settings};
use super::*;
use crate::master::error::Reason;
use crate::master::exit::ExitCode;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn reason(text: &str) -> Reason {
    Reason::new(text)
}

#[test]
fn it_starts_when_all_workers_are_ready() {
    let mut world = World::new(3);
    assert_eq!(world.arbiter.loader(), world.loader());
    world.loaded();
    let [first, second, third] = world.untold(1)[..] else { panic!("three workers") };
    world.ready(first);
    world.ready(second);
    assert_eq!(world.current, None);
    world.ready(third);
    assert_eq!((world.current, world.exit), (Some(1), None));
    assert_eq!(world.arbiter.slots(), [0, 1, 2]);
    assert_eq!(world.worst(), Level::Info);
}

#[test]
fn first_start_fails_with_a_code_that_says_why() {
    type Failure = fn(&mut World);
    let cases: [(&str, Failure, ExitCode); 7] = [
        ("no loader can be forked", |_| {}, ExitCode::Snapshot),
        ("the loader fails", |world| world.load_failed("no database"), ExitCode::Snapshot),
        ("the loader hangs", |world| world.pass(61 * SECOND), ExitCode::Snapshot),
        (
            "one fork fails",
            |world| {
                world.forks_fail = 1;
                world.loaded();
            },
            ExitCode::Worker,
        ),
        (
            "all forks fail",
            |world| {
                world.forks_fail = 3;
                world.loaded();
            },
            ExitCode::Worker,
        ),
        (
            "a worker dies",
            |world| {
                world.loaded();
                world.ready(world.untold(1)[0]);
                world.die(world.untold(1)[1]);
            },
            ExitCode::Worker,
        ),
        (
            "a worker hangs",
            |world| {
                world.loaded();
                world.ready(world.untold(1)[0]);
                world.pass(11 * SECOND);
            },
            ExitCode::Worker,
        ),
    ];
    for (case, failure, code) in cases {
        let mut world = match case {
            "no loader can be forked" => World::with_failing_loader(3),
            _ => World::new(3),
        };
        failure(&mut world);
        world.obey();
        assert_eq!(world.exit, Some(code), "{case}");
        assert_eq!(world.alive(), [], "{case}");
        assert_eq!(world.worst(), Level::Critical, "{case}");
        assert!(!world.listening, "{case}");
    }
}

#[test]
fn a_worker_that_ends_badly_after_a_failed_start_is_killed() {
    let mut world = World::new(2);
    world.loaded();
    let [dead, stubborn] = world.untold(1)[..] else { panic!("two workers") };
    world.die(dead);
    assert_eq!(world.told(stubborn), [Signal::SIGTERM, Signal::SIGQUIT]);
    world.pass(3 * SECOND);
    assert_eq!(world.told(stubborn).last(), Some(&Signal::SIGKILL));
    assert_eq!(world.exit, None);
    world.die(stubborn);
    assert_eq!(world.exit, Some(ExitCode::Worker));
}

#[test]
fn stop_ends_everything_at_every_stage() {
    type Stage = fn() -> World;
    let stages: [(&str, Stage); 6] = [
        ("first load", || World::new(2)),
        ("first boot", || {
            let mut world = World::new(2);
            world.loaded();
            world.ready(world.untold(1)[0]);
            world
        }),
        ("serving", || World::serving(2)),
        ("reload loads", || {
            let mut world = World::serving(2);
            world.wish(Wish::Reload);
            world
        }),
        ("reload boots", || {
            let mut world = World::serving(2);
            world.wish(Wish::Reload);
            world.wish(Wish::Reload);
            world.loaded();
            world.ready(world.untold(2)[0]);
            world
        }),
        ("old ones drain", || {
            let mut world = World::serving(2);
            world.wish(Wish::Reload);
            world.finish_reload();
            world
        }),
    ];
    for (stage, begin) in stages {
        for (wish, signal) in [(Wish::Stop, Signal::SIGTERM), (Wish::StopNow, Signal::SIGQUIT)] {
            let mut world = begin();
            world.wish(wish);
            assert!(!world.listening, "{stage}");
            assert!(world.workers().iter().all(|pid| world.told(*pid).last() == Some(&signal)), "{stage}");
            world.wish(Wish::Reload);
            world.wish(Wish::MoreWorkers);
            world.obey();
            assert_eq!((world.exit, world.alive()), (Some(ExitCode::Stopped), vec![]), "{stage}");
            assert_eq!(world.worst(), Level::Info, "{stage}");
        }
    }
}

#[test]
fn stop_waits_for_the_drain_and_no_longer() {
    let mut world = World::serving(2);
    let [first, second] = world.untold(1)[..] else { panic!("two workers") };
    world.wish(Wish::Stop);
    world.die(first);
    world.pass(31 * SECOND);
    assert_eq!((world.told(second), world.exit), (vec![Signal::SIGTERM], None));
    world.pass(2 * SECOND);
    assert_eq!(world.told(second), [Signal::SIGTERM, Signal::SIGKILL]);
    world.die(second);
    assert_eq!(world.exit, Some(ExitCode::Stopped));
}

#[test]
fn impatience_shortens_a_graceful_stop_and_is_not_taken_back() {
    let mut world = World::serving(1);
    let worker = world.untold(1)[0];
    world.wish(Wish::Stop);
    world.wish(Wish::StopNow);
    world.wish(Wish::Stop);
    assert_eq!(world.told(worker), [Signal::SIGTERM, Signal::SIGQUIT, Signal::SIGTERM]);
    world.pass(3 * SECOND);
    assert_eq!(world.told(worker).last(), Some(&Signal::SIGKILL));
}

#[test]
fn a_drain_has_a_deadline() {
    let mut world = World::serving(1);
    let old = world.untold(1)[0];
    world.wish(Wish::Reload);
    world.finish_reload();
    world.pass(31 * SECOND);
    assert_eq!(world.told(old), [Signal::SIGTERM]);
    world.pass(2 * SECOND);
    assert_eq!(world.told(old), [Signal::SIGTERM, Signal::SIGKILL]);
    assert_eq!(world.errors_with("did not end in time"), 1);
}

#[test]
fn logs_are_reopened_also_during_a_long_drain() {
    let mut world = World::serving(2);
    world.wish(Wish::ReopenLogs);
    world.wish(Wish::Stop);
    world.wish(Wish::ReopenLogs);
    assert_eq!(world.logs_reopened, 2);
}

#[test]
fn strangers_are_ignored() {
    let mut world = World::serving(1);
    let before = world.trace.len();
    world.send(Event::Ready(Pid::from_raw(99_999)));
    world.send(Event::Retires { pid: Pid::from_raw(99_999), cause: RestartCause::MaxRequests });
    world.send(Event::Exited {
        pid: Pid::from_raw(99_999),
        orderly: false,
        killed: false,
        how: "exit code 3".to_owned(),
    });
    world.send(Event::LoaderEnded(Ok(())));
    world.send(Event::Configured(Ok(settings(7))));
    assert_eq!(world.trace.len(), before);
}

#[test]
fn upgrades_are_asked_for_while_it_is_not_stopping() {
    let mut world = World::serving(1);
    world.wish(Wish::Upgrade);
    world.wish(Wish::Stop);
    world.wish(Wish::Upgrade);
    assert_eq!(world.upgrades, 1);
}
