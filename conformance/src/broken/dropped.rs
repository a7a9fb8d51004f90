//! Bugs that show when something is dropped: a future on its way, a handle, an instance.

use std::sync::{
    Arc, Mutex,
    atomic::{AtomicBool, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::FutureExt;
use store_api::{AtomicWrite, Backend, ContentKey, Indexable, Key, Result};
use tokio::task::yield_now;

use super::{
    Bug,
    twist::{Twist, lock},
};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "dropped-write-keeps-its-lock",
        "A write that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-writes"],
        DroppedWriteKeepsItsLock
    ),
    bug!(
        "dropped-read-keeps-its-lock",
        "A read that is dropped while it waits keeps the lock that it holds.",
        ["atomic/A9-the-store-works-on-after-dropped-reads"],
        DroppedReadKeepsItsLock
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

/// Writes that come again, and behind how many others.
type Again = Mutex<Vec<(usize, Key, Bytes)>>;

/// A write on its way, which comes again where it is dropped there.
struct OnItsWay<'a> {
    again: &'a Again,
    write: Option<(Key, Bytes)>,
}

impl Drop for OnItsWay<'_> {
    fn drop(&mut self) {
        const BEHIND: usize = 3;
        lock(self.again).extend(self.write.take().map(|(key, value)| (BEHIND, key, value)));
    }
}

#[derive(Default)]
struct DroppedWriteComesAgain {
    again: Again,
}

#[async_trait]
impl Twist for DroppedWriteComesAgain {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        let mut way = OnItsWay { again: &self.again, write: Some((key.clone(), value.clone())) };
        on.set(key, value).await?;
        yield_now().await;
        way.write = None;
        let due: Vec<_> = {
            let mut again = lock(&self.again);
            again.iter_mut().for_each(|(behind, ..)| *behind -= 1);
            again.extract_if(.., |(behind, ..)| *behind == 0).collect()
        };
        for (_, key, value) in due {
            on.set(&key, value).await?;
        }
        Ok(())
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
