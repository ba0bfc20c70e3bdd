//! The succession of generations, and its failures.

use super::*;

#[test]
fn reload_replaces_the_workers_when_all_new_ones_are_ready() {
    let mut world = World::serving(2);
    let old = world.untold(1);
    world.wish(Wish::Reload);
    world.loaded();
    let first = world.untold(2);
    assert_eq!(first.len(), 1, "the others leave the processors to the workers that serve");
    world.ready(first[0]);
    assert_eq!((world.current, world.untold(1)), (Some(1), old.clone()));
    let new = world.untold(2);
    assert_eq!((new.len(), new[0]), (2, first[0]));
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
        assert_eq!(world.failed_reloads(), 1, "{why}");
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
    let first = world.untold(2)[0];
    world.ready(first);
    world.die(world.untold(2)[1]);
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
    assert_eq!(world.arbiter.state(), State::Serving);
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
    // The death of the first one is no news about the second.
    world.die(stuck);
    world.finish_reload();
    assert_eq!(world.current, Some(3));
}

#[test]
fn new_workers_prove_themselves_before_the_old_ones_go() {
    let mut world = World::serving_with(Settings { probation: 200 * MS, ..settings(2) });
    world.configuration = Ok(Settings { probation: 200 * MS, ..settings(2) });
    let old = world.untold(1);
    world.wish(Wish::Reload);
    world.loaded();
    let proofs = |world: &World| {
        let proves = |action: &&Action| matches!(action, Action::Prove { .. });
        world.trace.iter().filter(proves).cloned().collect::<Vec<_>>()
    };
    assert_eq!(proofs(&world), []);
    world.all_ready();
    assert_eq!(proofs(&world), [Action::Prove { generation: 2 }]);
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
fn a_worker_that_dies_while_a_reload_is_under_way_is_replaced() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.die(world.untold(1)[0]);
    assert_eq!(world.untold(1).len(), 2);
    world.loaded();
    // The replacement still boots when the master does not need it any more.
    let booting = world.untold(1)[1];
    for at in 0..2 {
        world.ready(world.untold(2)[at]);
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
fn a_silent_new_worker_fails_the_reload() {
    let mut world = World::serving(2);
    world.wish(Wish::Reload);
    world.loaded();
    let stuck = world.untold(2)[0];
    world.ready(stuck);
    world.silence(stuck);
    world.pass(7 * SECOND);
    assert_eq!(world.told(stuck).last(), Some(&Signal::SIGABRT));
    assert_eq!(world.failed_reloads(), 1);
    world.obey();
    assert_eq!((world.current, world.alive().len()), (Some(1), 2));
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
fn a_drained_master_gets_its_workers_back_by_a_reload() {
    let mut world = World::new(2);
    world.wish(Wish::Drain);
    world.finish_reload();
    assert_eq!((world.untold(1).len(), world.arbiter.state()), (2, State::Serving), "nothing served yet");
    world.wish(Wish::Drain);
    world.obey();
    world.pass(10 * SECOND);
    assert_eq!((world.alive(), world.arbiter.state()), (vec![], State::Drained));
    assert!(world.listening && !world.discarded.contains(&1));
    world.wish(Wish::Reload);
    world.load_failed("no database");
    assert_eq!((world.alive(), world.arbiter.state()), (vec![], State::Drained));
    world.reload();
    assert_eq!((world.untold(3).len(), world.arbiter.state()), (2, State::Serving));
    assert!(world.discarded.contains(&1));
    world.wish(Wish::Drain);
    world.wish(Wish::Stop);
    world.obey();
    assert_eq!(world.exit, Some(ExitCode::Stopped));
}
