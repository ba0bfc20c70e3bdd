//! Plans: which counts give which, and that all lead to the same answer.

mod collections;
mod costs;
mod plans;
mod ways;
