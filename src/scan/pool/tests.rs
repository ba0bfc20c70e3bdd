use super::*;
use std::sync::mpsc;

/// A job that doubles its number, or waits for a message that may never come.
#[derive(Clone)]
struct Double {
    number: u64,
    gate: Option<Arc<Mutex<mpsc::Receiver<()>>>>,
}

impl Work for Double {
    type Done = u64;

    fn path(&self) -> &Path {
        Path::new("/some/file")
    }

    fn run(&self) -> u64 {
        if let Some(gate) = &self.gate {
            let _ = gate.lock().expect("gate").recv();
        }
        self.number * 2
    }

    fn is_leaf(&self) -> bool {
        self.number.is_multiple_of(2)
    }
}

fn patience(named: u64, limit: u64) -> Patience {
    Patience { named_after: Duration::from_millis(named), limit: Duration::from_millis(limit) }
}

fn limits(threads: usize, patience: Patience) -> Limits {
    Limits { threads: Threads::Fixed(threads), patience }
}

fn plain(number: u64) -> Double {
    Double { number, gate: None }
}

#[test]
fn every_job_is_reported_once() {
    let mut pool = Pool::start(limits(4, patience(60_000, 60_000))).expect("threads");
    pool.push((0..5000).map(plain));
    let mut sum = 0;
    while pool.open() > 0 {
        if let Event::Done(job, done) = pool.next(Duration::from_millis(100)) {
            assert_eq!(done, 2 * job.number);
            sum += done;
        }
    }
    assert_eq!(sum, 4999 * 5000);
}

#[test]
fn a_job_that_hangs_is_named_then_given_up_and_the_rest_goes_on() {
    let (open, gate) = mpsc::channel();
    let mut pool = Pool::start(limits(1, patience(20, 100))).expect("threads");
    pool.push([Double { number: 2, gate: Some(Arc::new(Mutex::new(gate))) }, plain(4), plain(6)]);
    let (mut named, mut given_up, mut done) = (0, Vec::new(), Vec::new());
    while pool.open() > 0 {
        match pool.next(Duration::from_millis(5)) {
            Event::Slow(path, elapsed) => {
                assert!(path == Path::new("/some/file") && elapsed >= Duration::from_millis(20));
                named += 1;
            }
            Event::GivenUp(job) => given_up.push(job.number),
            Event::Done(job, _) => done.push(job.number),
            Event::Quiet => {}
        }
    }
    assert_eq!((named, given_up, done), (1, vec![2], vec![4, 6]));
    // The thread that was given up ends silently once it can.
    drop(open);
}

#[test]
fn jobs_are_abandoned_when_too_many_threads_hang() {
    let (_open, gate) = mpsc::channel::<()>();
    let gate = Arc::new(Mutex::new(gate));
    let mut pool = Pool::start(limits(1, patience(1, 2))).expect("threads");
    pool.push((0..100).map(|number| Double { number: 2 * number, gate: Some(gate.clone()) }));
    let mut given_up = 0;
    while pool.open() > 0 {
        if let Event::GivenUp(_) = pool.next(Duration::from_millis(1)) {
            given_up += 1;
        }
        given_up += pool.abandoned().len();
    }
    assert_eq!(given_up, 100);
}
