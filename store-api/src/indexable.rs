//! The indexable store: values under the hash of their content, and atomic batches of them.

use std::pin::Pin;

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::{ContentHash, ContentKey, HashFunction, Result};

/// Content keys, in no promised order, on the same terms as [`KeyStream`](crate::KeyStream) (A7).
pub type ContentKeyStream = Pin<Box<dyn Stream<Item = Result<ContentKey>> + Send>>;

/// Reading content.
///
/// Every operation of a closed handle is `Closed` (L1). An I/O error is an error, never "absent" (A11).
#[async_trait]
pub trait ContentRead: Send + Sync {
    /// The store's hash function, fixed when it was created.
    fn hash_function(&self) -> HashFunction;

    /// Whether the store holds the value of a key.
    #[doc(alias = "contains")]
    #[doc(alias = "exists")]
    async fn mem(&self, key: &ContentKey) -> Result<bool>;

    /// The value of a key, or `None` when the store does not hold it.
    ///
    /// # Behavior
    ///
    /// - The value has the key's hash, whatever the locator says: that of another store, a stale one, or none (I5).
    /// - Bytes that do not match their hash are `Corrupt`, unless verification is off (I6).
    #[doc(alias = "get")]
    async fn find(&self, key: &ContentKey) -> Result<Option<Bytes>>;

    /// The key of a hash, with a locator of this store, or `None`. What `None` means is declared (I3).
    #[doc(alias = "lookup")]
    async fn index(&self, hash: &ContentHash) -> Result<Option<ContentKey>>;

    /// All keys (A7).
    #[doc(alias = "list")]
    fn keys(&self) -> ContentKeyStream;
}

/// Adding content.
///
/// A value longer than [`MAX_VALUE_LEN`](crate::MAX_VALUE_LEN) is `ValueTooLarge`, and nothing was written (V1).
#[async_trait]
pub trait Append: Send + Sync {
    /// Stores a value under the hash of its content, and gives its key. Equal values are one value, however often they
    /// are added, also at the same time (I1, I8). After `Ok` it is readable from everywhere in the visibility (I2).
    #[doc(alias = "put")]
    async fn add(&self, value: Bytes) -> Result<ContentKey>;

    /// Stores a value under a hash that the caller computed, unchecked.
    ///
    /// With the true hash this is [`add`](Self::add) without the hashing. With a false one, only that hash suffers: its
    /// value is `Corrupt` until the true one is added (I4).
    async fn unsafe_add(&self, hash: ContentHash, value: Bytes) -> Result<ContentKey>;
}

/// Reading content, and writing it only inside a batch.
#[async_trait]
pub trait Indexed: ContentRead {
    /// Begins a batch. [`IndexedExt::batch`](crate::IndexedExt::batch) is the way that cannot forget its end.
    async fn begin(&self) -> Result<Box<dyn Batch>>;
}

/// An indexable store.
#[async_trait]
pub trait Indexable: Indexed + Append {
    /// Closes this handle, and no other; its open batches are `Closed` (L1, L2). Closing again is fine.
    async fn close(&self) -> Result<()>;
}

/// Values that are added together, whole or not at all (I7).
///
/// Inside, reads see the batch's own values before the store's. While it is open it holds no lock of the store: other
/// operations go on, also from inside it. It is capped (256 MiB by default, about 100 bytes for each value included): an
/// `add` beyond is `ValueTooLarge`, and the batch stays as it was. After [`commit`](Self::commit) or
/// [`abort`](Self::abort) its operations are `Closed`. Dropped without either, it is aborted.
#[async_trait]
#[must_use = "dropped without `commit`, a batch is aborted"]
pub trait Batch: ContentRead + Append {
    /// Makes all of it take effect at one instant during the call, also across a crash. The batch has ended, whatever
    /// the answer: to try again, begin another.
    async fn commit(&self) -> Result<()>;

    /// Ends it: nothing of it is to be found.
    #[doc(alias = "rollback")]
    async fn abort(&self) -> Result<()>;
}
