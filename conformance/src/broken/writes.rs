//! Bugs of writes to one key, and of reads of what was written.

use std::{
    collections::{HashMap, HashSet},
    hint::spin_loop,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{AtomicWrite, ContentKey, Effect, Error, ErrorKind, Indexable, Key, Result, TestAndSet};
use tokio::task::yield_now;

use crate::{lock::lock, operations::put};

use super::{
    Bug,
    twist::{OpenBatch, Twist},
};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "lost-update",
        "One compare-and-set in a hundred is a check and, a moment later, a set.",
        [
            "atomic/A1-concurrent-increments-are-not-lost",
            "atomic/A1-concurrent-increments-of-instances-are-not-lost",
            "atomic/A4-of-many-that-test-the-same-one-is-applied",
            "atomic/A4-of-many-instances-that-test-the-same-one-is-applied"
        ],
        LostUpdate
    ),
    bug!(
        "compare-without-atomicity",
        "Every compare-and-set is a check and, a moment later, a set.",
        [
            "atomic/A1-concurrent-increments-are-not-lost",
            "atomic/A1-concurrent-increments-of-instances-are-not-lost",
            "atomic/A1-concurrent-increments-of-long-values-are-not-lost",
            "atomic/A4-of-many-that-test-the-same-one-is-applied",
            "atomic/A4-of-many-instances-that-test-the-same-one-is-applied"
        ],
        CompareWithoutAtomicity
    ),
    bug!(
        "retry-applied-twice",
        "A compare-and-set that was applied is sent again without its condition.",
        [
            "atomic/A5-a-write-is-never-applied-twice",
            "atomic/A1-concurrent-increments-are-not-lost",
            "atomic/A1-concurrent-increments-of-instances-are-not-lost",
        ],
        RetryAppliedTwice
    ),
    bug!(
        "mismatch-that-writes",
        "A compare-and-set that does not match sets all the same.",
        ["atomic/A2-test-and-set-truth-table", "atomic/A4-a-mismatch-never-takes-effect"],
        MismatchThatWrites
    ),
    bug!(
        "applied-told-as-mismatch",
        "One applied compare-and-set in ten is answered as a mismatch, as by a retry that meets its own write.",
        [
            "atomic/A5-an-own-write-is-no-mismatch",
            "atomic/A2-test-and-set-truth-table",
            "atomic/A6-contention-is-not-a-mismatch",
        ],
        AppliedToldAsMismatch
    ),
    bug!(
        "mismatch-without-current",
        "A mismatch does not say what was there.",
        ["atomic/A4-of-many-that-test-the-same-one-is-applied", "atomic/A2-test-and-set-truth-table"],
        MismatchWithoutCurrent
    ),
    bug!(
        "absent-means-any",
        "A test for an absent key passes whatever is there.",
        [
            "atomic/A2-test-and-set-truth-table",
            "atomic/A2-any-operations-answer-as-a-map-would",
            "atomic/A2-any-operations-of-instances-answer-as-a-map-would"
        ],
        AbsentMeansAny
    ),
    bug!(
        "equal-set-is-a-mismatch",
        "Setting what is already there is answered as a mismatch.",
        ["atomic/A2-test-and-set-truth-table", "atomic/A3-setting-what-is-there-changes-nothing"],
        EqualSetIsAMismatch
    ),
    bug!(
        "contention-is-a-mismatch",
        "A compare-and-set that meets another write is answered as a mismatch.",
        ["atomic/A6-contention-is-not-a-mismatch"],
        Contention<Mismatched>
    ),
    bug!(
        "contention-is-an-error",
        "A compare-and-set that meets another write fails for good.",
        ["atomic/A6-contention-is-not-a-mismatch"],
        Contention<Failed>
    ),
    bug!(
        "stale-read",
        "A handle remembers what it read, and does not ask again.",
        [
            "atomic/A1-every-handle-sees-what-another-wrote",
            "atomic/A1-every-instance-sees-what-another-wrote",
            "atomic/A1-reads-never-go-back",
            "atomic/A1-reads-by-another-instance-never-go-back",
            "atomic/A1-histories-of-handles-are-linearizable",
            "atomic/A1-histories-of-instances-are-linearizable",
            "atomic/A5-histories-with-lost-answers"
        ],
        StaleRead
    ),
    bug!(
        "empty-is-absent",
        "An empty value reads as absent.",
        [
            "value/V1-an-empty-value-is-not-absent",
            "atomic/A2-test-and-set-truth-table",
            "value/V1-an-empty-content-is-not-absent"
        ],
        EmptyIsAbsent
    ),
    bug!(
        "long-value-accepted",
        "A value over the limit is cut to it, and accepted.",
        [
            "value/V1-a-longer-value-is-refused-and-nothing-written",
            "value/V1-a-longer-content-is-refused-and-nothing-written"
        ],
        LongValueAccepted
    ),
    bug!(
        "long-value-cut",
        "A value is cut to sixty-four kibibytes.",
        [
            "value/V1-the-longest-value-is-kept",
            "value/V1-any-bytes-of-any-length-are-kept",
            "value/V1-what-was-read-stays-what-it-was",
            "value/V1-the-longest-content-is-kept",
            "value/V1-any-content-of-any-length-is-kept"
        ],
        LongValueCut
    ),
    bug!(
        "written-in-two-steps",
        "The first half of a value is there before the whole is.",
        ["atomic/A1-a-read-amid-writes-is-of-one-value", "atomic/A9-a-dropped-write-is-whole-and-the-store-works-on"],
        WrittenInTwoSteps
    ),
    bug!(
        "applied-told-as-not-applied",
        "One write in eight takes effect, and fails with an error that says it did not.",
        ["atomic/A5-an-error-amid-others-tells-the-truth-of-its-effect"],
        AppliedToldAsNotApplied
    ),
    bug!(
        "compare-without-atomicity-on-disk",
        "Every compare-and-set of a store that processes share is a check and, a moment later, a set.",
        [
            "atomic/A1-processes-lose-no-increment",
            "atomic/A1-processes-that-are-killed-lose-no-increment",
            "atomic/A1-histories-of-several-processes",
        ],
        on Durable CompareWithoutAtomicity
    ),
    bug!(
        "lost-update-on-disk",
        "One compare-and-set in a hundred of a store that processes share is a check and, a moment later, a set.",
        ["atomic/A1-processes-lose-no-increment"],
        on Durable LostUpdate
    ),
    bug!(
        "stale-read-on-disk",
        "A handle of a store that processes share remembers what it read.",
        ["atomic/A1-histories-of-several-processes", "atomic/A1-histories-of-processes-that-are-killed"],
        on Durable StaleRead
    ),
    bug!(
        "applied-told-as-not-applied-on-disk",
        "One write in eight reaches the disk, and fails with an error that says it did not.",
        ["atomic/A5-errors-of-the-disk-tell-the-effect"],
        on Durable AppliedToldAsNotApplied
    ),
    bug!(
        "compared-told-as-not-applied-on-disk",
        "One compare-and-set in four reaches the disk, and fails with an error that says it did not.",
        ["atomic/A5-errors-of-the-disk-tell-the-effect"],
        on Durable ComparedToldAsNotApplied
    ),
    bug!(
        "removed-told-as-not-applied-on-disk",
        "One `remove` in four reaches the disk, and fails with an error that says it did not.",
        ["atomic/A5-errors-of-the-disk-tell-the-effect"],
        on Durable RemovedToldAsNotApplied
    ),
    bug!(
        "committed-told-as-not-applied-on-disk",
        "One commit in four reaches the disk, and fails with an error that says it did not.",
        ["atomic/A5-errors-of-the-disk-tell-the-effect"],
        on Durable CommittedToldAsNotApplied
    ),
    bug!(
        "compare-of-the-beginning",
        "A compare looks at the length of a value, and at its first thousand bytes.",
        ["atomic/A2-long-values-are-compared-to-the-last-byte"],
        CompareOfTheBeginning
    ),
    bug!(
        "refused-with-unknown-effect",
        "A write that is refused is said to have perhaps happened.",
        ["atomic/A5-a-refused-write-did-not-happen", "atomic/A5-a-refused-add-did-not-happen"],
        RefusedWithUnknownEffect
    ),
    bug!(
        "refused-once-refused-ever",
        "A handle that refused a write refuses all that follow.",
        ["error/E1-what-is-refused-can-be-corrected"],
        RefusedOnceRefusedEver
    ),
];

/// Lets a few microseconds pass.
pub(super) fn a_moment() {
    for _ in 0..200 {
        spin_loop();
    }
}

/// Counts calls, and picks one of so many.
#[derive(Default)]
pub(super) struct Nth(AtomicUsize);

impl Nth {
    pub(super) fn of(&self, so_many: usize) -> bool {
        self.0.fetch_add(1, Ordering::Relaxed) % so_many == so_many - 1
    }
}

/// A check and, a few microseconds later, a set.
async fn check_then_set(
    on: &Arc<dyn AtomicWrite>,
    key: &Key,
    test: Option<Bytes>,
    set: Option<Bytes>,
) -> Result<TestAndSet> {
    let current = on.find(key).await?;
    if current != test {
        return Ok(TestAndSet::Mismatch { current });
    }
    a_moment();
    put(&**on, key, set).await?;
    Ok(TestAndSet::Applied)
}

/// A twist of `test_and_set` alone.
macro_rules! twist_test_and_set {
    ($bug:ty, |$self:ident, $on:ident, $key:ident, $test:ident, $set:ident| $body:block) => {
        #[async_trait]
        impl Twist for $bug {
            async fn test_and_set(
                &$self,
                $on: &Arc<dyn AtomicWrite>,
                $key: &Key,
                $test: Option<Bytes>,
                $set: Option<Bytes>,
            ) -> Result<TestAndSet> $body
        }
    };
}

/// A twist of `set` alone.
macro_rules! twist_set {
    ($bug:ty, |$self:ident, $on:ident, $key:ident, $value:ident| $body:block) => {
        #[async_trait]
        impl Twist for $bug {
            async fn set(&$self, $on: &Arc<dyn AtomicWrite>, $key: &Key, $value: Bytes) -> Result<()> $body
        }
    };
}

struct LostUpdate(Mutex<fastrand::Rng>);

impl Default for LostUpdate {
    fn default() -> Self {
        // Processes that begin alike would lose the same of their updates.
        Self(Mutex::new(fastrand::Rng::with_seed(std::process::id().into())))
    }
}

twist_test_and_set!(LostUpdate, |self, on, key, test, set| {
    let loses = lock(&self.0).u32(..100) == 0;
    if loses { check_then_set(on, key, test, set).await } else { on.test_and_set(key, test, set).await }
});

#[derive(Default)]
struct CompareWithoutAtomicity;

twist_test_and_set!(CompareWithoutAtomicity, |self, on, key, test, set| { check_then_set(on, key, test, set).await });

#[derive(Default)]
struct RetryAppliedTwice;

twist_test_and_set!(RetryAppliedTwice, |self, on, key, test, set| {
    let verdict = on.test_and_set(key, test, set.clone()).await?;
    if verdict.is_applied() {
        yield_now().await;
        put(&**on, key, set).await?;
    }
    Ok(verdict)
});

#[derive(Default)]
struct MismatchThatWrites;

twist_test_and_set!(MismatchThatWrites, |self, on, key, test, set| {
    let verdict = on.test_and_set(key, test, set.clone()).await?;
    if !verdict.is_applied() {
        put(&**on, key, set).await?;
    }
    Ok(verdict)
});

#[derive(Default)]
struct AppliedToldAsMismatch(Nth);

twist_test_and_set!(AppliedToldAsMismatch, |self, on, key, test, set| {
    let verdict = on.test_and_set(key, test, set.clone()).await?;
    Ok(if verdict.is_applied() && self.0.of(10) { TestAndSet::Mismatch { current: set } } else { verdict })
});

#[derive(Default)]
struct MismatchWithoutCurrent;

twist_test_and_set!(MismatchWithoutCurrent, |self, on, key, test, set| {
    let verdict = on.test_and_set(key, test, set).await?;
    Ok(if verdict.is_applied() { verdict } else { TestAndSet::Mismatch { current: None } })
});

#[derive(Default)]
struct AbsentMeansAny;

twist_test_and_set!(AbsentMeansAny, |self, on, key, test, set| {
    if test.is_none() {
        put(&**on, key, set).await?;
        return Ok(TestAndSet::Applied);
    }
    on.test_and_set(key, test, set).await
});

#[derive(Default)]
struct EqualSetIsAMismatch;

twist_test_and_set!(EqualSetIsAMismatch, |self, on, key, test, set| {
    if test == set {
        return Ok(TestAndSet::Mismatch { current: on.find(key).await? });
    }
    on.test_and_set(key, test, set).await
});

/// What is answered to who meets another.
trait Answer: Default + Send + Sync {
    fn answer(current: Option<Bytes>) -> Result<TestAndSet>;
}

#[derive(Default)]
struct Mismatched;

impl Answer for Mismatched {
    fn answer(current: Option<Bytes>) -> Result<TestAndSet> {
        Ok(TestAndSet::Mismatch { current })
    }
}

#[derive(Default)]
struct Failed;

impl Answer for Failed {
    fn answer(_: Option<Bytes>) -> Result<TestAndSet> {
        Err(Error::new(ErrorKind::Other, "somebody else is writing"))
    }
}

#[derive(Default)]
struct Contention<A> {
    writers: AtomicUsize,
    answer: std::marker::PhantomData<A>,
}

#[async_trait]
impl<A: Answer> Twist for Contention<A> {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.writers.fetch_add(1, Ordering::SeqCst);
        let set = on.set(key, value).await;
        std::thread::yield_now();
        self.writers.fetch_sub(1, Ordering::SeqCst);
        set
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        let alone = self.writers.fetch_add(1, Ordering::SeqCst) == 0;
        let verdict = if alone { on.test_and_set(key, test, set).await } else { A::answer(on.find(key).await?) };
        std::thread::yield_now();
        self.writers.fetch_sub(1, Ordering::SeqCst);
        verdict
    }
}

#[derive(Default)]
struct StaleRead {
    /// By handle and key.
    read: Mutex<HashMap<(usize, Key), Option<Bytes>>>,
}

impl StaleRead {
    fn remember(&self, on: &Arc<dyn AtomicWrite>, key: &Key, state: Option<Bytes>) -> Option<Bytes> {
        let mut read = lock(&self.read);
        read.entry((address_of(on), key.clone())).or_insert(state).clone()
    }

    fn forget(&self, on: &Arc<dyn AtomicWrite>, key: &Key) {
        lock(&self.read).remove(&(address_of(on), key.clone()));
    }
}

/// What a handle is told from others by.
pub(super) fn address_of(on: &Arc<dyn AtomicWrite>) -> usize {
    Arc::as_ptr(on).cast::<()>() as usize
}

#[async_trait]
impl Twist for StaleRead {
    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        let found = on.find(key).await?;
        Ok(self.remember(on, key, found))
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.forget(on, key);
        on.set(key, value).await
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        self.forget(on, key);
        on.remove(key).await
    }
}

#[derive(Default)]
struct EmptyIsAbsent;

#[async_trait]
impl Twist for EmptyIsAbsent {
    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        Ok(on.find(key).await?.filter(|value| !value.is_empty()))
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        Ok(on.find(key).await?.filter(|value| !value.is_empty()))
    }
}

#[derive(Default)]
struct LongValueAccepted;

#[async_trait]
impl Twist for LongValueAccepted {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(key, begin_of(&value, store_api::MAX_VALUE_LEN)).await
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        on.add(begin_of(&value, store_api::MAX_VALUE_LEN)).await
    }
}

fn begin_of(value: &Bytes, most: usize) -> Bytes {
    value.slice(..value.len().min(most))
}

#[derive(Default)]
struct LongValueCut;

impl LongValueCut {
    const KEPT: usize = 1 << 16;
}

#[async_trait]
impl Twist for LongValueCut {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(key, begin_of(&value, Self::KEPT)).await
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        on.unsafe_add(on.hash_function().hash(&value), begin_of(&value, Self::KEPT)).await
    }
}

#[derive(Default)]
struct WrittenInTwoSteps;

twist_set!(WrittenInTwoSteps, |self, on, key, value| {
    on.set(key, value.slice(..value.len() / 2)).await?;
    a_moment();
    yield_now().await;
    on.set(key, value).await
});

#[derive(Default)]
struct AppliedToldAsNotApplied(Nth);

twist_set!(AppliedToldAsNotApplied, |self, on, key, value| {
    on.set(key, value).await?;
    if self.0.of(8) { Err(not_applied()) } else { Ok(()) }
});

/// What is said of writes that did happen.
fn not_applied() -> Error {
    Error::new(ErrorKind::Unavailable, "busy: try again").with_effect(Effect::NotApplied)
}

#[derive(Default)]
struct ComparedToldAsNotApplied(Nth);

twist_test_and_set!(ComparedToldAsNotApplied, |self, on, key, test, set| {
    let verdict = on.test_and_set(key, test, set).await?;
    if verdict.is_applied() && self.0.of(4) { Err(not_applied()) } else { Ok(verdict) }
});

#[derive(Default)]
struct RemovedToldAsNotApplied(Nth);

#[async_trait]
impl Twist for RemovedToldAsNotApplied {
    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        on.remove(key).await?;
        if self.0.of(4) { Err(not_applied()) } else { Ok(()) }
    }
}

#[derive(Default)]
struct CommittedToldAsNotApplied(Nth);

#[async_trait]
impl Twist for CommittedToldAsNotApplied {
    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        on.batch.commit().await?;
        if self.0.of(4) { Err(not_applied()) } else { Ok(()) }
    }
}

#[derive(Default)]
struct CompareOfTheBeginning;

twist_test_and_set!(CompareOfTheBeginning, |self, on, key, test, set| {
    let current = on.find(key).await?;
    let looked_at = |state: &Option<Bytes>| state.as_ref().map(|value| (value.len(), begin_of(value, 1000)));
    let taken_for = if looked_at(&current) == looked_at(&test) { current } else { test };
    on.test_and_set(key, taken_for, set).await
});

#[derive(Default)]
struct RefusedWithUnknownEffect;

#[async_trait]
impl Twist for RefusedWithUnknownEffect {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        on.set(key, value).await.map_err(|error| error.with_effect(Effect::Unknown))
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        on.add(value).await.map_err(|error| error.with_effect(Effect::Unknown))
    }
}

#[derive(Default)]
struct RefusedOnceRefusedEver {
    /// By address.
    refusing: Mutex<HashSet<usize>>,
}

twist_set!(RefusedOnceRefusedEver, |self, on, key, value| {
    if lock(&self.refusing).contains(&address_of(on)) {
        return Err(Error::new(ErrorKind::Other, "a write failed before"));
    }
    let set = on.set(key, value).await;
    if set.is_err() {
        lock(&self.refusing).insert(address_of(on));
    }
    set
});
