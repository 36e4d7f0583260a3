//! What it costs to hand an item to an actor: into its inbox and out again, in batches.

use std::{
    hint::black_box,
    task::{Context, Waker},
    time::Duration,
};

use criterion::{Criterion, Throughput};
use fulgurite_inbox::{Inbox, Limits, Ring};

/// As large as a message between actors.
type Item = [u64; 5];

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    inbox(&mut criterion);
    criterion.final_summary();
}

fn inbox(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("inbox");
    let limits = Limits { door_max: 1_024, returns_max: 1_024, batch_max: 256 };
    for count in [1_u64, 256] {
        group.throughput(Throughput::Elements(count));
        group.bench_function(format!("{count} through an inbox"), |bencher| {
            let inbox: Inbox<Item> = Inbox::new(limits);
            let mut batch = Vec::with_capacity(256);
            let mut context = Context::from_waker(Waker::noop());
            bencher.iter(|| {
                for item in 0..count {
                    inbox.deliver(black_box([item; 5]));
                }
                batch.clear();
                inbox.poll_batch(&mut context, &mut batch)
            });
        });
        group.bench_function(format!("{count} through a ring"), |bencher| {
            let ring: Ring<Item> = Ring::new(1_024);
            bencher.iter(|| {
                for item in 0..count {
                    black_box(ring.push([item; 5])).ok();
                }
                while let Some(item) = ring.pop() {
                    black_box(item);
                }
            });
        });
    }
    group.finish();
}
