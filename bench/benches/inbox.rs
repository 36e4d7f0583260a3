//! What it costs to hand an item to an actor: into its inbox and out again, in batches.

use std::{
    hint::black_box,
    task::{Context, Waker},
};

use fulgurite_bench::{criterion, group::Group};
use fulgurite_inbox::{Inbox, Limits, Ring};

/// As large as a message between actors.
type Item = [u64; 5];

fn main() {
    let mut criterion = criterion();
    inbox(&mut criterion);
    criterion.final_summary();
}

fn inbox(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "inbox");
    let limits = Limits { door_max: 1_024, returns_max: 1_024, batch_max: 256 };
    for count in [1_u64, 256] {
        group.each(count);
        let inbox: Inbox<Item> = Inbox::new(limits);
        let mut batch = Vec::with_capacity(256);
        let mut context = Context::from_waker(Waker::noop());
        group.function(&format!("{count} through an inbox"), || {
            for item in 0..count {
                inbox.deliver(black_box([item; 5]));
            }
            batch.clear();
            inbox.poll_batch(&mut context, &mut batch)
        });
        let ring: Ring<Item> = Ring::new(1_024);
        group.function(&format!("{count} through a ring"), || {
            for item in 0..count {
                black_box(ring.push([item; 5])).ok();
            }
            while let Some(item) = ring.pop() {
                black_box(item);
            }
        });
    }
}
