//! Plans: which counts give which, and that all lead to the same answer.

mod collections;
mod costs;
mod parts;
mod plans;
mod ways;
