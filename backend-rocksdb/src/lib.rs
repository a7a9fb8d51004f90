//! The RocksDB backend of irminsul: one process, many tasks, much data.
//!
//! A folder, which one instance has open at a time. Writes that queue share one write of RocksDB's, and one sync; reads
//! of what is cached are answered in place; long content lies in files of its own, which compactions leave alone.
//!
//! What a store declares of itself stands in [the guarantees], beside what the other engines do.
//!
//! Close an instance when you are done: one that is dropped lets go of its folder, too, but blocks the thread that drops
//! it until what has queued is written; where RocksDB has refused writes for some seconds, that is refused.
//! The thread of an instance ends with it. RocksDB's own threads are the process's: an instance starts them where they are
//! missing, they serve all that is open in the process, and wait idle when nothing is.
//!
//! ```no_run
//! use backend_rocksdb::RocksdbOptions;
//! use store_api::{AtomicWrite, Backend, Key};
//!
//! # async fn example() -> store_api::Result<()> {
//! let store = RocksdbOptions::new("app.rocksdb").open().await?;
//! let entries = store.atomic_write().unwrap();
//! entries.set(&Key::new("greeting")?, "hello".into()).await?;
//! store.close().await
//! # }
//! ```
//!
//! [the guarantees]: https://github.com/irminsul-rs/irminsul/blob/main/docs/guarantees.md

mod atomic_write;
mod check;
mod database;
mod error;
mod folder;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod indexable;
mod long;
mod records;
mod refusal;
mod row;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use backend_kit::{Committer, ContentHandle, Context, DEFAULT_BATCH_LIMIT, EntryHandle, Gate, Hub, offload};
use store_api::{
    AtomicWrite, Backend, Durability, Error, ErrorKind, Guarantees, HashFunction, IndexLevel, Indexable, Result,
    Visibility, WatchLag,
};

use self::{
    database::{Database, Flush, Found, Space, Tier},
    writer::{Write, Writer},
};

const ROCKSDB: Context = Context::new("rocksdb");

/// How what lies on the disk is compressed. A store can be opened with another one than it was written with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Compression {
    /// Not at all: for what is compressed already.
    None,
    /// LZ4: costs next to nothing.
    #[default]
    Lz4,
    /// Zstandard: less space, for more time.
    Zstd,
}

/// How to open a RocksDB store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct RocksdbOptions {
    path: PathBuf,
    sync: bool,
    create: bool,
    hash: Option<HashFunction>,
    verify: bool,
    batch_limit: usize,
    cache: usize,
    compression: Compression,
}

impl RocksdbOptions {
    /// The store in this folder, created if there is none.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: path.as_ref().to_owned(),
            sync: true,
            create: true,
            hash: None,
            verify: true,
            batch_limit: DEFAULT_BATCH_LIMIT,
            cache: 64 * 1024 * 1024,
            compression: Compression::Lz4,
        }
    }

    /// Whether each write is synced before it is acknowledged, together with those that queued with it, so that it
    /// survives a power loss. On by default. When off, a write survives a killed process, and a power loss only after
    /// [`Backend::sync`].
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Whether a missing folder is created, for its owner only. On by default; the folder above it is not created.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// The hash function of a store that is created, and the one that a store must have (L5). BLAKE3, or what the store
    /// has, when not said.
    #[must_use]
    pub fn hash(mut self, function: HashFunction) -> Self {
        self.hash = Some(function);
        self
    }

    /// Whether content is checked against its hash when it is read (I6). On by default.
    #[must_use]
    pub fn verify(mut self, verify: bool) -> Self {
        self.verify = verify;
        self
    }

    /// How many bytes a batch may hold (I7): its values, and 96 for each of them. 256 MiB by default.
    #[must_use]
    pub fn batch_limit(mut self, bytes: usize) -> Self {
        self.batch_limit = bytes;
        self
    }

    /// The size of the cache for reads (blocks, indexes, filters, content), in bytes: 64 MiB by default.
    ///
    /// Beside it, what was written last and is not flushed yet takes up to 1.4 times as much, of 8 MiB at least; and four
    /// times what is written at a time is held: what has queued, 64 MiB of it at most, or one batch. By default that is
    /// 152 MiB, and up to 256 MiB more while so much is written at a time. What watches hold comes on top.
    #[must_use]
    pub fn cache(mut self, bytes: usize) -> Self {
        self.cache = bytes;
        self
    }

    /// How what is written is compressed. [`Compression::Lz4`] by default.
    #[must_use]
    pub fn compression(mut self, compression: Compression) -> Self {
        self.compression = compression;
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// `InUse` when an instance has it open, in this process or another, which is named (L4); `InvalidInput` when there is
    /// nothing and nothing may be created; `Incompatible` for a folder of something else, or a store of another format or
    /// hash function (L5); `Corrupt`, `Denied`, `ReadOnly`, `NoSpace`.
    pub async fn open(self) -> Result<Rocksdb> {
        let path = self.path.clone();
        let opened = offload(move || Instance::open(self)).await.flatten();
        Ok(Rocksdb { instance: Arc::new(opened.map_err(ROCKSDB.opening(Some(&path)))?) })
    }
}

/// An open RocksDB store. Clones are the same instance.
#[derive(Clone)]
pub struct Rocksdb {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    database: Arc<Database>,
    options: RocksdbOptions,
    hash: HashFunction,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    committer: Committer<Writer>,
}

impl Instance {
    fn open(options: RocksdbOptions) -> Result<Self> {
        let (database, hash) = Database::open(&options)?;
        let (database, hub) = (Arc::new(database), Arc::new(Hub::new()));
        let syncs = options.sync;
        let writer = Writer::new(Arc::clone(&database), Arc::clone(&hub), hash, syncs);
        let committer = Committer::start(writer, "irminsul-rocksdb", !syncs)?;
        Ok(Self { database, options, hash, gate: Gate::new(), hub, committer })
    }

    /// What `take` makes of the value under a key. What is not in memory, or is long, is read on a thread that may block.
    async fn read<T: Send + 'static>(
        self: &Arc<Self>,
        space: Space,
        key: &[u8],
        take: impl Fn(&[u8]) -> Result<T> + Send + 'static,
    ) -> Result<Option<T>> {
        if let Found::Answer(found) = self.database.get(space, key, Tier::Memory, &take)? {
            return found.transpose();
        }
        let (database, key) = (Arc::clone(&self.database), key.to_vec());
        match offload(move || database.get(space, &key, Tier::Disk, &take)).await?? {
            Found::Answer(found) => found.transpose(),
            Found::NotInMemory => Err(Error::new(ErrorKind::Other, "RocksDB did not read from the disk")),
        }
    }

    async fn close(&self) -> Result<()> {
        self.gate.close();
        self.hub.end_closed();
        self.database.start_closing();
        self.committer.close().await;
        let database = Arc::clone(&self.database);
        offload(move || database.close(Flush::Yes)).await
    }
}

impl Drop for Instance {
    /// To let another thread close the database would be to let it do so while the process ends, behind the end of what
    /// RocksDB needs for it.
    fn drop(&mut self) {
        self.database.start_closing();
        if self.committer.join() {
            self.database.close(Flush::No);
        }
    }
}

#[async_trait]
impl Backend for Rocksdb {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(EntryHandle::new(Arc::clone(&self.instance))))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(ContentHandle::new(Arc::clone(&self.instance))))
    }

    fn guarantees(&self) -> Guarantees {
        let durability = if self.instance.options.sync { Durability::Power } else { Durability::Process };
        Guarantees::new(durability, Visibility::Instance, IndexLevel::Exact, WatchLag::new(Duration::ZERO, None))
    }

    async fn sync(&self) -> Result<()> {
        let synced = self.instance.gate.admit(self.instance.committer.enqueue(Write::Sync)).await;
        synced.map(drop).map_err(ROCKSDB.on("sync"))
    }

    /// The checksums of all that RocksDB has in tables and blob files, and what the rows of content must agree on. What
    /// is in the way of a `close` ends as `Closed`.
    async fn check(&self) -> Result<()> {
        let database = Arc::clone(&self.instance.database);
        let check = offload(move || check::check(&database.lease()?));
        self.instance.gate.admit(async { check.await? }).await.map_err(ROCKSDB.on("check"))
    }

    async fn close(&self) -> Result<()> {
        self.instance.close().await.map_err(ROCKSDB.on("close"))
    }
}

impl fmt::Debug for Rocksdb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Rocksdb").field("options", &self.instance.options).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use futures_util::FutureExt;
    use rocksdb::perf::{PerfContext, PerfMetric, PerfStatsLevel, set_perf_stats};
    use store_api::{Append, AtomicWrite, ContentRead, EntryRead, Key};
    use tempfile::TempDir;

    use super::*;

    /// What RocksDB counts of the reads on this thread, from here on.
    fn counts() -> PerfContext {
        set_perf_stats(PerfStatsLevel::EnableCount);
        let mut counts = PerfContext::default();
        counts.reset();
        counts
    }

    /// The tests' runtime has one worker, which is their thread.
    #[tokio::test]
    async fn what_is_in_memory_is_read_in_place_and_what_is_not_on_another_thread() {
        let directory = TempDir::new().unwrap();
        let options = RocksdbOptions::new(directory.path().join("store"));
        let store = options.clone().open().await.unwrap();
        let key = Key::new("k").unwrap();
        store.atomic_write().unwrap().set(&key, "value".into()).await.unwrap();
        let values = [100, 1_000, 10_000].map(|len| Bytes::from(vec![7; len]));
        let mut added = Vec::new();
        for value in &values {
            added.push(store.indexable().unwrap().add(value.clone()).await.unwrap());
        }
        store.close().await.unwrap();

        let store = options.open().await.unwrap();
        let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
        let counts = counts();
        assert_eq!(entries.find(&key).await.unwrap().unwrap(), "value");
        for (value, key) in values.iter().zip(&added) {
            assert!(content.find(key).await.unwrap().as_ref() == Some(value));
        }
        assert_eq!(counts.metric(PerfMetric::BlockReadCount), 0);
        assert_eq!(entries.find(&key).now_or_never().unwrap().unwrap().unwrap(), "value");
        assert!(entries.mem(&key).now_or_never().unwrap().unwrap());
        for (value, key) in values.iter().zip(&added) {
            assert!(content.find(key).now_or_never().unwrap().unwrap().as_ref() == Some(value), "{}", value.len());
        }
    }

    #[tokio::test]
    async fn a_long_value_that_was_written_last_is_not_copied_on_an_async_worker() {
        for sync in [true, false] {
            let directory = TempDir::new().unwrap();
            let store = RocksdbOptions::new(directory.path().join("store")).sync(sync).open().await.unwrap();
            let (entries, content) = (store.atomic_write().unwrap(), store.indexable().unwrap());
            let (key, value) = (Key::new("k").unwrap(), Bytes::from(vec![7; backend_kit::OFFLOAD_LEN + 1]));
            entries.set(&key, value.clone()).await.unwrap();
            let added = content.add(value.clone()).await.unwrap();
            let counts = counts();
            assert!(entries.mem(&key).await.unwrap() && content.mem(&added).await.unwrap());
            assert!(entries.find(&key).await.unwrap() == Some(value.clone()));
            assert!(content.find(&added).await.unwrap() == Some(value.clone()));
            content.add(value.clone()).await.unwrap();
            assert!(entries.test_and_set(&key, Some(value), Some("short".into())).await.unwrap().is_applied());
            let read = counts.metric(PerfMetric::GetReadBytes);
            assert!(read < 1_000, "{read} bytes, with {sync:?}");
            // A short one is.
            assert_eq!(entries.find(&key).await.unwrap().unwrap(), "short");
            assert!(counts.metric(PerfMetric::GetReadBytes) > read, "with {sync:?}");
        }
    }
}
