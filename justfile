# The daily commands; `just` alone lists them. scripts/ does the work, so that nobody needs just.

# list the commands
default:
    @just --list

# everything that must hold, as CI runs it
check:
    scripts/test

# the tests that match a filter: just test upgrade::
test *filter:
    cargo test --locked {{ filter }}

# fmt, clippy and cargo-deny alone (without GitHub: cargo deny check bans licenses sources)
lint:
    cargo fmt --check
    cargo clippy --locked --all-targets -- -D warnings
    cargo deny check

# the benchmark beside its ceiling, as docs have it
bench *arguments:
    scripts/bench {{ arguments }}

# the documentation of all items, private ones too
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --locked --no-deps --document-private-items --open

# man pages and completions into a folder
manual folder:
    cargo run --locked --example manual -- {{ folder }} $(date --utc +%F)
