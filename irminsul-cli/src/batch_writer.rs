//! Adding many values of content in batches, bounded in memory.

use irminsul::{Batch, Bytes, ContentHash, ErrorKind, Indexable, Result};

/// A batch of this many bytes is committed: enough to share its cost, and little beside the longest value.
const FULL_BYTES: usize = 8 * 1024 * 1024;
/// A batch of this many values is committed.
const FULL_VALUES: usize = 1024;

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
