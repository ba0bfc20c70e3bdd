//! How many cases property tests play.

use proptest::test_runner::Config;

/// As many cases as `PROPTEST_CASES` says (`scripts/test --long` sets it), else a few.
pub(crate) fn cases(few: u32) -> Config {
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => Config::default(),
        None => Config::with_cases(few),
    }
}
