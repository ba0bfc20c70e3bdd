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

#[test]
fn a_worker_that_another_process_told_to_end_is_replaced_while_it_drains() {
    let mut world = World::serving(2);
    let [leaving, _] = world.untold(1)[..] else { panic!("two workers") };
    world.told_by_another(leaving);
    assert_eq!((world.untold(1).len(), world.arbiter.workers_serving()), (2, 1));
    world.all_ready();
    world.end_orderly(leaving);
    assert_eq!((world.worst(), world.arbiter.restarts()[&RestartCause::Terminated]), (Level::Info, 1));
    // It has the time of a drain, and no more.
    let leaving = world.untold(1)[0];
    world.told_by_another(leaving);
    world.all_ready();
    world.pass(31 * SECOND);
    assert_eq!(world.told(leaving), [Signal::SIGTERM]);
    world.pass(2 * SECOND);
    assert_eq!(world.told(leaving).last(), Some(&Signal::SIGKILL));
}

#[test]
fn the_end_of_listening_gives_a_worker_that_drains_no_more_time() {
    let mut world = World::serving(1);
    let old = world.untold(1)[0];
    world.wish(Wish::Reload);
    world.finish_reload();
    world.pass(20 * SECOND);
    world.send(Event::Deaf(old));
    world.pass(13 * SECOND);
    assert_eq!(world.told(old), [Signal::SIGTERM, Signal::SIGKILL]);
}

/// Deaths that were long ago are forgiven by a worker that has lived long and dies, not by one that ends in order.
#[test]
fn a_long_life_forgives_and_an_orderly_end_does_not() {
    for (orderly, exit) in [(false, None), (true, Some(ExitCode::Worker))] {
        let mut world = World::serving_with(Settings { failures_max: 5, ..settings(1) });
        let die_young = |world: &mut World, times: usize| {
            for _ in 0..times {
                if let [worker] = world.untold(1)[..] {
                    world.die(worker);
                    world.pass(6 * SECOND);
                }
            }
        };
        die_young(&mut world, 2);
        world.all_ready();
        world.pass(11 * SECOND);
        let old = world.untold(1)[0];
        if orderly {
            world.end_orderly(old)
        } else {
            world.die(old)
        }
        die_young(&mut world, 3);
        assert_eq!(world.exit, exit, "orderly: {orderly}");
    }
}

#[test]
fn young_workers_of_the_same_generation_are_no_reason_to_go_on() {
    let mut world = World::serving_with(Settings { failures_max: 3, ..settings(2) });
    for _ in 0..3 {
        assert_eq!(world.exit, None);
        world.die(world.untold(1)[1]);
        world.pass(SECOND);
        world.obey();
    }
    assert_eq!(world.exit, Some(ExitCode::Worker));
}

#[test]
fn each_generation_has_its_own_time_to_boot() {
    let mut world = World::serving(2);
    world.pass(20 * SECOND);
    world.configuration = Ok(Settings { boot_timeout: 20 * SECOND, ..settings(2) });
    world.wish(Wish::Reload);
    world.loaded();
    world.die(world.untold(1)[0]);
    let replacement = *world.booting().last().expect("a replacement");
    let new = world.untold(2)[0];
    world.pass(11 * SECOND);
    assert_eq!(world.told(replacement), [Signal::SIGKILL]);
    assert_eq!(world.told(new), []);
    world.pass(10 * SECOND);
    assert!(world.told(new).contains(&Signal::SIGKILL));
    assert_eq!(world.failed_reloads(), 1);
}
