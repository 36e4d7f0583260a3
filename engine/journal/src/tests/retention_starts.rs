//! Starts behind what retention removed: what stands for it is proved, or the journal is refused.

use fulgurite_core::{
    Lsn,
    batch::{Batch, State as BatchState},
    payment::{Payment, State},
};
use rocksdb::{IteratorMode, WriteBatch};
use tempfile::TempDir;

use super::{
    Fixture,
    history::History,
    refused, refused_keeping,
    retention::{KEEP_MS, copy, pruned},
    tamper,
};
use crate::{
    OpenError, Store, Verdict, anchor, dump,
    dump::DumpOptions,
    keys, reader,
    record::{Damage, Position},
    store::Family,
    verify,
    views::stored_position,
    watermark::WatermarkFile,
};

fn verdict(folder: &TempDir) -> (Lsn, String) {
    match verify(folder.path()).verdict {
        Verdict::Damaged { lsn, reason } => (lsn, reason),
        verdict => panic!("not damaged: {verdict:?}"),
    }
}

/// The newest two snapshots.
fn snapshots(folder: &TempDir) -> [Lsn; 2] {
    let store = Store::open_read_only(folder.path()).unwrap();
    let marks = anchor::newest_marks(&store, 2).unwrap();
    [marks[0].position.lsn, marks[1].position.lsn]
}

/// Damages a row of the snapshot of this event.
fn damage(folder: &TempDir, lsn: Lsn) {
    tamper(folder.path(), |store, batch| {
        let first = [&lsn.to_be_bytes()[..], &[0; 4]].concat();
        batch.put_cf(store.family(Family::Snapshots), first, [1, 1, 0, 9]);
    });
}

/// Takes a payment's rows away.
fn lose(folder: &TempDir, payment: &Payment) {
    tamper(folder.path(), |store, batch| {
        batch.delete_cf(store.family(Family::Payments), keys::payment(payment.id));
        let hash = keys::hash(payment.order.payment_hash, payment.id);
        batch.delete_cf(store.family(Family::Hashes), hash);
    });
}

/// What is open, and what is over.
fn content(folder: &TempDir) -> (Vec<Batch>, Vec<Payment>) {
    let fixture = Fixture::in_folder(copy(folder));
    let open = fixture.opened.book.batches.into_values().collect();
    let finished = |batch: &fulgurite_core::batch::Summary| batch.state == BatchState::Finished;
    let batches = fixture.opened.views.batches(None, 10_000, true, finished).unwrap();
    let of = |batch: fulgurite_core::batch::Summary| {
        fixture.opened.views.final_payments(batch.accepted.batch).unwrap()
    };
    (open, batches.into_iter().flat_map(of).collect())
}

#[test]
fn a_damaged_newest_snapshot_is_passed_over_with_retention_alone() {
    let (folder, anchor) = pruned(5);
    let whole = Fixture::in_folder(copy(&folder)).opened.book;
    let [newest, older] = snapshots(&folder);
    assert!(older >= anchor.position.lsn);
    let last = copy(&folder);
    damage(&folder, newest);
    assert!(verdict(&folder).1.contains("a view: a row is damaged"), "{}", verdict(&folder).1);
    assert!(matches!(refused(copy(&folder).path()), OpenError::Views(_)), "as ever");
    assert_eq!(Fixture::keeping(copy(&folder), KEEP_MS).opened.book, whole);
    // Its last row is lost: it was whole once.
    tamper(last.path(), |store, batch| {
        let row = [&newest.to_be_bytes()[..], &[255; 4]].concat();
        batch.delete_cf(store.family(Family::Snapshots), row);
    });
    assert!(verdict(&last).1.contains("the last row is missing"));
    assert!(matches!(refused(last.path()), OpenError::Views(_)));
    assert_eq!(Fixture::keeping(last, KEEP_MS).opened.book, whole);
    damage(&folder, older);
    assert!(matches!(refused_keeping(folder.path(), KEEP_MS), OpenError::Views(_)));

    // Without any, nothing stands for what is gone.
    tamper(folder.path(), |store, batch| {
        batch.delete_range_cf(store.family(Family::Snapshots), [0; 12], [255; 12]);
    });
    for keep_ms in [0, KEEP_MS] {
        let error = refused_keeping(folder.path(), keep_ms);
        let removed = anchor.position.lsn;
        assert!(matches!(error, OpenError::NoSnapshot { removed: of, found: 0 } if of == removed));
    }
    assert!(verdict(&folder).1.contains("no snapshot stands for"));
}

#[test]
fn what_a_newer_program_wrote_is_no_damage() {
    let (folder, _) = pruned(5);
    let [newest, _] = snapshots(&folder);
    tamper(folder.path(), |store, batch| {
        let first = [&newest.to_be_bytes()[..], &[0; 4]].concat();
        batch.put_cf(store.family(Family::Snapshots), first, [1, 9, 0, 9]);
    });
    for keep_ms in [0, KEEP_MS] {
        let error = refused_keeping(folder.path(), keep_ms);
        assert!(format!("{error:?}").contains("NewerSchema(9)"), "{error:?}");
    }
}

#[test]
fn without_retention_one_snapshot_is_kept_and_all_are_marked() {
    let (fixture, mut history) = (Fixture::new(), History::new(5));
    history.start(1, env!("CARGO_PKG_VERSION"));
    while fixture.opened.journal.totals().snapshots < 3 {
        assert!(history.book.lsn < 50_000, "snapshots are taken");
        fixture.play(&mut history, 20);
    }
    let store = Store::open(fixture.close().path()).unwrap();
    // Retention that begins later finds old places.
    assert!(anchor::newest_marks(&store, 9).unwrap().len() >= 3);
    assert_eq!(anchor::read(&store).unwrap(), None);
    let rows = store.db().iterator_cf(store.family(Family::Snapshots), IteratorMode::Start);
    let last_rows = rows.filter(|row| row.as_ref().unwrap().0.ends_with(&[255; 4]));
    assert_eq!(last_rows.count(), 1);
}

#[test]
fn a_lost_payment_of_an_open_batch_is_no_damage_of_a_snapshot() {
    let (folder, _) = pruned(5);
    let [_, older] = snapshots(&folder);
    let (open, _) = content(&folder);
    // Snapshots leave it to the views.
    let paid = |payment: &&Payment| {
        matches!(payment.state, State::Succeeded { .. }) && payment.version <= older
    };
    let payment = open.iter().flat_map(|batch| &batch.payments).find(paid).expect("one is paid");
    lose(&folder, payment);
    for keep_ms in [0, KEEP_MS] {
        let error = refused_keeping(folder.path(), keep_ms);
        assert!(matches!(error, OpenError::Views(_)), "{error}");
        assert!(format!("{error:?}").contains("payments where it had"), "{error:?}");
    }
}

#[test]
fn what_the_views_lost_is_found_where_an_older_snapshot_is_taken() {
    let (folder, _) = pruned(5);
    let [newest, older] = snapshots(&folder);
    let (_, finished) = content(&folder);
    damage(&folder, newest);
    Fixture::keeping(copy(&folder), KEEP_MS);
    // Its row was written between the two, and will not be written again.
    let store = Store::open_read_only(folder.path()).unwrap();
    let between = older + 1..=stored_position(&store).unwrap();
    drop(store);
    let lost = finished.iter().find(|payment| between.contains(&payment.version));
    lose(&folder, lost.expect("a payment that ended between the two"));
    let error = refused_keeping(folder.path(), KEEP_MS);
    assert!(matches!(error, OpenError::Broken(_)), "{error}");
}

#[test]
fn only_retention_takes_the_beginning_away() {
    let (folder, anchor) = pruned(5);
    let first = anchor.position.lsn + 1;
    let changed = |change: &dyn Fn(&Store, &mut WriteBatch)| {
        let copy = copy(&folder);
        tamper(copy.path(), change);
        (verdict(&copy), refused(copy.path()))
    };
    // Nobody says that it was removed.
    let nobody = changed(&|store, batch| batch.delete_cf(store.family(Family::Meta), b"anchor"));
    assert_eq!(nobody.0.0, 1);
    assert!(matches!(nobody.1, OpenError::Damaged(at) if at.lsn == 1), "without an anchor");
    // More is gone than what it says.
    let more = changed(&|store, batch| {
        batch.delete_cf(store.family(Family::Journal), reader::key(first));
    });
    assert_eq!(more.0.0, first);
    assert!(matches!(more.1, OpenError::Damaged(at) if at.lsn == first));
    // Another history was removed.
    let other = changed(&|store, batch| {
        let mut other = anchor;
        other.position.chain[0] ^= 1;
        anchor::put(store, batch, &other);
    });
    assert_eq!(other.0.0, first);
    assert!(matches!(other.1, OpenError::Damaged(at) if at.damage == Damage::Chain));
    // It cannot be read.
    let unread = changed(&|store, batch| {
        batch.put_cf(store.family(Family::Meta), b"anchor", [1; 69]);
    });
    assert!(unread.0.1.contains("retention"), "{}", unread.0.1);
    assert!(matches!(unread.1, OpenError::Views(_)));
    // A newer program wrote it.
    let newer = changed(&|store, batch| {
        let mut row = vec![2; 90];
        row.extend(crc32c::crc32c(&row).to_le_bytes());
        batch.put_cf(store.family(Family::Meta), b"anchor", row);
    });
    assert!(newer.0.1.contains("has format 2, which is newer"), "{}", newer.0.1);
}

#[test]
fn a_first_record_that_rotted_is_told_and_the_journal_opens() {
    let (folder, anchor) = pruned(5);
    let first = reader::key(anchor.position.lsn + 1);
    tamper(folder.path(), |store, batch| {
        let records = store.family(Family::Journal);
        let mut row = store.db().get_cf(records, first).unwrap().unwrap();
        *row.last_mut().unwrap() ^= 1;
        batch.put_cf(records, first, row);
    });
    assert_eq!(verdict(&folder).0, anchor.position.lsn + 1);
    // A start reads nothing before its snapshot.
    assert_eq!(Fixture::in_folder(folder).opened.epoch, 3);
}

#[test]
fn a_watermark_from_before_the_removal_is_refused() {
    let (folder, anchor) = pruned(5);
    let path = Store::watermark_path(folder.path());
    let Position { lsn, chain } = anchor.position;
    let mut other = chain;
    other[0] ^= 1;
    for (position, is_old) in [
        (Position { lsn: lsn - 1, chain }, true),
        (Position { lsn, chain: other }, false),
        (Position { lsn, chain }, false),
    ] {
        std::fs::remove_file(&path).unwrap();
        WatermarkFile::open(&path).unwrap().0.write(position).unwrap();
        if position == anchor.position {
            assert_eq!(verify(folder.path()).verdict, Verdict::Clean);
            continue;
        }
        assert_eq!(verdict(&folder).0, lsn);
        match refused(folder.path()) {
            OpenError::OldWatermark { removed, acknowledged } if is_old => {
                assert_eq!((removed, acknowledged), (lsn, position.lsn));
            }
            OpenError::OtherHistory(at) if !is_old => assert_eq!(at, lsn),
            error => panic!("{error}"),
        }
    }
    Fixture::in_folder(folder);
}

#[test]
fn a_whole_journal_without_its_first_record_is_refused() {
    let (folder, _) = Fixture::killed_after_records();
    tamper(folder.path(), |store, batch| {
        batch.delete_cf(store.family(Family::Journal), reader::key(1));
    });
    assert_eq!(verdict(&folder).0, 1);
    assert!(matches!(refused(folder.path()), OpenError::Damaged(at) if at.lsn == 1));
}

#[test]
fn views_that_do_not_agree_are_found() {
    let (folder, _) = pruned(6);
    let fixture = Fixture::in_folder(copy(&folder));
    let batches =
        fixture.opened.views.batches(None, 100, true, |batch| batch.state == BatchState::Finished);
    let summary = batches.unwrap().pop().unwrap();
    let payment = fixture.opened.views.final_payments(summary.accepted.batch).unwrap().remove(0);
    drop(fixture);
    let lost = |family: Family, key: &[u8]| {
        let copy = copy(&folder);
        tamper(copy.path(), |store, batch| batch.delete_cf(store.family(family), key));
        verdict(&copy).1
    };
    let hash = keys::hash(payment.order.payment_hash, payment.id);
    assert!(lost(Family::Hashes, &hash).contains("is not what hash"));
    assert!(lost(Family::Payments, &keys::payment(payment.id)).contains("hashes are of payments"));
    let store = Store::open_read_only(folder.path()).unwrap();
    let counted = crate::hash_claims::elsewhere_count(&store).unwrap().unwrap();
    let rows = store.db().iterator_cf(store.family(Family::Hashes), IteratorMode::Start);
    let elsewhere = rows.map(Result::unwrap).filter(|(_, row)| **row == [4]);
    let elsewhere: Vec<_> = elsewhere.map(|(key, _)| key).collect();
    assert_eq!(elsewhere.len() as u64, counted);
    drop(store);
    assert!(lost(Family::Hashes, &elsewhere[0]).contains("were paid elsewhere, and"));
    let accepted = &summary.accepted;
    let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
    assert!(lost(Family::Keys, &key).contains("by its idempotency key"));
}

#[test]
fn a_dump_begins_behind_what_was_removed_and_says_so() {
    let (folder, anchor) = pruned(5);
    let first = anchor.position.lsn + 1;
    let shown = |from: Lsn| {
        let (mut text, options) =
            (Vec::new(), DumpOptions { lsns: from..=first + 1, with_content: false });
        let removed = dump(folder.path(), &options, &mut text).unwrap();
        (removed, String::from_utf8(text).unwrap().lines().count())
    };
    assert_eq!(shown(0), (Some(anchor), 2));
    assert_eq!(shown(first - 1), (Some(anchor), 2));
    assert_eq!(shown(first), (None, 2));
    assert_eq!(shown(first + 1), (None, 1));
}
