# The daily commands; `just` alone lists them. scripts/ does the work, so just is not needed.

# list the commands
default:
    @just --list

# everything that must hold, as CI runs it
check:
    scripts/test

# the tests that match a filter: just test upgrade::
test *filter:
    cargo test --locked {{ filter }}

# what can be put right by itself: formatting, and lints of clippy's that know how
fix:
    cargo clippy --locked --all-targets --fix --allow-dirty --allow-staged
    cargo fmt

# fmt, clippy and cargo-deny alone (without GitHub: cargo deny check bans licenses sources)
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo deny check

# code that no unit test misses: `cargo install cargo-mutants --locked` first; hours (CONTRIBUTING.md)
mutants *arguments:
    cargo mutants {{ arguments }}

# the benchmark beside its ceiling (docs/benchmark.md)
bench *arguments:
    scripts/bench {{ arguments }}

# the documentation of all items, private ones too
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --open

# man pages and completions into a folder
manual folder:
    cargo run --locked --example manual -- {{ folder }} $(date --utc +%F)
