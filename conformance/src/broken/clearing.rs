//! Bugs of `clear`.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::StreamExt;
use store_api::{
    AtomicWrite, ContentHash, ContentKey, EntryReadExt, Error, ErrorKind, Indexable, Key, Result, TestAndSet,
};

use crate::lock::lock;

use super::{Bug, twist::Twist};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "clear-leaves-a-key",
        "`clear` leaves the key that is first in order.",
        [
            "atomic/A8-clear-removes-every-entry",
            "atomic/A8-clear-amid-writes-removes-what-stayed",
            "atomic/A8-histories-with-clears-are-linearizable",
            "atomic/A8-histories-of-instances-with-clears-are-linearizable"
        ],
        ClearLeavesAKey
    ),
    bug!(
        "clear-of-nothing-fails",
        "`clear` of an empty store is an error.",
        ["atomic/A8-clear-of-an-empty-store-is-fine"],
        ClearOfNothingFails
    ),
    bug!(
        "clear-comes-again",
        "What is created after a `clear` is cleared, too.",
        ["atomic/A8-what-is-set-after-clear-stays"],
        ClearComesAgain
    ),
    bug!(
        "clear-removes-content",
        "`clear` removes the content as well.",
        ["atomic/A8-clear-removes-no-content"],
        ClearRemovesContent
    ),
];

#[derive(Default)]
struct ClearLeavesAKey;

#[async_trait]
impl Twist for ClearLeavesAKey {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        let first = on.list_sorted(&Key::root()).await?.into_iter().next();
        let kept = match &first {
            Some(key) => on.find(key).await?,
            None => None,
        };
        on.clear().await?;
        match first.zip(kept) {
            Some((key, value)) => on.set(&key, value).await,
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct ClearOfNothingFails;

#[async_trait]
impl Twist for ClearOfNothingFails {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        if on.list(&Key::root()).next().await.is_none() {
            return Err(Error::new(ErrorKind::Other, "there is nothing to clear"));
        }
        on.clear().await
    }
}

#[derive(Default)]
struct ClearComesAgain {
    due: AtomicBool,
}

#[async_trait]
impl Twist for ClearComesAgain {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        self.due.store(true, Ordering::SeqCst);
        on.clear().await
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        let verdict = on.test_and_set(key, test, set).await?;
        if self.due.swap(false, Ordering::SeqCst) {
            on.clear().await?;
        }
        Ok(verdict)
    }
}

#[derive(Default)]
struct ClearRemovesContent {
    added: Mutex<HashSet<ContentHash>>,
    removed: Mutex<HashSet<ContentHash>>,
}

#[async_trait]
impl Twist for ClearRemovesContent {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        lock(&self.removed).extend(lock(&self.added).drain());
        on.clear().await
    }

    async fn add(&self, on: &Arc<dyn Indexable>, value: Bytes) -> Result<ContentKey> {
        let key = on.add(value).await?;
        lock(&self.added).insert(key.to_hash());
        lock(&self.removed).remove(&key.to_hash());
        Ok(key)
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        if lock(&self.removed).contains(&key.to_hash()) {
            return Ok(None);
        }
        on.find(key).await
    }
}
