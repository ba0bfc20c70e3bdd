//! Any order of signals, deaths, failures and ticks. The world checks the invariants of each step; this file
//! checks that everything comes to rest properly once events cease.

use std::time::Duration;

use nix::unistd::Pid;
use proptest::prelude::*;

use super::world::{World, settings};
use crate::master::arbiter::{Event, Settings, Wish};
use crate::master::error::Reason;
use crate::master::exit::ExitCode;
use crate::scoreboard::RestartCause;

/// An event in the world; indices are taken modulo the number of its objects.
#[derive(Debug, Clone)]
enum Step {
    Wish(Wish),
    Loaded,
    LoadFailed,
    Unchanged,
    Ready(usize),
    Die(usize),
    EndOrderly(usize),
    Retire(usize),
    Obey,
    Silence(usize),
    Pass(u64),
    ForksFail(u32),
    LoaderForksFail,
    Configuration(Option<usize>),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let wish = prop_oneof![
        8 => Just(Wish::Reload),
        2 => Just(Wish::MoreWorkers),
        2 => Just(Wish::FewerWorkers),
        1 => (0..5_usize).prop_map(Wish::Workers),
        1 => Just(Wish::Drain),
        1 => Just(Wish::ReopenLogs),
    ];
    let step = prop_oneof![
        4 => wish.prop_map(Step::Wish),
        4 => Just(Step::Loaded),
        1 => Just(Step::LoadFailed),
        1 => Just(Step::Unchanged),
        10 => (0..100_usize).prop_map(Step::Ready),
        3 => (0..100_usize).prop_map(Step::Die),
        1 => (0..100_usize).prop_map(Step::EndOrderly),
        3 => (0..100_usize).prop_map(Step::Retire),
        2 => Just(Step::Obey),
        1 => (0..100_usize).prop_map(Step::Silence),
        4 => prop_oneof![0..2_000_u64, 2_000..70_000_u64].prop_map(Step::Pass),
        1 => (0..4_u32).prop_map(Step::ForksFail),
        1 => Just(Step::LoaderForksFail),
        2 => prop::option::of(1..6_usize).prop_map(Step::Configuration),
    ];
    prop::collection::vec(step, 0..80)
}

fn take(world: &mut World, step: &Step) {
    let pick = |from: Vec<Pid>, index: usize| from.get(index % from.len().max(1)).copied();
    match *step {
        Step::Wish(wish) => world.wish(wish),
        Step::Loaded if world.loader().is_some() => world.loaded(),
        Step::LoadFailed if world.loader().is_some() => world.load_failed("no database"),
        Step::Unchanged if world.loader().is_some() && world.current.is_some() => world.found_unchanged(),
        Step::Ready(index) => {
            if let Some(pid) = pick(world.booting(), index) {
                world.ready(pid);
            }
        }
        Step::Die(index) => {
            if let Some(pid) = pick(world.alive(), index) {
                world.die(pid);
            }
        }
        Step::EndOrderly(index) => {
            if let Some(pid) = pick(world.workers(), index) {
                world.end_orderly(pid);
            }
        }
        Step::Retire(index) => {
            if let Some(pid) = pick(world.workers(), index) {
                world.send(Event::Retires { pid, cause: RestartCause::MaxRequests });
            }
        }
        Step::Obey => world.obey(),
        Step::Silence(index) => {
            if let Some(pid) = pick(world.workers(), index) {
                world.silence(pid);
            }
        }
        Step::Pass(ms) => world.pass(Duration::from_millis(ms)),
        Step::ForksFail(count) => world.forks_fail = count,
        Step::LoaderForksFail => world.loader_forks_fail = 1,
        Step::Configuration(Some(workers)) => world.configuration = Ok(settings(workers)),
        Step::Configuration(None) => world.configuration = Err(Reason::new("bad syntax")),
        Step::Loaded | Step::LoadFailed | Step::Unchanged => {}
    }
}

/// From here on nothing fails, and each process does its task.
fn come_to_rest(world: &mut World) {
    (world.forks_fail, world.loader_forks_fail) = (0, 0);
    for _ in 0..200 {
        if world.exit.is_some() {
            return;
        }
        world.obey();
        world.all_alive();
        if world.loader().is_some() {
            world.loaded();
        }
        world.all_ready();
        world.pass(Duration::from_millis(400));
    }
}

fn small(workers: usize, timeout_s: u64, failures_max: usize) -> Settings {
    let timeout = (timeout_s > 0).then(|| Duration::from_secs(timeout_s));
    let probation = Duration::from_millis(200 * (timeout_s % 2));
    Settings { timeout, failures_max, probation, ..settings(workers) }
}

proptest! {
    #![proptest_config(crate::chance::cases(600))]

    #[test]
    fn it_comes_to_rest_with_all_workers(
        workers in 1..5_usize, timeout_s in 0..4_u64, failures_max in 0..4_usize, serving: bool,
        steps in steps(),
    ) {
        let settings = small(workers, timeout_s, failures_max);
        let mut world = match serving {
            true => World::serving_with(settings),
            false => World::new(workers),
        };
        for step in &steps {
            if world.exit.is_some() {
                break;
            }
            take(&mut world, step);
        }
        come_to_rest(&mut world);
        match (world.current, world.exit) {
            // A master that has no order to end ends only after a failed first start, or if its workers never
            // survive.
            (Some(_), Some(code)) => prop_assert!(code == ExitCode::Worker && failures_max > 0),
            (None, Some(code)) => prop_assert!(code == ExitCode::Worker || code == ExitCode::Snapshot),
            (Some(current), None) => {
                let wanted = if world.arbiter.drained { 0 } else { world.arbiter.workers };
                prop_assert_eq!(world.untold(current).len(), wanted);
                prop_assert_eq!(world.told_of.len() as u64, world.made);
                prop_assert_eq!(world.alive(), world.untold(current));
                prop_assert_eq!(world.arbiter.next_deadline(), None);
                let others = (1..=world.made).filter(|generation| *generation != current);
                prop_assert_eq!(world.discarded.iter().copied().collect::<Vec<_>>(), others.collect::<Vec<_>>());
            }
            other => prop_assert!(false, "{:?}", other),
        }
    }

    #[test]
    fn it_ends_whenever_it_is_told_to(
        workers in 1..5_usize, before in steps(), now: bool, after in steps(),
    ) {
        let mut world = World::new(workers);
        let stop = Step::Wish(if now { Wish::StopNow } else { Wish::Stop });
        for step in before.iter().chain([&stop]).chain(&after) {
            if world.exit.is_some() {
                break;
            }
            take(&mut world, step);
        }
        come_to_rest(&mut world);
        prop_assert!(world.exit.is_some());
        prop_assert_eq!(world.workers(), []);
    }

    #[test]
    fn it_ends_in_time_though_nobody_obeys(workers in 1..5_usize, before in steps()) {
        let mut world = World::new(workers);
        for step in before.iter().chain([&Step::Wish(Wish::Stop)]) {
            if world.exit.is_some() {
                break;
            }
            take(&mut world, step);
        }
        let killed = |world: &World, pid: Pid| world.told(pid).contains(&nix::sys::signal::Signal::SIGKILL);
        let begin = world.now;
        while world.exit.is_none() && world.now < begin + Duration::from_secs(40) {
            world.pass(Duration::from_secs(1));
            for pid in world.alive() {
                if killed(&world, pid) {
                    world.die(pid);
                }
            }
        }
        prop_assert!(world.exit.is_some());
    }
}
