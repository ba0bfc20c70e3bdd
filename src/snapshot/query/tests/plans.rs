//! Which counts give which plan.
