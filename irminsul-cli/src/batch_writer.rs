//! Adding many values of content in batches, bounded in memory.

use irminsul::{Batch, Bytes, ContentHash, ContentRead, ErrorKind, Indexable, Result};

/// A batch of this many bytes is committed: enough to share its cost, and little beside the longest value.
const FULL_BYTES: usize = 8 * 1024 * 1024;
/// A batch of this many values is committed.
const FULL_VALUES: usize = 1024;

/// Whether the store has a value, as far as it can tell: one that it may have lost is to be given to it. Asked before a
/// value is added, since an instance of some stores stores again what it has not looked for.
pub(crate) async fn is_present(store: &dyn ContentRead, hash: &ContentHash) -> Result<bool> {
    match store.index(hash).await {
        Err(error) if error.kind() == ErrorKind::Corrupt => Ok(false),
        found => found.map(|key| key.is_some()),
    }
}

/// Adds values to a store. They are there once [`commit`](Self::commit) returned.
pub(crate) struct BatchWriter<'s> {
    store: &'s dyn Indexable,
    batch: Option<Box<dyn Batch>>,
    bytes: usize,
    values: usize,
}

impl<'s> BatchWriter<'s> {
    pub(crate) fn new(store: &'s dyn Indexable) -> Self {
        Self { store, batch: None, bytes: 0, values: 0 }
    }

    /// Adds a value under its hash, which the caller computed.
    pub(crate) async fn add(&mut self, hash: ContentHash, value: Bytes) -> Result<()> {
        let len = value.len();
        let batch = match &mut self.batch {
            Some(batch) => batch,
            none => none.insert(self.store.begin().await?),
        };
        match batch.unsafe_add(hash, value.clone()).await {
            // The store's own cap on batches can be below a single value: such a one goes alone.
            Err(error) if error.kind() == ErrorKind::ValueTooLarge => {
                self.commit().await?;
                self.store.unsafe_add(hash, value).await?;
            }
            result => {
                result?;
                self.bytes += len;
                self.values += 1;
            }
        }
        Ok(())
    }

    /// Whether it is time to [`commit`](Self::commit): the batch is full, or a value that went alone ended it.
    pub(crate) fn is_due(&self) -> bool {
        self.batch.is_none() || self.bytes >= FULL_BYTES || self.values >= FULL_VALUES
    }

    pub(crate) async fn commit(&mut self) -> Result<()> {
        (self.bytes, self.values) = (0, 0);
        match self.batch.take() {
            Some(batch) => batch.commit().await,
            None => Ok(()),
        }
    }
}
