//! Plans: the counts that lead to each plan, and that all plans lead to the same answer.

mod collections;
mod costs;
mod parts;
mod plans;
mod ways;
