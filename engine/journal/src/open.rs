//! Opens a journal: recovers what is open, proves that nothing acknowledged is missing, starts the
//! two threads.

use std::{
    convert::Infallible,
    error::Error,
    io,
    path::PathBuf,
    sync::Arc,
    thread::JoinHandle,
    time::{SystemTime, UNIX_EPOCH},
};

use crossbeam_channel::Sender;
use fulgurite_core::{Event, Lsn, UnixMs, book::Book};
use fulgurite_inbox::{Bell, Ring, Watermark};

use crate::{
    age::Clock,
    anchor::{self, Anchor},
    fault::Fault,
    handle::{Counters, JournalHandle, More, Shared},
    hash_claims,
    model::Model,
    projector::Projector,
    reader::{Damaged, Groups},
    record::Position,
    retention::{EVENTS_OF_A_TURN, Retention},
    snapshot::{self, Loaded, Snapshots, Take},
    store::{self, Store, StoreError},
    stored::Broken,
    views::{ViewFault, Views, stored_position},
    watermark::WatermarkFile,
    writer::Writer,
};

/// How a journal is opened.
#[derive(Clone, Debug)]
pub struct JournalOptions {
    /// The folder that it lives in; created when missing.
    pub folder: PathBuf,
    /// Whose journal it is: one engine is one shard. A journal of another shard is refused.
    pub shard: u32,
    /// A snapshot is taken after this many events, or after twice as many as payments are open:
    /// fewer make a faster start and more writing. At least 1.
    pub snapshot_every_events: u64,
    /// Records older than so many milliseconds may be removed; 0 keeps them for ever. The views
    /// keep payments and claims either way.
    pub keep_ms: i64,
    /// The operating system's time, for the age of records.
    pub clock: fn() -> UnixMs,
    /// How many events may wait to be written; rounded up to a power of two.
    pub ring_events_max: usize,
    /// How many written groups may wait to be projected; at least 1.
    pub projector_groups_max: usize,
    /// The program's version, for [`Event::EngineStarted`].
    pub version: Arc<str>,
    /// What ends the process when the journal cannot be written.
    pub fault: Fault,
}

impl JournalOptions {
    /// The defaults, in this folder.
    pub fn new(folder: impl Into<PathBuf>) -> JournalOptions {
        JournalOptions {
            folder: folder.into(),
            shard: 0,
            snapshot_every_events: 100_000,
            keep_ms: 0,
            clock: system_time,
            ring_events_max: 65_536,
            projector_groups_max: 1_024,
            version: env!("CARGO_PKG_VERSION").into(),
            fault: Fault::default(),
        }
    }
}

fn system_time() -> UnixMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    UnixMs(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Why a journal is not opened. Nothing in its folder was changed by the attempt, except that
/// views may have been brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The database underneath does not open.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The watermark file cannot be used.
    #[error("the watermark file cannot be used")]
    Watermark(#[source] io::Error),
    /// The journal is damaged, of another shard, or was written by a newer program.
    #[error(transparent)]
    Damaged(#[from] Damaged),
    /// Events that were acknowledged are gone: a damaged log, or an older copy of the database.
    #[error(
        "the journal ends at event {found}, but event {acknowledged} was acknowledged: records \
         are lost, so hashes that were paid may look free: paying from here or from an older copy \
         may pay twice"
    )]
    LostRecords {
        /// The last event there is.
        found: Lsn,
        /// The last event that is known to have been on disk.
        acknowledged: Lsn,
    },
    /// Records were removed that no snapshot stands for any more.
    #[error(
        "the records up to event {removed} were removed by retention, but the newest snapshot \
         that can be read is of event {found}: keep the folder as it is and ask for help"
    )]
    NoSnapshot {
        /// The last event that was removed.
        removed: Lsn,
        /// The last event of the newest snapshot that can be read; 0 for none.
        found: Lsn,
    },
    /// Records were removed after the last event that the watermark file knows: that file is older
    /// than the journal, or another's.
    #[error(
        "the records up to event {removed} were removed by retention, but the watermark file says \
         that event {acknowledged} was the last that was acknowledged: it is of an older copy or \
         of another journal, so put the right one there, or none when it is lost"
    )]
    OldWatermark {
        /// The last event that was removed.
        removed: Lsn,
        /// The last event that the watermark file knows.
        acknowledged: Lsn,
    },
    /// The views are not what the records say.
    #[error("the views are not what the journal says")]
    Broken(#[from] Broken),
    /// The journal continues another history than the one that was acknowledged.
    #[error("event {0} is not the one that was acknowledged: this is not the same journal")]
    OtherHistory(Lsn),
    /// A snapshot or view cannot be read.
    #[error("the views cannot be read")]
    Views(#[from] ViewFault),
    /// A view cannot be written.
    #[error("the views cannot be written: {0}")]
    Catchup(#[source] rocksdb::Error),
    /// A thread cannot be started.
    #[error("a thread cannot be started")]
    Thread(#[source] io::Error),
}

/// An open journal.
pub struct Opened {
    /// What is open, from which actors are built: everything up to and with this start's
    /// [`Event::EngineStarted`], which is durable.
    pub book: Book,
    /// This start's number; one more than the last start's.
    pub epoch: u32,
    /// To append.
    pub journal: JournalHandle,
    /// To look up.
    pub views: Views,
    /// The threads, to be stopped at the end.
    pub running: Running,
}

/// The journal's threads. Dropped, they run on until the process ends, but for retention.
pub struct Running {
    journal: JournalHandle,
    writer: JoinHandle<()>,
    projector: JoinHandle<()>,
    retention: Option<Removing>,
}

/// Who removes old records.
struct Removing {
    thread: JoinHandle<()>,
    /// Gone, it says that the journal is closed.
    closed: Sender<()>,
}

impl Running {
    /// Writes and projects what was appended, then stops the threads. Whoever still appends
    /// waits for ever for it to become durable.
    pub fn close(self) {
        self.journal.close();
        join(self.writer);
        join(self.projector);
        if let Some(Removing { thread, closed }) = self.retention {
            drop(closed);
            join(thread);
        }
    }
}

fn join(thread: JoinHandle<()>) {
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// What was recovered.
struct Recovered {
    projector: Projector,
    position: Position,
    epoch: u32,
    anchor: Option<Anchor>,
}

/// Opens the journal in a folder, or begins one, at time `now`. Everything that was acknowledged
/// is recovered and the views contain all of it, or the journal is not opened.
pub fn open(options: JournalOptions, now: UnixMs) -> Result<Opened, OpenError> {
    let may = |_: &Book| Ok::<(), Infallible>(());
    open_if(options, now, may).map(|opened| match opened {
        Ok(opened) => opened,
        Err(never) => match never {},
    })
}

/// Opens a journal as [`open`] does, unless `may_start` refuses what was recovered. Then no start
/// is written: epochs are limited (`fulgurite_core::guard::KeyId`), and a service manager may try
/// again for ever.
pub fn open_if<E>(
    options: JournalOptions,
    now: UnixMs,
    may_start: impl FnOnce(&Book) -> Result<(), E>,
) -> Result<Result<Opened, E>, OpenError> {
    let path = Store::watermark_path(&options.folder);
    // RocksDB would begin a new database and clear away what is left of the old one.
    if let Some(Position { lsn: acknowledged, .. }) = WatermarkFile::read(&path)
        && !Store::exists(&options.folder)
    {
        return Err(OpenError::LostRecords { found: 0, acknowledged });
    }
    let store = Arc::new(Store::open(&options.folder)?);
    let (watermark, acknowledged) = WatermarkFile::open(&path).map_err(OpenError::Watermark)?;
    // Before anything is acknowledged: the names of the database and of the watermark file.
    store::sync_names(&options.folder).map_err(StoreError::Io)?;
    let projected = Arc::new(Watermark::new(0));
    let mut views = Views { model: Arc::default(), store, projected, followed: Arc::default() };
    let recovered = recover(&mut views, acknowledged, &options)?;
    if let Err(refused) = views.read_open(may_start) {
        return Ok(Err(refused));
    }
    let (position, epoch) = (recovered.position, recovered.epoch + 1);
    views.projected.publish(position.lsn);
    let shared = Arc::new(Shared {
        ring: Ring::new(options.ring_events_max),
        bell: Bell::new(),
        base: position.lsn + 1,
        durable: Arc::new(Watermark::new(position.lsn)),
        projected: Arc::clone(&views.projected),
        counters: Counters::default(),
        more: More::default(),
    });
    let journal = JournalHandle::new(Arc::clone(&shared));
    // The first event of an epoch: on disk before anybody acts in it.
    let version = Arc::clone(&options.version);
    let started = journal.append_many([Event::EngineStarted { epoch, time: now, version }]);
    let (sender, receiver) = crossbeam_channel::bounded(options.projector_groups_max);
    let writer = Writer {
        shared: Arc::clone(&shared),
        store: Arc::clone(&views.store),
        watermark,
        shard: options.shard,
        epoch,
        position,
        projector: sender,
        fault: options.fault,
        urgent: 0,
    };
    let (born, before) = views.read_open(|book| match book.epoch {
        0 => (now, now),
        _ => (book.born, book.time),
    });
    let (oldest, time) = recovered.anchor.map_or((1, born), |at| (at.position.lsn + 1, at.time));
    shared.counters.set_oldest(oldest, time);
    let mut projector = recovered.projector;
    let clock = Clock::new(options.clock, before);
    let retention = start_retention(&mut projector, &views.store, &shared, &options, clock)?;
    let projecting = move || projector.run(&receiver, &shared, options.fault);
    let running = Running {
        journal: journal.clone(),
        writer: spawn("journal", move || writer.run())?,
        projector: spawn("projector", projecting)?,
        retention,
    };
    views.projected.block_until(started);
    let book = views.read_open(Book::clone);
    Ok(Ok(Opened { book, epoch, journal, views, running }))
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, OpenError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    thread.spawn(run).map_err(OpenError::Thread)
}

/// Starts who removes old records, if any are to be.
fn start_retention(
    projector: &mut Projector,
    store: &Arc<Store>,
    shared: &Arc<Shared>,
    options: &JournalOptions,
    clock: Clock,
) -> Result<Option<Removing>, OpenError> {
    if options.keep_ms <= 0 {
        return Ok(None);
    }
    let (store, keep_ms, fault) = (Arc::clone(store), options.keep_ms, options.fault);
    let (close, closed) = crossbeam_channel::bounded(0);
    let watermark = Store::watermark_path(&options.folder);
    let events_of_a_turn = EVENTS_OF_A_TURN;
    let retention = Retention { store, watermark, keep_ms, clock, events_of_a_turn, closed };
    let shared = Arc::clone(shared);
    let (sender, receiver) = crossbeam_channel::bounded(1);
    projector.tell(sender);
    let thread = spawn("retention", move || retention.run(&receiver, &shared, fault))?;
    Ok(Some(Removing { thread, closed: close }))
}

/// Reads the newest snapshot and the tail behind it, proves the chain, brings the views up to date.
fn recover(
    views: &mut Views,
    acknowledged: Option<Position>,
    options: &JournalOptions,
) -> Result<Recovered, OpenError> {
    let anchor = anchor::read(&views.store)?;
    let removed = anchor::start(anchor);
    let take = if options.keep_ms > 0 { Take::Older } else { Take::Newest };
    let Loaded { book, end: snapshot, passed } = snapshot::load(views, take)?;
    let is_older = !passed.is_empty();
    for (lsn, fault) in passed {
        let error = &fault as &dyn Error;
        tracing::warn!(lsn, error, "a snapshot is damaged: check the disk, verify the journal");
    }
    if snapshot.lsn < removed.lsn {
        return Err(OpenError::NoSnapshot { removed: removed.lsn, found: snapshot.lsn });
    }
    check_history(removed, acknowledged)?;
    if let Some(Position { lsn: acknowledged, .. }) = acknowledged
        && acknowledged < removed.lsn
    {
        return Err(OpenError::OldWatermark { removed: removed.lsn, acknowledged });
    }
    let unread = anchor::check_start(&views.store, anchor, snapshot, Some(options.shard))?;
    if let Some(Damaged { lsn, damage }) = unread {
        let error = &damage as &dyn Error;
        tracing::warn!(lsn, error, "the journal's first record is damaged: verify the journal");
    }
    let stored = stored_position(&views.store)?;
    let mut elsewhere = hash_claims::elsewhere_count(&views.store)?;
    if (stored, elsewhere) == (0, None) {
        hash_claims::begin_elsewhere_count(&views.store).map_err(OpenError::Catchup)?;
        elsewhere = Some(0);
    }
    views.model = Arc::new(Model::new(book));
    let newest = (snapshot.lsn > 0).then_some(snapshot.lsn);
    let two = options.keep_ms > 0;
    let snapshots = Snapshots::new(options.snapshot_every_events, two, newest);
    let mut projector = Projector::new(views.clone(), snapshots, stored, elsewhere);
    let mut groups = Groups::after(&views.store, snapshot, Some(options.shard));
    check_history(snapshot, acknowledged)?;
    for group in &mut groups {
        let group = group?;
        check_history(group.end, acknowledged)?;
        projector.apply(&group);
        if is_older && group.end.lsn <= stored {
            projector.prove_stored(group.end.lsn)?;
        }
        projector.flush(group.end.lsn).map_err(OpenError::Catchup)?;
    }
    let position = groups.position();
    // Views are written after the journal: they are a witness too.
    let known = acknowledged.map_or(0, |acknowledged| acknowledged.lsn).max(stored);
    if position.lsn < known {
        return Err(OpenError::LostRecords { found: position.lsn, acknowledged: known });
    }
    if acknowledged.is_none() && position.lsn > 0 {
        tracing::warn!(lsn = position.lsn, "the journal's watermark file is missing or damaged");
    }
    let epoch = views.read_open(|book| book.epoch);
    tracing::info!(lsn = position.lsn, snapshot = snapshot.lsn, epoch, "journal recovered");
    Ok(Recovered { projector, position, epoch, anchor })
}

/// A record that ends where the acknowledged one ended must be that one.
fn check_history(end: Position, acknowledged: Option<Position>) -> Result<(), OpenError> {
    match acknowledged {
        Some(known) if known.lsn == end.lsn && known.chain != end.chain => {
            Err(OpenError::OtherHistory(end.lsn))
        }
        Some(_) | None => Ok(()),
    }
}
