//! The number of cases that a property test runs.

use proptest::test_runner::Config;

/// Returns the number that `PROPTEST_CASES` names (`scripts/test --long` sets it), else `few`.
pub(crate) fn cases(few: u32) -> Config {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default(),
        None => Config::with_cases(few),
    }
}
