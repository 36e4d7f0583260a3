//! What the journal costs: an event as bytes, and events on disk.

use std::{fs, hint::black_box, process};

use fulgurite_bench::{NOW, criterion, events, group::Group, queued};
use fulgurite_core::{Event, port::Journal};
use fulgurite_journal::{JournalOptions, codec, open};

fn main() {
    let mut criterion = criterion();
    encode(&mut criterion);
    append(&mut criterion);
    criterion.final_summary();
}

fn encode(criterion: &mut criterion::Criterion) {
    let mut group = Group::new(criterion, "encode");
    let [started, settled] = events();
    let mut bytes = Vec::with_capacity(4_096);
    for (name, event) in [("started", started), ("settled", settled)] {
        group.function(name, || {
            bytes.clear();
            codec::encode_event(black_box(&event), &mut bytes);
            bytes.len()
        });
        let name = format!("{name}, decoded");
        group.function(&name, || codec::decode_events(codec::SCHEMA, black_box(&bytes), 1));
    }
    let payment = queued();
    group.function("payment row", || {
        bytes.clear();
        codec::encode_payment(black_box(&payment), &mut bytes);
        bytes.len()
    });
}

/// Appends and waits for the disk; the events are the smallest, so that it is the way that costs.
fn append(criterion: &mut criterion::Criterion) {
    let folder = std::env::temp_dir().join(format!("fulgurite-bench-{}", process::id()));
    let opened = open(JournalOptions::new(&folder), NOW).expect("the temporary folder is ours");
    let journal = opened.journal;
    let mut group = Group::new(criterion, "append");
    for count in [1, 64, 1_024] {
        group.each(count as u64);
        group.function(&format!("{count} until durable"), || {
            let last = journal.append_many(std::iter::repeat_n(Event::Barrier, count));
            journal.watermark().block_until(last);
        });
    }
    group.each(1);
    group.function("one, not waited for", || journal.append(Event::Barrier));
    drop(group);
    opened.running.close();
    fs::remove_dir_all(&folder).expect("the temporary folder is ours");
}
