//! The object store backend of irminsul: S3 and what speaks S3.

mod client;
mod header;
mod options;

use std::{fmt, sync::Arc, time::Duration};

use async_trait::async_trait;
use backend_kit::{Context, Gate, Hub};
use store_api::{
    AtomicWrite, Backend, Durability, Guarantees, HashFunction, IndexLevel, Indexable, Result, Visibility, WatchLag,
};

use self::client::Client;
pub use self::{client::Requests, options::S3Options};

const S3_CONTEXT: Context = Context::new("s3");

impl S3Options {
    /// Opens the store.
    ///
    /// # Errors
    ///
    /// `Incompatible` when it has another format or hash function (L5); `InvalidInput` when there is none and none may
    /// be made; `Denied`, `Unavailable`.
    pub async fn open(self) -> Result<S3> {
        let opened = Instance::open(self).await;
        Ok(S3 { instance: Arc::new(opened.map_err(S3_CONTEXT.on("open"))?) })
    }
}

/// An open store. Clones are the same instance.
#[derive(Clone)]
pub struct S3 {
    instance: Arc<Instance>,
}

/// What one `open` returned: what its handles share.
struct Instance {
    options: S3Options,
    hash: HashFunction,
    gate: Arc<Gate>,
    hub: Arc<Hub>,
    client: Arc<Client>,
}

impl Instance {
    async fn open(options: S3Options) -> Result<Self> {
        let client = Arc::new(Client::new(options.connect()?, options.checked_prefix()?));
        let hash = header::open(&client, &options).await?;
        Ok(Self { hash, gate: Gate::new(), hub: Arc::new(Hub::new()), client, options })
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
        None
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        None
    }

    fn guarantees(&self) -> Guarantees {
        let lag = WatchLag::new(Duration::ZERO, Some(self.instance.options.poll));
        Guarantees::new(Durability::Service, Visibility::Cluster, IndexLevel::BestEffort, lag)
    }

    async fn sync(&self) -> Result<()> {
        // What the service acknowledged is as durable as it makes it.
        self.instance.gate.check().map_err(S3_CONTEXT.on("sync"))
    }

    async fn close(&self) -> Result<()> {
        self.instance.gate.close();
        self.instance.hub.end_closed();
        Ok(())
    }
}

impl fmt::Debug for S3 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3").field("options", &self.instance.options).finish_non_exhaustive()
    }
}
