//! The atomic-write store: entries, compare-and-set, watches.

use std::{fmt, pin::Pin};

use async_trait::async_trait;
use bytes::Bytes;
use futures_core::Stream;

use crate::{Init, Key, Result, Watch, WatchId};

/// The longest value, in bytes: 64 MiB (V1).
pub const MAX_VALUE_LEN: usize = 64 * 1024 * 1024;

/// Keys, in no particular order, while the store goes on changing (A7). An error about one damaged entry is followed by
/// the other entries; any other error is the last item.
pub type KeyStream = Pin<Box<dyn Stream<Item = Result<Key>> + Send>>;

/// Keys with their values, on the same terms as [`KeyStream`].
pub type EntryStream = Pin<Box<dyn Stream<Item = Result<(Key, Bytes)>> + Send>>;

/// What a [`test_and_set`](AtomicWrite::test_and_set) found. A mismatch is an answer, not an error.
#[derive(Clone, PartialEq, Eq)]
#[must_use = "a mismatch means that nothing was written"]
pub enum TestAndSet {
    /// The entry was `test`, and is `set`.
    Applied,
    /// The entry was not `test`; this call never takes effect (A4).
    Mismatch {
        /// What was there instead: it differs from `test`.
        current: Option<Bytes>,
    },
}

impl TestAndSet {
    /// Whether it took effect.
    #[must_use]
    pub fn is_applied(&self) -> bool {
        matches!(self, Self::Applied)
    }
}

impl fmt::Debug for TestAndSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Applied => f.write_str("Applied"),
            Self::Mismatch { current: None } => f.write_str("Mismatch(absent)"),
            Self::Mismatch { current: Some(value) } => write!(f, "Mismatch({} bytes)", value.len()),
        }
    }
}

/// Reading and watching the entries of a store.
///
/// Every operation of a closed handle is `Closed`, streams that are open included (L1). An I/O error is an error, never
/// "absent" (A11).
#[async_trait]
pub trait EntryRead: Send + Sync {
    /// Whether there is an entry.
    ///
    /// # Behavior
    ///
    /// - Linearizable with the other operations on the key (A1).
    /// - The empty path is absent (K3).
    #[doc(alias = "contains")]
    #[doc(alias = "exists")]
    async fn mem(&self, key: &Key) -> Result<bool>;

    /// The value of an entry, or `None` when there is none. An empty value is not none (V1).
    ///
    /// # Behavior
    ///
    /// - Linearizable with the other operations on the key (A1).
    /// - The empty path is absent (K3).
    /// - Bytes that rotted are `Corrupt` (A12).
    #[doc(alias = "get")]
    async fn find(&self, key: &Key) -> Result<Option<Bytes>>;

    /// The keys at and below a path, counted in whole steps (W12).
    ///
    /// # Behavior
    ///
    /// - Each key that was there all through, none that was absent all through, none twice; the time counts until the
    ///   stream is exhausted (A7).
    /// - No snapshot and no lock is held meanwhile.
    #[doc(alias = "keys")]
    #[doc(alias = "scan")]
    fn list(&self, under: &Key) -> KeyStream;

    /// The entries at and below a path: [`list`](Self::list) with the value that each key had when it was read (A7).
    fn entries(&self, under: &Key) -> EntryStream;

    /// Watches the entries at and below a path, counted in whole steps (W12).
    ///
    /// # Behavior
    ///
    /// - No change that is not in the baseline is missed (W1, W2); events fold over the baseline (W3), are true and in
    ///   order (W4), and converge (W5). Where nothing changed, nothing is told (W6).
    /// - A slow reader costs no writer and no other watch anything (W7, W8).
    /// - Changes by other instances are told within the declared lag (W11).
    /// - `InvalidInput` when `init` names a key outside `under`, or one twice.
    #[doc(alias = "subscribe")]
    async fn watch(&self, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch>;

    /// Watches one entry, on the same terms. The empty path is `InvalidKey` (K3).
    #[doc(alias = "subscribe")]
    async fn watch_key(&self, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch>;

    /// Ends a watch of this handle: its stream ends without another event once this returned (W9). An id that is stale
    /// or of another handle does nothing.
    #[doc(alias = "unsubscribe")]
    async fn unwatch(&self, id: WatchId) -> Result<()>;
}

/// Writing the entries of a store.
///
/// A write that failed says whether it may have happened ([`Error::effect`](crate::Error::effect), A5). A write whose
/// future was dropped may still take effect, whole and at most once (A9). After `Ok`, the effect survives what the
/// declared durability says (A10). The empty path is `InvalidKey` (K3); a value longer than [`MAX_VALUE_LEN`] is
/// `ValueTooLarge`, and nothing was written (V1).
#[async_trait]
pub trait AtomicWrite: EntryRead {
    /// Sets an entry. Setting what is already there changes nothing, and no watch hears of it (A3, W6).
    #[doc(alias = "put")]
    #[doc(alias = "insert")]
    async fn set(&self, key: &Key, value: Bytes) -> Result<()>;

    /// Sets an entry to `set` if and only if it is `test`, byte for byte; `None` is absent, in both (A2).
    ///
    /// # Behavior
    ///
    /// - Linearizable with the other operations on the key; no verdict comes from a cache alone (A1).
    /// - `test == set` changes nothing (A3).
    /// - A [`Mismatch`](TestAndSet::Mismatch) carries what was there, which differs from `test` (A4).
    /// - Contention without a verdict is retried, then `Unavailable` (A6).
    #[doc(alias = "cas")]
    #[doc(alias = "compare_and_set")]
    #[doc(alias = "compare_and_swap")]
    async fn test_and_set(&self, key: &Key, test: Option<Bytes>, set: Option<Bytes>) -> Result<TestAndSet>;

    /// Removes an entry. Removing an absent one changes nothing (A3).
    #[doc(alias = "delete")]
    async fn remove(&self, key: &Key) -> Result<()>;

    /// Removes each entry that was there all through the call, at one instant within it; over several keys it is not
    /// one step. Watches stay, and are told (A8).
    #[doc(alias = "truncate")]
    async fn clear(&self) -> Result<()>;

    /// Closes this handle, and no other: its operations are `Closed` from here on, and its watches end (L1, L2, W10).
    /// An operation in flight completes or is `Closed` (L3). Closing again is fine.
    async fn close(&self) -> Result<()>;
}
