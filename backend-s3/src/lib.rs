//! The object store backend of irminsul: S3 and what speaks S3, and Azure Blob Storage (feature `azure`).
//!
//! Every machine that reaches the bucket shares the store. All that it needs of the service are conditional writes that
//! keep their conditions, which each `open` probes.
//!
//! What a store declares of itself stands in [the guarantees], beside what the other engines do.
//!
//! A store needs a tokio runtime. What operations cost in requests, and what was tested on which service, is told in
//! the README; [`S3::requests`] counts them, and each is an event of [tracing] with the target `irminsul::requests`.
//!
//! ```no_run
//! use backend_s3::S3Options;
//! use store_api::{AtomicWrite, Backend, Key};
//!
//! # async fn example() -> store_api::Result<()> {
//! // Credentials come from the environment: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, ..
//! let store = S3Options::new("bucket").prefix("app").region("eu-central-1").open().await?;
//! let entries = store.atomic_write().unwrap();
//! let outcome = entries.test_and_set(&Key::new("leader")?, None, Some("me".into())).await?;
//! println!("{}", if outcome.is_applied() { "leading" } else { "somebody was faster" });
//! store.close().await
//! # }
//! ```
//!
//! [the guarantees]: https://github.com/irminsul-rs/irminsul/blob/main/docs/guarantees.md
//! [tracing]: https://docs.rs/tracing

#![cfg_attr(docsrs, feature(doc_cfg))]

/// The example of the readme.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

mod atomic_write;
mod client;
mod entries;
mod environment;
mod frame;
#[cfg(feature = "fuzzing")]
#[doc(hidden)]
pub mod fuzzing;
mod header;
mod indexable;
mod names;
mod observer;
mod options;
mod packs;
mod places;
mod probe;
mod tasks;
mod turns;
mod writer;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_kit::{ContentHandle, Context, Detached, EntryHandle, Gate, Hub};
use store_api::{
    AtomicWrite, Backend, Durability, Error, ErrorKind, Guarantees, HashFunction, IndexLevel, Indexable, Result,
    Visibility, WatchLag,
};

use tokio::{runtime::Handle, time::timeout};

use self::{client::Client, entries::Entries, frame::Writer, observer::Observer, packs::Packs, turns::Turns};
pub use self::{client::Requests, options::S3Options};
/// Where the stores come from that [`S3Options::over`] takes, in the version that it takes them.
pub use object_store;

impl S3Options {
    /// Opens the store, in six requests: a GET of its header, and a probe of the service in four PUT and a DELETE.
    ///
    /// # Errors
    ///
    /// `Unsupported` outside a tokio runtime, and when the service ignores the conditions of writes, or refuses each;
    /// `Incompatible` when the store has another format or hash function (L5); `InvalidInput` when there is none and none
    /// may be made, or no bucket; `Denied`, `Unavailable`.
    pub async fn open(self) -> Result<S3> {
        let context = self.context();
        let opened = Instance::open(self).await;
        Ok(S3 { instance: Arc::new(opened.map_err(context.on("open"))?) })
    }

    /// Removes the store: all objects below its prefix, its header last. Where there is nothing, there is nothing to
    /// do; where an [`open`](Self::open) that failed has left the object of its probe, that one goes.
    ///
    /// - Objects that are not the store's go too, but for those whose names are not well-formed (`a//b`).
    /// - It is for stores that nobody has open: a write that is under way may leave an object behind, which is removed by
    ///   hand.
    ///
    /// # Errors
    ///
    /// `Incompatible` where there are other objects and no header of this format, of either hash function: nothing is
    /// removed then. `InvalidInput` without a prefix, since the bucket may hold something else; `Unsupported` outside a
    /// tokio runtime; `Denied`, `Unavailable`.
    pub async fn destroy(self) -> Result<()> {
        let context = self.context();
        let destroyed = async {
            runtime()?;
            let prefix = self.checked_prefix()?;
            if prefix.as_ref().is_empty() {
                return Err(Error::new(ErrorKind::InvalidInput, "a store without a prefix is removed by hand"));
            }
            header::destroy(&Arc::new(Client::new(self.connect()?, prefix, self.busy, self.patience))).await
        };
        destroyed.await.map_err(context.on("destroy"))
    }
}

/// The runtime of the caller, which requests need.
fn runtime() -> Result<Handle> {
    Handle::try_current().map_err(|_| {
        Error::new(ErrorKind::Unsupported, "an object store needs a tokio runtime: call this from within one")
    })
}

/// An open store. Clones are the same instance.
#[derive(Clone)]
pub struct S3 {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    /// Who is named in errors.
    context: Context,
    options: S3Options,
    hash: HashFunction,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    client: Arc<Client>,
    entries: Arc<Entries>,
    observer: Arc<Observer>,
    packs: Arc<Packs>,
    turns: Arc<Turns>,
    /// What its writes are named by.
    writer: Writer,
    /// What goes on when its future is dropped.
    detached: Detached,
    runtime: Handle,
}

impl Instance {
    async fn open(options: S3Options) -> Result<Self> {
        let runtime = runtime()?;
        let client =
            Arc::new(Client::new(options.connect()?, options.checked_prefix()?, options.busy, options.patience));
        let hash = header::open(&client, &options).await?;
        let hub = Arc::new(Hub::new());
        let entries = Arc::new(Entries::new(Arc::clone(&client)));
        let gate = Gate::new();
        let detached = Detached::new(&gate);
        let packs =
            Packs::new(Arc::clone(&client), hash, &options, runtime.clone(), Arc::clone(&gate), detached.clone());
        Ok(Self {
            context: options.context(),
            hash,
            gate,
            observer: Arc::new(Observer::new(Arc::clone(&entries), Arc::clone(&hub), &options)),
            hub,
            client,
            entries,
            turns: Arc::default(),
            writer: Writer::unique()?,
            packs: Arc::new(packs),
            detached,
            runtime,
            options,
        })
    }

    async fn close(&self) {
        self.gate.close();
        self.hub.end_closed();
        self.observer.close().await;
        self.packs.end_readings();
        // A merge of packs is waited for, or else a program that adds a little and ends would never see one through; but
        // it saves requests and nothing else.
        if timeout(self.options.busy, self.detached.ended()).await.is_err() {
            self.packs.give_up_merge();
            self.detached.ended().await;
        }
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        drop(self.observer.stop());
    }
}

impl S3 {
    /// How many requests this instance has sent.
    #[must_use]
    pub fn requests(&self) -> Requests {
        self.instance.client.requests()
    }
}

#[async_trait]
impl Backend for S3 {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(EntryHandle::new(Arc::clone(&self.instance))))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(ContentHandle::new(Arc::clone(&self.instance))))
    }

    fn guarantees(&self) -> Guarantees {
        let lag = WatchLag::new(Duration::ZERO, Some(self.instance.options.poll));
        Guarantees::new(Durability::Service, Visibility::Cluster, IndexLevel::BestEffort, lag)
    }

    async fn sync(&self) -> Result<()> {
        // What the service acknowledged is as durable as it makes it.
        self.instance.gate.check().map_err(self.instance.context.on("sync"))
    }

    async fn close(&self) -> Result<()> {
        self.instance.close().await;
        Ok(())
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("options", &self.instance.options).finish_non_exhaustive()
    }
}
