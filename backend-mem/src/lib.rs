//! The in-memory backend of irminsul: sharded maps behind both contracts.
//!
//! What a store declares of itself stands in [the guarantees], beside what the other engines do.
//!
//! Entries have no checksum here (A12): their bytes never leave the memory that they were handed over in.
//!
//! ```
//! use backend_mem::MemOptions;
//! use store_api::{AtomicWrite, Backend, EntryRead, Key};
//!
//! # futures_executor::block_on(async {
//! let store = MemOptions::new().open().await?;
//! let entries = store.atomic_write().unwrap();
//! let key = Key::new("greeting")?;
//! entries.set(&key, "hello".into()).await?;
//! assert_eq!(entries.find(&key).await?.unwrap(), "hello");
//! # Ok::<(), store_api::Error>(())
//! # }).unwrap();
//! ```
//!
//! [the guarantees]: https://github.com/irminsul-rs/irminsul/blob/main/docs/guarantees.md

mod atomic_write;
mod content;
mod entries;
mod indexable;
mod named;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_kit::{ContentHandle, Context, DEFAULT_BATCH_LIMIT, Detached, EntryHandle, Gate, Hub, check_hash};
use store_api::{
    AtomicWrite, Backend, Durability, Guarantees, HashFunction, IndexLevel, Indexable, Result, Visibility, WatchLag,
};

use self::{content::Content, entries::Entries};

const MEM: Context = Context::new("mem");

/// How to open an in-memory store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct MemOptions {
    name: Option<String>,
    hash: Option<HashFunction>,
    verify: bool,
    batch_limit: usize,
}

impl MemOptions {
    /// A store of its own, empty.
    #[must_use]
    pub fn new() -> Self {
        Self { name: None, hash: None, verify: true, batch_limit: DEFAULT_BATCH_LIMIT }
    }

    /// The store of this name in this process; empty when no handle on it is left.
    #[must_use]
    pub fn named(name: impl Into<String>) -> Self {
        Self { name: Some(name.into()), ..Self::new() }
    }

    /// The hash function of a store that is created, and the one that a named store must have (L5). BLAKE3, or what the
    /// named store has, when not said.
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

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// `Incompatible` when a named store has another hash function.
    #[expect(clippy::unused_async, reason = "every backend opens alike")]
    pub async fn open(self) -> Result<Mem> {
        let create = || Arc::new(Store::new(self.hash.unwrap_or_default()));
        let store = match &self.name {
            Some(name) => named::open(name, create),
            None => create(),
        };
        check_hash(self.hash, store.content.hash_function()).map_err(MEM.on("open"))?;
        let gate = Gate::new();
        Ok(Mem { instance: Arc::new(Instance { store, detached: Detached::new(&gate), gate, options: self }) })
    }
}

impl Default for MemOptions {
    fn default() -> Self {
        Self::new()
    }
}

/// An open in-memory store. Clones are the same instance.
#[derive(Clone)]
pub struct Mem {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    store: Arc<Store>,
    gate: Arc<Gate>,
    options: MemOptions,
    /// Writes off the async worker.
    detached: Detached,
}

/// The data, shared by the instances of a named store.
struct Store {
    entries: Entries,
    content: Content,
    hub: Arc<Hub>,
}

impl Store {
    fn new(function: HashFunction) -> Self {
        let hub = Arc::new(Hub::new());
        Self { entries: Entries::new(Arc::clone(&hub)), content: Content::new(function), hub }
    }
}

#[async_trait]
impl Backend for Mem {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(EntryHandle::new(Arc::clone(&self.instance))))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(ContentHandle::new(Arc::clone(&self.instance))))
    }

    fn guarantees(&self) -> Guarantees {
        let (visibility, others) = match self.instance.options.name {
            Some(_) => (Visibility::Process, Some(Duration::ZERO)),
            None => (Visibility::Instance, None),
        };
        let lag = WatchLag::new(Duration::ZERO, others);
        Guarantees::new(Durability::Volatile, visibility, IndexLevel::Exact, lag)
    }

    async fn sync(&self) -> Result<()> {
        self.instance.detached.ended().await;
        self.instance.gate.check().map_err(MEM.on("sync"))
    }

    async fn close(&self) -> Result<()> {
        if self.instance.gate.close() {
            self.instance.store.hub.end_closed();
        }
        self.instance.detached.ended().await;
        Ok(())
    }
}

impl fmt::Debug for Mem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Mem").field("options", &self.instance.options).finish_non_exhaustive()
    }
}
