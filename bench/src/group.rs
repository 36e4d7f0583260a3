//! A criterion group that tells allocations beside the times.

use std::{hint::black_box, time::Duration};

use criterion::{BatchSize, BenchmarkGroup, Criterion, Throughput, measurement::WallTime};

use crate::allocations;

/// Criterion, short enough that all groups take a few minutes.
pub fn criterion() -> Criterion {
    Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args()
}

/// A group of functions. Each prints its line of allocations before its times.
pub struct Group<'a> {
    name: &'static str,
    group: BenchmarkGroup<'a, WallTime>,
}

impl<'a> Group<'a> {
    /// A group; it ends when it is dropped.
    pub fn new(criterion: &'a mut Criterion, name: &'static str) -> Group<'a> {
        Group { name, group: criterion.benchmark_group(name) }
    }

    /// Each call of the functions that follow does `count` things.
    pub fn each(&mut self, count: u64) {
        self.group.throughput(Throughput::Elements(count));
    }

    /// Measures `routine`.
    pub fn function<O>(&mut self, name: &str, mut routine: impl FnMut() -> O) {
        self.tell(name, allocations::of(|| (), |()| routine()));
        self.group.bench_function(name, |bencher| bencher.iter(&mut routine));
    }

    /// Measures `routine`, whose input is made anew each time and does not count.
    pub fn with<I, O>(
        &mut self,
        name: &str,
        mut setup: impl FnMut() -> I,
        mut routine: impl FnMut(I) -> O,
    ) {
        self.tell(name, allocations::of(&mut setup, &mut routine));
        self.group.bench_function(name, |bencher| {
            bencher.iter_batched(
                &mut setup,
                |input| routine(black_box(input)),
                BatchSize::SmallInput,
            );
        });
    }

    fn tell(&self, name: &str, of: allocations::Allocations) {
        let name = format!("{}/{name}", self.name);
        println!("{name:<40}allocations: {:.2} a call, {:.0} bytes", of.count, of.bytes);
    }
}
