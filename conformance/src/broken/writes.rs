//! Bugs of writes, and of reads of what was written.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{AtomicWrite, Key, Result, TestAndSet};

use super::{Bug, bug, twist::Twist};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "lost-update",
        "One compare-and-set in a hundred is a check and, a moment later, a set.",
        ["atomic/A1-concurrent-increments-are-all-counted"],
        LostUpdate
    ),
    bug!(
        "mismatch-that-writes",
        "A compare-and-set that does not match sets all the same.",
        ["atomic/A2-test-and-set-truth-table"],
        MismatchThatWrites
    ),
];

/// A check and a set with a few microseconds between them.
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
    match set {
        Some(value) => on.set(key, value).await?,
        None => on.remove(key).await?,
    }
    Ok(TestAndSet::Applied)
}

#[derive(Default)]
struct LostUpdate {
    calls: AtomicU64,
}

#[async_trait]
impl Twist for LostUpdate {
    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        if self.calls.fetch_add(1, Ordering::Relaxed) % 100 == 99 {
            return check_then_set(on, key, test, set).await;
        }
        on.test_and_set(key, test, set).await
    }
}

#[derive(Default)]
struct MismatchThatWrites;

#[async_trait]
impl Twist for MismatchThatWrites {
    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        let verdict = on.test_and_set(key, test, set.clone()).await?;
        if let (TestAndSet::Mismatch { .. }, Some(value)) = (&verdict, set) {
            on.set(key, value).await?;
        }
        Ok(verdict)
    }
}
