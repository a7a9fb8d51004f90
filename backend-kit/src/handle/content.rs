//! The handle on the content.

use std::{fmt, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{
    Append, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, HashFunction, Indexable, Indexed, Result,
};

use crate::{Addition, BatchTarget, BufferedBatch, Context, Gate, Page, Pages};

/// An instance's content, as a handle needs it. It is called through handles that are open, with values that are within
/// the limits (V1).
pub trait ContentStore: Send + Sync + Sized + 'static {
    /// Who is named in errors.
    fn context(&self) -> Context;

    /// How far a stream has come.
    type Cursor: Default + Send + Unpin + 'static;

    /// The gate of the instance.
    fn gate(&self) -> &Arc<Gate>;

    /// The hash function of the store.
    fn hash_function(&self) -> HashFunction;

    /// Whether what is read is checked against its hash (I6).
    fn verifies(&self) -> bool;

    /// How many [bytes](Addition::bytes) the additions of a batch may have together (I7).
    fn batch_limit(&self) -> usize;

    /// The key of the value with this hash (I3).
    fn index(self: &Arc<Self>, hash: &ContentHash) -> impl Future<Output = Result<Option<ContentKey>>> + Send;

    /// The value, verified where the store verifies (I5, I6).
    fn find(self: &Arc<Self>, key: &ContentKey) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Stores a value (I1, I4).
    fn add(self: &Arc<Self>, addition: Addition) -> impl Future<Output = Result<ContentKey>> + Send;

    /// Stores all of it at one instant, whole or not at all, also across a crash (I7).
    fn commit(self: &Arc<Self>, additions: Vec<Addition>) -> impl Future<Output = Result<()>> + Send;

    /// Some keys (A7).
    fn page(
        self: Arc<Self>,
        from: Self::Cursor,
    ) -> impl Future<Output = Result<Page<ContentKey, Self::Cursor>>> + Send + 'static;
}

/// A handle on the content of an instance. Clones are the same handle.
pub struct ContentHandle<S> {
    store: Arc<S>,
    gate: Arc<Gate>,
}

impl<S: ContentStore> ContentHandle<S> {
    /// An open one.
    pub fn new(store: Arc<S>) -> Self {
        let gate = store.gate().child();
        Self { store, gate }
    }

    async fn append(&self, given: Option<ContentHash>, value: Bytes) -> Result<ContentKey> {
        self.gate.check()?;
        self.store.add(Addition::of(self.store.hash_function(), given, value).await?).await
    }
}

impl<S> Clone for ContentHandle<S> {
    fn clone(&self) -> Self {
        Self { store: Arc::clone(&self.store), gate: Arc::clone(&self.gate) }
    }
}

#[async_trait]
impl<S: ContentStore> ContentRead for ContentHandle<S> {
    fn hash_function(&self) -> HashFunction {
        self.store.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        let hash = key.to_hash();
        self.gate
            .admit(self.store.index(&hash))
            .await
            .map(|key| key.is_some())
            .map_err(self.store.context().at("mem", hash))
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.gate.admit(self.store.find(key)).await.map_err(self.store.context().at("find", key.to_hash()))
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.gate.admit(self.store.index(hash)).await.map_err(self.store.context().at("index", hash))
    }

    fn keys(&self) -> ContentKeyStream {
        let store = Arc::clone(&self.store);
        let page = move |from| Arc::clone(&store).page(from);
        Box::pin(Pages::new(self.store.context(), "keys", Arc::clone(&self.gate), S::Cursor::default(), page))
    }
}

#[async_trait]
impl<S: ContentStore> Append for ContentHandle<S> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.append(None, value).await.map_err(self.store.context().on("add"))
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.append(Some(hash), value).await.map_err(self.store.context().at("unsafe_add", hash))
    }
}

#[async_trait]
impl<S: ContentStore> BatchTarget for ContentHandle<S> {
    fn context(&self) -> Context {
        self.store.context()
    }

    async fn commit(&self, additions: Vec<Addition>) -> Result<()> {
        self.gate.admit(self.store.commit(additions)).await.map_err(self.store.context().on("commit"))
    }
}

#[async_trait]
impl<S: ContentStore> Indexed for ContentHandle<S> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        self.gate.check().map_err(self.store.context().on("begin"))?;
        let batch = BufferedBatch::new(self.clone(), &self.gate, self.store.batch_limit(), self.store.verifies());
        Ok(Box::new(batch))
    }
}

#[async_trait]
impl<S: ContentStore> Indexable for ContentHandle<S> {
    async fn close(&self) -> Result<()> {
        self.gate.close();
        Ok(())
    }
}

impl<S> fmt::Debug for ContentHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ContentHandle").field("gate", &self.gate).finish_non_exhaustive()
    }
}
