//! Numbers without any system to them, the same ones in each run (splitmix64).
#![allow(dead_code, reason = "each test file uses a part")]

const STEP: u64 = 0x9e37_79b9_7f4a_7c15;

/// Never the same for two places.
pub(crate) fn random(place: u64) -> u64 {
    mix(place.wrapping_mul(STEP))
}

fn mix(mut state: u64) -> u64 {
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    state ^ (state >> 31)
}

/// One after the other.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(STEP);
        mix(self.0)
    }

    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_in(&mut self, all: usize) -> bool {
        self.below(all) == 0
    }

    /// Below 256, and as often small as large.
    pub(crate) fn early_or_late(&mut self) -> usize {
        let end = 1 << self.below(9);
        self.below(end)
    }

    pub(crate) fn of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}
