//! The seeded generator, and the seeds of a property.

/// A generator whose numbers depend on the seed alone (SplitMix64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// The generator of a seed.
    pub fn new(seed: u64) -> Random {
        Random(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15))
    }

    /// The next number, any 64 bits.
    pub fn draw(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// From `low` to `high`, both included.
    pub fn between(&mut self, low: i64, high: i64) -> i64 {
        let width = u64::try_from(high - low + 1).expect("low is at most high");
        low + i64::try_from(self.draw() % width).expect("within the width")
    }

    /// An index below `len`, which is at least 1.
    pub fn index(&mut self, len: usize) -> usize {
        usize::try_from(self.draw() % len as u64).expect("below len")
    }

    /// True in so many of a hundred cases.
    pub fn percent(&mut self, percent: u64) -> bool {
        self.draw() % 100 < percent
    }
}

/// The seeds of a property: `SEED` alone, or 1 to `SEEDS`, or 1 to `count`.
pub fn seeds(count: u64) -> std::ops::RangeInclusive<u64> {
    let number = |name| std::env::var(name).ok().map(|text| text.parse().expect("a number"));
    match number("SEED") {
        Some(seed) => seed..=seed,
        None => 1..=number("SEEDS").unwrap_or(count),
    }
}

/// Runs a test for one seed; prints how to repeat it when it fails.
pub fn with_seed<T>(seed: u64, test: &'static str, run: impl FnOnce(u64) -> T) -> T {
    struct Repeat(u64, &'static str);
    impl Drop for Repeat {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("SEED={} cargo test -p fulgurite-simulation {}", self.0, self.1);
            }
        }
    }
    let _repeat = Repeat(seed, test);
    run(seed)
}
