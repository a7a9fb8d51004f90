//! A store that passes every call on to a sound one through a [`Twist`], which is where a bug is.

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, EntryRead,
    EntryStream, Guarantees, HashFunction, Indexable, Indexed, Init, Key, KeyStream, Result, TestAndSet, Watch,
    WatchId,
};

use crate::{Factory, Settings, lock::lock};

/// Every operation of a store, passed on to the sound one as it is; a bug overrides what it gets wrong. A twist is one
/// per store, and told which handle is meant by `on`, the sound handle.
#[async_trait]
pub(super) trait Twist: Send + Sync {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        sound.open(token, settings).await
    }

    /// How many bytes the longest key has, of those that the sound store takes.
    fn max_key_len(&self, sound: usize) -> usize {
        sound
    }

    /// Whether the removal of a file is overlooked that the sound store overlooks, or does not.
    fn overlooks(&self, sound: bool) -> bool {
        sound
    }

    /// An instance that was dropped.
    fn backend_dropped(&self, _on: &dyn Backend) {}

    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        on.guarantees()
    }

    async fn sync(&self, on: &dyn Backend) -> Result<()> {
        on.sync().await
    }

    async fn check(&self, on: &dyn Backend) -> Result<()> {
        on.check().await
    }

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        on.close().await
    }

    /// A new handle of the entries.
    fn atomic_write(&self, on: &dyn Backend) -> Option<Arc<dyn AtomicWrite>> {
        on.atomic_write()
    }

    async fn mem(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<bool> {
        on.mem(key).await
    }

    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        on.find(key).await
    }

    fn list(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> KeyStream {
        on.list(under)
    }

    fn entries(&self, on: &Arc<dyn AtomicWrite>, under: &Key) -> EntryStream {
        on.entries(under)
    }

    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        Ok(self.events(on, on.watch(under, init).await?))
    }

    async fn watch_key(&self, on: &Arc<dyn AtomicWrite>, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        Ok(self.events(on, on.watch_key(key, init).await?))
    }

    /// What a watch tells, of either kind.
    fn events(&self, _on: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        watch
    }

    async fn unwatch(&self, on: &Arc<dyn AtomicWrite>, id: WatchId) -> Result<()> {
        on.unwatch(id).await
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(key, value).await
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        on.test_and_set(key, test, set).await
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        on.remove(key).await
    }

    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        on.clear().await
    }

    async fn close_entries(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        on.close().await
    }

    /// A handle whose last clone was dropped.
    fn entries_dropped(&self, _on: &Arc<dyn AtomicWrite>) {}

    /// A new handle of the content.
    fn indexable(&self, on: &dyn Backend) -> Option<Arc<dyn Indexable>> {
        on.indexable()
    }

    async fn content_mem(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<bool> {
        on.mem(key).await
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        on.find(key).await
    }

    async fn index(&self, on: &Arc<dyn Indexable>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        on.index(hash).await
    }

    fn keys(&self, on: &Arc<dyn Indexable>) -> ContentKeyStream {
        on.keys()
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        on.add(value).await
    }

    async fn unsafe_add(&self, on: &Arc<dyn Indexable>, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        on.unsafe_add(hash, value).await
    }

    /// A batch; what it does is passed on by [`batch_add`](Self::batch_add) and its like.
    async fn begin(&self, on: &Arc<dyn Indexable>) -> Result<Box<dyn Batch>> {
        on.begin().await
    }

    async fn batch_mem(&self, on: &OpenBatch, key: &ContentKey) -> Result<bool> {
        on.batch.mem(key).await
    }

    async fn batch_find(&self, on: &OpenBatch, key: &ContentKey) -> Result<Option<Bytes>> {
        on.batch.find(key).await
    }

    async fn batch_index(&self, on: &OpenBatch, hash: &ContentHash) -> Result<Option<ContentKey>> {
        on.batch.index(hash).await
    }

    fn batch_keys(&self, on: &OpenBatch) -> ContentKeyStream {
        on.batch.keys()
    }

    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.batch.add(value).await
    }

    async fn batch_unsafe_add(&self, on: &OpenBatch, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        on.batch.unsafe_add(hash, value).await
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        on.batch.commit().await
    }

    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        on.batch.abort().await
    }

    async fn close_content(&self, on: &Arc<dyn Indexable>) -> Result<()> {
        on.close().await
    }
}

/// The sound batch, the handle that began it, and what a bug remembers of what was added.
pub(super) struct OpenBatch {
    pub(super) batch: Box<dyn Batch>,
    pub(super) content: Arc<dyn Indexable>,
    pub(super) added: Mutex<Vec<Bytes>>,
}

impl OpenBatch {
    pub(super) async fn add_and_remember(&self, value: Bytes) -> Result<ContentKey> {
        let key = self.batch.add(value.clone()).await?;
        lock(&self.added).push(value);
        Ok(key)
    }
}

/// What the twist stands before: a store, a handle, a batch.
pub(super) struct Twisted<S: Part> {
    on: S,
    twist: Arc<dyn Twist>,
}

/// A part of the sound store, which tells the twist when it is dropped.
pub(super) trait Part {
    fn dropped(&self, twist: &dyn Twist);
}

impl Part for Arc<dyn Backend> {
    fn dropped(&self, twist: &dyn Twist) {
        twist.backend_dropped(&**self);
    }
}

impl Part for Arc<dyn AtomicWrite> {
    fn dropped(&self, twist: &dyn Twist) {
        twist.entries_dropped(self);
    }
}

impl Part for Arc<dyn Indexable> {
    fn dropped(&self, _: &dyn Twist) {}
}

impl Part for OpenBatch {
    fn dropped(&self, _: &dyn Twist) {}
}

impl<S: Part> Drop for Twisted<S> {
    fn drop(&mut self) {
        self.on.dropped(&*self.twist);
    }
}

impl Twisted<Arc<dyn Backend>> {
    pub(super) fn backend(on: Arc<dyn Backend>, twist: Arc<dyn Twist>) -> Arc<dyn Backend> {
        Arc::new(Self { on, twist })
    }
}

#[async_trait]
impl Backend for Twisted<Arc<dyn Backend>> {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        let on = self.twist.atomic_write(&*self.on)?;
        Some(Arc::new(Twisted { on, twist: Arc::clone(&self.twist) }))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        let on = self.twist.indexable(&*self.on)?;
        Some(Arc::new(Twisted { on, twist: Arc::clone(&self.twist) }))
    }

    fn guarantees(&self) -> Guarantees {
        self.twist.guarantees(&*self.on)
    }

    async fn sync(&self) -> Result<()> {
        self.twist.sync(&*self.on).await
    }

    async fn check(&self) -> Result<()> {
        self.twist.check(&*self.on).await
    }

    async fn close(&self) -> Result<()> {
        self.twist.close_backend(&*self.on).await
    }
}

#[async_trait]
impl EntryRead for Twisted<Arc<dyn AtomicWrite>> {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.twist.mem(&self.on, key).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.twist.find(&self.on, key).await
    }

    fn list(&self, under: &Key) -> KeyStream {
        self.twist.list(&self.on, under)
    }

    fn entries(&self, under: &Key) -> EntryStream {
        self.twist.entries(&self.on, under)
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.twist.watch(&self.on, under, init).await
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        self.twist.watch_key(&self.on, key, init).await
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.twist.unwatch(&self.on, id).await
    }
}

#[async_trait]
impl AtomicWrite for Twisted<Arc<dyn AtomicWrite>> {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.twist.set(&self.on, key, value).await
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.twist.test_and_set(&self.on, key, test, set).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.twist.remove(&self.on, key).await
    }

    async fn clear(&self) -> Result<()> {
        self.twist.clear(&self.on).await
    }

    async fn close(&self) -> Result<()> {
        self.twist.close_entries(&self.on).await
    }
}

#[async_trait]
impl ContentRead for Twisted<Arc<dyn Indexable>> {
    fn hash_function(&self) -> HashFunction {
        self.on.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.twist.content_mem(&self.on, key).await
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.twist.content_find(&self.on, key).await
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.twist.index(&self.on, hash).await
    }

    fn keys(&self) -> ContentKeyStream {
        self.twist.keys(&self.on)
    }
}

#[async_trait]
impl Append for Twisted<Arc<dyn Indexable>> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.twist.add(&self.on, value).await
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.twist.unsafe_add(&self.on, hash, value).await
    }
}

#[async_trait]
impl Indexed for Twisted<Arc<dyn Indexable>> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        let (batch, content) = (self.twist.begin(&self.on).await?, Arc::clone(&self.on));
        let on = OpenBatch { batch, content, added: Mutex::default() };
        Ok(Box::new(Twisted { on, twist: Arc::clone(&self.twist) }))
    }
}

#[async_trait]
impl Indexable for Twisted<Arc<dyn Indexable>> {
    async fn close(&self) -> Result<()> {
        self.twist.close_content(&self.on).await
    }
}

#[async_trait]
impl ContentRead for Twisted<OpenBatch> {
    fn hash_function(&self) -> HashFunction {
        self.on.batch.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.twist.batch_mem(&self.on, key).await
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.twist.batch_find(&self.on, key).await
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.twist.batch_index(&self.on, hash).await
    }

    fn keys(&self) -> ContentKeyStream {
        self.twist.batch_keys(&self.on)
    }
}

#[async_trait]
impl Append for Twisted<OpenBatch> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.twist.batch_add(&self.on, value).await
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.twist.batch_unsafe_add(&self.on, hash, value).await
    }
}

#[async_trait]
impl Batch for Twisted<OpenBatch> {
    async fn commit(&self) -> Result<()> {
        self.twist.commit(&self.on).await
    }

    async fn abort(&self) -> Result<()> {
        self.twist.abort(&self.on).await
    }
}
