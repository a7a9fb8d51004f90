//! RocksDB with its column families: how it is set up, read, and let go of.
//!
//! | family | key | value |
//! |---|---|---|
//! | `default` | the key of an entry | its frame (A12) |
//! | `hashes` | the hash of a value | the value, if it is short |
//! | `content` | the hash of a value | the value, if it is not in `hashes`; long ones lie in blob files |
//!
//! So a short value is one row, and whoever asks for hashes reads no long ones. A row of content is never removed: who has
//! read that a value is there finds it.
//!
//! One write-ahead log orders them all (X1). What a crash left in it is written anew, and synced, when it is opened,
//! before anything is read: nothing is shown that may only be in the system's cache (A10, E3).

use std::{
    mem,
    panic::catch_unwind,
    sync::{
        Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard, TryLockError,
        atomic::{AtomicBool, Ordering},
    },
};

use backend_kit::OFFLOAD_LEN;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DBPinnableSlice, DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, FlushOptions, InfoLogger, LogLevel, LruCacheOptions,
    Options, ReadOptions, ReadTier, Snapshot, WriteBatch, WriteBufferManager, WriteOptions,
    properties::{
        COMPACTION_PENDING, CUR_SIZE_ALL_MEM_TABLES, IS_WRITE_STOPPED, MEM_TABLE_FLUSH_PENDING,
        NUM_IMMUTABLE_MEM_TABLE, NUM_RUNNING_COMPACTIONS, NUM_RUNNING_FLUSHES, PropName, num_files_at_level,
    },
};
use store_api::{Error, HashFunction, Result};

use crate::{
    Compression, RocksdbOptions,
    error::{from_rocksdb, would_block},
    folder::Folder,
    long::LongRows,
    refusal::Work,
};

/// From this length on, content lies in blob files.
const BLOB_LEN: u64 = 4 * 1024;

/// How many files RocksDB keeps open.
const OPEN_FILES: i32 = 512;

/// After a full disk RocksDB goes on when so much is free at the most: it is how much is written before it is put into its
/// place.
const ROOM: usize = 64 * 1024 * 1024;

/// What a flush writes beside what it was given, of which an index and a filter are a part.
const FLUSH_OVERHEAD: u64 = 1024 * 1024;

/// The least that a part of the cache has, where the cache is larger than that; each has a lock of its own.
const CACHE_PART: usize = 8 * 1024 * 1024;

/// How many bytes the parts of a filter or an index have, as a block of data has.
const INDEX_PART: usize = 4 * 1024;

/// With less, each write would have to be put into its place.
const LEAST_WRITE_MEMORY: usize = 8 * 1024 * 1024;

/// How many files wait for the first compaction before writes do. RocksDB would slow writes down before, by a wait that
/// cannot be ended; the writer waits by itself.
const UNCOMPACTED_FILES: u16 = 36;

/// How many times a memtable may be cleared: each read goes through the ranges that were removed in it.
const CLEARS_IN_MEMORY: u32 = 1000;

/// How long the write-ahead logs may become, and with them the next open after a crash.
const LOG_BYTES: u64 = 256 * 1024 * 1024;

/// What is kept under keys of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Space {
    Entries,
    Hashes,
    Content,
}

impl Space {
    const ALL: [Self; 3] = [Self::Entries, Self::Hashes, Self::Content];

    /// The name of its family.
    fn name(self) -> &'static str {
        match self {
            Self::Entries => DEFAULT_COLUMN_FAMILY_NAME,
            Self::Hashes => "hashes",
            Self::Content => "content",
        }
    }
}

/// How far a read may go for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tier {
    /// Memory: it runs on an async worker.
    Memory,
    Disk,
}

/// What a read came to.
pub(crate) enum Found<T> {
    Answer(Option<T>),
    /// With [`Tier::Memory`]: it is not there, or takes long to copy.
    NotInMemory,
}

/// The database of an instance, until it is closed.
pub(crate) struct Database {
    /// Written to by [`close`](Self::close) alone: who cannot read it at once finds it closed.
    open: RwLock<Option<Open>>,
    /// Held from before a group is written until the watches were told, and while a watch is registered: a watch begins
    /// before a group or behind it.
    order: Mutex<()>,
    closing: AtomicBool,
    long: LongRows,
    from_memory: ReadOptions,
    from_disk: ReadOptions,
    in_passing: ReadOptions,
}

struct Open {
    database: DB,
    // Behind the database: let go of when that is closed.
    folder: Folder,
}

impl Database {
    /// Opens what is in the folder of the options, and says how the store hashes.
    pub(crate) fn open(options: &RocksdbOptions) -> Result<(Self, HashFunction)> {
        let (folder, hash) = Folder::open(&options.path, options.create, options.hash)?;
        Ok((Self::open_in(folder, options)?, hash))
    }

    fn open_in(folder: Folder, options: &RocksdbOptions) -> Result<Self> {
        let families = Families::new(options)?;
        let opened = DB::open_cf_descriptors(&families.database, folder.path(), families.descriptors());
        let database = opened.map_err(from_rocksdb)?;
        folder.note_opened()?;
        let mut from_memory = ReadOptions::default();
        from_memory.set_read_tier(ReadTier::BlockCache);
        let open = RwLock::new(Some(Open { database, folder }));
        // Two generations of memtables, and in each a group or a batch more.
        let long = LongRows::new(write_memory(options).saturating_add(options.batch_limit.max(ROOM)).saturating_mul(2));
        let (order, closing, from_disk) = (Mutex::new(()), AtomicBool::new(false), ReadOptions::default());
        Ok(Self { open, order, closing, long, from_memory, from_disk, in_passing: in_passing() })
    }

    /// The database, which stays open until this is dropped.
    pub(crate) fn lease(&self) -> Result<Lease<'_>> {
        let open = self.open.try_read().map_err(|_| Error::closed())?;
        if open.is_none() {
            return Err(Error::closed());
        }
        Ok(Lease { open, database: self })
    }

    /// Keeps groups from being written.
    pub(crate) fn hold_order(&self) -> MutexGuard<'_, ()> {
        // It guards no data.
        self.order.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// [`hold_order`](Self::hold_order), unless that would wait.
    pub(crate) fn try_hold_order(&self) -> Option<MutexGuard<'_, ()>> {
        match self.order.try_lock() {
            Ok(order) => Some(order),
            Err(TryLockError::Poisoned(order)) => Some(order.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// What `take` makes of the value under a key.
    pub(crate) fn get<T>(
        &self,
        space: Space,
        key: &[u8],
        tier: Tier,
        take: impl FnOnce(&[u8]) -> T,
    ) -> Result<Found<T>> {
        let lease = self.lease()?;
        match lease.get(space, key, tier)? {
            Found::Answer(value) => Ok(Found::Answer(value.map(|value| take(&value)))),
            Found::NotInMemory => Ok(Found::NotInMemory),
        }
    }

    /// Ends what waits for RocksDB to write again.
    pub(crate) fn start_closing(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Waits for those who read, and lets go of all files. Who closes it at the same time waits, too.
    pub(crate) fn close(&self, flush: Flush) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(Open { database, folder }) = open.take() else { return };
        if folder.is_lost() {
            // By its paths RocksDB would write and remove files of what lies there: what it holds in memory stays instead.
            tracing::warn!("the folder of the store was moved or removed; RocksDB is not closed");
            mem::forget(database);
            return;
        }
        let is_whole = flush == Flush::Yes && put_into_place(&database, &folder);
        drop(database);
        // Behind a failure the manifest may be longer here than it is on the disk.
        if is_whole {
            folder.note_closed();
        }
    }
}

/// Writes what is only in the log into its place; `false` where that failed. Nothing is lost then: the next open reads
/// the log.
fn put_into_place(database: &DB, folder: &Folder) -> bool {
    let families: Vec<_> = Space::ALL.iter().filter_map(|space| database.cf_handle(space.name())).collect();
    // A flush waits, without end, for room and for compactions.
    if !has_room_to_flush(database, &families, folder)
        || families.iter().any(|family| flush_would_wait(database, family))
    {
        tracing::warn!("the store was closed without a flush, which would have waited for RocksDB");
        return false;
    }
    let flushed = database.flush_cfs_opt(&families, &FlushOptions::default());
    if let Err(error) = &flushed {
        tracing::warn!(error = %error, "the store was closed without a flush");
    }
    flushed.is_ok()
}

/// Whether a flush would first wait for compactions: with one file more, writes would. Where RocksDB does not say, it is
/// taken for so.
fn flush_would_wait(database: &DB, family: &ColumnFamily) -> bool {
    let count = |name: &PropName| database.property_int_value_cf(family, name).ok().flatten();
    let (files, coming) = (count(&num_files_at_level(0)), count(NUM_IMMUTABLE_MEM_TABLE));
    let (Some(files), Some(coming), Some(0)) = (files, coming, count(IS_WRITE_STOPPED)) else { return true };
    files + coming + 1 >= u64::from(UNCOMPACTED_FILES)
}

/// Whether the disk has room for what a flush writes. While RocksDB refuses writes the disk is full in its eyes, and it
/// asks for more before it goes on.
fn has_room_to_flush(database: &DB, families: &[&ColumnFamily], folder: &Folder) -> bool {
    let mut probe = WriteBatch::default();
    probe.put_log_data([]);
    let mut options = WriteOptions::default();
    options.set_no_slowdown(true);
    if database.write_opt(probe, &options).is_err() {
        return has_room(folder);
    }
    let size = |family: &&ColumnFamily| database.property_int_value_cf(*family, CUR_SIZE_ALL_MEM_TABLES).ok().flatten();
    let Some(memory) = families.iter().map(size).sum::<Option<u64>>() else { return has_room(folder) };
    folder.free_bytes().is_none_or(|free| free >= FLUSH_OVERHEAD.saturating_add(2 * memory))
}

/// Whether the disk has the room that RocksDB asks for before it goes on behind a full one.
fn has_room(folder: &Folder) -> bool {
    folder.free_bytes().is_none_or(|free| free >= ROOM as u64)
}

/// Whether what is only in the log is written into its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flush {
    Yes,
    /// It takes long, and nothing is lost without.
    No,
}

impl Open {
    fn family(&self, space: Space) -> &ColumnFamily {
        self.database.cf_handle(space.name()).expect("the database was opened with its families")
    }
}

/// Keeps the database open.
pub(crate) struct Lease<'d> {
    open: RwLockReadGuard<'d, Option<Open>>,
    database: &'d Database,
}

impl Lease<'_> {
    fn open(&self) -> &Open {
        self.open.as_ref().expect("a lease is of an open database")
    }

    pub(crate) fn rocksdb(&self) -> &DB {
        &self.open().database
    }

    pub(crate) fn family(&self, space: Space) -> &ColumnFamily {
        self.open().family(space)
    }

    /// Whether the disk has the room that RocksDB asks for before it goes on behind a full one.
    pub(crate) fn has_room(&self) -> bool {
        has_room(&self.open().folder)
    }

    /// `Ok` while its folder is there.
    pub(crate) fn check_in_place(&self) -> Result<()> {
        self.open().folder.check_in_place()
    }

    /// Whether the store is being closed.
    pub(crate) fn is_closing(&self) -> bool {
        self.database.closing.load(Ordering::Relaxed)
    }

    /// `Ok` until the store is being closed: what takes long gives way to that.
    pub(crate) fn check_open(&self) -> Result<()> {
        if self.is_closing() { Err(Error::closed()) } else { Ok(()) }
    }

    /// What RocksDB does about what was written.
    pub(crate) fn work(&self) -> Result<Work> {
        // Those that run are counted for all families together.
        if self.has_any(Space::Entries, [NUM_RUNNING_COMPACTIONS, NUM_RUNNING_FLUSHES])? {
            return Ok(Work::UnderWay);
        }
        for space in Space::ALL {
            if self.has_any(space, [COMPACTION_PENDING, MEM_TABLE_FLUSH_PENDING])? {
                return Ok(Work::Pending);
            }
        }
        Ok(Work::None)
    }

    /// Whether one of the counts of a family is not zero.
    fn has_any(&self, space: Space, counts: [&PropName; 2]) -> Result<bool> {
        let family = self.family(space);
        for name in counts {
            let count = self.rocksdb().property_int_value_cf(family, name).map_err(from_rocksdb)?;
            if count.is_some_and(|count| count > 0) {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Writes a batch of these rows, each with the length of its value, or with none where it is removed.
    pub(crate) fn write<'k>(
        &self,
        batch: WriteBatch,
        options: &WriteOptions,
        rows: impl Iterator<Item = (Space, &'k [u8], usize)>,
    ) -> Result<(), rocksdb::Error> {
        let (announced, bytes) = (self.database.long.announce(rows), batch.size_in_bytes());
        let written = self.rocksdb().write_opt(batch, options);
        self.database.long.settle(announced, written.is_ok().then_some(bytes));
        written
    }

    pub(crate) fn get(&self, space: Space, key: &[u8], tier: Tier) -> Result<Found<DBPinnableSlice<'_>>> {
        if tier == Tier::Memory && self.database.long.may_hold(space, key) {
            return Ok(Found::NotInMemory);
        }
        let options = match tier {
            Tier::Memory => &self.database.from_memory,
            Tier::Disk => &self.database.from_disk,
        };
        // The default family needs no look-up of its name.
        let found = match space {
            Space::Entries => self.rocksdb().get_pinned_opt(key, options),
            _ => self.rocksdb().get_pinned_cf_opt(self.family(space), key, options),
        };
        match found {
            Ok(Some(value)) if tier == Tier::Memory && value.len() > OFFLOAD_LEN => Ok(Found::NotInMemory),
            Ok(value) => Ok(Found::Answer(value)),
            Err(error) if tier == Tier::Memory && would_block(&error) => Ok(Found::NotInMemory),
            Err(error) => Err(from_rocksdb(error)),
        }
    }

    /// Whether there is an entry of this key. What is read for it is not kept in the cache.
    pub(crate) fn has_entry(&self, key: &[u8]) -> Result<bool> {
        let found = self.rocksdb().get_pinned_opt(key, &self.database.in_passing).map_err(from_rocksdb)?;
        Ok(found.is_some())
    }

    /// The rows of a space from `start` on, and below `end`.
    pub(crate) fn range(
        &self,
        mut options: ReadOptions,
        space: Space,
        start: &[u8],
        end: Option<&[u8]>,
    ) -> DBRawIterator<'_> {
        if let Some(end) = end {
            options.set_iterate_upper_bound(end);
        }
        let mut rows = self.rocksdb().raw_iterator_cf_opt(self.family(space), options);
        rows.seek(start);
        rows
    }
}

/// For what is read once: it does not take the place of what is read again.
pub(crate) fn in_passing() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}

/// [`in_passing`], as it was then.
pub(crate) fn in_passing_at(then: &Snapshot<'_>) -> ReadOptions {
    let mut options = in_passing();
    options.set_snapshot(then);
    options
}

/// For a page of a list. The first one is kept in the cache: a list that has no other is short, and may be read again.
pub(crate) fn for_page(is_first: bool) -> ReadOptions {
    if is_first { ReadOptions::default() } else { in_passing() }
}

/// A cache in few parts, each with room for many blocks and for a large value: RocksDB's own choice is many small ones.
fn cache_of(capacity: usize) -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(capacity);
    options.set_num_shard_bits((capacity / CACHE_PART).max(1).ilog2().min(6).cast_signed());
    Cache::new_lru_cache_opts(&options)
}

/// How many bytes RocksDB is to hold of what was written and is not in its place.
fn write_memory(options: &RocksdbOptions) -> usize {
    options.cache.max(LEAST_WRITE_MEMORY)
}

/// How RocksDB is set up.
struct Families {
    database: Options,
    entries: Options,
    hashes: Options,
    content: Options,
}

impl Families {
    fn new(options: &RocksdbOptions) -> Result<Self> {
        let cache = cache_of(options.cache);
        let write_memory = write_memory(options);
        let compression = match options.compression {
            Compression::None => DBCompressionType::None,
            Compression::Lz4 => DBCompressionType::Lz4,
            Compression::Zstd => DBCompressionType::Zstd,
        };
        let mut blocks = BlockBasedOptions::default();
        blocks.set_block_cache(&cache);
        // Bounded by the cache, as all that grows with the store.
        blocks.set_cache_index_and_filter_blocks(true);
        blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
        blocks.set_bloom_filter(10.0, false);
        // In parts: as one block a filter or an index has about a MiB, as much as a shard of the cache, and would drive out
        // all else there.
        blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
        blocks.set_partition_filters(true);
        blocks.set_metadata_block_size(INDEX_PART);
        blocks.set_pin_top_level_index_and_filter(true);
        let family = || -> Result<Options> {
            // There is no other way to set it.
            let bounded = format!("memtable_max_range_deletions={CLEARS_IN_MEMORY}");
            let mut family = Options::default().get_options_from_string(bounded).map_err(from_rocksdb)?;
            family.set_block_based_table_factory(&blocks);
            family.set_compression_type(compression);
            // One is written to while another is put into its place.
            family.set_write_buffer_size((write_memory / 2).min(ROOM));
            family.set_level_zero_slowdown_writes_trigger(UNCOMPACTED_FILES.into());
            family.set_level_zero_stop_writes_trigger(UNCOMPACTED_FILES.into());
            family.set_soft_pending_compaction_bytes_limit(0);
            Ok(family)
        };
        let mut content = family()?;
        content.set_enable_blob_files(true);
        content.set_min_blob_size(BLOB_LEN);
        content.set_blob_compression_type(compression);
        content.set_blob_cache(&cache);
        Ok(Self { database: whole(write_memory), entries: family()?, hashes: family()?, content })
    }

    fn descriptors(&self) -> impl Iterator<Item = ColumnFamilyDescriptor> {
        Space::ALL.into_iter().map(|space| ColumnFamilyDescriptor::new(space.name(), self.options(space).clone()))
    }

    fn options(&self, space: Space) -> &Options {
        match space {
            Space::Entries => &self.entries,
            Space::Hashes => &self.hashes,
            Space::Content => &self.content,
        }
    }
}

/// What holds for all families.
fn whole(write_memory: usize) -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(OPEN_FILES);
    options.set_max_total_wal_size(LOG_BYTES);
    // Memtables are flushed when they have 7/8 of this, or half of it while those before them have the rest; writes wait
    // when two generations are to be flushed. So they have 11/8 of it at the most, and a group more in each generation.
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(write_memory, false));
    // Behind a log that a full disk cut, the families must not be of different ages: RocksDB would refuse to open them.
    options.set_atomic_flush(true);
    // A log that is missing between others would be passed over.
    options.set_track_and_verify_wals_in_manifest(true);
    // Old files are removed behind the reads and writes that let go of them.
    options.set_avoid_unnecessary_blocking_io(true);
    options.set_info_logger(InfoLogger::new_callback_logger(LogLevel::Warn, tell));
    options
}

/// What RocksDB would write into a log of its own: files and states, no values. It is told from RocksDB's threads, some of
/// which hold its locks: a subscriber must not use the store.
fn tell(level: LogLevel, message: &str) {
    // A panic must not unwind into RocksDB.
    let _ = catch_unwind(|| trace(level, message));
}

fn trace(level: LogLevel, message: &str) {
    match level {
        LogLevel::Debug | LogLevel::Info | LogLevel::Header => tracing::debug!(target: "rocksdb", "{message}"),
        LogLevel::Warn => tracing::warn!(target: "rocksdb", "{message}"),
        LogLevel::Error | LogLevel::Fatal => tracing::error!(target: "rocksdb", "{message}"),
    }
}

/// The end of an iteration: its error, if it has one.
pub(crate) fn ended(rows: &DBRawIterator<'_>) -> Result<()> {
    rows.status().map_err(from_rocksdb)
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rocksdb::properties::NUM_ENTRIES_ACTIVE_MEM_TABLE;
    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a8_what_was_cleared_often_is_put_into_its_place() {
        let directory = TempDir::new().unwrap();
        let (database, _) = Database::open(&RocksdbOptions::new(directory.path().join("store"))).unwrap();
        let lease = database.lease().unwrap();
        let rocksdb = lease.rocksdb();
        let in_memory = || rocksdb.property_int_value(NUM_ENTRIES_ACTIVE_MEM_TABLE).unwrap().unwrap();
        for round in 0..3 * CLEARS_IN_MEMORY {
            let mut batch = WriteBatch::default();
            batch.put(b"key", b"frame");
            batch.delete_range(b"".as_slice(), b"\xff".as_slice());
            rocksdb.write(batch).unwrap();
            assert!(in_memory() < 3 * u64::from(CLEARS_IN_MEMORY), "{} rows in round {round}", in_memory());
        }
    }

    #[test]
    fn l4_a_flush_that_would_wait_for_compactions_is_foreseen() {
        let directory = TempDir::new().unwrap();
        let (database, _) = Database::open(&RocksdbOptions::new(directory.path().join("store"))).unwrap();
        let lease = database.lease().unwrap();
        let rocksdb = lease.rocksdb();
        rocksdb.set_options(&[("disable_auto_compactions", "true")]).unwrap();
        for number in 0..UNCOMPACTED_FILES - 1 {
            assert!(!flush_would_wait(rocksdb, lease.family(Space::Entries)), "with {number} files");
            rocksdb.put(number.to_be_bytes(), []).unwrap();
            rocksdb.flush().unwrap();
        }
        assert!(flush_would_wait(rocksdb, lease.family(Space::Entries)));
        assert!(!put_into_place(rocksdb, &lease.open().folder));
    }

    #[test]
    fn a_store_whose_path_leads_to_another_is_left_as_it_is() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("store");
        let folder = Folder::open(&path, true, None).unwrap().0.unfollowed();
        let inside = folder.path().to_owned();
        let database = Database::open_in(folder, &RocksdbOptions::new(&path)).unwrap();
        database.lease().unwrap().rocksdb().put(b"key", b"frame").unwrap();
        fs::rename(&path, directory.path().join("elsewhere")).unwrap();
        fs::create_dir_all(&inside).unwrap();
        database.close(Flush::Yes);
        assert_eq!(fs::read_dir(inside).unwrap().count(), 0);
    }
}
