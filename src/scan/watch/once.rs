//! The log of repeated passes: it writes each line once.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use slog::{Drain, Level, Logger, Never, OwnedKVList, Record, o};

/// With more lines than this, the log forgets all of them and may repeat them.
const LINES_MAX: usize = 10_000;

/// The lines that were written, by hash.
#[derive(Debug, Clone, Default)]
pub(super) struct Told(Arc<Mutex<HashSet<u64>>>);

impl Told {
    /// Returns a log that writes each line of level INFO or above to `log` once.
    pub(super) fn logger(&self, log: &Logger) -> Logger {
        Logger::root(Once { told: self.clone(), log: log.clone() }, o!())
    }

    /// Forgets all lines, so that the log may repeat them.
    pub(super) fn forget(&self) {
        self.lock().clear();
    }

    fn lock(&self) -> MutexGuard<'_, HashSet<u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Records a line, and returns whether it is new.
    pub(super) fn is_new(&self, line: &str) -> bool {
        let mut hasher = DefaultHasher::new();
        line.hash(&mut hasher);
        let mut told = self.lock();
        if told.len() >= LINES_MAX {
            told.clear();
        }
        told.insert(hasher.finish())
    }
}

struct Once {
    told: Told,
    log: Logger,
}

impl Drain for Once {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, values: &OwnedKVList) -> Result<(), Never> {
        if record.level().is_at_least(Level::Info) && !self.told.is_new(&record.msg().to_string()) {
            return Ok(());
        }
        Drain::log(&self.log, record, values)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use slog::{debug, info, warn};

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<String>>>);

    impl Drain for Lines {
        type Ok = ();
        type Err = Never;

        fn log(&self, record: &Record<'_>, _: &OwnedKVList) -> Result<(), Never> {
            self.0.lock().expect("lines").push(record.msg().to_string());
            Ok(())
        }
    }

    #[test]
    fn a_line_is_told_once_until_it_is_forgotten() {
        let lines = Lines::default();
        let told = Told::default();
        let log = told.logger(&Logger::root(lines.clone(), o!()));
        for song in ["a", "a", "b"] {
            warn!(log, "Skipped {song}");
            info!(log, "Skipped {song}");
            debug!(log, "Passed over {song}");
        }
        told.forget();
        warn!(log, "Skipped a");
        let lines = lines.0.lock().expect("lines").join(", ");
        assert_eq!(lines, "Skipped a, Passed over a, Passed over a, Skipped b, Passed over b, Skipped a");
    }
}
