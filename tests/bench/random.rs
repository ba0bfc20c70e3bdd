//! Numbers that look random and are the same everywhere for the same seed.

/// SplitMix64 (Steele, Lea, Flood 2014): one addition and three mixing steps.
#[derive(Debug, Clone)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Random(seed)
    }

    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From 0 to below `end`, which is not 0. The bias of at most `end` / 2^64 does not matter here.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        ((u128::from(self.bits()) * end as u128) >> 64) as usize
    }

    /// From `first` to `last`, both included.
    pub(crate) fn between(&mut self, first: i64, last: i64) -> i64 {
        first + self.below((last - first + 1) as usize) as i64
    }

    /// True `parts` times in a thousand.
    pub(crate) fn per_mille(&mut self, parts: usize) -> bool {
        self.below(1000) < parts
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }
}

/// Ranks from 0 with the popularity of Zipf and Mandelbrot: the weight of a rank is
/// 1 / (rank + shift). Whole numbers only, so that no machine rounds differently.
#[derive(Debug)]
pub(crate) struct Zipf {
    sums: Vec<u64>,
}

impl Zipf {
    /// Of `count` ranks (at least 1); the greater `shift` (at least 1), the less the first ones stand out.
    pub(crate) fn new(count: usize, shift: usize) -> Self {
        let mut sum = 0;
        let weight = |rank: usize| (1u64 << 40) / (rank + shift) as u64;
        let sums = (0..count).map(|rank| {
            sum += weight(rank);
            sum
        });
        Zipf { sums: sums.collect() }
    }

    pub(crate) fn rank(&self, random: &mut Random) -> usize {
        let all = self.sums[self.sums.len() - 1];
        let at = random.below(all as usize) as u64;
        self.sums.partition_point(|sum| *sum <= at)
    }
}
