//! RocksDB itself, with the settings of ours.

use std::{
    hash::{BuildHasher, RandomState},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
};

use benches::{Client, Driven, Facts, Role, Store, Subject};
use bytes::Bytes;
use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, DB, DBCompressionType, LruCacheOptions, Options, ReadOptions,
    WriteBatch, WriteBufferManager, WriteOptions,
};
use store_api::{Durability, Key, Result, TestAndSet};

use super::{CACHE, CACHE_TOLD, failed, version_of};

/// RocksDB, shared by its clients.
pub(crate) struct RawRocksdb {
    pub(crate) name: &'static str,
    pub(crate) durability: Durability,
}

impl Subject for RawRocksdb {
    type Store = Shared;

    fn facts(&self) -> Facts {
        Facts {
            name: self.name.into(),
            role: Role::Raw,
            durability: self.durability,
            visibility: None,
            cache: CACHE_TOLD.into(),
            version: version_of("librocksdb-sys"),
            driven: Driven::Threads,
            beside: None,
            note: Some("one family of columns instead of three; compare-and-set is a lock, a read and a write".into()),
        }
    }

    async fn open(&self, place: &Path) -> Result<Shared> {
        let database = DB::open(&options(&cache()), place.join("raw")).map_err(failed)?;
        let locks = (0..LOCKS).map(|_| Mutex::new(())).collect();
        let hasher = RandomState::new();
        Ok(Shared(Arc::new(Inner { database, locks, hasher, is_synced: self.durability == Durability::Power })))
    }
}

/// The cache of ours, with as many locks.
pub(crate) fn cache() -> Cache {
    let mut options = LruCacheOptions::default();
    options.set_capacity(CACHE);
    options.set_num_shard_bits(3);
    Cache::new_lru_cache_opts(&options)
}

/// The settings of ours; what they are for is told there.
pub(crate) fn options(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4096);
    blocks.set_pin_top_level_index_and_filter(true);
    let mut options = Options::default();
    options.create_if_missing(true);
    options.set_block_based_table_factory(&blocks);
    options.set_compression_type(DBCompressionType::Lz4);
    options.set_write_buffer_size(CACHE / 2);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(CACHE, false));
    options.set_max_total_wal_size(256 << 20);
    options.set_max_open_files(512);
    options.set_level_zero_slowdown_writes_trigger(36);
    options.set_level_zero_stop_writes_trigger(36);
    options.set_soft_pending_compaction_bytes_limit(0);
    options.set_atomic_flush(true);
    options.set_avoid_unnecessary_blocking_io(true);
    options
}

/// How many keys can be compared and set at once.
const LOCKS: usize = 256;

#[derive(Clone)]
pub(crate) struct Shared(pub(crate) Arc<Inner>);

pub(crate) struct Inner {
    pub(crate) database: DB,
    locks: Vec<Mutex<()>>,
    hasher: RandomState,
    is_synced: bool,
}

impl Shared {
    /// How it writes.
    pub(crate) fn how(&self) -> WriteOptions {
        let mut how = WriteOptions::default();
        how.set_sync(self.0.is_synced);
        how
    }
}

impl Store for Shared {
    type Client = Self;

    const DRIVEN: Driven = Driven::Threads;

    fn client(&self) -> Result<Self> {
        Ok(self.clone())
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let mut batch = WriteBatch::default();
        for (key, value) in &entries {
            batch.put(key.as_str(), value);
        }
        self.0.database.write_opt(batch, &self.how()).map_err(failed)
    }

    async fn close(self) -> Result<()> {
        // As ours does: the next open has no log to read.
        self.0.database.flush().map_err(failed)?;
        self.0.database.cancel_all_background_work(true);
        Ok(())
    }
}

impl Client for Shared {
    type Value = Vec<u8>;

    async fn find(&mut self, key: &Key) -> Result<Option<Vec<u8>>> {
        self.0.database.get(key.as_str()).map_err(failed)
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.0.database.put_opt(key.as_str(), &value, &self.how()).map_err(failed)
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        let Inner { database, locks, hasher, .. } = &*self.0;
        #[expect(clippy::cast_possible_truncation, reason = "any bits of a hash will do")]
        let lock = hasher.hash_one(key) as usize % LOCKS;
        let _held = locks[lock].lock().unwrap_or_else(PoisonError::into_inner);
        let current = database.get_pinned(key.as_str()).map_err(failed)?;
        if current.as_deref() != test.as_deref() {
            return Ok(TestAndSet::Mismatch { current: current.map(|value| Bytes::copy_from_slice(&value)) });
        }
        match set {
            Some(value) => database.put_opt(key.as_str(), &value, &self.how()).map_err(failed)?,
            None => database.delete_opt(key.as_str(), &self.how()).map_err(failed)?,
        }
        Ok(TestAndSet::Applied)
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        let mut range = ReadOptions::default();
        range.set_iterate_range(format!("{under}/").into_bytes()..format!("{under}0").into_bytes());
        let rows = self.0.database.iterator_opt(rocksdb::IteratorMode::Start, range);
        rows.map(|row| row.map(drop)).try_fold(0, |count, row| row.map(|()| count + 1)).map_err(failed)
    }
}
