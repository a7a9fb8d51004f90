//! Bugs of content: what it is found by, and whether it is there.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{StreamExt, stream};
use store_api::{
    Backend, ContentHash, ContentKey, ContentKeyStream, ErrorKind, Guarantees, IndexLevel, Indexable, Result,
};
use tokio::task::yield_now;

use super::{
    Bug,
    twist::{OpenBatch, Twist},
    writes::{Nth, a_moment},
};
use crate::{Factory, Settings, lock::lock};

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
        ["index/I2-every-handle-finds-what-was-added", "index/I2-every-instance-finds-what-was-added"],
        ContentNotKept
    ),
    bug!(
        "content-late",
        "A value is acknowledged a moment before it is there.",
        [
            "index/I2-what-is-acknowledged-is-found-at-once",
            "names/X1-who-finds-a-name-finds-its-content",
            "index/I2-what-is-acknowledged-is-found-at-once-by-another-instance",
            "names/X1-who-finds-a-name-in-another-instance-finds-its-content",
            "names/X1-who-is-told-a-name-finds-its-content",
            "names/X1-who-is-told-a-name-by-another-instance-finds-its-content",
            "names/X1-who-lists-a-name-or-is-mismatched-with-it-finds-its-content",
            "names/X1-who-lists-a-name-or-is-mismatched-in-another-instance-finds-its-content"
        ],
        ContentLate
    ),
    bug!(
        "second-add-misled",
        "Who adds a value that another is adding is given the key of another value.",
        [
            "index/I8-equal-values-added-at-once-give-readable-keys",
            "index/I8-equal-values-added-at-once-by-instances-give-readable-keys"
        ],
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
        [
            "index/I3-index-knows-at-once-what-this-instance-added",
            "index/I3-index-knows-what-another-instance-added",
            "index/I2-any-operations-answer-as-a-map-would",
        ],
        IndexForgets
    ),
    bug!(
        "index-too-late",
        "`index` knows a value ten seconds after it was added, and no lag is declared.",
        ["index/I3-index-knows-what-another-instance-added"],
        waits IndexTooLate
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
        [
            "index/I4-the-true-value-repairs-a-false-one",
            "index/I4-a-repair-by-another-instance-is-seen",
            "index/I7-a-false-hash-inside-is-corrupt-until-repaired"
        ],
        FalseValueNotRepaired
    ),
    bug!(
        "locator-trusted",
        "A key's locator is believed, whatever its hash.",
        [
            "index/I5-a-forged-locator-gives-no-other-value",
            "index/I5-a-forged-locator-gives-no-other-value-without-verification",
            "index/I5-a-key-of-another-store-gives-its-value-or-none"
        ],
        LocatorTrusted
    ),
    bug!(
        "corrupt-bytes-given",
        "Bytes that do not match their hash are given as if they did.",
        [
            "index/I6-bytes-that-do-not-match-their-hash-are-corrupt",
            "index/I6-another-instance-gives-no-bytes-that-do-not-match"
        ],
        CorruptBytesGiven
    ),
    bug!(
        "second-add-answered-early",
        "Who adds a value that another is adding is answered before it is there.",
        [
            "index/I8-equal-values-added-at-once-give-readable-keys",
            "index/I8-equal-values-added-at-once-by-instances-give-readable-keys",
        ],
        SecondAddAnsweredEarly
    ),
    bug!(
        "absence-remembered",
        "What was looked for and absent stays absent for who looked.",
        [
            "index/I2-an-earlier-absence-is-not-remembered",
            "index/I2-an-earlier-absence-is-not-remembered-by-another-instance",
            "index/I2-any-operations-of-instances-answer-as-a-map-would",
        ],
        AbsenceRemembered
    ),
    bug!(
        "unsafe-add-forgotten",
        "`unsafe_add` is acknowledged and forgotten.",
        [
            "index/I4-unsafe-add-with-the-true-hash-is-add",
            "index/I4-without-verification-the-false-value-is-given",
            "index/I2-any-operations-answer-as-a-map-would",
        ],
        UnsafeAddForgotten
    ),
    bug!(
        "locator-needed",
        "A value is not found without its locator.",
        ["index/I5-a-key-without-a-locator-is-found"],
        LocatorNeeded
    ),
    bug!(
        "keys-of-content-cut-short",
        "A listing of the content ends after a thousand keys.",
        [
            "atomic/A7-the-keys-of-much-content-are-whole",
            "atomic/A7-content-keys-amid-adds-have-what-was-there-and-nothing-else",
        ],
        KeysOfContentCutShort
    ),
    bug!(
        "false-value-not-repaired-on-disk",
        "A value that was added to a file under a false hash stays, when the true one is added.",
        ["index/I4-a-repair-outlives-a-reopen", "index/I5-a-key-of-before-a-repair-and-a-reopen-is-found"],
        on Durable FalseValueNotRepaired
    ),
    bug!(
        "last-content-in-memory",
        "The content that was added last is kept in memory until more is added.",
        [
            "index/I2-a-reopened-store-finds-what-was-added",
            "index/I2-any-operations-answer-as-a-map-would-when-reopened",
            "names/X1-a-reopened-store-finds-the-content-of-its-names",
            "names/X1-a-killed-writer-leaves-no-name-without-content",
            "names/X1-a-power-loss-leaves-no-name-without-content",
            "names/X1-another-process-finds-what-a-name-leads-to",
        ],
        on Durable LastContentInMemory
    ),
    bug!(
        "verification-off",
        "Content is not verified, and declared to be.",
        ["index/I6-rot-is-never-other-content"],
        on Durable VerificationOff
    ),
    bug!(
        "false-value-over-the-true-one",
        "A value that is added under a false hash is given for the true one.",
        ["index/I4-a-false-value-over-the-true-one-is-never-given"],
        FalseValueOverTheTrueOne
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
struct IndexTooLate {
    added: Mutex<HashMap<ContentHash, Instant>>,
}

#[async_trait]
impl Twist for IndexTooLate {
    fn guarantees(&self, on: &dyn Backend) -> Guarantees {
        let Guarantees { durability, visibility, watch_lag, .. } = on.guarantees();
        Guarantees::new(durability, visibility, IndexLevel::BestEffort, watch_lag)
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let key = on.add(value).await?;
        lock(&self.added).insert(key.to_hash(), Instant::now());
        Ok(key)
    }

    async fn index(&self, on: &Arc<dyn Indexable>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        let is_young = lock(&self.added).get(hash).is_some_and(|added| added.elapsed() < Duration::from_secs(10));
        if is_young { Ok(None) } else { on.index(hash).await }
    }
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

/// What is being added.
#[derive(Default)]
struct Adding(Mutex<HashSet<ContentHash>>);

impl Adding {
    /// Adds a value that nobody else is adding; none where somebody is.
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<Option<ContentKey>> {
        let hash = on.hash_function().hash(&value);
        if !lock(&self.0).insert(hash) {
            return Ok(None);
        }
        a_moment();
        let added = on.add(value).await;
        lock(&self.0).remove(&hash);
        added.map(Some)
    }
}

#[derive(Default)]
struct SecondAddMisled(Adding);

twist_add!(SecondAddMisled, |self, on, value| {
    let misled = on.hash_function().hash(b"another").into();
    Ok(self.0.add(on, value).await?.unwrap_or(misled))
});

#[derive(Default)]
struct SecondAddAnsweredEarly(Adding);

twist_add!(SecondAddAnsweredEarly, |self, on, value| {
    let early = on.hash_function().hash(&value).into();
    Ok(self.0.add(on, value).await?.unwrap_or(early))
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

#[async_trait]
impl Twist for FalseValueNotRepaired {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        match on.index(&on.hash_function().hash(&value)).await? {
            Some(known) => Ok(known),
            None => on.add(value).await,
        }
    }

    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        match on.batch.index(&on.batch.hash_function().hash(&value)).await? {
            Some(known) => Ok(known),
            None => on.batch.add(value).await,
        }
    }
}

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

#[derive(Default)]
struct AbsenceRemembered {
    /// By the address of the handle.
    absent: Mutex<HashSet<(usize, ContentHash)>>,
}

#[async_trait]
impl Twist for AbsenceRemembered {
    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        let asked = (Arc::as_ptr(on).cast::<()>() as usize, key.to_hash());
        if lock(&self.absent).contains(&asked) {
            return Ok(None);
        }
        let found = on.find(key).await?;
        if found.is_none() {
            lock(&self.absent).insert(asked);
        }
        Ok(found)
    }
}

#[derive(Default)]
struct UnsafeAddForgotten;

#[async_trait]
impl Twist for UnsafeAddForgotten {
    async fn unsafe_add(&self, _: &Arc<dyn Indexable>, hash: ContentHash, _: Bytes) -> Result<ContentKey> {
        Ok(hash.into())
    }
}

#[derive(Default)]
struct LocatorNeeded;

#[async_trait]
impl Twist for LocatorNeeded {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let hash = on.add(value).await?.to_hash();
        Ok(ContentKey::with_locator(hash, b"here").unwrap_or_else(|| hash.into()))
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        if key.locator().is_empty() { Ok(None) } else { on.find(key).await }
    }
}

#[derive(Default)]
struct KeysOfContentCutShort;

impl Twist for KeysOfContentCutShort {
    fn keys(&self, on: &Arc<dyn Indexable>) -> ContentKeyStream {
        Box::pin(on.keys().take(1000))
    }
}

#[derive(Default)]
struct LastContentInMemory {
    last: Mutex<Option<(ContentHash, Bytes)>>,
}

#[async_trait]
impl Twist for LastContentInMemory {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        lock(&self.last).take();
        sound.open(token, settings).await
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        let last = lock(&self.last).clone();
        match last {
            Some((hash, value)) if hash == key.to_hash() => Ok(Some(value)),
            _ => on.find(key).await,
        }
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let hash = on.hash_function().hash(&value);
        let before = lock(&self.last).replace((hash, value));
        if let Some((_, value)) = before {
            on.add(value).await?;
        }
        Ok(hash.into())
    }
}

#[derive(Default)]
struct VerificationOff;

#[async_trait]
impl Twist for VerificationOff {
    async fn open(&self, sound: &dyn Factory, token: &str, settings: &Settings) -> Result<Arc<dyn Backend>> {
        sound.open(token, &Settings { verify: Some(false), ..settings.clone() }).await
    }
}

#[derive(Default)]
struct FalseValueOverTheTrueOne {
    given: Mutex<HashMap<ContentHash, Bytes>>,
}

#[async_trait]
impl Twist for FalseValueOverTheTrueOne {
    async fn unsafe_add(&self, on: &Arc<dyn Indexable>, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        lock(&self.given).insert(hash, value.clone());
        on.unsafe_add(hash, value).await
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        let given = lock(&self.given).get(&key.to_hash()).cloned();
        Ok(given.or(on.find(key).await?))
    }
}
