//! What the journal costs: an event as bytes, and events on disk.

use std::{fs, hint::black_box, process, time::Duration};

use criterion::{Criterion, Throughput};
use fulgurite_bench::{NOW, events, queued};
use fulgurite_core::{Event, port::Journal};
use fulgurite_journal::{JournalOptions, codec, open};

fn main() {
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(500))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    encode(&mut criterion);
    append(&mut criterion);
    criterion.final_summary();
}

fn encode(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("encode");
    let [started, settled] = events();
    let mut bytes = Vec::with_capacity(4_096);
    for (name, event) in [("started", started), ("settled", settled)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| {
                bytes.clear();
                codec::encode_event(black_box(&event), &mut bytes);
                bytes.len()
            });
        });
        group.bench_function(format!("{name}, decoded"), |bencher| {
            bytes.clear();
            codec::encode_event(&event, &mut bytes);
            bencher.iter(|| codec::decode_events(codec::SCHEMA, black_box(&bytes), 1));
        });
    }
    let payment = queued();
    group.bench_function("payment row", |bencher| {
        bencher.iter(|| {
            bytes.clear();
            codec::encode_payment(black_box(&payment), &mut bytes);
            bytes.len()
        });
    });
    group.finish();
}

/// Appends and waits for the disk; the events are the smallest, so that it is the way that costs.
fn append(criterion: &mut Criterion) {
    let folder = std::env::temp_dir().join(format!("fulgurite-bench-{}", process::id()));
    let opened = open(JournalOptions::new(&folder), NOW).expect("the temporary folder is ours");
    let journal = opened.journal;
    let mut group = criterion.benchmark_group("append");
    for count in [1, 64, 1_024] {
        group.throughput(Throughput::Elements(count as u64));
        group.bench_function(format!("{count} until durable"), |bencher| {
            bencher.iter(|| {
                let last = journal.append_many(std::iter::repeat_n(Event::Barrier, count));
                journal.watermark().block_until(last);
            });
        });
    }
    group.throughput(Throughput::Elements(1));
    group.bench_function("one, not waited for", |bencher| {
        bencher.iter(|| journal.append(Event::Barrier));
    });
    group.finish();
    opened.running.close();
    fs::remove_dir_all(&folder).expect("the temporary folder is ours");
}
