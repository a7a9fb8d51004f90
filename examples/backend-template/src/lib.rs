//! A complete small backend of irminsul, the first thing a backend author copies: a log file on disk.
//!
//! A store is a folder with one file, `log`, to which every group of writes is appended and synced once. In memory are
//! the entries, and for each content hash the place of its value in the file, from which it is read.
//!
//! It is small, and pays for it: the entries must fit into memory; opening a store reads its whole log, and checks it
//! (A12); what is dead in the log goes only when the store is opened; and a log in which a bit rotted is not opened.
//!
//! | guarantee | level |
//! |---|---|
//! | durability | `Power` by default, `Process` with [`sync(false)`](LogOptions::sync) |
//! | visibility | `Instance`: a store is open once |
//! | index | `Exact` |
//! | watch lag | own changes at once; there are no others' |
//!
//! The rooms are those of every backend: this one has the options, `open` and the life of an instance; `atomic_write`
//! and `indexable` have the handles. The rest is what makes it this engine: `folder` (names, the lock), `log` and `group`
//! (the file format), `recovery` (what is done when a log is opened), `state` (the maps in memory) and `writer` (how a
//! group of writes becomes a group in the log). It runs where Unix does: it reads by position, and syncs folders.
//!
//! ```
//! use backend_template::LogOptions;
//! use store_api::{AtomicWrite, Backend, EntryRead, Key};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> store_api::Result<()> {
//! # let directory = tempfile::tempdir().unwrap();
//! # let path = directory.path().join("app");
//! let store = LogOptions::new(path).open().await?;
//! let entries = store.atomic_write().unwrap();
//! let key = Key::new("greeting")?;
//! entries.set(&key, "hello".into()).await?;
//! assert_eq!(entries.find(&key).await?.unwrap(), "hello");
//! store.close().await
//! # }
//! ```
#![cfg(unix)]

mod atomic_write;
mod folder;
mod group;
mod indexable;
mod log;
mod recovery;
mod state;
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
    AtomicWrite, Backend, Durability, Guarantees, HashFunction, IndexLevel, Indexable, Result, Visibility, WatchLag,
};

use self::{
    folder::Folder,
    log::Values,
    recovery::recover,
    state::State,
    writer::{Write, Writer},
};

/// What the errors of this backend name.
const LOG: Context = Context::new("log");

/// How to open a store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct LogOptions {
    path: PathBuf,
    sync: bool,
    create: bool,
    hash: Option<HashFunction>,
    verify: bool,
    batch_limit: usize,
}

impl LogOptions {
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

    /// Whether a missing store is created, its folder included, for its owner only. On by default; the folder above is
    /// not created.
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

    /// Opens the store. This reads its whole log, and writes what is live of it anew where less than half is, or where
    /// it was not closed.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the path is a file, or there is nothing and nothing may be created; `InUse` when the store is
    /// open already (L4); `Incompatible` when it is not a store of this format and hash function (L5); `Corrupt` when
    /// what had been synced has rotted (A12); `Denied`, `ReadOnly`, `NoSpace`.
    pub async fn open(self) -> Result<LogStore> {
        let path = self.path.clone();
        let opened = offload(move || Instance::open(self)).await.flatten();
        Ok(LogStore { instance: Arc::new(opened.map_err(LOG.opening(Some(&path)))?) })
    }
}

/// An open store. Clones are the same instance.
#[derive(Clone)]
pub struct LogStore {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    options: LogOptions,
    hash: HashFunction,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    state: Arc<State>,
    values: Values,
    committer: Committer<Writer>,
}

impl Instance {
    fn open(options: LogOptions) -> Result<Self> {
        let folder = Folder::open(&options.path, options.create)?;
        let recovered = recover(&folder, options.hash)?;
        let hub = Arc::new(Hub::new());
        let state = Arc::new(State::new(recovered.maps, Arc::clone(&hub)));
        let values = recovered.log.values();
        let hash = recovered.hash;
        let syncs = options.sync;
        let writer = Writer::new(recovered.log, Arc::clone(&state), hash, syncs, folder);
        let committer = Committer::start(writer, "irminsul-log", !syncs)?;
        Ok(Self { options, hash, gate: Gate::new(), hub, state, values, committer })
    }
}

#[async_trait]
impl Backend for LogStore {
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
        synced.map(drop).map_err(LOG.on("sync"))
    }

    async fn close(&self) -> Result<()> {
        self.instance.gate.close();
        self.instance.hub.end_closed();
        self.instance.committer.close().await;
        Ok(())
    }
}

impl fmt::Debug for LogStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogStore").field("options", &self.instance.options).finish_non_exhaustive()
    }
}
