//! Convenience over the traits, so that a backend implements little and a wrapper cannot lose an override.

use std::{future::poll_fn, sync::Arc};

use async_trait::async_trait;
use bytes::Bytes;

use crate::{Batch, ContentHash, ContentRead, EntryRead, Indexed, Key, Result};

/// Convenience over [`EntryRead`].
#[async_trait]
pub trait EntryReadExt: EntryRead {
    /// The keys at and below a path, sorted by their bytes, all in memory; the first error of the stream ends it.
    async fn list_sorted(&self, under: &Key) -> Result<Vec<Key>> {
        let mut stream = self.list(under);
        let mut keys = Vec::new();
        while let Some(key) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            keys.push(key?);
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// The keys at and below a path with their values, sorted by the bytes of the keys, all in memory; the first error of
    /// the stream ends it.
    async fn entries_sorted(&self, under: &Key) -> Result<Vec<(Key, Bytes)>> {
        let mut stream = self.entries(under);
        let mut entries = Vec::new();
        while let Some(entry) = poll_fn(|cx| stream.as_mut().poll_next(cx)).await {
            entries.push(entry?);
        }
        entries.sort_unstable();
        Ok(entries)
    }
}

impl<T: EntryRead + ?Sized> EntryReadExt for T {}

/// Convenience over [`ContentRead`].
#[async_trait]
pub trait ContentReadExt: ContentRead {
    /// The value with a hash: [`index`](ContentRead::index), then [`find`](ContentRead::find).
    async fn resolve(&self, hash: &ContentHash) -> Result<Option<Bytes>> {
        match self.index(hash).await? {
            Some(key) => self.find(&key).await,
            None => Ok(None),
        }
    }
}

impl<T: ContentRead + ?Sized> ContentReadExt for T {}

/// Convenience over [`Indexed`].
#[async_trait]
pub trait IndexedExt: Indexed {
    /// Runs `body` with a batch: committed when it returns `Ok`, aborted when it returns `Err` or is dropped (I7).
    ///
    /// `body` may keep a clone of the batch; after the end it answers `Closed`. The error type is the caller's own, and
    /// an `Err` of `body` is given back as it is.
    #[doc(alias = "transaction")]
    async fn batch<T, E, F, B>(&self, body: B) -> Result<T, E>
    where
        B: FnOnce(Arc<dyn Batch>) -> F + Send,
        F: Future<Output = Result<T, E>> + Send,
        T: Send,
        E: From<crate::Error> + Send,
    {
        let batch: Arc<dyn Batch> = self.begin().await?.into();
        match body(Arc::clone(&batch)).await {
            Ok(value) => {
                batch.commit().await?;
                Ok(value)
            }
            Err(error) => {
                // What the body says is why it ended. A batch that cannot be aborted was ended before, or goes when it is
                // dropped.
                let _ = batch.abort().await;
                Err(error)
            }
        }
    }
}

impl<T: Indexed + ?Sized> IndexedExt for T {}
