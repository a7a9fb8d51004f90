//! The handle on the entries.

use std::{fmt, pin::Pin, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;
use store_api::{AtomicWrite, EntryRead, EntryStream, Init, Key, KeyStream, Result, TestAndSet, Watch, WatchId};

use crate::{Context, Gate, Hub, Page, Pages, Scope, Test, check_entry_key, check_value, known_entry};

/// An instance's entries, as a handle needs them. It is called through handles that are open, with keys and values that
/// are within the limits (K3, V1).
pub trait EntryStore: Send + Sync + Sized + 'static {
    /// Who is named in errors.
    fn context(&self) -> Context;

    /// How far a stream has come.
    type Cursor: Default + Send + Unpin + 'static;

    /// The gate of the instance.
    fn gate(&self) -> &Arc<Gate>;

    /// Where its watches are.
    fn hub(&self) -> &Arc<Hub>;

    /// Whether the key has a value.
    fn has(self: &Arc<Self>, key: &Key) -> impl Future<Output = Result<bool>> + Send;

    /// The value of the key.
    fn find(self: &Arc<Self>, key: &Key) -> impl Future<Output = Result<Option<Bytes>>> + Send;

    /// Sets or removes the entry, if the test holds. The answer to a write that tests nothing is `Applied`.
    fn write(
        self: &Arc<Self>,
        key: &Key,
        test: Test,
        set: Option<Bytes>,
    ) -> impl Future<Output = Result<TestAndSet>> + Send;

    /// Removes all entries (A8).
    fn clear(self: &Arc<Self>) -> impl Future<Output = Result<()>> + Send;

    /// Some keys at and below a path (A7).
    fn page_of_keys(
        self: Arc<Self>,
        under: Key,
        from: Self::Cursor,
    ) -> impl Future<Output = Result<Page<Key, Self::Cursor>>> + Send + 'static;

    /// Some entries at and below a path (A7).
    fn page_of_entries(
        self: Arc<Self>,
        under: Key,
        from: Self::Cursor,
    ) -> impl Future<Output = Result<Page<(Key, Bytes), Self::Cursor>>> + Send + 'static;

    /// Registers a watch of the handle with this gate, and primes it.
    fn watch(
        self: &Arc<Self>,
        handle: &Arc<Gate>,
        scope: Scope,
        init: Init<Vec<(Key, Bytes)>>,
    ) -> impl Future<Output = Result<Watch>> + Send;
}

/// A handle on the entries of an instance.
pub struct EntryHandle<S> {
    store: Arc<S>,
    gate: Arc<Gate>,
}

impl<S: EntryStore> EntryHandle<S> {
    /// An open one.
    pub fn new(store: Arc<S>) -> Self {
        let gate = store.gate().child();
        Self { store, gate }
    }

    async fn write(&self, key: &Key, test: Test, set: Option<Bytes>) -> Result<TestAndSet> {
        self.gate.check()?;
        check_entry_key(key)?;
        set.as_ref().map_or(Ok(()), check_value)?;
        self.store.write(key, test, set).await
    }

    async fn start_watch(&self, scope: Scope, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.gate.admit(self.store.watch(&self.gate, scope, init)).await
    }

    async fn start_watch_of(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        self.gate.check()?;
        check_entry_key(key)?;
        self.start_watch(Scope::Key(key.clone()), known_entry(key, init)).await
    }

    fn pages<T, F, R>(&self, operation: &'static str, page: F) -> Pin<Box<dyn Stream<Item = Result<T>> + Send>>
    where
        T: Send + Unpin + 'static,
        F: Fn(Arc<S>, S::Cursor) -> R + Send + Unpin + 'static,
        R: Future<Output = Result<Page<T, S::Cursor>>> + Send + 'static,
    {
        let store = Arc::clone(&self.store);
        let page = move |from| page(Arc::clone(&store), from);
        Box::pin(Pages::new(self.store.context(), operation, Arc::clone(&self.gate), S::Cursor::default(), page))
    }
}

#[async_trait]
impl<S: EntryStore> EntryRead for EntryHandle<S> {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.gate.admit(self.store.has(key)).await.map_err(self.store.context().at("mem", key))
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.gate.admit(self.store.find(key)).await.map_err(self.store.context().at("find", key))
    }

    fn list(&self, under: &Key) -> KeyStream {
        let under = under.clone();
        self.pages("list", move |store, from| store.page_of_keys(under.clone(), from))
    }

    fn entries(&self, under: &Key) -> EntryStream {
        let under = under.clone();
        self.pages("entries", move |store, from| store.page_of_entries(under.clone(), from))
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.start_watch(Scope::Under(under.clone()), init).await.map_err(self.store.context().at("watch", under))
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        self.start_watch_of(key, init).await.map_err(self.store.context().at("watch_key", key))
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.gate.check().map_err(self.store.context().on("unwatch"))?;
        self.store.hub().unwatch(&self.gate, id);
        Ok(())
    }
}

#[async_trait]
impl<S: EntryStore> AtomicWrite for EntryHandle<S> {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.write(key, Test::Any, Some(value)).await.map(drop).map_err(self.store.context().at("set", key))
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.write(key, Test::Is(test), set).await.map_err(self.store.context().at("test_and_set", key))
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.write(key, Test::Any, None).await.map(drop).map_err(self.store.context().at("remove", key))
    }

    async fn clear(&self) -> Result<()> {
        self.gate.admit(self.store.clear()).await.map_err(self.store.context().on("clear"))
    }

    async fn close(&self) -> Result<()> {
        if self.gate.close() {
            self.store.hub().end_closed();
        }
        Ok(())
    }
}

impl<S> fmt::Debug for EntryHandle<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryHandle").field("gate", &self.gate).finish_non_exhaustive()
    }
}
