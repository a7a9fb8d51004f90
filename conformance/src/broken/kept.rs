//! Bugs that show when a future is kept on its way and nobody polls it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{AtomicWrite, Backend, ContentHash, ContentKey, Indexable, Key, Result};
use tokio::{sync::Mutex, task::yield_now};

use super::{Bug, twist::Twist};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "kept-write-keeps-its-lock",
        "A write whose future is not polled keeps the lock that other writes wait for.",
        ["atomic/A7-calls-on-entries-that-nobody-polls-hold-up-no-other"],
        waits KeptCallKeepsItsLock
    ),
    bug!(
        "kept-lookup-keeps-its-lock",
        "A lookup of content whose future is not polled keeps the lock that other lookups wait for.",
        ["atomic/A7-calls-on-content-that-nobody-polls-hold-up-no-other"],
        waits KeptCallKeepsItsLock
    ),
    bug!(
        "close-waits-for-kept-calls",
        "A close waits for a call whose future is not polled.",
        ["handle/L3-calls-that-nobody-polls-hold-up-no-close"],
        waits CloseWaitsForKeptCalls
    ),
];

/// A lock that is held across an await, by a future or by what waits for it in one.
#[derive(Default)]
struct Held(Mutex<()>);

impl Held {
    async fn during<T>(&self, call: impl Future<Output = T>) -> T {
        let _held = self.0.lock().await;
        yield_now().await;
        call.await
    }
}

#[derive(Default)]
struct KeptCallKeepsItsLock(Held);

#[async_trait]
impl Twist for KeptCallKeepsItsLock {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.0.during(on.set(key, value)).await
    }

    async fn index(&self, on: &Arc<dyn Indexable>, hash: &ContentHash) -> Result<Option<ContentKey>> {
        self.0.during(on.index(hash)).await
    }
}

#[derive(Default)]
struct CloseWaitsForKeptCalls(Held);

#[async_trait]
impl Twist for CloseWaitsForKeptCalls {
    async fn find(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<Option<Bytes>> {
        self.0.during(on.find(key)).await
    }

    async fn close_backend(&self, on: &dyn Backend) -> Result<()> {
        self.0.during(on.close()).await
    }
}
