//! The arbiter's answers to `avalonctl status` and to the shell.

use super::*;
use crate::master::arbiter::events::{State, WorkerState};

/// The state of each worker, with its generation.
fn workers(world: &World) -> Vec<(u64, WorkerState)> {
    world.arbiter.workers().map(|worker| (worker.generation, worker.state)).collect()
}

#[test]
fn status_follows_a_server_from_its_start_to_its_end() {
    use WorkerState::{Booting, Ending, Serving};
    let mut world = World::new(2);
    let counts = |world: &World| {
        let arbiter = &world.arbiter;
        (arbiter.state(), arbiter.current(), arbiter.workers_wanted(), arbiter.workers_serving())
    };
    assert_eq!(counts(&world), (State::Starting, None, 2, 0));
    assert_eq!(world.arbiter.reload_generation(), 2);
    world.loaded();
    world.ready(world.untold(1)[0]);
    assert_eq!(workers(&world), [(1, Serving), (1, Booting)]);
    world.all_ready();
    assert_eq!(counts(&world), (State::Serving, Some(1), 2, 2));
    assert_eq!(world.arbiter.loader(), None);
    world.wish(Wish::Workers(5));
    assert_eq!(counts(&world), (State::Serving, Some(1), 5, 2));
    world.all_ready();
    assert!(!world.arbiter.is_making());
    world.wish(Wish::Reload);
    assert_eq!(counts(&world), (State::Reloading, Some(1), 5, 5));
    assert!(world.arbiter.is_making());
    assert_eq!(world.arbiter.reload_generation(), 3);
    world.finish_reload();
    assert_eq!(counts(&world), (State::Serving, Some(2), 5, 5));
    assert_eq!(workers(&world), [[(1, Ending); 5], [(2, Serving); 5]].concat());
    world.obey();
    world.wish(Wish::Drain);
    assert_eq!(counts(&world), (State::Drained, Some(2), 5, 0));
    world.wish(Wish::Stop);
    assert_eq!(world.arbiter.state(), State::Stopping);
}

#[test]
fn a_worker_is_shown_by_its_pid_with_its_slot_and_birth() {
    let mut world = World::serving(1);
    world.pass(3 * SECOND);
    world.wish(Wish::MoreWorkers);
    let shown: Vec<_> =
        world.arbiter.workers().map(|worker| (worker.pid, worker.slot, world.now - worker.born)).collect();
    let pids = world.workers();
    assert_eq!(shown, [(pids[0], 0, 3 * SECOND), (pids[1], 1, Duration::ZERO)]);
}

#[test]
fn states_are_shown_in_columns() {
    let shown = [WorkerState::Booting, WorkerState::Serving, WorkerState::Ending];
    assert_eq!(shown.map(|state| format!("{state:<8}|")), ["booting |", "serving |", "ending  |"]);
    let shown = [State::Starting, State::Serving, State::Reloading, State::Drained, State::Stopping];
    assert_eq!(
        shown.map(|state| format!("{state:>9}")),
        [" starting", "  serving", "reloading", "  drained", " stopping"]
    );
}

#[test]
fn the_log_says_how_the_server_stops() {
    for (wish, line) in [(Wish::Stop, "stopping gracefully"), (Wish::StopNow, "stopping at once")] {
        let mut world = World::serving(1);
        world.wish(wish);
        assert!(world.trace.contains(&Action::Log(Level::Info, line.to_owned())), "{line}");
    }
}
