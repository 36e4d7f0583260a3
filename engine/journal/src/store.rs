//! The RocksDB underneath: its column families and settings, and the disk that it is on.

use std::{
    fs::{DirBuilder, File},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBRecoveryMode, ErrorKind, Options, SliceTransform, WriteBatch, WriteOptions,
};

use crate::log_place::{self, Unnoticed};

/// What is read again is new, and still in memory, or a claim's question, which the bloom filters
/// answer beside this cache. A larger one only fills up over the first million payments
/// (docs/performance.md, P10).
const BLOCK_CACHE_BYTES: usize = 16 << 20;

/// The column families.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// The journal itself: first LSN (big-endian) to record.
    Journal,
    /// Final payments: payment id to payment.
    Payments,
    /// Final payments by hash: hash, payment id to state.
    Hashes,
    /// Final payments by reference: length, reference, payment id to nothing.
    References,
    /// Finished batches: kind, batch id to batch.
    Batches,
    /// Finished batches by idempotency key: account, key to batch id.
    Keys,
    /// Snapshots of what is open: LSN, number to row.
    Snapshots,
    /// How far the views are, how many hashes others paid, and where the records begin (`anchor`).
    Meta,
}

impl Family {
    const ALL: [Family; 8] = [
        Family::Journal,
        Family::Payments,
        Family::Hashes,
        Family::References,
        Family::Batches,
        Family::Keys,
        Family::Snapshots,
        Family::Meta,
    ];

    const fn name(self) -> &'static str {
        match self {
            Family::Journal => "journal",
            Family::Payments => "payments",
            Family::Hashes => "hashes",
            Family::References => "references",
            Family::Batches => "batches",
            Family::Keys => "keys",
            Family::Snapshots => "snapshots",
            Family::Meta => "meta",
        }
    }
}

/// Why a journal's folder cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has it open.
    #[error(
        "another process has the journal in {0} open: two engines must never share one, so stop \
         the other first"
    )]
    Locked(PathBuf),
    /// There is nothing in it that this program wrote.
    #[error("there is no journal in {0}")]
    NotAJournal(PathBuf),
    /// The folder cannot be made or read.
    #[error("the folder cannot be used")]
    Io(#[from] io::Error),
    /// RocksDB's log is damaged.
    #[error("storage: {file} is damaged at byte {at}: {error}")]
    Log {
        /// The log.
        file: String,
        /// Its first fragment that is not what was written.
        at: usize,
        /// What RocksDB says.
        #[source]
        error: rocksdb::Error,
    },
    /// A file of RocksDB's has a damaged place that RocksDB never gets past, or does not notice.
    #[error("storage: {file} is damaged at byte {at}: {what}")]
    Fragment {
        /// The log, or the MANIFEST.
        file: String,
        /// The fragment.
        at: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// RocksDB found damage, or the disk failed.
    #[error("storage: {0}")]
    Rocks(#[from] rocksdb::Error),
}

/// An open database.
pub struct Store {
    db: DB,
    folder: PathBuf,
}

impl Store {
    /// Opens the database in `folder`, which is created when missing. RocksDB's own lock keeps
    /// other processes out for as long as the store lives.
    pub fn open(folder: &Path) -> Result<Store, StoreError> {
        create_durably(folder)?;
        check_fragments(folder)?;
        let mut options = options();
        options.create_if_missing(true);
        options.create_missing_column_families(true);
        let db = DB::open_cf_descriptors(&options, database(folder), descriptors());
        let db = db.map_err(|error| {
            // RocksDB has no error code of its own for this.
            let text = error.as_ref();
            if text.contains("lock file") || text.contains("lock hold by") {
                StoreError::Locked(folder.to_owned())
            } else {
                located(folder, error)
            }
        })?;
        Ok(Store { db, folder: folder.to_owned() })
    }

    /// Opens a stopped or copied journal without changing it: RocksDB's log for people, `LOG`, is
    /// all that it writes.
    pub fn open_read_only(folder: &Path) -> Result<Store, StoreError> {
        let path = database(folder);
        let not_a_journal = || StoreError::NotAJournal(folder.to_owned());
        if !Store::exists(folder) {
            return Err(not_a_journal());
        }
        check_fragments(folder)?;
        let families = DB::list_cf(&options(), &path)?;
        if !Family::ALL.iter().all(|family| families.iter().any(|name| name == family.name())) {
            return Err(not_a_journal());
        }
        let db = DB::open_cf_descriptors_read_only(&options(), path, descriptors(), false)
            .map_err(|error| located(folder, error))?;
        Ok(Store { db, folder: folder.to_owned() })
    }

    /// Whether there is a database in `folder`.
    pub fn exists(folder: &Path) -> bool {
        database(folder).join("CURRENT").exists()
    }

    /// Where the position file is.
    pub fn watermark_path(folder: &Path) -> PathBuf {
        folder.join("watermark")
    }

    /// The database itself.
    pub fn db(&self) -> &DB {
        &self.db
    }

    /// One column family.
    pub fn family(&self, family: Family) -> &ColumnFamily {
        self.db.cf_handle(family.name()).expect("every family is opened with the database")
    }

    /// Writes a batch and returns when it is on disk.
    pub fn write_synced(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        let mut options = WriteOptions::default();
        options.set_sync(true);
        self.db.write_opt(batch, &options)
    }

    /// Writes a batch that the next synced one carries to disk with it.
    pub fn write(&self, batch: WriteBatch) -> Result<(), rocksdb::Error> {
        self.db.write(batch)
    }

    /// The last events of the files below level 0 that hold no record behind the one with `last`,
    /// growing.
    pub(crate) fn files_of_records(&self, last: u64) -> Result<Vec<u64>, rocksdb::Error> {
        let mut ends = Vec::new();
        for file in self.db.live_files()? {
            let end = file.end_key.and_then(|key| key.try_into().ok()).map(u64::from_be_bytes);
            if file.column_family_name == Family::Journal.name()
                && file.level > 0
                && let Some(end) = end.filter(|end| *end <= last)
            {
                ends.push(end);
            }
        }
        ends.sort_unstable();
        Ok(ends)
    }

    /// Removes the files below level 0 that hold no record behind the one with key `last`. No
    /// range is written that reads or compactions would have to look at.
    pub(crate) fn remove_files_of_records(&self, last: u64) -> Result<(), rocksdb::Error> {
        let (from, to) = ([0; 8], last.to_be_bytes());
        self.db.delete_file_in_range_cf(self.family(Family::Journal), from, to)
    }

    /// Errors out when the database is no longer where it was opened.
    pub fn check_place(&self) -> io::Result<()> {
        let current = database(&self.folder).join("CURRENT");
        std::fs::metadata(&current).map(drop).map_err(|error| {
            io::Error::new(error.kind(), format!("{}: {error}", current.display()))
        })
    }

    /// How many bytes the engine may still write on the journal's disk.
    pub fn free_bytes(&self) -> io::Result<u64> {
        free_bytes(&self.folder)
    }
}

/// Refuses what RocksDB would read for ever, or would read past.
fn check_fragments(folder: &Path) -> Result<(), StoreError> {
    let Some((file, at, unnoticed)) = log_place::first_unnoticed(&database(folder))? else {
        return Ok(());
    };
    let what = match unnoticed {
        Unnoticed::Type => "a type that no fragment of it has",
        Unnoticed::Length => "a length that it was not written with",
    };
    Err(StoreError::Fragment { file: file.display().to_string(), at, what })
}

/// What RocksDB says of damage, with its place.
fn located(folder: &Path, error: rocksdb::Error) -> StoreError {
    // Of its other files RocksDB names the one that is damaged.
    let is_of_log = error.kind() == ErrorKind::Corruption && !error.as_ref().contains(" file ");
    match log_place::first_damage(&database(folder)).filter(|_| is_of_log) {
        Some((file, at)) => StoreError::Log { file: file.display().to_string(), at, error },
        None => StoreError::Rocks(error),
    }
}

/// Creates a folder with those above it that are missing, and returns when their names are on
/// disk: what is synced in a folder without a name is lost with the machine's power.
fn create_durably(folder: &Path) -> io::Result<()> {
    let folder = std::path::absolute(folder)?;
    let missing = folder.ancestors().take_while(|path| !path.exists()).count();
    // Preimages are in it: nobody else's business.
    DirBuilder::new().recursive(true).mode(0o700).create(&folder)?;
    folder.ancestors().skip(1).take(missing).try_for_each(sync_names)
}

/// Returns when the names of the files in a folder are on disk.
pub(crate) fn sync_names(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

/// How many bytes are free for us on the disk that `folder` is on.
pub fn free_bytes(folder: &Path) -> io::Result<u64> {
    let disk = rustix::fs::statvfs(folder)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

/// RocksDB has a folder of its own: it takes every file in it for its own.
fn database(folder: &Path) -> PathBuf {
    folder.join("rocksdb")
}

fn options() -> Options {
    let mut options = Options::default();
    // A flipped bit in the middle must refuse to open, which the default does not; a torn tail
    // after a kill must not. What this takes for a torn tail and is none, the watermark finds.
    options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
    options.set_paranoid_checks(true);
    options.set_track_and_verify_wals_in_manifest(true);
    // The log is what is read at start: it bounds the time to open.
    options.set_max_total_wal_size(64 << 20);
    options.set_max_background_jobs(2);
    options.set_bytes_per_sync(1 << 20);
    options.set_keep_log_file_num(5);
    options.set_stats_dump_period_sec(0);
    options.set_skip_stats_update_on_db_open(true);
    options
}

fn descriptors() -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    let describe =
        |family: Family| ColumnFamilyDescriptor::new(family.name(), family_options(family, &cache));
    Family::ALL.into_iter().map(describe).collect()
}

fn family_options(family: Family, cache: &Cache) -> Options {
    let mut options = Options::default();
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_format_version(5);
    options.set_compression_type(DBCompressionType::None);
    match family {
        Family::Journal => {
            options.set_write_buffer_size(32 << 20);
            options.set_target_file_size_base(64 << 20);
        }
        Family::Payments => {
            options.set_write_buffer_size(32 << 20);
            options.set_compression_type(DBCompressionType::Lz4);
        }
        Family::Hashes => {
            options.set_write_buffer_size(32 << 20);
            options.set_prefix_extractor(SliceTransform::create_fixed_prefix(32));
            options.set_memtable_prefix_bloom_ratio(0.1);
            // Most hashes that are looked up are not there: a claim's question.
            blocks.set_bloom_filter(10.0, false);
            blocks.set_whole_key_filtering(false);
        }
        Family::Keys => {
            options.set_write_buffer_size(8 << 20);
            blocks.set_bloom_filter(10.0, false);
        }
        Family::Snapshots | Family::Batches | Family::References | Family::Meta => {
            options.set_write_buffer_size(8 << 20);
        }
    }
    options.set_block_based_table_factory(&blocks);
    options
}
