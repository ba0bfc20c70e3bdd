//! What the arbiter decides, case by case, in a world in memory.

mod properties;
mod world;

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::unistd::Pid;
use slog::Level;

use self::world::{World, settings};
use super::*;
use crate::master::ExitCode;

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);

fn reason(text: &str) -> String {
    text.to_owned()
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
fn reload_replaces_the_workers_when_all_new_ones_are_ready() {
    let mut world = World::serving(2);
    let old = world.untold(1);
    world.wish(Wish::Reload);
    world.loaded();
    let new = world.untold(2);
    world.ready(new[0]);
    assert_eq!((world.current, world.untold(1)), (Some(1), old.clone()));
    world.ready(new[1]);
    assert_eq!((world.current, world.untold(1)), (Some(2), vec![]));
    assert!(old.iter().all(|pid| world.told(*pid) == [Signal::SIGTERM]));
    world.die(old[0]);
    assert!(!world.discarded.contains(&1), "a worker still drains");
    world.die(old[1]);
    assert!(world.discarded.contains(&1));
    assert_eq!(world.untold(2), new);
    assert_eq!(world.worst(), Level::Info);
}

#[test]
fn failed_reload_leaves_the_old_generation_alone() {
    type Failure = fn(&mut World);
    let cases: [(&str, Failure); 8] = [
        ("bad syntax", |world| {
            world.configuration = Err(reason("bad syntax"));
            world.wish(Wish::Reload);
        }),
        ("no process", |world| {
            world.loader_forks_fail = 1;
            world.wish(Wish::Reload);
        }),
        ("no database", |world| {
            world.wish(Wish::Reload);
            world.load_failed("no database");
        }),
        ("LOAD_TIMEOUT", |world| {
            world.wish(Wish::Reload);
            world.pass(61 * SECOND);
        }),
        ("no process", |world| {
            world.wish(Wish::Reload);
            world.forks_fail = 1;
            world.loaded();
        }),
        ("killed", |world| {
            world.wish(Wish::Reload);
            world.loaded();
            world.ready(world.untold(2)[0]);
            world.die(world.untold(2)[1]);
        }),
        ("killed", |world| {
            world.wish(Wish::Reload);
            world.loaded();
            world.ready(world.untold(2)[0]);
            world.die(world.untold(2)[0]);
        }),
        ("BOOT_TIMEOUT", |world| {
            world.wish(Wish::Reload);
            world.loaded();
            world.pass(11 * SECOND);
        }),
    ];
    for (why, failure) in cases {
        let mut world = World::serving(3);
        let old = world.untold(1);
        failure(&mut world);
        assert_eq!(world.errors_with("reload failed, generation 1 goes on serving: "), 1, "{why}");
        assert!(world.errors_with(why) > 0, "{why}");
        world.obey();
        assert_eq!((world.current, world.alive()), (Some(1), old), "{why}");
        assert!(world.discarded.contains(&2), "{why}");
        world.configuration = Ok(settings(3));
        world.reload();
        assert_eq!(world.current, Some(3), "{why}");
    }
}

#[test]
fn new_workers_of_a_failed_reload_drain() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.loaded();
    let [first, second] = world.untold(2)[..] else { panic!("two workers") };
    world.ready(first);
    world.die(second);
    assert_eq!(world.told(first), [Signal::SIGTERM]);
    world.pass(31 * SECOND);
    assert_eq!(world.told(first), [Signal::SIGTERM]);
    world.pass(2 * SECOND);
    assert_eq!(world.told(first), [Signal::SIGTERM, Signal::SIGKILL]);
}

#[test]
fn nothing_new_changes_nothing() {
    let mut world = World::serving(2);
    let workers = world.untold(1);
    world.wish(Wish::Reload);
    world.found_unchanged();
    assert_eq!((world.current, world.untold(1)), (Some(1), workers));
    assert!(world.told_of.contains(&2) && world.discarded.contains(&2));
    assert_eq!(world.arbiter.state(), "serving");
    world.reload();
    assert_eq!((world.current, world.worst()), (Some(3), Level::Info));
}

#[test]
fn reloads_coalesce() {
    let mut world = World::serving(2);
    for _ in 0..100 {
        world.wish(Wish::Reload);
    }
    world.finish_reload();
    assert_eq!(world.current, Some(2));
    world.finish_reload();
    assert_eq!(world.current, Some(3));
    world.obey();
    assert_eq!((world.arbiter.loader(), world.made), (None, 3));
}

#[test]
fn reload_during_the_first_load_comes_after_it() {
    let mut world = World::new(2);
    world.wish(Wish::Reload);
    world.finish_reload();
    assert_eq!(world.current, Some(1));
    world.finish_reload();
    assert_eq!(world.current, Some(2));
}

#[test]
fn reload_that_waits_follows_a_failed_one() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.wish(Wish::Reload);
    let stuck = world.loader().expect("a loader");
    world.pass(61 * SECOND);
    assert_eq!(world.told(stuck), [Signal::SIGKILL]);
    let next = world.loader().expect("a second loader");
    assert_ne!(next, stuck);
    // The death of the first is no news of the second.
    world.die(stuck);
    world.finish_reload();
    assert_eq!(world.current, Some(3));
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
fn workers_are_added_and_taken_away() {
    let mut world = World::serving(2);
    world.wish(Wish::MoreWorkers);
    world.all_ready();
    assert_eq!(world.untold(1).len(), 3);
    world.wish(Wish::FewerWorkers);
    world.wish(Wish::FewerWorkers);
    assert_eq!(world.untold(1).len(), 1);
    world.obey();
    assert_eq!(world.alive().len(), 1);
    assert_eq!(world.worst(), Level::Info);
    world.wish(Wish::FewerWorkers);
    assert_eq!((world.untold(1).len(), world.worst()), (1, Level::Warning));
}

#[test]
fn there_are_at_most_256_workers() {
    let mut world = World::serving(255);
    world.wish(Wish::MoreWorkers);
    world.wish(Wish::MoreWorkers);
    world.wish(Wish::MoreWorkers);
    world.all_ready();
    assert_eq!(world.untold(1).len(), 256);
}

#[test]
fn a_worker_too_many_is_one_that_does_not_serve_yet() {
    let mut world = World::serving(2);
    let serving = world.untold(1);
    world.wish(Wish::MoreWorkers);
    world.wish(Wish::FewerWorkers);
    assert_eq!(world.untold(1), serving);
}

#[test]
fn the_number_of_workers_outlives_a_reload_until_the_configuration_says_another() {
    let mut world = World::serving(2);
    world.wish(Wish::MoreWorkers);
    world.wish(Wish::MoreWorkers);
    world.all_ready();
    world.reload();
    assert_eq!(world.untold(2).len(), 4);
    world.configuration = Ok(settings(3));
    world.reload();
    assert_eq!(world.untold(3).len(), 3);
}

#[test]
fn the_number_of_workers_may_change_while_they_are_made() {
    for (wish, count) in [(Wish::MoreWorkers, 3), (Wish::FewerWorkers, 1)] {
        let mut world = World::new(2);
        world.loaded();
        world.wish(wish);
        world.all_ready();
        assert_eq!((world.current, world.untold(1).len()), (Some(1), count), "first start, {wish:?}");
        let mut world = World::serving(2);
        world.wish(Wish::Reload);
        world.loaded();
        world.ready(world.untold(2)[0]);
        world.wish(wish);
        world.all_ready();
        assert_eq!((world.current, world.untold(2).len()), (Some(2), count), "reload, {wish:?}");
    }
}

#[test]
fn one_worker_more_is_one_more_than_the_new_configuration_says() {
    let mut world = World::serving(2);
    world.configuration = Ok(settings(5));
    world.wish(Wish::Reload);
    world.wish(Wish::MoreWorkers);
    world.finish_reload();
    assert_eq!(world.untold(2).len(), 6);
}

#[test]
fn a_dead_worker_is_replaced_at_once() {
    let mut world = World::serving(3);
    world.pass(20 * SECOND);
    let old = world.untold(1);
    for pid in &old {
        world.die(*pid);
    }
    assert_eq!(world.untold(1).len(), 3, "all were healthy for long");
    assert_eq!(world.errors_with("worker ended"), 3);
    world.all_ready();
    assert_eq!(world.arbiter.slots(), [0, 1, 2]);
}

#[test]
fn workers_that_die_young_are_replaced_more_and_more_slowly() {
    let mut world = World::serving(1);
    let mut waits = Vec::new();
    for _ in 0..12 {
        world.die(world.untold(1)[0]);
        let begin = world.now;
        while world.untold(1).is_empty() {
            world.pass(100 * MS);
        }
        waits.push((world.now - begin).as_millis());
    }
    assert_eq!(waits, [0, 100, 200, 400, 800, 1600, 3200, 5000, 5000, 5000, 5000, 5000]);
    assert_eq!(world.exit, None);
    // One that lives is forgiven, and a reload forgives as well.
    world.all_ready();
    world.pass(11 * SECOND);
    world.die(world.untold(1)[0]);
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 1);
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 0);
    world.reload();
    world.die(world.untold(2)[0]);
    assert_eq!(world.untold(2).len(), 1);
}

#[test]
fn young_workers_that_die_together_are_all_replaced_at_once() {
    let mut world = World::serving(4);
    world.pass(SECOND);
    world.die(world.untold(1)[0]);
    world.all_ready();
    world.pass(50 * MS);
    // One more of the first ones a moment later has the same cause.
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 4);
    world.all_ready();
    world.pass(SECOND);
    for pid in world.untold(1) {
        world.die(pid);
    }
    world.pass(100 * MS);
    assert_eq!(world.untold(1).len(), 4);
}

#[test]
fn workers_that_do_not_live_are_tried_one_at_a_time_and_given_up() {
    let mut world = World::serving_with(Settings { failures_max: 10, ..settings(4) });
    let (begin, mut forks) = (world.now, 0);
    while world.exit.is_none() && world.now < begin + 60 * SECOND {
        let dying = world.untold(1);
        forks += dying.len();
        world.all_ready();
        world.pass(50 * MS);
        dying.into_iter().for_each(|pid| world.die(pid));
    }
    assert_eq!((world.exit, world.worst()), (Some(ExitCode::Worker), Level::Critical));
    assert!(forks <= 20, "{forks} forks");
    assert!(world.now > begin + 10 * SECOND, "{:?}", world.now - begin);
}

#[test]
fn a_master_that_somebody_serves_for_is_never_given_up() {
    let with = |workers| Settings { failures_max: 3, ..settings(workers) };
    // An older worker.
    let mut world = World::serving_with(with(2));
    world.pass(20 * SECOND);
    world.die(world.untold(1)[1]);
    for _ in 0..10 {
        world.die(world.untold(1)[1]);
        world.pass(6 * SECOND);
    }
    assert_eq!((world.exit, world.untold(1).len()), (None, 2));
    assert!(world.arbiter.trouble().is_some_and(|trouble| trouble.contains("10 times in a row")));
    // A generation that drains.
    let mut world = World::serving_with(with(1));
    world.wish(Wish::Reload);
    world.finish_reload();
    for _ in 0..10 {
        world.die(world.untold(2)[0]);
        world.pass(6 * SECOND);
    }
    assert_eq!(world.exit, None);
    // One that is being made.
    let mut world = World::serving_with(with(1));
    world.wish(Wish::Reload);
    for _ in 0..5 {
        world.die(world.untold(1)[0]);
        world.pass(6 * SECOND);
    }
    assert_eq!(world.exit, None);
    world.load_failed("no database");
    world.die(world.untold(1)[0]);
    assert_eq!(world.exit, Some(ExitCode::Worker));
}

#[test]
fn trouble_is_over_when_workers_live() {
    let mut world = World::serving(2);
    for _ in 0..6 {
        world.untold(1).into_iter().for_each(|pid| world.die(pid));
        world.pass(6 * SECOND);
    }
    assert!(world.arbiter.trouble().is_some());
    world.all_ready();
    world.pass(11 * SECOND);
    assert_eq!((world.arbiter.trouble(), world.untold(1).len()), (None, 2));
}

#[test]
fn new_workers_prove_themselves_before_the_old_ones_go() {
    let mut world = World::serving_with(Settings { probation: 200 * MS, ..settings(2) });
    world.configuration = Ok(Settings { probation: 200 * MS, ..settings(2) });
    let old = world.untold(1);
    world.wish(Wish::Reload);
    world.loaded();
    world.all_ready();
    world.pass(100 * MS);
    world.die(world.untold(2)[0]);
    assert_eq!((world.current, world.untold(1)), (Some(1), old.clone()));
    assert_eq!(world.errors_with("a new worker did not come up"), 1);
    world.obey();
    world.wish(Wish::Reload);
    world.loaded();
    world.all_ready();
    world.wish(Wish::MoreWorkers);
    world.pass(201 * MS);
    assert_eq!(world.current, Some(1), "one of three is not ready");
    world.all_ready();
    world.pass(201 * MS);
    assert_eq!((world.current, world.untold(1), world.untold(3).len()), (Some(3), vec![], 3));
}

#[test]
fn a_wait_that_nobody_needs_wakes_nobody() {
    let mut world = World::serving(2);
    for _ in 0..2 {
        world.die(world.untold(1)[0]);
    }
    assert!(world.arbiter.next_deadline().is_some());
    world.wish(Wish::FewerWorkers);
    world.all_ready();
    world.pass(10 * SECOND);
    assert_eq!(world.arbiter.next_deadline(), None);
}

#[test]
fn failed_forks_are_tried_again() {
    let mut world = World::serving(2);
    world.forks_fail = 3;
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 1);
    world.pass(SECOND);
    assert_eq!(world.untold(1).len(), 2);
    assert_eq!(world.errors_with("could not be forked"), 3);
}

#[test]
fn a_worker_that_dies_while_a_reload_is_under_way_is_replaced() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 2);
    world.loaded();
    // The replacement still boots when it is not needed any more.
    let booting = world.untold(1)[1];
    for pid in world.untold(2) {
        world.ready(pid);
    }
    assert_eq!((world.current, world.told(booting)), (Some(2), vec![Signal::SIGTERM]));
    world.pass(3 * SECOND);
    assert_eq!(world.told(booting), [Signal::SIGTERM, Signal::SIGKILL]);
}

#[test]
fn an_old_generation_without_a_living_worker_is_forgotten_as_well() {
    let mut world = World::serving(1);
    world.die(world.untold(1)[0]);
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1), []);
    world.wish(Wish::Reload);
    world.loaded();
    world.ready(world.untold(2)[0]);
    assert!(world.discarded.contains(&1));
}

#[test]
fn a_worker_that_dies_while_it_drains_is_no_failure() {
    let mut world = World::serving(2);
    let old = world.untold(1);
    world.wish(Wish::Reload);
    world.finish_reload();
    world.die(old[0]);
    world.die(old[1]);
    assert_eq!((world.worst(), world.untold(2).len()), (Level::Info, 2));
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
fn a_silent_worker_is_aborted_then_killed_and_replaced_before() {
    let mut world = World::serving(2);
    let [stuck, fine] = world.untold(1)[..] else { panic!("two workers") };
    world.silence(stuck);
    world.pass(4 * SECOND);
    assert_eq!(world.told(stuck), []);
    world.pass(2 * SECOND);
    assert_eq!((world.told(stuck), world.told(fine)), (vec![Signal::SIGABRT], vec![]));
    assert_eq!(world.untold(1).len(), 2, "the replacement does not wait");
    world.pass(3 * SECOND);
    assert_eq!(world.told(stuck), [Signal::SIGABRT, Signal::SIGKILL]);
    world.die(stuck);
    world.all_ready();
    assert_eq!(world.alive().len(), 2);
}

#[test]
fn silence_is_noticed_with_the_shortest_timeout_too() {
    let mut world = World::serving_with(Settings { timeout: Some(SECOND), ..settings(1) });
    let stuck = world.untold(1)[0];
    world.silence(stuck);
    // Whole ticks of the shell.
    world.pass(3 * 501 * MS);
    assert_eq!(world.told(stuck), [Signal::SIGABRT]);
}

#[test]
fn nobody_is_too_silent_without_a_timeout() {
    let mut world = World::serving_with(Settings { timeout: None, ..settings(1) });
    let stuck = world.untold(1)[0];
    world.silence(stuck);
    world.pass(100 * SECOND);
    assert_eq!(world.told(stuck), []);
}

#[test]
fn a_silent_new_worker_fails_the_reload() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.loaded();
    let stuck = world.untold(2)[0];
    world.ready(stuck);
    world.silence(stuck);
    world.pass(7 * SECOND);
    assert_eq!(world.told(stuck).last(), Some(&Signal::SIGABRT));
    assert_eq!(world.errors_with("reload failed"), 1);
    world.obey();
    assert_eq!((world.current, world.alive().len()), (Some(1), 2));
}

#[test]
fn a_master_that_was_suspended_kills_nobody() {
    let mut world = World::serving(2);
    world.pass(SECOND);
    for pid in world.untold(1) {
        world.silence(pid);
    }
    world.now += 60 * SECOND;
    world.tick();
    assert_eq!(world.untold(1).len(), 2);
    // They were suspended as well, and go on now.
    world.all_alive();
    world.pass(20 * SECOND);
    assert_eq!(world.untold(1).len(), 2);
    assert_eq!(world.worst(), Level::Info);
}

#[test]
fn a_replacement_that_does_not_come_up_is_killed_and_tried_again() {
    let mut world = World::serving(1);
    world.die(world.untold(1)[0]);
    let hanging = world.untold(1)[0];
    world.pass(11 * SECOND);
    assert_eq!(world.told(hanging), [Signal::SIGKILL]);
    world.obey();
    assert_eq!(world.untold(1).len(), 1);
    assert_eq!(world.exit, None);
}

#[test]
fn logs_are_reopened_by_all_but_not_before_they_can() {
    let mut world = World::serving(2);
    let [serving, dead] = world.untold(1)[..] else { panic!("two workers") };
    world.die(dead);
    let booting = world.untold(1)[1];
    world.wish(Wish::ReopenLogs);
    assert_eq!(world.logs_reopened, 1);
    assert_eq!((world.told(serving), world.told(booting)), (vec![Signal::SIGUSR1], vec![]));
    world.ready(booting);
    assert_eq!(world.told(booting), [Signal::SIGUSR1]);
    world.wish(Wish::Stop);
    world.wish(Wish::ReopenLogs);
    assert_eq!(world.told(serving).last(), Some(&Signal::SIGUSR1), "a long drain has a log as well");
}

#[test]
fn strangers_are_ignored() {
    let mut world = World::serving(1);
    let before = world.trace.len();
    world.send(Event::Ready(Pid::from_raw(99_999)));
    world.send(Event::Retires { pid: Pid::from_raw(99_999), cause: RestartCause::MaxRequests });
    world.send(Event::Exited { pid: Pid::from_raw(99_999), orderly: false, how: reason("exit code 3") });
    world.send(Event::LoaderEnded(Ok(())));
    world.send(Event::Configured(Ok(settings(7))));
    assert_eq!(world.trace.len(), before);
}

#[test]
fn reload_waits_while_two_former_generations_drain() {
    let mut world = World::serving(256);
    for generation in 2..=3 {
        world.wish(Wish::Reload);
        world.finish_reload();
        assert_eq!(world.current, Some(generation));
    }
    // 2 times 256 drain, 256 serve: there are slots for one more generation, not for two.
    world.wish(Wish::Reload);
    assert_eq!(world.arbiter.loader(), None);
    world.obey();
    world.finish_reload();
    assert_eq!((world.current, world.untold(4).len()), (Some(4), 256));
}

#[test]
fn a_worker_that_somebody_else_ended_is_replaced_and_no_failure() {
    let mut world = World::serving(2);
    for _ in 0..5 {
        world.end_orderly(world.untold(1)[0]);
        assert_eq!(world.untold(1).len(), 2);
    }
    assert_eq!((world.worst(), world.arbiter.restarts()[&RestartCause::Terminated]), (Level::Info, 5));
}

#[test]
fn workers_retire_one_by_one_each_beside_its_replacement() {
    let mut world = World::serving(3);
    let old = world.untold(1);
    for pid in &old {
        world.send(Event::Retires { pid: *pid, cause: RestartCause::MaxRequests });
        world.send(Event::Retires { pid: *pid, cause: RestartCause::MaxRequests });
    }
    for (retired, pid) in old.iter().enumerate() {
        assert_eq!((world.untold(1).len(), world.booting().len()), (4, 1));
        world.ready(world.booting()[0]);
        assert_eq!(world.told(*pid), [Signal::SIGTERM]);
        world.die(*pid);
        assert_eq!(world.arbiter.restarts()[&RestartCause::MaxRequests], retired as u64 + 1);
    }
    assert_eq!((world.alive().len(), world.booting()), (3, vec![]));
    assert_eq!(world.worst(), Level::Info);
}

#[test]
fn a_worker_that_retires_is_the_first_to_go() {
    let mut world = World::serving(3);
    let old = world.untold(1);
    world.send(Event::Retires { pid: old[0], cause: RestartCause::MaxRequests });
    world.wish(Wish::FewerWorkers);
    assert_eq!((world.told(old[0]), world.booting()), (vec![Signal::SIGTERM], vec![]));
    world.send(Event::Retires { pid: old[1], cause: RestartCause::MaxRequests });
    world.reload();
    assert_eq!((world.untold(2).len(), world.alive().len()), (2, 2));
    // A reload has replaced it.
    world.pass(SECOND);
    assert_eq!(world.booting(), []);
}

#[test]
fn a_drained_master_gets_its_workers_back_by_a_reload() {
    let mut world = World::new(2);
    world.wish(Wish::Drain);
    world.finish_reload();
    assert_eq!((world.untold(1).len(), world.arbiter.state()), (2, "serving"), "nothing served yet");
    world.wish(Wish::Drain);
    world.obey();
    world.pass(10 * SECOND);
    assert_eq!((world.alive(), world.arbiter.state()), (vec![], "drained"));
    assert!(world.listening && !world.discarded.contains(&1));
    world.wish(Wish::Reload);
    world.load_failed("no database");
    assert_eq!((world.alive(), world.arbiter.state()), (vec![], "drained"));
    world.reload();
    assert_eq!((world.untold(3).len(), world.arbiter.state()), (2, "serving"));
    assert!(world.discarded.contains(&1));
    world.wish(Wish::Drain);
    world.wish(Wish::Stop);
    world.obey();
    assert_eq!(world.exit, Some(ExitCode::Stopped));
}

#[test]
fn a_number_of_workers_can_be_asked_for() {
    let mut world = World::serving(2);
    for (count, having) in [(5, 5), (1, 1), (0, 1), (257, 1), (256, 256)] {
        world.wish(Wish::Workers(count));
        world.all_ready();
        assert_eq!(world.untold(1).len(), having);
    }
    world.configuration = Ok(settings(3));
    world.wish(Wish::Reload);
    world.wish(Wish::Workers(4));
    world.finish_reload();
    assert_eq!(world.untold(2).len(), 4);
}

#[test]
fn upgrades_are_asked_for_while_it_is_not_stopping() {
    let mut world = World::serving(1);
    world.wish(Wish::Upgrade);
    world.wish(Wish::Stop);
    world.wish(Wish::Upgrade);
    assert_eq!(world.upgrades, 1);
}
