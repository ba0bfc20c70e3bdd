//! The number of workers, and the choice of those that end.

use super::*;

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
    // A reload has replaced it already.
    world.pass(SECOND);
    assert_eq!(world.booting(), []);
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
fn configuration_and_commands_allow_the_same_numbers() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("settings.toml");
    let allows = |count: usize| {
        std::fs::write(&file, format!("WORKERS = {count}\n")).unwrap();
        let mut overrides = crate::config::Overrides::default();
        overrides.set_file(file.clone());
        crate::config::load(&overrides).is_ok()
    };
    let (least, most) = (*WORKERS.start(), *WORKERS.end());
    assert_eq!([least - 1, least, most, most + 1].map(allows), [false, true, true, false]);
}
