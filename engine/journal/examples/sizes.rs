//! Shows what each column family of a stopped journal takes on the disk, in tables, in bytes.
//!
//! `cargo run --release -p fulgurite-journal --example sizes -- FOLDER [PAYMENTS]`

use std::path::Path;

use fulgurite_journal::{Store, store::Family};

fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = arguments.next().expect("the folder of a journal");
    let payments: u64 = arguments.next().map_or(1, |text| text.parse().expect("a number"));
    // What is in the log is written into tables as it is opened.
    let store = Store::open(Path::new(&folder)).expect("the journal opens");
    let families = [
        ("journal", Family::Journal),
        ("payments", Family::Payments),
        ("hashes", Family::Hashes),
        ("references", Family::References),
        ("batches", Family::Batches),
        ("keys", Family::Keys),
        ("snapshots", Family::Snapshots),
        ("meta", Family::Meta),
    ];
    for (name, family) in families {
        let tables = store
            .db()
            .property_int_value_cf(store.family(family), "rocksdb.total-sst-files-size")
            .expect("the property can be read");
        let bytes = tables.expect("RocksDB knows the property");
        println!("{name}: {bytes} bytes, {:.1} for each payment", bytes as f64 / payments as f64);
    }
}
