//! Bugs of content and of batches.

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use store_api::{Batch, ContentHash, ContentKey, ContentKeyStream, ErrorKind, Indexable, Result};
use tokio::{task::yield_now, time::sleep};

use super::{
    Bug,
    twist::{OpenBatch, Twist, lock},
    writes::{A_MOMENT, Nth},
};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "wrong-hash",
        "A key has another hash than its value.",
        ["index/I1-a-key-has-the-hash-of-its-value"],
        WrongHash
    ),
    bug!(
        "content-not-kept",
        "One value in five is acknowledged and not kept.",
        ["index/I2-every-handle-finds-what-was-added"],
        ContentNotKept
    ),
    bug!(
        "content-late",
        "A value is acknowledged a moment before it is there.",
        ["index/I2-what-is-acknowledged-is-found-at-once", "names/X1-who-finds-a-name-finds-its-content"],
        ContentLate
    ),
    bug!(
        "second-add-misled",
        "Who adds a value that another is adding is given the key of another value.",
        ["index/I8-equal-values-added-at-once-give-readable-keys"],
        SecondAddMisled
    ),
    bug!(
        "index-of-anything",
        "`index` gives a key for every hash.",
        ["index/I3-index-knows-the-whole-hash-and-nothing-near-it"],
        IndexOfAnything
    ),
    bug!(
        "index-forgets",
        "`index` does not know the value that was added last.",
        ["index/I3-index-knows-at-once-what-this-instance-added"],
        IndexForgets
    ),
    bug!(
        "equal-values-listed-twice",
        "A value that was added twice is listed twice.",
        ["index/I1-equal-values-are-one-value"],
        EqualValuesListedTwice
    ),
    bug!(
        "false-value-hurts-another",
        "`unsafe_add` under a false hash makes the value's true hash corrupt as well.",
        ["index/I4-a-false-value-hurts-only-its-hash"],
        FalseValueHurtsAnother
    ),
    bug!(
        "false-value-not-repaired",
        "A value that was added under a false hash stays, when the true one is added.",
        ["index/I4-the-true-value-repairs-a-false-one"],
        FalseValueNotRepaired
    ),
    bug!(
        "locator-trusted",
        "A key's locator is believed, whatever its hash.",
        ["index/I5-a-forged-locator-gives-no-other-value"],
        LocatorTrusted
    ),
    bug!(
        "corrupt-bytes-given",
        "Bytes that do not match their hash are given as if they did.",
        ["index/I6-bytes-that-do-not-match-their-hash-are-corrupt"],
        CorruptBytesGiven
    ),
    bug!(
        "torn-batch",
        "A commit adds the first half of a batch, and a moment later the rest.",
        ["index/I7-readers-see-all-of-a-batch-or-nothing"],
        TornBatch
    ),
    bug!(
        "batch-visible-early",
        "What is added to a batch is in the store before the commit.",
        ["index/I7-nothing-is-seen-before-the-commit"],
        BatchVisibleEarly
    ),
    bug!(
        "aborted-batch-visible",
        "An aborted batch is committed.",
        ["index/I7-aborted-or-dropped-nothing-of-it-is-found"],
        AbortedBatchVisible
    ),
    bug!(
        "batch-holds-a-lock",
        "While a batch is open, others wait to add.",
        ["index/I7-an-open-batch-holds-up-nobody"],
        BatchHoldsALock
    ),
    bug!(
        "batch-blind",
        "A batch does not read what it added.",
        ["index/I7-inside-it-reads-its-own-writes-and-the-stores"],
        BatchBlind
    ),
    bug!(
        "batch-goes-on",
        "A batch that has ended adds to the store.",
        ["index/I7-afterwards-it-is-closed"],
        BatchGoesOn
    ),
    bug!(
        "batch-without-cap",
        "What is too much for a batch is added beside it.",
        ["index/I7-beyond-its-cap-it-refuses-and-stays-as-it-was"],
        BatchWithoutCap
    ),
];

/// A twist of `add` alone.
macro_rules! twist_add {
    ($bug:ident, |$self:ident, $on:ident, $value:ident| $body:block) => {
        #[async_trait]
        impl Twist for $bug {
            async fn add(&$self, $on: &Arc<dyn Indexable>, $value: Bytes) -> Result<ContentKey> $body
        }
    };
}

#[derive(Default)]
struct WrongHash;

twist_add!(WrongHash, |self, on, value| {
    let reversed: Vec<u8> = value.iter().rev().chain(b"!").copied().collect();
    on.add(value).await?;
    Ok(on.hash_function().hash(&reversed).into())
});

#[derive(Default)]
struct ContentNotKept(Nth);

twist_add!(ContentNotKept, |self, on, value| {
    if self.0.of(5) { Ok(on.hash_function().hash(&value).into()) } else { on.add(value).await }
});

#[derive(Default)]
struct ContentLate;

twist_add!(ContentLate, |self, on, value| {
    let hash = on.hash_function().hash(&value);
    let on = Arc::clone(on);
    tokio::spawn(async move {
        yield_now().await;
        on.add(value).await
    });
    Ok(hash.into())
});

#[derive(Default)]
struct SecondAddMisled {
    adding: Mutex<HashSet<ContentHash>>,
}

twist_add!(SecondAddMisled, |self, on, value| {
    let hash = on.hash_function().hash(&value);
    if !lock(&self.adding).insert(hash) {
        return Ok(on.hash_function().hash(b"another").into());
    }
    std::thread::sleep(A_MOMENT);
    let added = on.add(value).await;
    lock(&self.adding).remove(&hash);
    added
});

#[derive(Default)]
struct IndexOfAnything;

#[async_trait]
impl Twist for IndexOfAnything {
    async fn index(&self, _: &Arc<dyn Indexable>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        Ok(Some((*hash).into()))
    }
}

#[derive(Default)]
struct IndexForgets {
    last: Mutex<Option<ContentHash>>,
}

#[async_trait]
impl Twist for IndexForgets {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let key = on.add(value).await?;
        *lock(&self.last) = Some(key.to_hash());
        Ok(key)
    }

    async fn index(&self, on: &Arc<dyn Indexable>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        if *lock(&self.last) == Some(*hash) {
            return Ok(None);
        }
        on.index(hash).await
    }
}

#[derive(Default)]
struct EqualValuesListedTwice {
    again: Mutex<Vec<ContentKey>>,
}

#[async_trait]
impl Twist for EqualValuesListedTwice {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let known = on.index(&on.hash_function().hash(&value)).await?;
        lock(&self.again).extend(known);
        on.add(value).await
    }

    fn keys(&self, on: &Arc<dyn Indexable>) -> ContentKeyStream {
        let again: Vec<_> = lock(&self.again).iter().copied().map(Ok).collect();
        Box::pin(on.keys().chain(stream::iter(again)))
    }
}

#[derive(Default)]
struct FalseValueHurtsAnother;

#[async_trait]
impl Twist for FalseValueHurtsAnother {
    async fn unsafe_add(&self, on: &Arc<dyn Indexable>, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        let truth = on.hash_function().hash(&value);
        if truth != hash {
            on.unsafe_add(truth, Bytes::from_static(b"not what it was")).await?;
        }
        on.unsafe_add(hash, value).await
    }
}

#[derive(Default)]
struct FalseValueNotRepaired;

twist_add!(FalseValueNotRepaired, |self, on, value| {
    let hash = on.hash_function().hash(&value);
    match on.index(&hash).await? {
        Some(known) => Ok(known),
        None => on.add(value).await,
    }
});

#[derive(Default)]
struct LocatorTrusted {
    by_locator: Mutex<HashMap<Vec<u8>, Bytes>>,
}

#[async_trait]
impl Twist for LocatorTrusted {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let hash = on.add(value.clone()).await?.to_hash();
        let locator = (lock(&self.by_locator).len() as u64).to_be_bytes();
        lock(&self.by_locator).insert(locator.to_vec(), value);
        Ok(ContentKey::with_locator(hash, &locator).unwrap_or_else(|| hash.into()))
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        let located = lock(&self.by_locator).get(key.locator()).cloned();
        match located {
            Some(value) => Ok(Some(value)),
            None => on.find(key).await,
        }
    }
}

#[derive(Default)]
struct CorruptBytesGiven {
    given: Mutex<HashMap<ContentHash, Bytes>>,
}

#[async_trait]
impl Twist for CorruptBytesGiven {
    async fn unsafe_add(&self, on: &Arc<dyn Indexable>, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        lock(&self.given).insert(hash, value.clone());
        on.unsafe_add(hash, value).await
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        match on.find(key).await {
            Err(error) if error.kind() == ErrorKind::Corrupt => Ok(lock(&self.given).get(&key.to_hash()).cloned()),
            found => found,
        }
    }
}

/// What a batch holds, by batch.
#[derive(Default)]
struct TornBatch {
    added: Mutex<HashMap<usize, Vec<Bytes>>>,
}

fn address_of(on: &OpenBatch) -> usize {
    std::ptr::from_ref::<dyn Batch>(&*on.batch).cast::<()>() as usize
}

#[async_trait]
impl Twist for TornBatch {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        let key = on.batch.add(value.clone()).await?;
        lock(&self.added).entry(address_of(on)).or_default().push(value);
        Ok(key)
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        let added = lock(&self.added).remove(&address_of(on)).unwrap_or_default();
        let first = on.content.begin().await?;
        for value in added.iter().take(added.len() / 2) {
            first.add(value.clone()).await?;
        }
        first.commit().await?;
        yield_now().await;
        on.batch.commit().await
    }
}

#[derive(Default)]
struct BatchVisibleEarly;

#[async_trait]
impl Twist for BatchVisibleEarly {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.content.add(value.clone()).await?;
        on.batch.add(value).await
    }
}

#[derive(Default)]
struct AbortedBatchVisible;

#[async_trait]
impl Twist for AbortedBatchVisible {
    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        on.batch.commit().await
    }
}

#[derive(Default)]
struct BatchHoldsALock {
    open: AtomicUsize,
}

#[async_trait]
impl Twist for BatchHoldsALock {
    async fn begin(&self, on: &Arc<dyn Indexable>) -> Result<Box<dyn Batch>> {
        self.open.fetch_add(1, Ordering::SeqCst);
        on.begin().await
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        while self.open.load(Ordering::SeqCst) > 0 {
            sleep(Duration::from_millis(1)).await;
        }
        on.add(value).await
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        self.open.fetch_sub(1, Ordering::SeqCst);
        on.batch.commit().await
    }

    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        self.open.fetch_sub(1, Ordering::SeqCst);
        on.batch.abort().await
    }
}

#[derive(Default)]
struct BatchBlind;

#[async_trait]
impl Twist for BatchBlind {
    async fn batch_find(&self, on: &OpenBatch, key: &ContentKey) -> Result<Option<Bytes>> {
        on.content.find(key).await
    }
}

#[derive(Default)]
struct BatchGoesOn;

#[async_trait]
impl Twist for BatchGoesOn {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        match on.batch.add(value.clone()).await {
            Err(error) if error.kind() == ErrorKind::Closed => on.content.add(value).await,
            added => added,
        }
    }
}

#[derive(Default)]
struct BatchWithoutCap;

#[async_trait]
impl Twist for BatchWithoutCap {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        match on.batch.add(value.clone()).await {
            Err(error) if error.kind() == ErrorKind::ValueTooLarge => on.content.add(value).await,
            added => added,
        }
    }
}
