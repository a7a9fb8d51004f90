//! Bugs that show when something is dropped: a future on its way, a handle, an instance.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use store_api::{AtomicWrite, Backend, Batch, ContentHash, ContentKey, Indexable, Init, Key, Result, Watch};
use tokio::task::yield_now;

use crate::lock::lock;

use super::{Bug, twist::Twist};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "dropped-write-keeps-its-lock",
        "A write that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-writes"],
        waits DroppedWriteKeepsItsLock
    ),
    bug!(
        "dropped-read-keeps-its-lock",
        "A read that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-reads"],
        waits DroppedReadKeepsItsLock
    ),
    bug!(
        "dropped-clear-keeps-its-lock",
        "A `clear` that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-a-dropped-clear"],
        waits DroppedClearKeepsItsLock
    ),
    bug!(
        "dropped-watch-keeps-its-lock",
        "A watch that is dropped while it begins keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-starts-and-ends-of-watches"],
        waits DroppedWatchKeepsItsLock
    ),
    bug!(
        "dropped-begin-keeps-its-lock",
        "A batch that is dropped while it begins keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-reads-of-content"],
        waits DroppedBeginKeepsItsLock
    ),
    bug!(
        "dropped-sync-keeps-its-lock",
        "A `sync` that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-a-dropped-sync"],
        waits DroppedSyncKeepsItsLock
    ),
    bug!(
        "dropped-close-keeps-its-lock",
        "A `close` that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-a-dropped-close-of-a-handle-disturbs-no-other"],
        waits DroppedCloseKeepsItsLock
    ),
    bug!(
        "dropped-close-of-an-instance-keeps-its-lock",
        "A `close` of an instance that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-a-close-of-an-instance-that-was-dropped-can-be-asked-for-again"],
        on Durable waits DroppedCloseKeepsItsLock
    ),
    bug!(
        "dropped-write-comes-again",
        "A write that was dropped after it took effect does so again, behind a later write.",
        [
            "atomic/A9-a-dropped-write-is-told-at-most-once",
            "atomic/A9-histories-with-dropped-operations-are-linearizable",
            "atomic/A9-nothing-happens-after-close",
        ],
        DroppedWriteComesAgain
    ),
    bug!(
        "dropped-write-comes-when-reopened",
        "A write that was dropped is done when the store is open again.",
        ["atomic/A9-nothing-happens-after-close-and-reopening"],
        on Durable DroppedWriteComesAgain
    ),
    bug!(
        "dropped-add-is-torn",
        "An `add` that is dropped leaves the first half of its value.",
        ["atomic/A9-a-dropped-add-is-whole-and-the-store-works-on"],
        DroppedAddIsTorn
    ),
    bug!(
        "dropped-unsafe-add-is-torn",
        "An `unsafe_add` that is dropped leaves the first half of its value.",
        ["atomic/A9-a-dropped-add-is-whole-and-the-store-works-on"],
        DroppedUnsafeAddIsTorn
    ),
    bug!(
        "dropped-handle-is-closed",
        "A handle that is dropped ends its watches.",
        ["watch/W10-a-handle-that-is-dropped-is-not-closed"],
        DroppedHandleIsClosed
    ),
    bug!(
        "dropped-instance-is-closed",
        "An instance that is dropped closes its handles.",
        ["handle/L2-a-handle-outlives-its-dropped-instance"],
        DroppedInstanceIsClosed
    ),
];

/// A lock that only who comes to the end of its work gives back.
#[derive(Default)]
struct Forgotten(AtomicBool);

impl Forgotten {
    async fn held<T>(&self, work: impl Future<Output = T>) -> T {
        while self.0.swap(true, Ordering::AcqRel) {
            yield_now().await;
        }
        yield_now().await;
        let done = work.await;
        self.0.store(false, Ordering::Release);
        done
    }
}

#[derive(Default)]
struct DroppedWriteKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedWriteKeepsItsLock {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.0.held(on.set(key, value)).await
    }
}

#[derive(Default)]
struct DroppedReadKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedReadKeepsItsLock {
    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        self.0.held(on.find(key)).await
    }
}

#[derive(Default)]
struct DroppedClearKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedClearKeepsItsLock {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        self.0.held(on.clear()).await
    }
}

#[derive(Default)]
struct DroppedWatchKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedWatchKeepsItsLock {
    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        self.0.held(on.watch(under, init)).await
    }
}

#[derive(Default)]
struct DroppedBeginKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedBeginKeepsItsLock {
    async fn begin(&self, on: &Arc<dyn Indexable>) -> Result<Box<dyn Batch>> {
        self.0.held(on.begin()).await
    }
}

#[derive(Default)]
struct DroppedSyncKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedSyncKeepsItsLock {
    async fn sync(&self, on: &dyn Backend) -> Result<()> {
        self.0.held(on.sync()).await
    }
}

#[derive(Default)]
struct DroppedCloseKeepsItsLock(Forgotten);

#[async_trait]
impl Twist for DroppedCloseKeepsItsLock {
    async fn close_entries(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        self.0.held(on.close()).await
    }

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        self.0.held(on.close()).await
    }
}

/// Writes that come later, and behind how many others.
#[derive(Default)]
struct Late(Mutex<Vec<(usize, Key, Bytes)>>);

impl Late {
    /// Does those whose turn it is behind another one.
    async fn come(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        let due: Vec<_> = {
            let mut late = lock(&self.0);
            late.iter_mut().for_each(|(behind, ..)| *behind -= 1);
            late.extract_if(.., |(behind, ..)| *behind == 0).collect()
        };
        for (_, key, value) in due {
            on.set(&key, value).await?;
        }
        Ok(())
    }
}

/// A write on its way, which comes later where it is dropped there.
struct OnItsWay<'a> {
    late: &'a Late,
    write: Option<(usize, Key, Bytes)>,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        lock(&self.late.0).extend(self.write.take());
    }
}

#[derive(Default)]
struct DroppedWriteComesAgain {
    again: Late,
}

#[async_trait]
impl Twist for DroppedWriteComesAgain {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        let mut way = OnItsWay { late: &self.again, write: Some((3, key.clone(), value.clone())) };
        on.set(key, value).await?;
        yield_now().await;
        way.write = None;
        self.again.come(on).await
    }
}

#[derive(Default)]
struct DroppedAddIsTorn;

#[async_trait]
impl Twist for DroppedAddIsTorn {
    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        on.unsafe_add(on.hash_function().hash(&value), value.slice(..value.len() / 2)).await?;
        yield_now().await;
        on.add(value).await
    }
}

#[derive(Default)]
struct DroppedUnsafeAddIsTorn;

#[async_trait]
impl Twist for DroppedUnsafeAddIsTorn {
    async fn unsafe_add(&self, on: &Arc<dyn Indexable>, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        on.unsafe_add(hash, value.slice(..value.len() / 2)).await?;
        yield_now().await;
        on.unsafe_add(hash, value).await
    }
}

#[derive(Default)]
struct DroppedHandleIsClosed;

impl Twist for DroppedHandleIsClosed {
    fn entries_dropped(&self, on: &Arc<dyn AtomicWrite>) {
        // A store in memory closes without waiting.
        on.close().now_or_never();
    }
}

#[derive(Default)]
struct DroppedInstanceIsClosed;

impl Twist for DroppedInstanceIsClosed {
    fn backend_dropped(&self, on: &dyn Backend) {
        // A store in memory closes without waiting.
        on.close().now_or_never();
    }
}

#[cfg(test)]
mod tests {
    use backend_mem::MemOptions;

    use super::*;
    use crate::{
        Factory, Options, Place, Settings, Site, Verdict,
        broken::{Broken, Sound, ended},
    };

    /// A sound store whose writes that are dropped take effect once each, right behind the next one (A9).
    #[derive(Default)]
    struct DroppedWriteComesLate {
        late: Late,
    }

    #[async_trait]
    impl Twist for DroppedWriteComesLate {
        async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
            let mut way = OnItsWay { late: &self.late, write: Some((1, key.clone(), value.clone())) };
            yield_now().await;
            way.write = None;
            on.set(key, value).await?;
            self.late.come(on).await
        }
    }

    static LATE: Bug = bug!("dropped-write-comes-late", "Nothing is wrong with it.", ["none"], DroppedWriteComesLate);

    struct InMemory;

    #[async_trait]
    impl Factory for InMemory {
        fn name(&self) -> String {
            format!("{:?}", Sound::Shared)
        }

        async fn create(&self, place: Place<'_>) -> Result<Site> {
            Site::without_files(place)
        }

        async fn open(&self, token: &str, _: &Settings) -> Result<Arc<dyn Backend>> {
            Ok(Arc::new(MemOptions::named(token).open().await?))
        }
    }

    #[test]
    fn a_write_that_was_dropped_may_come_behind_the_next_one() {
        let factory: crate::SharedFactory = Arc::new(Broken::new(&LATE, Arc::new(InMemory)));
        let case = "atomic/A9-a-dropped-write-is-told-at-most-once";
        let report = ended(&factory, case, Options::new()).unwrap_or_else(|error| panic!("{error:?}"));
        assert_eq!(report.verdict, Verdict::Pass, "{report}");
    }
}
