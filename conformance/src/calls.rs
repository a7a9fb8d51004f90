//! What a case asks of its stores, and whether they answer: so that a store that hangs or panics is told from a suite
//! that does. What is asked goes through unchanged.

use std::{
    any::Any,
    fmt,
    ops::Deref,
    panic::{AssertUnwindSafe, catch_unwind, resume_unwind},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, Stream};
use store_api::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, EntryRead,
    EntryStream, Guarantees, HashFunction, Indexable, Indexed, Init, Key, KeyStream, Result, TestAndSet, Watch,
    WatchId,
};

use crate::{clients::starting_threads, failure::panic_message};

/// The calls of a case to its stores.
#[derive(Default)]
pub(crate) struct Calls {
    answers: AtomicUsize,
    under_way: [AtomicUsize; CALLS.len()],
}

macro_rules! calls {
    ($($call:ident $name:literal),* $(,)?) => {
        #[derive(Clone, Copy)]
        enum Call {
            $($call),*
        }

        /// By their numbers.
        const CALLS: &[&str] = &[$($name),*];
    };
}

calls! {
    Open "open", Mem "mem", Find "find", List "list", Entries "entries", Watch "watch", WatchKey "watch_key",
    Unwatch "unwatch", Set "set", TestAndSet "test_and_set", Remove "remove", Clear "clear", Index "index", Keys "keys",
    Add "add", UnsafeAdd "unsafe_add", Begin "begin", Commit "commit", Abort "abort", Sync "sync", Check "check",
    Close "close",
}

impl Calls {
    /// How many answers there were, events of watches included.
    pub(crate) fn answers(&self) -> usize {
        self.answers.load(Ordering::Relaxed)
    }

    /// What waits for an answer, such as `2 set, 1 close`; nothing where all is answered. A watch may have nothing to
    /// tell: its next event is not waited for.
    pub(crate) fn under_way(&self) -> Option<String> {
        let counts = CALLS.iter().zip(&self.under_way).map(|(call, count)| (call, count.load(Ordering::Relaxed)));
        let calls: Vec<String> =
            counts.filter(|(_, count)| *count > 0).map(|(call, count)| format!("{count} {call}")).collect();
        (!calls.is_empty()).then(|| calls.join(", "))
    }

    /// Opens a store, whose calls are these.
    pub(crate) async fn open(
        self: &Arc<Self>,
        opening: impl Future<Output = Result<Arc<dyn Backend>>>,
    ) -> Result<Arc<dyn Backend>> {
        let store = self.call(Call::Open, starting_threads(opening)).await?;
        Ok(Arc::new(Asked { store, calls: Arc::clone(self) }))
    }

    async fn call<T>(&self, call: Call, asked: impl Future<Output = T>) -> T {
        let _under_way = UnderWay::new(self, call);
        let answer = AssertUnwindSafe(asked).catch_unwind().await;
        self.answered(answer)
    }

    /// What needs no waiting.
    fn at_once<T>(&self, ask: impl FnOnce() -> T) -> T {
        self.answered(catch_unwind(AssertUnwindSafe(ask)))
    }

    fn answered<T>(&self, answer: std::thread::Result<T>) -> T {
        self.answers.fetch_add(1, Ordering::Relaxed);
        answer.unwrap_or_else(|panic| resume_unwind(Box::new(StorePanicked::with(panic))))
    }
}

/// The panic of a store, which breaks E1; any other is the suite's own.
#[derive(Debug)]
pub(crate) struct StorePanicked(String);

impl StorePanicked {
    fn with(panic: Box<dyn Any + Send>) -> Self {
        // A store of the suite's own may have another one inside.
        panic.downcast().map_or_else(|panic| Self(panic_message(&*panic).to_owned()), |panic| *panic)
    }
}

impl fmt::Display for StorePanicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A call until it is answered, or nobody waits any more.
struct UnderWay<C: Deref<Target = Calls>>(C, Call);

impl<C: Deref<Target = Calls>> UnderWay<C> {
    fn new(calls: C, call: Call) -> Self {
        calls.under_way[call as usize].fetch_add(1, Ordering::Relaxed);
        Self(calls, call)
    }
}

impl<C: Deref<Target = Calls>> Drop for UnderWay<C> {
    fn drop(&mut self) {
        self.0.under_way[self.1 as usize].fetch_sub(1, Ordering::Relaxed);
    }
}

/// A store, a handle or a batch, with the calls to it.
struct Asked<S> {
    store: S,
    calls: Arc<Calls>,
}

impl<S> Asked<S> {
    fn items<T: 'static>(&self, call: Call, ask: impl FnOnce(&S) -> Items<T>) -> Items<T> {
        let items = self.calls.at_once(|| ask(&self.store));
        Box::pin(AskedItems { items, calls: Arc::clone(&self.calls), call: Some(call), under_way: None })
    }

    async fn events(&self, call: Call, asked: impl Future<Output = Result<Watch>>) -> Result<Watch> {
        let watch = self.calls.call(call, asked).await?;
        let (id, calls) = (watch.id(), Arc::clone(&self.calls));
        Ok(Watch::new(id, AskedItems { items: Box::pin(watch), calls, call: None, under_way: None }))
    }
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

/// What a store gives one after the other.
struct AskedItems<T> {
    items: Items<T>,
    calls: Arc<Calls>,
    /// Nothing for a watch, which may have nothing to tell.
    call: Option<Call>,
    under_way: Option<UnderWay<Arc<Calls>>>,
}

impl<T> Stream for AskedItems<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        match catch_unwind(AssertUnwindSafe(|| this.items.as_mut().poll_next(cx))) {
            Ok(Poll::Pending) => {
                let waits = |call| UnderWay::new(Arc::clone(&this.calls), call);
                this.under_way = this.under_way.take().or_else(|| this.call.map(waits));
                Poll::Pending
            }
            answer => {
                this.under_way = None;
                this.calls.answered(answer)
            }
        }
    }
}

#[async_trait]
impl Backend for Asked<Arc<dyn Backend>> {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        let store = self.calls.at_once(|| self.store.atomic_write())?;
        Some(Arc::new(Asked { store, calls: Arc::clone(&self.calls) }))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        let store = self.calls.at_once(|| self.store.indexable())?;
        Some(Arc::new(Asked { store, calls: Arc::clone(&self.calls) }))
    }

    fn guarantees(&self) -> Guarantees {
        self.calls.at_once(|| self.store.guarantees())
    }

    async fn sync(&self) -> Result<()> {
        self.calls.call(Call::Sync, async { self.store.sync().await }).await
    }

    async fn check(&self) -> Result<()> {
        self.calls.call(Call::Check, async { self.store.check().await }).await
    }

    async fn close(&self) -> Result<()> {
        self.calls.call(Call::Close, async { self.store.close().await }).await
    }
}

#[async_trait]
impl<S: EntryRead> EntryRead for Asked<S> {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.calls.call(Call::Mem, async { self.store.mem(key).await }).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.calls.call(Call::Find, async { self.store.find(key).await }).await
    }

    fn list(&self, under: &Key) -> KeyStream {
        self.items(Call::List, |store| store.list(under))
    }

    fn entries(&self, under: &Key) -> EntryStream {
        self.items(Call::Entries, |store| store.entries(under))
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.events(Call::Watch, async { self.store.watch(under, init).await }).await
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        self.events(Call::WatchKey, async { self.store.watch_key(key, init).await }).await
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.calls.call(Call::Unwatch, async { self.store.unwatch(id).await }).await
    }
}

#[async_trait]
impl<S: AtomicWrite> AtomicWrite for Asked<S> {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.calls.call(Call::Set, async { self.store.set(key, value).await }).await
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.calls.call(Call::TestAndSet, async { self.store.test_and_set(key, test, set).await }).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.calls.call(Call::Remove, async { self.store.remove(key).await }).await
    }

    async fn clear(&self) -> Result<()> {
        self.calls.call(Call::Clear, async { self.store.clear().await }).await
    }

    async fn close(&self) -> Result<()> {
        self.calls.call(Call::Close, async { self.store.close().await }).await
    }
}

#[async_trait]
impl<S: ContentRead> ContentRead for Asked<S> {
    fn hash_function(&self) -> HashFunction {
        self.calls.at_once(|| self.store.hash_function())
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.calls.call(Call::Mem, async { self.store.mem(key).await }).await
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.calls.call(Call::Find, async { self.store.find(key).await }).await
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.calls.call(Call::Index, async { self.store.index(hash).await }).await
    }

    fn keys(&self) -> ContentKeyStream {
        self.items(Call::Keys, ContentRead::keys)
    }
}

#[async_trait]
impl<S: Append> Append for Asked<S> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.calls.call(Call::Add, async { self.store.add(value).await }).await
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.calls.call(Call::UnsafeAdd, async { self.store.unsafe_add(hash, value).await }).await
    }
}

#[async_trait]
impl<S: Indexed> Indexed for Asked<S> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        let batch = self.calls.call(Call::Begin, async { self.store.begin().await }).await?;
        Ok(Box::new(Asked { store: Arc::<dyn Batch>::from(batch), calls: Arc::clone(&self.calls) }))
    }
}

#[async_trait]
impl<S: Indexable> Indexable for Asked<S> {
    async fn close(&self) -> Result<()> {
        self.calls.call(Call::Close, async { self.store.close().await }).await
    }
}

#[async_trait]
impl Batch for Asked<Arc<dyn Batch>> {
    async fn commit(&self) -> Result<()> {
        self.calls.call(Call::Commit, async { self.store.commit().await }).await
    }

    async fn abort(&self) -> Result<()> {
        self.calls.call(Call::Abort, async { self.store.abort().await }).await
    }
}
