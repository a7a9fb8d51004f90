//! A store whose entry operations go as a test says, and otherwise to the store inside.

use std::sync::Arc;

use async_trait::async_trait;
use irminsul::{
    AtomicWrite, Backend, Bytes, EntryRead, EntryStream, Error, Guarantees, Indexable, Init, Key, KeyStream, Result,
    TestAndSet, Watch, WatchId,
};

/// How one operation goes.
pub(crate) enum Goes {
    /// As in the store inside.
    Through,
    /// Not at all: this is the answer.
    Wrong(Error),
    /// Through, and its answer is lost: this comes back instead.
    Lost(Error),
}

type Script = Arc<dyn Fn(&'static str, &Key) -> Goes + Send + Sync>;

#[derive(Clone)]
pub(crate) struct Scripted<T: ?Sized> {
    script: Script,
    inner: Arc<T>,
}

/// A store whose entry operations ask `script` first, by name and key.
pub(crate) fn scripted(
    inner: Arc<dyn Backend>,
    script: impl Fn(&'static str, &Key) -> Goes + Send + Sync + 'static,
) -> Arc<dyn Backend> {
    Arc::new(Scripted { script: Arc::new(script), inner })
}

impl<T: ?Sized> Scripted<T> {
    async fn play<R>(&self, operation: &'static str, key: &Key, inner: impl Future<Output = Result<R>>) -> Result<R> {
        // Nothing is ready at once, so that a future can be dropped between any two steps.
        tokio::task::yield_now().await;
        match (self.script)(operation, key) {
            Goes::Through => inner.await,
            Goes::Wrong(error) => Err(error),
            Goes::Lost(error) => inner.await.and(Err(error)),
        }
    }
}

#[async_trait]
impl Backend for Scripted<dyn Backend> {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(Scripted { script: Arc::clone(&self.script), inner: self.inner.atomic_write()? }))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        self.inner.indexable()
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    async fn sync(&self) -> Result<()> {
        self.inner.sync().await
    }

    async fn check(&self) -> Result<()> {
        self.play("check", &Key::root(), self.inner.check()).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl EntryRead for Scripted<dyn AtomicWrite> {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.play("mem", key, self.inner.mem(key)).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.play("find", key, self.inner.find(key)).await
    }

    fn list(&self, under: &Key) -> KeyStream {
        self.inner.list(under)
    }

    fn entries(&self, under: &Key) -> EntryStream {
        self.inner.entries(under)
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.inner.watch(under, init).await
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        self.inner.watch_key(key, init).await
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.inner.unwatch(id).await
    }
}

#[async_trait]
impl AtomicWrite for Scripted<dyn AtomicWrite> {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.play("set", key, self.inner.set(key, value)).await
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.play("test_and_set", key, self.inner.test_and_set(key, test, set)).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.play("remove", key, self.inner.remove(key)).await
    }

    async fn clear(&self) -> Result<()> {
        self.inner.clear().await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}
