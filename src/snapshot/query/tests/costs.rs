//! A measurement of the costs of plans: each change of a cost changes some plans, and this compares the
//! times of those plans. Run it with optimisation:
//!
//! ```text
//! CARGO_PROFILE_DEV_OPT_LEVEL=3 cargo test --lib -- --ignored --nocapture costs_that_change_plans
//! ```

use std::hint::black_box;
use std::time::{Duration, Instant};

use super::collections::{Random, Shape, collection, query};
use crate::model::Kind;
use crate::snapshot::open::{Snapshot, Verify};
use crate::snapshot::query::plan::{COSTS, Costs};
use crate::snapshot::query::{Query, Runs};
use crate::snapshot::tests::snapshot_bytes;

/// Questions for each collection.
const QUERIES: usize = 3000;
/// The most questions that are timed for each change of the costs and each collection.
const TIMED: usize = 40;
const SIZES: [usize; 3] = [1000, 200_000, 1_000_000];

/// A change of the costs: its name, and the change.
type Change = (&'static str, fn(&mut Costs));

const CHANGES: [Change; 8] = [
    ("add 1", |costs| costs.add = 1.0),
    ("add 4", |costs| costs.add = 4.0),
    ("names 12", |costs| costs.names = 12.0),
    ("names 48", |costs| costs.names = 48.0),
    ("scattered 2", |costs| costs.scattered = 2.0),
    ("scattered 8", |costs| costs.scattered = 8.0),
    ("share_max 1/8", |costs| costs.share_max = 0.125),
    ("share_max 1/2", |costs| costs.share_max = 0.5),
];

/// The time of a question in microseconds: the shortest of some runs, because other processes only add to it.
fn time(snapshot: &Snapshot<'_>, costs: &Costs, query: &Query) -> f64 {
    let (begin, mut shortest) = (Instant::now(), Duration::MAX);
    for run in 0..40 {
        let begun = Instant::now();
        for run in Runs::new(snapshot.select_songs(costs, query)) {
            black_box(snapshot.json_run(Kind::Song, run.start, run.end));
        }
        shortest = shortest.min(begun.elapsed());
        if run > 4 && begin.elapsed() > Duration::from_millis(15) {
            break;
        }
    }
    shortest.as_secs_f64() * 1e6
}

/// The times of questions with changed plans.
#[derive(Default)]
struct Outcome {
    changed: usize,
    times: Vec<(f64, f64, String)>,
}

impl Outcome {
    fn measure(&mut self, snapshot: &Snapshot<'_>, queries: &[Query], change: fn(&mut Costs)) {
        let mut costs = COSTS;
        change(&mut costs);
        let plans = |query: &&Query| snapshot.plan_songs(&COSTS, query) != snapshot.plan_songs(&costs, query);
        let changed: Vec<&Query> = queries.iter().filter(plans).collect();
        self.changed += changed.len();
        for query in changed.iter().step_by(changed.len().div_ceil(TIMED).max(1)) {
            let (now, then) = (time(snapshot, &COSTS, query), time(snapshot, &costs, query));
            let plans = (snapshot.plan_songs(&COSTS, query), snapshot.plan_songs(&costs, query));
            let sizes = format!("{} songs: {} -> {}", snapshot.count(Kind::Song), plans.0, plans.1);
            self.times.push((now, then, sizes));
        }
    }

    /// The sum of the times after the change, of those before it, and the extremes.
    fn show(&self) -> String {
        let sum = |of: fn(&(f64, f64, String)) -> f64| self.times.iter().map(of).sum::<f64>();
        let (now, then) = (sum(|times| times.0), sum(|times| times.1));
        let ratio = |times: &&(f64, f64, String)| times.1 / times.0;
        let mean = (sum(|times| (times.1 / times.0).ln()) / self.times.len().max(1) as f64).exp();
        let by = |a: &&(f64, f64, String), b: &&(f64, f64, String)| (a.1 - a.0).total_cmp(&(b.1 - b.0));
        let shown = |times: Option<&(f64, f64, String)>| {
            times.map_or_else(String::new, |times| {
                format!("{:.1} -> {:.1} us x{:.2} ({})", times.0, times.1, ratio(&times), times.2)
            })
        };
        format!(
            "{:>6} changed, {:>4} timed, {now:>9.0} -> {then:>9.0} us, mean x{mean:.2}\n    best  {}\n    worst {}",
            self.changed,
            self.times.len(),
            shown(self.times.iter().min_by(by)),
            shown(self.times.iter().max_by(by)),
        )
    }
}

#[test]
#[ignore = "a measurement of some minutes, which means something with optimisation only"]
fn costs_that_change_plans() {
    let mut outcomes: Vec<Outcome> = CHANGES.iter().map(|_| Outcome::default()).collect();
    for songs in SIZES {
        for shape in Shape::ALL {
            let collection = collection(shape, songs, 7);
            let bytes = snapshot_bytes(&collection);
            let snapshot = Snapshot::open(&bytes, Verify::Structure).unwrap();
            let mut random = Random(11);
            let queries: Vec<Query> = (0..QUERIES).map(|_| query(&collection, &mut random)).collect();
            for ((_, change), outcome) in CHANGES.iter().zip(&mut outcomes) {
                outcome.measure(&snapshot, &queries, *change);
            }
            println!("{shape:?} of {songs} songs, {} bytes", bytes.len());
        }
    }
    println!("{} questions", QUERIES * SIZES.len() * Shape::ALL.len());
    for ((name, _), outcome) in CHANGES.iter().zip(&outcomes) {
        println!("{name:<26} {}", outcome.show());
    }
}
