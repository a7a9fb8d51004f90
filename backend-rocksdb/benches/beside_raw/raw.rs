//! RocksDB itself, set up as the backend sets it up.

use std::{path::Path, thread, time::Duration};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB, DBCompressionType,
    DEFAULT_COLUMN_FAMILY_NAME, Error, ErrorKind, LruCacheOptions, Options, WriteBatch, WriteBufferManager,
    WriteOptions,
};

const CONTENT: &str = "content";
const MEMORY: usize = 64 * 1024 * 1024;

/// How many files wait for the first compaction before writes do.
const UNCOMPACTED_FILES: i32 = 36;

/// How often a write that would wait is tried again.
const ASKS: Duration = Duration::from_millis(10);

pub(crate) struct Raw {
    database: DB,
    write: WriteOptions,
}

impl Raw {
    pub(crate) fn open(path: &Path, sync: bool) -> Self {
        let mut parts = LruCacheOptions::default();
        parts.set_capacity(MEMORY);
        parts.set_num_shard_bits(3);
        let cache = Cache::new_lru_cache_opts(&parts);
        let entries = family(&cache);
        let mut content = family(&cache);
        content.set_enable_blob_files(true);
        content.set_min_blob_size(4 * 1024);
        content.set_blob_compression_type(DBCompressionType::Lz4);
        content.set_blob_cache(&cache);
        let families = [(DEFAULT_COLUMN_FAMILY_NAME, entries), (CONTENT, content)];
        let families = families.map(|(name, options)| ColumnFamilyDescriptor::new(name, options));
        let mut write = WriteOptions::default();
        write.set_sync(sync);
        write.set_no_slowdown(true);
        Self { database: DB::open_cf_descriptors(&whole(), path, families).unwrap(), write }
    }

    fn content(&self) -> &ColumnFamily {
        self.database.cf_handle(CONTENT).unwrap()
    }

    /// Puts what was written into its place.
    pub(crate) fn flush(&self) {
        self.database.flush().unwrap();
        self.database.flush_cf(self.content()).unwrap();
    }

    pub(crate) fn find(&self, key: &[u8]) -> Option<Vec<u8>> {
        self.database.get(key).unwrap()
    }

    pub(crate) fn set(&self, key: &[u8], value: &[u8]) {
        insist(|| self.database.put_opt(key, value, &self.write));
    }

    /// Right for one client only.
    pub(crate) fn test_and_set(&self, key: &[u8], test: &[u8], set: &[u8]) -> bool {
        let is_so = self.database.get_pinned(key).unwrap().is_some_and(|current| *current == *test);
        if is_so {
            self.set(key, set);
        }
        is_so
    }

    pub(crate) fn find_content(&self, hash: &[u8]) -> Option<Vec<u8>> {
        self.database.get_cf(self.content(), hash).unwrap()
    }

    pub(crate) fn add<'v>(&self, values: &(impl IntoIterator<Item = &'v [u8]> + Clone)) {
        insist(|| {
            let mut batch = WriteBatch::default();
            for value in values.clone() {
                batch.put_cf(self.content(), blake3::hash(value).as_bytes(), value);
            }
            self.database.write_opt(batch, &self.write)
        });
    }
}

/// Tries again what would wait for compactions, as the backend does.
fn insist(write: impl Fn() -> Result<(), Error>) {
    while let Err(error) = write() {
        assert_eq!(error.kind(), ErrorKind::Incomplete, "{error}");
        thread::sleep(ASKS);
    }
}

fn family(cache: &Cache) -> Options {
    let mut blocks = BlockBasedOptions::default();
    blocks.set_block_cache(cache);
    blocks.set_cache_index_and_filter_blocks(true);
    blocks.set_pin_l0_filter_and_index_blocks_in_cache(true);
    blocks.set_bloom_filter(10.0, false);
    blocks.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    blocks.set_partition_filters(true);
    blocks.set_metadata_block_size(4096);
    blocks.set_pin_top_level_index_and_filter(true);
    let mut family = Options::default();
    family.set_block_based_table_factory(&blocks);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size(MEMORY / 2);
    family.set_level_zero_slowdown_writes_trigger(UNCOMPACTED_FILES);
    family.set_level_zero_stop_writes_trigger(UNCOMPACTED_FILES);
    family.set_soft_pending_compaction_bytes_limit(0);
    family
}

fn whole() -> Options {
    let mut options = Options::default();
    options.create_if_missing(true);
    options.create_missing_column_families(true);
    options.set_max_open_files(512);
    options.set_max_total_wal_size(256 * 1024 * 1024);
    options.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(MEMORY, false));
    options.set_atomic_flush(true);
    options.set_avoid_unnecessary_blocking_io(true);
    options
}
