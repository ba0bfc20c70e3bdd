//! Workers that die, are silent, or do not come up.

use super::*;

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
    // The arbiter forgives failures when a worker survives, and at a reload as well.
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
    // A further death of the first workers a moment later has the same cause.
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
    // A worker of the generation that is being made.
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
fn a_worker_that_somebody_else_ended_is_replaced_and_no_failure() {
    let mut world = World::serving(2);
    for _ in 0..5 {
        world.end_orderly(world.untold(1)[0]);
        assert_eq!(world.untold(1).len(), 2);
    }
    assert_eq!((world.worst(), world.arbiter.restarts()[&RestartCause::Terminated]), (Level::Info, 5));
}
