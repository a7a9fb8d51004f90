//! A store that fails now and then, for the tests of an application or a wrapper. What it stores is left to the one inside.

#![deny(clippy::missing_trait_methods)]

use std::{
    collections::HashSet,
    fmt,
    future::ready,
    pin::Pin,
    sync::{Arc, Mutex},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{Stream, StreamExt, stream};
use store_api::{
    Append, AtomicWrite, Backend, Batch, ContentHash, ContentKey, ContentKeyStream, ContentRead, Effect, EntryRead,
    EntryStream, Error, ErrorKind, Guarantees, HashFunction, Indexable, Indexed, Init, Key, KeyStream, Result,
    TestAndSet, Watch, WatchId,
};

use crate::lock::lock;

/// A store whose operations fail and are late by chance, as any store's may, and are otherwise those of the store inside.
///
/// It shows what a program does with the errors that it hardly ever meets: does a loop that tries again apply its own
/// write twice, is an error taken for "absent", is what may have happened taken for what has not?
///
/// | fault | what happens | what comes back |
/// |---|---|---|
/// | [`refuse`](Self::refuse) | nothing | an error, `NotApplied` |
/// | [`lose_answers`](Self::lose_answers) | the write, or nothing: the toss of a coin | an error, `Unknown` (A5) |
/// | [`delay`](Self::delay) | the operation, late, or at once with a late answer | its answer |
///
/// Writes are the writes of entries, `add` and `unsafe_add`, and the `commit` of a batch, which ends the batch in any case.
/// Everything else reads: it is refused and delayed. A stream of keys ends with its error; a watch tells one and goes
/// on (W10). `close` and `unwatch` never fail. No write is applied twice, none later than its answer, and no answer is
/// wrong: a fault that a program may not rely on is not among them.
///
/// The seed makes the choices, one after the other in the order in which operations come to them.
///
/// ```
/// use std::sync::Arc;
///
/// use conformance::Faulty;
/// use store_api::{Backend, Effect, Key};
///
/// # async fn example(store: Arc<dyn Backend>) -> store_api::Result<()> {
/// let store = Faulty::new(store, 7).refuse(0.1).lose_answers(0.1);
/// let entries = store.atomic_write().expect("a store of entries");
/// let key = Key::new("greeting")?;
/// if let Err(error) = entries.set(&key, "hello".into()).await {
///     match error.effect() {
///         Effect::NotApplied => println!("try again"),
///         Effect::Unknown => println!("look what is there: {:?}", entries.find(&key).await),
///     }
/// }
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct Faulty {
    inner: Arc<dyn Backend>,
    faults: Faults,
}

impl Faulty {
    /// A store without faults as yet, and the seed of those that are asked for.
    #[must_use]
    pub fn new(inner: Arc<dyn Backend>, seed: u64) -> Self {
        let random = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let shares = Shares { refused: 0.0, lost: 0.0, delayed: 0.0, longest: Duration::ZERO };
        Self { inner, faults: Faults { random, shares, kind: ErrorKind::Unavailable } }
    }

    /// This share of all operations, from 0 to 1, is refused without effect.
    #[must_use]
    pub fn refuse(mut self, share: f64) -> Self {
        self.faults.shares.refused = share;
        self
    }

    /// Of this share of all writes, from 0 to 1, nobody hears whether they happened.
    #[must_use]
    pub fn lose_answers(mut self, share: f64) -> Self {
        self.faults.shares.lost = share;
        self
    }

    /// This share of all operations, from 0 to 1, begins late, and as many answer late: by `longest` at most. Needs a
    /// tokio runtime with timers.
    #[must_use]
    pub fn delay(mut self, share: f64, longest: Duration) -> Self {
        self.faults.shares.delayed = share;
        self.faults.shares.longest = longest;
        self
    }

    /// The kind of the errors; `Unavailable` by default.
    #[must_use]
    pub fn with_kind(mut self, kind: ErrorKind) -> Self {
        self.faults.kind = kind;
        self
    }
}

impl fmt::Debug for Faulty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Faulty").field("faults", &self.faults).finish_non_exhaustive()
    }
}

/// How often what happens.
#[derive(Clone, Copy, Debug)]
struct Shares {
    refused: f64,
    lost: f64,
    delayed: f64,
    longest: Duration,
}

/// The faults of an instance, for all its handles.
#[derive(Clone, Debug)]
struct Faults {
    random: Arc<Mutex<fastrand::Rng>>,
    shares: Shares,
    kind: ErrorKind,
}

/// What becomes of a write.
#[derive(Clone, Copy)]
enum Fate {
    Through,
    Refused,
    LostBefore,
    LostAfter,
}

impl Faults {
    fn chance(&self, share: f64) -> bool {
        self.choose(|random| random.f64() < share)
    }

    fn choose<T>(&self, choice: impl FnOnce(&mut fastrand::Rng) -> T) -> T {
        choice(&mut lock(&self.random))
    }

    fn fate(&self) -> Fate {
        let Shares { refused, lost, .. } = self.shares;
        self.choose(|random| match random.f64() {
            chance if chance < refused => Fate::Refused,
            chance if chance < refused + lost => {
                if random.bool() {
                    Fate::LostBefore
                } else {
                    Fate::LostAfter
                }
            }
            _ => Fate::Through,
        })
    }

    async fn maybe_late(&self) {
        if self.shares.longest > Duration::ZERO && self.chance(self.shares.delayed) {
            tokio::time::sleep(self.shares.longest.mul_f64(self.choose(fastrand::Rng::f64))).await;
        }
    }

    fn refused(&self, operation: &'static str) -> Error {
        Error::new(self.kind, "refused by a fault that was asked for; try again")
            .with_backend("faulty")
            .with_operation(operation)
    }

    fn lost(&self, operation: &'static str) -> Error {
        Error::new(self.kind, "the answer was lost, as was asked for; look what is there")
            .with_backend("faulty")
            .with_operation(operation)
            .with_effect(Effect::Unknown)
    }

    async fn read<T>(&self, operation: &'static str, inner: impl Future<Output = Result<T>>) -> Result<T> {
        self.maybe_late().await;
        if self.chance(self.shares.refused) {
            return Err(self.refused(operation));
        }
        let answer = inner.await;
        self.maybe_late().await;
        answer
    }

    async fn write<T>(&self, operation: &'static str, inner: impl Future<Output = Result<T>>) -> Result<T> {
        self.maybe_late().await;
        let answer = match self.fate() {
            Fate::Through => inner.await,
            Fate::Refused => Err(self.refused(operation)),
            Fate::LostBefore => Err(self.lost(operation)),
            Fate::LostAfter => inner.await.and(Err(self.lost(operation))),
        };
        self.maybe_late().await;
        answer
    }

    /// Ends with an error, or with the last item.
    fn items<T: Send + 'static>(&self, operation: &'static str, items: Items<T>) -> Items<T> {
        let faults = self.clone();
        Box::pin(stream::unfold(Some(items), move |items| {
            let faults = faults.clone();
            async move {
                let mut items = items?;
                if faults.chance(faults.shares.refused) {
                    return Some((Err(faults.refused(operation)), None));
                }
                faults.maybe_late().await;
                items.next().await.map(|item| (item, Some(items)))
            }
        }))
    }

    /// Goes on after an error.
    fn events(&self, watch: Watch, unwatched: &Unwatched) -> Watch {
        let (id, faults) = (watch.id(), self.clone());
        let events = stream::unfold(watch, move |mut watch| {
            let faults = faults.clone();
            async move {
                let event = watch.next().await?;
                faults.maybe_late().await;
                Some((event, watch))
            }
        });
        let faults = self.clone();
        let events = events.flat_map(move |event| {
            let passing = faults.chance(faults.shares.refused).then(|| Err(faults.refused("watch")));
            stream::iter(passing.into_iter().chain([event]))
        });
        let unwatched = Arc::clone(unwatched);
        Watch::new(id, events.take_while(move |_| ready(!lock(&unwatched).contains(&id))))
    }
}

type Items<T> = Pin<Box<dyn Stream<Item = Result<T>> + Send>>;

#[async_trait]
impl Backend for Faulty {
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>> {
        Some(Arc::new(Handle::new(self.inner.atomic_write()?, &self.faults)))
    }

    fn indexable(&self) -> Option<Arc<dyn Indexable>> {
        Some(Arc::new(Handle::new(self.inner.indexable()?, &self.faults)))
    }

    fn guarantees(&self) -> Guarantees {
        self.inner.guarantees()
    }

    async fn sync(&self) -> Result<()> {
        self.faults.read("sync", self.inner.sync()).await
    }

    async fn check(&self) -> Result<()> {
        self.faults.read("check", self.inner.check()).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

/// A handle, or a batch.
struct Handle<T: ?Sized> {
    faults: Faults,
    inner: Arc<T>,
    unwatched: Unwatched,
}

/// The watches that `unwatch` has ended: an event that was taken from the store inside and is held back is not told then
/// (W9).
type Unwatched = Arc<Mutex<HashSet<WatchId>>>;

impl<T: ?Sized> Handle<T> {
    fn new(inner: Arc<T>, faults: &Faults) -> Self {
        Self { inner, faults: faults.clone(), unwatched: Unwatched::default() }
    }
}

#[async_trait]
impl EntryRead for Handle<dyn AtomicWrite> {
    async fn mem(&self, key: &Key) -> Result<bool> {
        self.faults.read("mem", self.inner.mem(key)).await
    }

    async fn find(&self, key: &Key) -> Result<Option<Bytes>> {
        self.faults.read("find", self.inner.find(key)).await
    }

    fn list(&self, under: &Key) -> KeyStream {
        self.faults.items("list", self.inner.list(under))
    }

    fn entries(&self, under: &Key) -> EntryStream {
        self.faults.items("entries", self.inner.entries(under))
    }

    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        let watch = self.faults.read("watch", self.inner.watch(under, init)).await?;
        Ok(self.faults.events(watch, &self.unwatched))
    }

    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        let watch = self.faults.read("watch_key", self.inner.watch_key(key, init)).await?;
        Ok(self.faults.events(watch, &self.unwatched))
    }

    async fn unwatch(&self, id: WatchId) -> Result<()> {
        self.inner.unwatch(id).await?;
        lock(&self.unwatched).insert(id);
        Ok(())
    }
}

#[async_trait]
impl AtomicWrite for Handle<dyn AtomicWrite> {
    async fn set(&self, key: &Key, value: Bytes) -> Result<()> {
        self.faults.write("set", self.inner.set(key, value)).await
    }

    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet> {
        self.faults.write("test_and_set", self.inner.test_and_set(key, test, set)).await
    }

    async fn remove(&self, key: &Key) -> Result<()> {
        self.faults.write("remove", self.inner.remove(key)).await
    }

    async fn clear(&self) -> Result<()> {
        self.faults.write("clear", self.inner.clear()).await
    }

    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl<T: ContentRead + ?Sized> ContentRead for Handle<T> {
    fn hash_function(&self) -> HashFunction {
        self.inner.hash_function()
    }

    async fn mem(&self, key: &ContentKey) -> Result<bool> {
        self.faults.read("mem", self.inner.mem(key)).await
    }

    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>> {
        self.faults.read("find", self.inner.find(key)).await
    }

    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.faults.read("index", self.inner.index(hash)).await
    }

    fn keys(&self) -> ContentKeyStream {
        self.faults.items("keys", self.inner.keys())
    }
}

#[async_trait]
impl Append for Handle<dyn Indexable> {
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.faults.write("add", self.inner.add(value)).await
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.faults.write("unsafe_add", self.inner.unsafe_add(hash, value)).await
    }
}

#[async_trait]
impl Indexed for Handle<dyn Indexable> {
    async fn begin(&self) -> Result<Box<dyn Batch>> {
        let batch = self.faults.read("begin", self.inner.begin()).await?;
        Ok(Box::new(Handle::new(Arc::<dyn Batch>::from(batch), &self.faults)))
    }
}

#[async_trait]
impl Indexable for Handle<dyn Indexable> {
    async fn close(&self) -> Result<()> {
        self.inner.close().await
    }
}

#[async_trait]
impl Append for Handle<dyn Batch> {
    // Nothing of a batch is written before its commit: an `add` that fails has no effect.
    async fn add(&self, value: Bytes) -> Result<ContentKey> {
        self.faults.read("add", self.inner.add(value)).await
    }

    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        self.faults.read("unsafe_add", self.inner.unsafe_add(hash, value)).await
    }
}

#[async_trait]
impl Batch for Handle<dyn Batch> {
    async fn commit(&self) -> Result<()> {
        let committed = self.faults.write("commit", self.inner.commit()).await;
        if committed.is_err() {
            // It has ended, whatever the answer; where it did commit, this is `Closed`.
            let _ = self.inner.abort().await;
        }
        committed
    }

    async fn abort(&self) -> Result<()> {
        self.inner.abort().await
    }
}
