//! Old records go when all that they said is proved to stay, and not before.

use fulgurite_core::{Event, Lsn, PaymentHash, UnixMs, batch::Batch, payment::State};
use proptest::prelude::*;
use rocksdb::IteratorMode;
use tempfile::TempDir;

use super::{Fixture, NOW, copy_folder, history::History, options};
use crate::{
    JournalOptions, Store, Verdict, Views,
    age::Clock,
    anchor::{self, Anchor},
    codec, keys, open,
    reader::{self, Groups},
    retention::{NotRemoved, Retention, Snapshotted},
    store::Family,
    verify,
    views::POSITION_KEY,
};

pub(super) const KEEP_MS: i64 = 50;

/// A journal with a history of which much is old, from which nothing was removed. Its records are
/// in many files below level 0, but for the last.
fn played(seed: u64) -> (Fixture, History) {
    let folder = tempfile::tempdir().unwrap();
    // Records that are kept so long that none goes; snapshots are as with retention.
    let (fixture, mut history) = (Fixture::keeping(folder, i64::MAX), History::new(seed));
    history.start(1, env!("CARGO_PKG_VERSION"));
    let is_old = |fixture: &Fixture| {
        let Snapshotted { older, now, .. } = newest_snapshots(fixture)?;
        let old = now.plus_ms(-KEEP_MS);
        let mark = anchor::newest_mark_within(store(fixture), 0, older, old).unwrap();
        mark.filter(|at| at.position.lsn >= 600)
    };
    while is_old(&fixture).is_none() {
        assert!(history.book.lsn < 50_000, "snapshots are taken");
        let from = history.book.lsn;
        fixture.play(&mut history, 100);
        settle(store(&fixture), from + 1);
    }
    // From here on no snapshot is taken: the newest two stay the newest.
    let options =
        JournalOptions { snapshot_every_events: u64::MAX, ..options(fixture.folder.path()) };
    let folder = fixture.close();
    history.start(2, env!("CARGO_PKG_VERSION"));
    (Fixture { opened: open(options, NOW).unwrap(), folder }, history)
}

/// Brings the records from this event on to a file of their own below level 0.
fn settle(store: &Store, from: Lsn) {
    let family = store.family(Family::Journal);
    store.db().flush_cf(family).unwrap();
    store.db().compact_range_cf(family, Some(reader::key(from)), None::<[u8; 8]>);
}

fn store(fixture: &Fixture) -> &Store {
    &fixture.opened.views.store
}

/// The two newest snapshots, as the projector tells of them.
fn newest_snapshots(fixture: &Fixture) -> Option<Snapshotted> {
    let marks = anchor::newest_marks(store(fixture), 2).unwrap();
    let [newest, older] = marks[..] else { return None };
    let now = fixture.opened.views.read_open(|book| book.time);
    Some(Snapshotted { newest: newest.position.lsn, older: older.position.lsn, now })
}

fn retention(fixture: &Fixture) -> Retention {
    let store = fixture.opened.views.store.clone();
    let watermark = Store::watermark_path(fixture.folder.path());
    let clock = Clock::new(|| NOW.plus_ms(60_000), NOW);
    // Nobody closes it.
    let closed = crossbeam_channel::never();
    Retention { store, watermark, keep_ms: KEEP_MS, clock, events_of_a_turn: 10_000, closed }
}

/// A journal whose old records went, and where it begins.
pub(super) fn pruned(seed: u64) -> (TempDir, Anchor) {
    let (fixture, _) = played(seed);
    let (retention, snapshots) = (retention(&fixture), newest_snapshots(&fixture).unwrap());
    let anchor = retention.due(snapshots).unwrap().unwrap();
    retention.decide(&anchor).unwrap();
    assert!(retention.remove_files().unwrap() > 0, "something goes");
    drop(retention);
    (fixture.close(), anchor)
}

pub(super) fn copy(folder: &TempDir) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    copy_folder(folder.path(), copy.path());
    copy
}

/// How many files below level 0 hold records, and the first record of all.
fn files(store: &Store) -> (usize, Lsn) {
    let files = store.db().live_files().unwrap();
    let of_records = files.iter().filter(|file| file.column_family_name == "journal");
    let mut records = store.db().iterator_cf(store.family(Family::Journal), IteratorMode::Start);
    let (first, _) = records.next().unwrap().unwrap();
    let count = of_records.filter(|file| file.level > 0).count();
    (count, Lsn::from_be_bytes((*first).try_into().unwrap()))
}

/// All that doors may be asked of these batches.
fn answers(views: &Views, batches: &[Batch]) -> String {
    let mut text = String::new();
    for batch in batches {
        let accepted = &batch.summary.accepted;
        let id = accepted.batch;
        let payments = views.payments_of_batch(id, 0, usize::MAX, |_| true).unwrap();
        assert_eq!(payments, batch.payments);
        let key = views.batch_by_key(&accepted.account, &accepted.idempotency_key).unwrap();
        let changes = views.changes_after(id, (0, 0), usize::MAX).unwrap();
        text += &format!("{:?} {key:?} {changes:?}\n", views.batch(id).unwrap());
        for payment in payments {
            let hash = payment.order.payment_hash;
            let (found, claim) = (views.by_hash(hash).unwrap(), views.hash_claim(hash).unwrap());
            let reference = payment.order.reference.as_ref();
            let referred = reference.map(|reference| views.by_reference(&reference.bytes).unwrap());
            let of_payment = views.payment(payment.id).unwrap();
            text += &format!("{of_payment:?} {found:?} {claim:?} {referred:?}\n");
        }
    }
    // What others paid (rule E18).
    for byte in 0..=255 {
        let claim = views.hash_claim(PaymentHash([byte; 32])).unwrap();
        text += &format!("{claim:?}\n");
    }
    text
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2))]

    #[test]
    fn a_journal_without_its_old_records_says_what_one_with_them_says(seed: u64, kills: u8) {
        let mut history = History::new(seed);
        let mut whole = Fixture::new();
        let mut kept = Fixture::keeping(tempfile::tempdir().unwrap(), KEEP_MS);
        for start in 1..=4_u32 {
            history.start(start, env!("CARGO_PKG_VERSION"));
            prop_assert_eq!(&kept.opened.book, &history.book);
            prop_assert_eq!(&whole.opened.book, &history.book);
            let begun = history.book.lsn;
            while history.book.lsn < begun + 150 || kept.opened.journal.totals().oldest_lsn == 1 {
                prop_assert!(history.book.lsn < 50_000, "something goes");
                let events = history.steps(50);
                for fixture in [&kept, &whole] {
                    let last = fixture.opened.journal.append_many(events.iter().cloned());
                    fixture.opened.views.projected().block_until(last);
                }
            }
            prop_assert!(!kept.opened.journal.totals().retention_failed);
            let mut batches: Vec<Batch> = history.finished.clone();
            batches.extend(history.book.batches.values().cloned());
            let [said, expected] =
                [&kept, &whole].map(|fixture| answers(&fixture.opened.views, &batches));
            prop_assert_eq!(said, expected);
            let killed = kills >> start & 1 == 1;
            let folder = if killed { kept.killed() } else { kept.close() };
            let report = verify(folder.path());
            prop_assert_eq!((report.verdict, report.last_lsn), (Verdict::Clean, history.book.lsn));
            prop_assert!(report.removed.is_some());
            kept = Fixture::keeping(folder, KEEP_MS);
            whole = Fixture::in_folder(whole.close());
        }
    }
}

#[test]
fn the_engine_removes_what_is_old_and_says_up_to_where() {
    let mut history = History::new(1);
    let fixture = Fixture::keeping(tempfile::tempdir().unwrap(), KEEP_MS);
    history.start(1, env!("CARGO_PKG_VERSION"));
    let totals = fixture.opened.journal.totals();
    assert_eq!((totals.oldest_lsn, totals.oldest_time), (1, NOW));
    while fixture.opened.journal.totals().oldest_lsn == 1 {
        assert!(history.book.lsn < 50_000, "something goes");
        fixture.play(&mut history, 100);
    }
    let folder = fixture.close();
    let report = verify(folder.path());
    let removed = report.removed.unwrap();
    assert_eq!(report.verdict, Verdict::Clean);
    assert!(history.book.time.since(removed.time) >= KEEP_MS, "{removed:?}");
    assert!(removed.position.lsn < history.book.lsn && removed.keep_ms == KEEP_MS);
    assert!(removed.removed <= history.book.time);
    // They are in no file of their own yet.
    let store = Store::open(folder.path()).unwrap();
    assert_eq!(files(&store), (0, 1));
    let family = store.family(Family::Journal);
    store.db().flush_cf(family).unwrap();
    let end = Groups::holding(&store, removed.position.lsn).next().unwrap().unwrap().first_lsn;
    store.db().compact_range_cf(family, None::<[u8; 8]>, None::<[u8; 8]>);
    assert_eq!(files(&store), (1, 1));
    // The one at the edge stays, with what is in front of the anchor.
    assert_eq!(store.files_of_records(end).unwrap(), [0_u64; 0]);
    drop(store);
    let fixture = Fixture::keeping(folder, KEEP_MS);
    let totals = fixture.opened.journal.totals();
    assert_eq!(totals.oldest_lsn, removed.position.lsn + 1);
    assert_eq!(totals.oldest_time, removed.time);
    assert_eq!(verify(fixture.close().path()).verdict, Verdict::Clean);
}

#[test]
fn whole_files_go_and_a_death_anywhere_in_between_opens_and_is_gone_on_with() {
    let (fixture, mut history) = played(7);
    let (retention, snapshots) = (retention(&fixture), newest_snapshots(&fixture).unwrap());
    let anchor = retention.due(snapshots).unwrap().unwrap();
    let old = |batch: &Batch| batch.summary.accepted.time <= anchor.time;
    assert!(history.book.batches.values().any(old), "something that is open is older than that");
    let (before, _) = files(store(&fixture));
    let mut deaths = vec![(fixture.killed(), 1)];
    assert_eq!(retention.remove_files().unwrap(), 0, "not before the anchor");
    retention.decide(&anchor).unwrap();
    deaths.push((fixture.killed(), 1));
    let ends = store(&fixture).files_of_records(anchor.position.lsn).unwrap();
    assert!(ends.len() > 1 && ends.iter().all(|end| *end <= anchor.position.lsn), "{ends:?}");
    store(&fixture).remove_files_of_records(ends[0]).unwrap();
    deaths.push((fixture.killed(), files(store(&fixture)).1));
    assert_eq!(retention.remove_files().unwrap(), ends.len() - 1);
    let (after, first) = files(store(&fixture));
    assert_eq!(after, before - ends.len());
    assert!(first > *ends.last().unwrap() && first <= anchor.position.lsn + 1, "{first}");
    deaths.push((fixture.killed(), first));
    history.start(3, env!("CARGO_PKG_VERSION"));
    for (at, (folder, begins)) in deaths.into_iter().enumerate() {
        let report = verify(folder.path());
        assert_eq!(report.verdict, Verdict::Clean, "death {at}");
        assert_eq!(report.removed, (at > 0).then_some(anchor), "death {at}");
        let last = (history.book.lsn - 1, 1 + u32::from(at == 0));
        assert_eq!((report.last_lsn, report.epochs), last);
        let opened = Store::open_read_only(folder.path()).unwrap();
        assert_eq!(files(&opened).1, begins, "death {at}");
        drop(opened);
        let fixture = Fixture::keeping(folder, KEEP_MS);
        assert_eq!(fixture.opened.book, history.book, "death {at}");
        // The thread goes on with it before it does anything else.
        while at > 0 && files(store(&fixture)).1 < first {
            std::thread::yield_now();
        }
        assert_eq!(verify(fixture.close().path()).verdict, Verdict::Clean, "death {at}");
    }
}

#[test]
fn much_goes_in_turns_that_each_end_with_an_anchor() {
    let (fixture, history) = played(7);
    let snapshots = newest_snapshots(&fixture).unwrap();
    let last = retention(&fixture).due(snapshots).unwrap().unwrap().position;
    let retention = Retention { events_of_a_turn: 100, ..retention(&fixture) };
    let mut ends = vec![0];
    while let Some(anchor) = retention.due(snapshots).unwrap() {
        let before = ends[ends.len() - 1];
        assert!(anchor.position.lsn > before && anchor.position.lsn <= last.lsn, "{anchor:?}");
        retention.decide(&anchor).unwrap();
        ends.push(anchor.position.lsn);
        let report = verify(fixture.killed().path());
        assert_eq!((report.verdict, report.removed), (Verdict::Clean, Some(anchor)));
    }
    assert!(ends.len() > 3, "{ends:?}");
    assert_eq!(anchor::start(anchor::read(store(&fixture)).unwrap()), last);
    let opened = Fixture::keeping(fixture.killed(), KEEP_MS).opened;
    assert_eq!(opened.book.batches, history.book.batches);
}

#[test]
fn nothing_goes_that_a_start_may_need() {
    let (fixture, _) = played(3);
    let (retention, snapshots) = (retention(&fixture), newest_snapshots(&fixture).unwrap());
    let anchor = retention.due(snapshots).unwrap().unwrap();
    assert!(anchor.position.lsn <= snapshots.older, "not what the older snapshot stands before");
    let young = Snapshotted { now: NOW, ..snapshots };
    assert_eq!(retention.due(young).unwrap(), None, "nothing is old yet");
    let late = Snapshotted { now: NOW.plus_ms(2 * 3_600_000), ..snapshots };
    assert!(matches!(retention.due(late).unwrap_err(), NotRemoved::Future { .. }));

    let row = |lsn: Lsn| [&lsn.to_be_bytes()[..], &u32::MAX.to_be_bytes()].concat();
    for lsn in [snapshots.newest, snapshots.older] {
        let last = store(&fixture).db().get_cf(store(&fixture).family(Family::Snapshots), row(lsn));
        let last = last.unwrap().unwrap();
        let snapshots_of = store(&fixture).family(Family::Snapshots);
        store(&fixture).db().delete_cf(snapshots_of, row(lsn)).unwrap();
        let refused = retention.due(snapshots).unwrap_err();
        assert!(matches!(refused, NotRemoved::Unreadable(_)), "{refused}");
        store(&fixture).db().put_cf(snapshots_of, row(lsn), last).unwrap();
    }
    let meta = store(&fixture).family(Family::Meta);
    store(&fixture).db().put_cf(meta, POSITION_KEY, 5_u64.to_be_bytes()).unwrap();
    assert!(matches!(retention.due(snapshots).unwrap_err(), NotRemoved::Views(5)));
    store(&fixture).db().put_cf(meta, POSITION_KEY, snapshots.newest.to_be_bytes()).unwrap();
    let records = store(&fixture).family(Family::Journal);
    let next = reader::key(anchor.position.lsn + 1);
    store(&fixture).db().delete_cf(records, next).unwrap();
    assert!(matches!(retention.due(snapshots).unwrap_err(), NotRemoved::Damaged(_)));
}

/// Rows that stand for what is about to go: a family, the row's key, and what it is of.
fn rows_of(history: &History, hash: PaymentHash, until: Lsn) -> Vec<(Family, Vec<u8>)> {
    let old = |batch: &&Batch| batch.summary.version <= until;
    let batch = history.finished.iter().find(old).expect("a batch that is over");
    let (accepted, payment) = (&batch.summary.accepted, &batch.payments[0]);
    let claim = keys::hash(payment.order.payment_hash, payment.id);
    let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
    vec![
        (Family::Payments, keys::payment(payment.id).to_vec()),
        (Family::Hashes, claim.to_vec()),
        (Family::Batches, keys::batch(accepted.batch, accepted.single).to_vec()),
        (Family::Keys, key),
        (Family::Hashes, keys::hash_elsewhere(hash).to_vec()),
    ]
}

/// A hash that somebody else paid, by a record up to here.
fn paid_elsewhere(store: &Store, until: Lsn) -> PaymentHash {
    let groups = Groups::kept(store).unwrap().map(Result::unwrap);
    let events = groups.take_while(|group| group.end.lsn <= until).flat_map(|group| group.events);
    let hash = |event| match event {
        Event::PaidElsewhere { hashes, .. } => hashes.first().copied(),
        _ => None,
    };
    events.filter_map(hash).next().expect("somebody paid")
}

#[test]
fn nothing_goes_that_only_its_record_says() {
    let (fixture, history) = played(3);
    let (retention, snapshots) = (retention(&fixture), newest_snapshots(&fixture).unwrap());
    let until = retention.due(snapshots).unwrap().unwrap().position.lsn;
    let (db, elsewhere) = (store(&fixture).db(), paid_elsewhere(store(&fixture), until));
    for (family, key) in rows_of(&history, elsewhere, until) {
        let of = store(&fixture).family(family);
        let row = db.get_cf(of, &key).unwrap().unwrap();
        db.delete_cf(of, &key).unwrap();
        let refused = retention.due(snapshots).unwrap_err();
        let is_before = matches!(refused, NotRemoved::Alone { lsn, .. } if lsn <= until);
        assert!(is_before, "{family:?}: {refused}");
        db.put_cf(of, &key, row).unwrap();
    }
    // A payment that was paid, and whose row says that it was not.
    let paid = |payment: &&fulgurite_core::payment::Payment| {
        matches!(payment.state, State::Succeeded { .. }) && payment.version <= until
    };
    let payments = history.finished.iter().flat_map(|batch| &batch.payments);
    let mut other = payments.clone().find(paid).expect("something was paid").clone();
    let (payments, key) = (store(&fixture).family(Family::Payments), keys::payment(other.id));
    let row = db.get_cf(payments, key).unwrap().unwrap();
    other.state = State::Cancelled;
    let mut bytes = Vec::new();
    codec::encode_payment(&other, &mut bytes);
    db.put_cf(payments, key, bytes).unwrap();
    let refused = retention.due(snapshots).unwrap_err();
    assert!(matches!(refused, NotRemoved::Alone { lsn, .. } if lsn == other.version), "{refused}");
    db.put_cf(payments, key, row).unwrap();
    assert_eq!(retention.due(snapshots).unwrap().unwrap().position.lsn, until);
    assert_eq!(anchor::read(store(&fixture)).unwrap(), None);
}

#[test]
fn what_is_refused_is_told_and_tried_again() {
    let mut history = History::new(1);
    let fixture = Fixture::keeping(tempfile::tempdir().unwrap(), 10 * KEEP_MS);
    history.start(1, env!("CARGO_PKG_VERSION"));
    // Before anything is old enough: the first batch that is over.
    while history.finished.is_empty() {
        fixture.play(&mut history, 1);
    }
    assert_eq!(fixture.opened.journal.totals().oldest_lsn, 1);
    let accepted = &history.finished[0].summary.accepted;
    let key = keys::idempotency(&accepted.account, &accepted.idempotency_key);
    let of = store(&fixture).family(Family::Keys);
    let row = store(&fixture).db().get_cf(of, &key).unwrap().unwrap();
    store(&fixture).db().delete_cf(of, &key).unwrap();
    let until = |history: &mut History, done: &dyn Fn(&crate::Totals) -> bool| {
        while !done(&fixture.opened.journal.totals()) {
            assert!(history.book.lsn < 50_000, "{:?}", fixture.opened.journal.totals());
            fixture.play(history, 50);
        }
    };
    until(&mut history, &|totals| totals.retention_failed);
    assert_eq!(fixture.opened.journal.totals().oldest_lsn, 1);
    store(&fixture).db().put_cf(of, &key, row).unwrap();
    until(&mut history, &|totals| totals.oldest_lsn > 1 && !totals.retention_failed);
    assert_eq!(verify(fixture.close().path()).verdict, Verdict::Clean);
}

#[test]
fn a_clock_that_was_set_ahead_makes_nothing_old() {
    let (fixture, _) = played(3);
    let snapshots = newest_snapshots(&fixture).unwrap();
    // By the journal and by the clock a month went by in which no engine ran.
    let month_later = Snapshotted { now: UnixMs(NOW.0 + 30 * 86_400_000), ..snapshots };
    let clock = Clock::new(|| UnixMs(NOW.0 + 30 * 86_400_000), NOW);
    let retention = Retention { keep_ms: 2 * 3_600_000, clock, ..retention(&fixture) };
    assert_eq!(retention.due(month_later).unwrap(), None);
}
