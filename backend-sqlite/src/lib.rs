//! The SQLite backend of irminsul: the embedded default.
//!
//! One file, in WAL mode, shared by the processes of a host: compare-and-set and watches hold across them, and durable
//! writes of many tasks share a sync.
//!
//! What a store declares of itself stands in [the guarantees], beside what the other engines do.
//!
//! Each instance has its own durability: what an instance with [`sync(false)`](SqliteOptions::sync) wrote survives a power
//! loss only after a [`Backend::sync`], also where an instance that syncs has read it. The file belongs on a local file
//! system: SQLite's locks do not hold on a network's.
//!
//! ```no_run
//! use backend_sqlite::SqliteOptions;
//! use store_api::{AtomicWrite, Backend, Key};
//!
//! # async fn example() -> store_api::Result<()> {
//! let store = SqliteOptions::new("app.db").open().await?;
//! let entries = store.atomic_write().unwrap();
//! entries.set(&Key::new("greeting")?, "hello".into()).await?;
//! store.close().await
//! # }
//! ```
//!
//! [the guarantees]: https://github.com/irminsul-rs/irminsul/blob/main/docs/guarantees.md

mod atomic_write;
mod check;
mod connection;
mod error;
mod indexable;
mod observer;
mod readers;
mod schema;
mod writer;

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use backend_kit::{Committer, ContentHandle, Context, DEFAULT_BATCH_LIMIT, EntryHandle, Gate, Hub, offload};
use rusqlite::Connection;
use store_api::{
    AtomicWrite, Backend, Durability, Guarantees, HashFunction, IndexLevel, Indexable, Result, Visibility, WatchLag,
};

use self::{
    connection::{Location, retry_while},
    error::is_unavailable,
    observer::Observer,
    readers::{Found, Readers},
    writer::{Write, Writer},
};

const SQLITE: Context = Context::new("sqlite");

/// How to open a SQLite store.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct SqliteOptions {
    /// `None` is a temporary store.
    path: Option<PathBuf>,
    sync: bool,
    create: bool,
    hash: Option<HashFunction>,
    verify: bool,
    batch_limit: usize,
    poll: Duration,
    busy: Duration,
    change_log: u64,
}

impl SqliteOptions {
    /// The store in this file, created if there is none.
    #[must_use]
    pub fn new(path: impl AsRef<Path>) -> Self {
        Self {
            path: Some(path.as_ref().to_owned()),
            sync: true,
            create: true,
            hash: None,
            verify: true,
            batch_limit: DEFAULT_BATCH_LIMIT,
            poll: Duration::from_millis(50),
            busy: Duration::from_secs(5),
            change_log: 16 * 1024,
        }
    }

    /// A store in a temporary file, gone with its last handle. Nothing of it is synced.
    #[must_use]
    pub fn temporary() -> Self {
        Self { path: None, ..Self::new("") }
    }

    /// Whether each write is synced before it is acknowledged, together with those that queued with it, so that it
    /// survives a power loss. On by default. When off, a write survives a killed process, and a power loss only after
    /// [`Backend::sync`].
    #[must_use]
    pub fn sync(mut self, sync: bool) -> Self {
        self.sync = sync;
        self
    }

    /// Whether a missing file is created, readable and writable by its owner only. On by default; a missing folder is
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

    /// How often other processes' changes are looked for while something is watched (W11). 50 ms by default, 1 ms at
    /// least.
    #[must_use]
    pub fn poll(mut self, interval: Duration) -> Self {
        self.poll = interval.max(Duration::from_millis(1));
        self
    }

    /// How long another process's lock is waited for before a call is `Unavailable` (A6). 5 s by default.
    #[must_use]
    pub fn busy(mut self, limit: Duration) -> Self {
        self.busy = limit;
        self
    }

    /// How many changes are logged for the watches of other instances, at least. 16,384 by default. A watch that fell
    /// further behind compares its whole scope instead.
    #[must_use]
    pub fn change_log(mut self, changes: u64) -> Self {
        self.change_log = changes.max(1);
        self
    }

    /// Opens the store.
    ///
    /// # Errors
    ///
    /// `InvalidInput` when the path is a folder, or there is nothing and nothing may be created; `Incompatible` when it
    /// is not a store of this format and hash function (L5); `Denied`, `ReadOnly`, `NoSpace`, `Unavailable`.
    pub async fn open(self) -> Result<Sqlite> {
        let path = self.path.clone();
        let opened = offload(move || Instance::open(self)).await.flatten();
        Ok(Sqlite { instance: Arc::new(opened.map_err(SQLITE.opening(path.as_deref()))?) })
    }
}

/// An open SQLite store. Clones are the same instance.
#[derive(Clone)]
pub struct Sqlite {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    options: SqliteOptions,
    hash: HashFunction,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    readers: Arc<Readers>,
    observer: Arc<Observer>,
    committer: Committer<Writer>,
}

impl Instance {
    fn open(options: SqliteOptions) -> Result<Self> {
        let location = Arc::new(Location::find(options.path.as_deref(), options.create)?);
        let writing = location.connect_to_write()?;
        let prepared = retry_while(options.busy, is_unavailable, || schema::prepare(&writing, options.hash));
        let hash = match prepared {
            Ok(hash) => hash,
            Err(refusal) => {
                location.leave_untouched(writing);
                return Err(location.explain_write(refusal));
            }
        };
        let hub = Arc::new(Hub::new());
        let observer = Arc::new(Observer::new(Arc::clone(&location), Arc::clone(&hub), options.poll, options.busy));
        let syncs = location.is_permanent() && options.sync;
        let writer = Writer::new(writing, Arc::clone(&location), Arc::clone(&observer), hash, &options)
            .map_err(|error| location.explain_write(error))?;
        Ok(Self {
            hash,
            gate: Gate::new(),
            hub,
            readers: Arc::new(Readers::new(location, options.busy)),
            observer,
            committer: Committer::start(writer, "irminsul-sqlite", !syncs)?,
            options,
        })
    }

    async fn close(&self) {
        self.gate.close();
        self.hub.end_closed();
        // The writer's connection goes last: SQLite then copies the log into the file, and removes it.
        self.readers.close().await;
        self.observer.close().await;
        self.committer.close().await;
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.observer.stop();
    }
}

#[async_trait]
impl Backend for Sqlite {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(EntryHandle::new(Arc::clone(&self.instance))))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(ContentHandle::new(Arc::clone(&self.instance))))
    }

    fn guarantees(&self) -> Guarantees {
        let options = &self.instance.options;
        let durability = match (&options.path, options.sync) {
            (None, _) => Durability::Volatile,
            (Some(_), true) => Durability::Power,
            (Some(_), false) => Durability::Process,
        };
        let (visibility, others) = match &options.path {
            Some(_) => (Visibility::Host, Some(options.poll)),
            None => (Visibility::Instance, None),
        };
        Guarantees::new(durability, visibility, IndexLevel::Exact, WatchLag::new(Duration::ZERO, others))
    }

    async fn sync(&self) -> Result<()> {
        let synced = self.instance.gate.admit(self.instance.committer.enqueue(Write::Sync)).await;
        synced.map(drop).map_err(SQLITE.on("sync"))
    }

    /// SQLite's `integrity_check`, and what the tables must agree on. `close` waits for it, and the log is not started
    /// anew meanwhile, so that it grows by what is written.
    async fn check(&self) -> Result<()> {
        let check = |connection: &Connection, _| Ok(Found::Answer(check::check(connection)?));
        let checked = self.instance.gate.admit(self.instance.readers.read_blocking(check)).await;
        checked.map_err(SQLITE.on("check"))
    }

    async fn close(&self) -> Result<()> {
        self.instance.close().await;
        Ok(())
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sqlite").field("options", &self.instance.options).finish_non_exhaustive()
    }
}
