//! Searches in sorted sequences.

/// The first place below `count` where `before` does not hold.
pub(in crate::snapshot) fn partition_point(count: u32, before: impl Fn(u32) -> bool) -> u32 {
    let (mut low, mut high) = (0, count);
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}

/// The largest number up to `most` such that `holds` from 1 to it; 0 if it does not hold for 1.
/// Gallops: doubles its steps, then bisects between the last two of them.
pub(in crate::snapshot) fn reach(most: u32, holds: impl Fn(u32) -> bool) -> u32 {
    let mut beyond = 1_u32;
    while beyond <= most && holds(beyond) {
        beyond = beyond.saturating_mul(2);
    }
    let reached = beyond / 2;
    reached + partition_point(beyond.min(most + 1) - reached - 1, |by| holds(reached + 1 + by))
}

/// The number of items at the beginning of a sorted slice for which `holds`. The number is usually small, and
/// a bisection of the whole slice would look at many more items.
pub(in crate::snapshot) fn leading<T>(sorted: &[T], holds: impl Fn(&T) -> bool) -> usize {
    // Entities and their words are numbered in 32 bits.
    reach(sorted.len() as u32, |by| holds(&sorted[by as usize - 1])) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn searches_find_the_boundary_wherever_it_is() {
        for count in 0..40_u32 {
            for boundary in 0..=count {
                assert_eq!(partition_point(count, |at| at < boundary), boundary);
                assert_eq!(reach(count, |by| by <= boundary), boundary);
                let sorted: Vec<u32> = (0..count).collect();
                assert_eq!(leading(&sorted, |at| *at < boundary), boundary as usize);
            }
        }
    }
}
