//! A backend as a store that is measured: its clients are tasks that share a handle.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Backend, ContentKey, Error, ErrorKind, Indexable, Key, Result, TestAndSet};

use crate::{Client, Driven, Store, subject::no_content};

/// How many writes are under way while a store is filled: enough for a backend that syncs many at once.
const FILLING: usize = 512;

/// An open backend that keeps entries, and content where it has that.
#[expect(missing_debug_implementations, reason = "a handle shows nothing")]
pub struct OfStore {
    backend: Arc<dyn Backend>,
    entries: Arc<dyn AtomicWrite>,
    content: Option<Arc<dyn Indexable>>,
}

impl OfStore {
    /// What a backend keeps; `Unsupported` where that is no entries.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Self> {
        let lacks = || Error::new(ErrorKind::Unsupported, "this store keeps no entries; choose another backend");
        let entries = backend.atomic_write().ok_or_else(lacks)?;
        let content = backend.indexable();
        Ok(Self { backend, entries, content })
    }

    /// The handle that its clients share.
    #[must_use]
    pub fn entries(&self) -> &Arc<dyn AtomicWrite> {
        &self.entries
    }
}

impl Store for OfStore {
    type Client = StoreClient;

    const DRIVEN: Driven = Driven::Tasks;

    fn client(&self) -> Result<StoreClient> {
        Ok(StoreClient { entries: Arc::clone(&self.entries), content: self.content.clone() })
    }

    async fn fill(&self, entries: Vec<(Key, Bytes)>) -> Result<()> {
        let set = |(key, value): (Key, Bytes)| {
            let store = Arc::clone(&self.entries);
            async move { store.set(&key, value).await }
        };
        stream::iter(entries).map(set).buffer_unordered(FILLING).try_collect().await
    }

    async fn close(self) -> Result<()> {
        self.backend.close().await
    }
}

/// A task's use of the handles.
#[expect(missing_debug_implementations, reason = "a handle shows nothing")]
pub struct StoreClient {
    entries: Arc<dyn AtomicWrite>,
    content: Option<Arc<dyn Indexable>>,
}

impl StoreClient {
    /// The handle of the entries.
    #[must_use]
    pub fn entries(&self) -> &dyn AtomicWrite {
        &*self.entries
    }

    fn content(&self) -> Result<&dyn Indexable> {
        self.content.as_deref().ok_or_else(no_content)
    }
}

impl Client for StoreClient {
    type Value = Bytes;

    async fn find(&mut self, key: &Key) -> Result<Option<Bytes>> {
        self.entries.find(key).await
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.entries.set(key, value).await
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.entries.test_and_set(key, test, set).await
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        self.entries.entries(under).try_fold(0, async |count, _| Ok(count + 1)).await
    }

    async fn add(&mut self, value: Bytes) -> Result<ContentKey> {
        self.content()?.add(value).await
    }

    async fn find_content(&mut self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.content()?.find(key).await
    }
}
