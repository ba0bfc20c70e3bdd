//! Plans: which counts give which, and that all lead to the same answer.

mod plans;
mod ways;
