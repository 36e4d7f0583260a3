//! What is damaged is noticed, and named.

use std::{
    fs,
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
};

use fulgurite_core::{Event, Lsn};
use tempfile::TempDir;

use super::{Fixture, NOW, history::History, options, refused, tamper};
use crate::{
    OpenError, Store, StoreError, Verdict, codec, dump,
    dump::DumpOptions,
    open,
    reader::{self, Groups},
    record::{self, Damage, Header, Position},
    store::Family,
    verify,
    verify::{Report, watermark_verdict},
};

/// A journal with a history, as a killed engine leaves it, and its last LSN.
fn killed() -> (TempDir, Lsn) {
    let (fixture, mut history) = (Fixture::new(), History::new(7));
    history.start(1, env!("CARGO_PKG_VERSION"));
    fixture.play(&mut history, 300);
    (fixture.killed(), fixture.last())
}

/// The log file with the most bytes written to it.
fn log_file(folder: &Path) -> PathBuf {
    let files = fs::read_dir(folder.join("rocksdb")).unwrap().map(|file| file.unwrap().path());
    let logs = files.filter(|path| path.extension().is_some_and(|extension| extension == "log"));
    logs.max_by_key(|path| path.metadata().unwrap().len()).unwrap()
}

/// Where RocksDB's log has its fragments: 32 KiB blocks of fragments with a checksum, a length
/// and a type.
fn fragments(log: &[u8]) -> Vec<usize> {
    const BLOCK: usize = 32 << 10;
    let mut found = Vec::new();
    let mut at = 0;
    while at + 7 <= log.len() {
        let length = usize::from(u16::from_le_bytes([log[at + 4], log[at + 5]]));
        if BLOCK - at % BLOCK < 7 || (length == 0 && log[at + 6] == 0) {
            at = at.next_multiple_of(BLOCK).max(at + 1);
            continue;
        }
        found.push(at);
        at += 7 + length;
    }
    found
}

fn verdict_lsn(folder: &Path) -> Lsn {
    match verify(folder).verdict {
        Verdict::Damaged { lsn, .. } => lsn,
        verdict => panic!("not damaged: {verdict:?}"),
    }
}

#[test]
fn a_torn_tail_that_was_never_acknowledged_is_dropped() {
    let (folder, last) = killed();
    let watermark = fs::read(folder.path().join("watermark")).unwrap();
    let fixture = Fixture::in_folder(folder);
    fixture.opened.journal.append_many([Event::Barrier]);
    fixture.opened.views.projected().block_until(last + 2);
    let torn = fixture.killed();
    let log = log_file(torn.path());
    let length = log.metadata().unwrap().len();
    fs::File::options().write(true).open(&log).unwrap().set_len(length - 5).unwrap();
    // The engine was killed in the middle of the write, so the watermark is an older one.
    fs::write(torn.path().join("watermark"), watermark).unwrap();
    let opened = open(options(torn.path()), NOW).unwrap();
    assert!(opened.book.lsn > last);
}

#[test]
fn a_lost_tail_that_was_acknowledged_is_refused() {
    for cut in [1, 100, 300] {
        let (folder, last) = Fixture::killed_after_records();
        let log = log_file(folder.path());
        let length = log.metadata().unwrap().len();
        fs::File::options().write(true).open(&log).unwrap().set_len(length - cut).unwrap();
        assert!(verdict_lsn(folder.path()) <= last);
        let error = refused(folder.path());
        assert!(
            matches!(error, OpenError::LostRecords { acknowledged, .. } if acknowledged == last)
        );
    }
}

#[test]
fn a_database_without_its_name_is_refused_and_left_alone() {
    let (folder, last) = killed();
    let database = folder.path().join("rocksdb");
    fs::remove_file(database.join("CURRENT")).unwrap();
    let before = super::names(folder.path());
    let error = refused(folder.path());
    assert!(
        matches!(error, OpenError::LostRecords { found: 0, acknowledged } if acknowledged == last)
    );
    assert_eq!(super::names(folder.path()), before, "what is left is evidence");
}

#[test]
fn an_enlarged_length_in_the_last_block_is_refused() {
    let (folder, last) = Fixture::killed_after_records();
    let name = log_file(folder.path()).file_name().unwrap().to_owned();
    let bytes = fs::read(folder.path().join("rocksdb").join(&name)).unwrap();
    for at in fragments(&bytes).into_iter().rev() {
        let copy = tempfile::tempdir().unwrap();
        super::copy_folder(folder.path(), copy.path());
        let log = copy.path().join("rocksdb").join(&name);
        let file = fs::File::options().write(true).open(log).unwrap();
        file.write_all_at(&[0xff, 0x7f], at as u64 + 4).unwrap();
        match open(options(copy.path()), NOW) {
            Ok(opened) => assert_eq!(opened.book.lsn, last + 1, "only views were lost"),
            // RocksDB says nothing; the watermark does.
            Err(OpenError::LostRecords { acknowledged, .. }) => {
                assert_eq!(acknowledged, last);
                return;
            }
            Err(error) => panic!("{error}"),
        }
    }
    panic!("no fragment held a record");
}

#[test]
fn a_flipped_bit_in_the_middle_is_refused() {
    let (folder, last) = killed();
    for part in [4, 2] {
        let copy = tempfile::tempdir().unwrap();
        super::copy_folder(folder.path(), copy.path());
        let log = log_file(copy.path());
        let bytes = fs::read(&log).unwrap();
        let at = bytes.len() / part;
        let file = fs::File::options().write(true).open(&log).unwrap();
        file.write_all_at(&[bytes[at] ^ 1], at as u64).unwrap();
        let error = refused(copy.path()).to_string();
        let (name, place) = (log.file_name().unwrap().to_string_lossy(), "is damaged at byte ");
        let (before, after) = error.split_once(place).unwrap_or_else(|| panic!("{error}"));
        let named: usize = after.split(':').next().unwrap().parse().unwrap();
        assert!(before.ends_with(&*format!("{name} ")) && named <= at, "{error}");
        assert!(verdict_lsn(copy.path()) <= last);
    }
}

/// RocksDB reads on for ever at a fragment's type 5 behind one of type 1: one flipped bit.
#[test]
fn a_fragments_type_that_stops_rocksdb_is_refused() {
    let (folder, _) = killed();
    let database = folder.path().join("rocksdb");
    let current = fs::read_to_string(database.join("CURRENT")).unwrap();
    for path in [database.join(current.trim_end()), log_file(folder.path())] {
        let copy = tempfile::tempdir().unwrap();
        super::copy_folder(folder.path(), copy.path());
        let bytes = fs::read(&path).unwrap();
        let mut whole = fragments(&bytes).into_iter().filter(|at| bytes[at + 6] == 1);
        let at = whole.next_back().unwrap();
        let damaged = copy.path().join("rocksdb").join(path.file_name().unwrap());
        let file = fs::File::options().write(true).open(&damaged).unwrap();
        file.write_all_at(&[5], at as u64 + 6).unwrap();
        let place = format!("{} is damaged at byte {at}: a type", damaged.display());
        let error = refused(copy.path()).to_string();
        assert!(error.contains(&place), "{error}");
        let Verdict::Damaged { reason, .. } = verify(copy.path()).verdict else { panic!() };
        assert!(reason.contains(&place), "{reason}");
    }
}

/// RocksDB would take what is behind for the torn end of a kill, and miss a table.
#[test]
fn a_manifests_flipped_length_is_refused_and_its_torn_end_is_not() {
    let (folder, _) = killed();
    let database = folder.path().join("rocksdb");
    let manifest = database.join(fs::read_to_string(database.join("CURRENT")).unwrap().trim_end());
    let bytes = fs::read(&manifest).unwrap();
    let at = fragments(&bytes).pop().unwrap();
    // The beginning of an edit that a kill cut off.
    let torn = [&bytes[at..at + 6], &[1, 200]].concat();
    fs::write(&manifest, [&bytes[..], &torn].concat()).unwrap();
    let copy = tempfile::tempdir().unwrap();
    super::copy_folder(folder.path(), copy.path());
    open(options(copy.path()), NOW).unwrap();

    let mut flipped = bytes;
    flipped[at + 5] ^= 0x40;
    fs::write(&manifest, flipped).unwrap();
    let error = refused(folder.path()).to_string();
    let place = format!("{} is damaged at byte {at}: a length", manifest.display());
    assert!(error.contains(&place), "{error}");
}

#[test]
fn two_engines_never_share_a_journal() {
    let fixture = Fixture::new();
    let error = refused(fixture.folder.path());
    assert!(matches!(error, OpenError::Store(StoreError::Locked(_))), "{error}");
}

#[test]
fn another_shards_journal_is_refused() {
    let folder = Fixture::new().close();
    let mut options = options(folder.path());
    options.shard = 9;
    let error = open(options, NOW).err().unwrap();
    assert!(matches!(error, OpenError::Damaged(damaged) if damaged.damage == Damage::Shard(0)));
}

#[test]
fn what_is_no_journal_is_said_to_be_none() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(verify(folder.path()).verdict, Verdict::NotAJournal);
    assert!(!folder.path().join("rocksdb").exists(), "verifying leaves no trace");
}

#[test]
fn a_journal_without_its_watermark_file_is_not_called_clean() {
    let folder = Fixture::new().close();
    let path = folder.path().join("watermark");
    let found = |missing| Verdict::NoWatermark { path: path.clone(), missing };
    let whole = fs::read(&path).unwrap();
    for (bytes, verdict) in [
        (Some(whole.clone()), Verdict::Clean),
        (None, found(true)),
        (Some(vec![7; whole.len()]), found(false)),
        (Some(whole), Verdict::Clean),
    ] {
        match bytes {
            Some(bytes) => fs::write(&path, bytes).unwrap(),
            None => fs::remove_file(&path).unwrap(),
        }
        let report = verify(folder.path());
        assert_eq!(report.verdict, verdict);
        assert!(report.last_lsn > 0, "the records are read all the same");
    }
    // Killed in its first commit, before anything was acknowledged.
    fs::write(&path, []).unwrap();
    for (records, verdict) in [(1, Verdict::Clean), (2, found(false))] {
        let report = Report { records, ..verify(folder.path()) };
        assert_eq!(watermark_verdict(folder.path(), None, &report), verdict);
    }
}

/// Appends a record to a stopped journal as another program might.
fn append(folder: &Path, schema: u16, epoch: u32) -> Position {
    let mut position = verify(folder).position;
    tamper(folder, |store, batch| {
        let mut bytes = Vec::new();
        record::start(&mut bytes);
        codec::encode_event(&Event::Barrier, &mut bytes);
        let first_lsn = position.lsn + 1;
        let mut header =
            Header { schema, shard: 0, epoch, count: 1, first_lsn, chain: position.chain };
        record::seal(&mut bytes, &mut header, &position.chain);
        batch.put_cf(store.family(Family::Journal), reader::key(first_lsn), &bytes);
        position = header.end();
    });
    position
}

#[test]
fn a_newer_schema_refuses_to_start() {
    let folder = Fixture::new().close();
    let position = append(folder.path(), codec::SCHEMA + 1, 1);
    let error = refused(folder.path()).to_string();
    assert!(error.contains("schema 2 is newer"), "{error}");
    assert_eq!(verdict_lsn(folder.path()), position.lsn);
}

#[test]
fn an_older_engines_record_after_a_newer_ones_is_refused() {
    let folder = Fixture::in_folder(Fixture::new().close()).close();
    let position = append(folder.path(), codec::SCHEMA, 1);
    assert!(refused(folder.path()).to_string().contains("epoch 1 follows epoch 2"));
    assert_eq!(verdict_lsn(folder.path()), position.lsn);
}

#[test]
fn a_missing_and_a_changed_record_are_named() {
    let (folder, _) = killed();
    let folder = Fixture::in_folder(folder).close();
    let store = Store::open(folder.path()).unwrap();
    let groups: Vec<_> = Groups::after(&store, Position::default(), None).collect();
    let victim = groups[groups.len() / 2].as_ref().unwrap().clone();
    drop(store);
    let copy = tempfile::tempdir().unwrap();
    super::copy_folder(folder.path(), copy.path());
    tamper(copy.path(), |store, batch| {
        batch.delete_cf(store.family(Family::Journal), reader::key(victim.first_lsn));
    });
    assert_eq!(verdict_lsn(copy.path()), victim.first_lsn);
    // A forger who repairs the checksum and the record's own link is found at the next record.
    tamper(folder.path(), |store, batch| {
        let mut bytes = Vec::new();
        record::start(&mut bytes);
        victim.events.iter().for_each(|_| codec::encode_event(&Event::Barrier, &mut bytes));
        let count = victim.events.len() as u32;
        let (schema, first_lsn) = (codec::SCHEMA, victim.first_lsn);
        let mut header =
            Header { schema, shard: 0, epoch: victim.epoch, count, first_lsn, chain: [0; 32] };
        record::seal(&mut bytes, &mut header, &[0; 32]);
        batch.put_cf(store.family(Family::Journal), reader::key(first_lsn), &bytes);
    });
    assert_eq!(verdict_lsn(folder.path()), victim.first_lsn);
}

#[test]
fn a_dump_shows_every_event_and_never_a_preimage() {
    let (folder, last) = killed();
    let store = Store::open_read_only(folder.path()).unwrap();
    let preimages: Vec<String> = Groups::after(&store, Position::default(), None)
        .flat_map(|group| group.unwrap().events)
        .filter_map(|event| match event {
            Event::Payment {
                change: fulgurite_core::event::PaymentChange::AttemptSettled { preimage, .. },
                ..
            } => Some(hex::encode(preimage.0)),
            _ => None,
        })
        .collect();
    assert!(!preimages.is_empty());
    for with_content in [false, true] {
        let mut text = Vec::new();
        let options = DumpOptions { with_content, ..DumpOptions::default() };
        dump(folder.path(), &options, &mut text).unwrap();
        let text = String::from_utf8(text).unwrap();
        assert_eq!(text.lines().count() as u64, last);
        assert!(!preimages.iter().any(|preimage| text.contains(preimage)));
        assert_eq!(text.contains("lnbcrt1"), with_content);
    }
    let mut text = Vec::new();
    let options = DumpOptions { lsns: 5..=7, ..DumpOptions::default() };
    dump(folder.path(), &options, &mut text).unwrap();
    assert_eq!(String::from_utf8(text).unwrap().lines().count(), 3);
}
