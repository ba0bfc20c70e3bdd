//! Black-box tests: they start the real binaries.
