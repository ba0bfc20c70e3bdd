//! What happens at the very moment when a time is over.

use std::time::Instant;

use super::*;
use crate::master::arbiter::patience::Patience;

#[test]
fn deaths_within_a_tenth_of_a_second_of_workers_that_were_alive_count_once() {
    let begin = Instant::now() + 100 * SECOND;
    let incidents = |born: Instant, now: Instant| {
        let mut patience = Patience::default();
        patience.died(begin - 5 * SECOND, "killed", 60 * SECOND, begin);
        patience.died(born, "killed", 60 * SECOND, now);
        patience.incidents()
    };
    assert_eq!(incidents(begin - 5 * SECOND, begin + 99 * MS), 1);
    assert_eq!(incidents(begin - 5 * SECOND, begin + 100 * MS), 2);
    assert_eq!(incidents(begin, begin + 50 * MS), 2, "its replacement");
}

#[test]
fn a_death_counts_until_its_window_is_over() {
    let begin = Instant::now();
    for (later, incidents) in [(60 * SECOND - MS, 2), (60 * SECOND, 1)] {
        let mut patience = Patience::default();
        patience.died(begin, "killed", 60 * SECOND, begin);
        patience.died(begin + SECOND, "killed", 60 * SECOND, begin + later);
        assert_eq!(patience.incidents(), incidents, "{later:?}");
    }
}

#[test]
fn deaths_are_in_a_row_until_more_than_ten_seconds_pass_without() {
    let begin = Instant::now();
    let mut patience = Patience::default();
    for at in 0..3 {
        patience.died(begin + at * SECOND, "exit code 3", 60 * SECOND, begin + at * SECOND);
    }
    let words = "workers die soon after their start, 3 times in a row, the last: exit code 3";
    patience.tick(begin + 12 * SECOND);
    assert_eq!(patience.in_words().as_deref(), Some(words));
    patience.tick(begin + 12 * SECOND + MS);
    assert_eq!((patience.in_words(), patience.incidents()), (None, 3));
}

#[test]
fn a_fork_that_succeeds_ends_the_wait_for_it() {
    let now = Instant::now();
    let mut patience = Patience::default();
    patience.fork_failed(now);
    assert_eq!(patience.allow(2, now), 0);
    patience.forked();
    assert_eq!((patience.allow(2, now), patience.allow(0, now)), (2, 0));
}

#[test]
fn ten_seconds_are_a_long_life() {
    let mut world = World::serving(1);
    world.pass(10 * SECOND);
    world.die(world.untold(1)[0]);
    assert_eq!(world.arbiter.patience.incidents(), 0);
    world.all_ready();
    world.pass(10 * SECOND - MS);
    world.die(world.untold(1)[0]);
    assert_eq!(world.arbiter.patience.incidents(), 1);
}

#[test]
fn a_worker_may_be_silent_for_as_long_as_the_timeout() {
    let mut world = World::serving(1);
    let worker = world.untold(1)[0];
    world.send(Event::Tick { silent: vec![(0, 5 * SECOND)] });
    assert_eq!(world.told(worker), []);
    world.send(Event::Tick { silent: vec![(0, 5 * SECOND + MS)] });
    assert_eq!(world.told(worker), [Signal::SIGABRT]);
}

/// The shell forks after the arbiter has asked for it, and the server may stop in between.
#[test]
fn a_worker_that_is_forked_too_late_has_two_seconds_to_end() {
    let now = Instant::now();
    let mut arbiter = Arbiter::new(settings(1));
    let [loader, worker] = [1, 2].map(Pid::from_raw);
    arbiter.handle(Event::Started(settings(1)), now);
    arbiter.handle(Event::LoaderStarted(Ok(loader)), now);
    let forks = arbiter.handle(Event::LoaderEnded(Ok(())), now);
    assert!(forks.contains(&Action::Fork { generation: 1, slot: 0 }));
    arbiter.handle(Event::Wished(Wish::Stop), now);
    let mut signals = |event: Event, now: Instant| {
        let killed = |action: &Action| match action {
            Action::Kill { pid, signal } if *pid == worker => Some(*signal),
            _ => None,
        };
        arbiter.handle(event, now).iter().filter_map(killed).collect::<Vec<_>>()
    };
    let tick = || Event::Tick { silent: vec![] };
    assert_eq!(signals(Event::Forked { generation: 1, slot: 0, result: Ok(worker) }, now), [Signal::SIGTERM]);
    assert_eq!(signals(tick(), now + 2 * SECOND - MS), []);
    assert_eq!(signals(tick(), now + 2 * SECOND), [Signal::SIGKILL]);
}

#[test]
fn a_master_gives_up_at_the_largest_number_of_deaths() {
    for (max, exit) in [(3, Some(ExitCode::Worker)), (4, None)] {
        let mut world = World::serving_with(Settings { failures_max: max, ..settings(1) });
        for _ in 0..3 {
            world.die(world.untold(1)[0]);
            world.pass(SECOND);
        }
        assert_eq!(world.exit, exit, "{max}");
    }
}

#[test]
fn workers_that_are_not_needed_have_the_time_of_a_drain() {
    let mut world = World::serving(3);
    let [retiring, ..] = world.untold(1)[..] else { panic!("three workers") };
    world.send(Event::Retires { pid: retiring, cause: RestartCause::MaxRequests });
    world.all_ready();
    world.wish(Wish::FewerWorkers);
    let told: Vec<Pid> = world.workers().into_iter().filter(|pid| !world.told(*pid).is_empty()).collect();
    assert_eq!((told.len(), told.contains(&retiring)), (2, true));
    world.pass(32 * SECOND - MS);
    assert!(told.iter().all(|pid| world.told(*pid) == [Signal::SIGTERM]));
    world.pass(MS);
    assert!(told.iter().all(|pid| world.told(*pid) == [Signal::SIGTERM, Signal::SIGKILL]));
}

#[test]
fn a_worker_that_leaves_before_it_retires_is_replaced_once() {
    let mut world = World::serving(1);
    let worker = world.untold(1)[0];
    world.send(Event::Retires { pid: worker, cause: RestartCause::MaxRequests });
    world.told_by_another(worker);
    world.all_ready();
    assert_eq!((world.told(worker), world.untold(1).len()), (vec![Signal::SIGTERM], 1));
}
