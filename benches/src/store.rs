//! A backend's entries as a store that is measured: its clients are tasks that share a handle.

use std::sync::Arc;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Backend, Error, ErrorKind, Key, Result, TestAndSet};

use crate::{Client, Driven, Store};

/// How many writes are under way while a store is filled: enough for a backend that syncs many at once.
const FILLING: usize = 512;

/// An open backend that keeps entries.
#[expect(missing_debug_implementations, reason = "a handle shows nothing")]
pub struct OfStore {
    backend: Arc<dyn Backend>,
    entries: Arc<dyn AtomicWrite>,
}

impl OfStore {
    /// The entries of a backend; `Unsupported` where it keeps none.
    pub fn new(backend: Arc<dyn Backend>) -> Result<Self> {
        let lacks = || Error::new(ErrorKind::Unsupported, "this store keeps no entries; choose another backend");
        let entries = backend.atomic_write().ok_or_else(lacks)?;
        Ok(Self { backend, entries })
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
        Ok(StoreClient(Arc::clone(&self.entries)))
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

/// A task's use of a handle.
#[expect(missing_debug_implementations, reason = "a handle shows nothing")]
pub struct StoreClient(Arc<dyn AtomicWrite>);

impl StoreClient {
    /// A client of a handle.
    #[must_use]
    pub fn new(entries: Arc<dyn AtomicWrite>) -> Self {
        Self(entries)
    }

    /// The handle.
    #[must_use]
    pub fn entries(&self) -> &dyn AtomicWrite {
        &*self.0
    }
}

impl Client for StoreClient {
    type Value = Bytes;

    async fn find(&mut self, key: &Key) -> Result<Option<Bytes>> {
        self.0.find(key).await
    }

    async fn set(&mut self, key: &Key, value: Bytes) -> Result<()> {
        self.0.set(key, value).await
    }

    async fn test_and_set(&mut self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.0.test_and_set(key, test, set).await
    }

    async fn scan(&mut self, under: &Key) -> Result<usize> {
        self.0.entries(under).try_fold(0, async |count, _| Ok(count + 1)).await
    }
}
