//! Bugs of batches.

use std::{
    collections::HashSet,
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use store_api::{Batch, ContentHash, ContentKey, Error, ErrorKind, Indexable, Result};
use tokio::{task::yield_now, time::sleep};

use crate::lock::lock;

use super::{
    Bug,
    twist::{OpenBatch, Twist},
};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "torn-batch",
        "A commit adds the first half of a batch, and a moment later the rest.",
        [
            "index/I7-between-the-steps-of-a-commit-all-or-nothing-is-seen",
            "index/I7-a-dropped-commit-is-whole-or-nothing"
        ],
        TornBatch
    ),
    bug!(
        "batch-visible-early",
        "What is added to a batch is in the store before the commit.",
        [
            "index/I7-nothing-is-seen-before-the-commit",
            "index/I7-another-instance-sees-nothing-before-the-commit-and-all-after",
            "index/I7-with-its-handle-closed-it-leaves-nothing",
            "index/I7-with-its-instance-closed-it-leaves-nothing"
        ],
        BatchVisibleEarly
    ),
    bug!(
        "aborted-batch-visible",
        "An aborted batch is committed.",
        ["index/I7-aborted-or-dropped-nothing-of-it-is-found"],
        AbortedBatchVisible
    ),
    bug!(
        "aborted-batch-leaves-a-value",
        "An aborted batch leaves the last of its values.",
        ["index/I7-a-batch-whose-answer-was-lost-is-whole", "index/I7-aborted-or-dropped-nothing-of-it-is-found",],
        AbortedBatchLeavesAValue
    ),
    bug!(
        "commit-beside-another-forgets",
        "A batch whose commit begins while another one is under way is acknowledged and forgotten.",
        ["index/I7-batches-on-many-threads-all-commit"],
        CommitBesideAnotherForgets
    ),
    bug!(
        "batch-holds-a-lock",
        "While a batch is open, others wait to add.",
        [
            "index/I7-an-open-batch-holds-up-nobody",
            "index/I7-an-open-batch-holds-up-no-other-instance",
            "index/I7-from-inside-a-batch-the-store-goes-on"
        ],
        waits BatchHoldsALock
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
        ["index/I7-afterwards-it-is-closed", "index/I7-an-add-beside-the-commit-is-in-or-refused"],
        BatchGoesOn
    ),
    bug!(
        "batch-without-cap",
        "What is too much for a batch is added beside it.",
        ["index/I7-beyond-its-cap-it-refuses-and-stays-as-it-was", "index/I7-it-is-capped-by-default"],
        BatchWithoutCap
    ),
    bug!(
        "batch-one-by-one",
        "A commit adds the values of a batch one after the other.",
        [
            "index/I7-readers-see-all-of-a-batch-or-nothing",
            "index/I7-readers-in-another-instance-see-all-of-a-batch-or-nothing",
            "index/I7-who-lists-one-value-of-a-batch-finds-all",
            "index/I7-who-lists-one-value-of-a-batch-in-another-instance-finds-all"
        ],
        BatchOneByOne
    ),
    bug!(
        "batch-one-by-one-on-disk",
        "A commit to a file adds the values of a batch one after the other.",
        [
            "index/I7-a-dropped-commit-is-whole-or-nothing-after-a-reopen",
            "index/I7-a-killed-writer-leaves-whole-batches",
            "index/I7-a-power-loss-leaves-whole-batches",
        ],
        on Durable BatchOneByOne
    ),
    bug!(
        "batch-visible-early-on-disk",
        "What is added to a batch is in the file before the commit.",
        ["index/I7-a-reopened-store-has-committed-batches-only"],
        on Durable BatchVisibleEarly
    ),
    bug!(
        "commit-forgets",
        "A batch is acknowledged and forgotten.",
        [
            "index/I7-a-committed-batch-is-found",
            "index/I7-a-batch-of-many-megabytes-commits",
            "index/I7-a-batch-whose-answer-was-lost-is-whole",
            "index/I7-a-closure-commits-on-ok-and-aborts-otherwise",
            "index/I7-batches-on-many-threads-all-commit",
            "index/I7-batches-with-equal-values-all-commit",
            "handle/L2-other-handles-of-the-content-do-not-notice-a-close",
        ],
        CommitForgets
    ),
    bug!(
        "empty-commit-fails",
        "To commit a batch with nothing in it is an error.",
        ["index/I7-an-empty-batch-ends-like-any-other"],
        EmptyCommitFails
    ),
    bug!(
        "abort-removes-what-others-added",
        "An abort removes the values that others added meanwhile.",
        ["index/I7-what-others-added-outlives-an-abort"],
        AbortRemovesWhatOthersAdded
    ),
    bug!(
        "late-abort-succeeds",
        "An abort of a batch that was committed succeeds.",
        ["index/I7-of-commit-and-abort-at-once-one-decides", "index/I7-afterwards-it-is-closed"],
        LateAbortSucceeds
    ),
];

#[derive(Default)]
struct TornBatch;

#[async_trait]
impl Twist for TornBatch {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.add_and_remember(value).await
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        let added = std::mem::take(&mut *lock(&on.added));
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

    async fn batch_unsafe_add(&self, on: &OpenBatch, hash: ContentHash, value: Bytes) -> Result<ContentKey> {
        match on.batch.unsafe_add(hash, value.clone()).await {
            Err(error) if error.kind() == ErrorKind::ValueTooLarge => on.content.unsafe_add(hash, value).await,
            added => added,
        }
    }
}

#[derive(Default)]
struct BatchOneByOne;

#[async_trait]
impl Twist for BatchOneByOne {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.add_and_remember(value).await
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        let added = std::mem::take(&mut *lock(&on.added));
        for value in added {
            on.content.add(value).await?;
        }
        on.batch.commit().await
    }
}

#[derive(Default)]
struct CommitForgets;

#[async_trait]
impl Twist for CommitForgets {
    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        on.batch.abort().await
    }
}

#[derive(Default)]
struct AbortedBatchLeavesAValue;

#[async_trait]
impl Twist for AbortedBatchLeavesAValue {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.add_and_remember(value).await
    }

    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        on.batch.abort().await?;
        let last = lock(&on.added).last().cloned();
        match last {
            Some(last) => on.content.add(last).await.map(drop),
            None => Ok(()),
        }
    }
}

#[derive(Default)]
struct CommitBesideAnotherForgets {
    under_way: AtomicUsize,
}

#[async_trait]
impl Twist for CommitBesideAnotherForgets {
    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        let beside = self.under_way.fetch_add(1, Ordering::SeqCst) > 0;
        std::thread::yield_now();
        let committed = if beside { on.batch.abort().await } else { on.batch.commit().await };
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        committed
    }
}

#[derive(Default)]
struct EmptyCommitFails;

#[async_trait]
impl Twist for EmptyCommitFails {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.add_and_remember(value).await
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        if lock(&on.added).is_empty() {
            return Err(Error::new(ErrorKind::InvalidInput, "there is nothing to commit"));
        }
        on.batch.commit().await
    }
}

#[derive(Default)]
struct AbortRemovesWhatOthersAdded {
    removed: Mutex<HashSet<ContentHash>>,
}

#[async_trait]
impl Twist for AbortRemovesWhatOthersAdded {
    async fn batch_add(&self, on: &OpenBatch, value: Bytes) -> Result<ContentKey> {
        on.add_and_remember(value).await
    }

    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        let function = on.content.hash_function();
        lock(&self.removed).extend(lock(&on.added).iter().map(|value| function.hash(value)));
        on.batch.abort().await
    }

    async fn content_find(&self, on: &Arc<dyn Indexable>, key: &ContentKey) -> Result<Option<Bytes>> {
        if lock(&self.removed).contains(&key.to_hash()) {
            return Ok(None);
        }
        on.find(key).await
    }
}

#[derive(Default)]
struct LateAbortSucceeds;

#[async_trait]
impl Twist for LateAbortSucceeds {
    async fn abort(&self, on: &OpenBatch) -> Result<()> {
        match on.batch.abort().await {
            Err(error) if error.kind() == ErrorKind::Closed => Ok(()),
            aborted => aborted,
        }
    }
}
