//! An open store: where handles come from.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{AtomicWrite, Error, ErrorKind, Guarantees, Indexable, Result};

/// One instance of a store: what one `open` returned.
///
/// Dropping the last handle of an instance without closing it loses nothing that was acknowledged.
#[async_trait]
pub trait Backend: Send + Sync {
    /// A new handle on the atomic-write store, with a life of its own, or `None` where the backend has none.
    ///
    /// On a closed instance the handle answers `Closed`.
    fn atomic_write(&self) -> Option<Arc<dyn AtomicWrite>>;

    /// A new handle on the indexable store, with a life of its own, or `None` where the backend has none.
    ///
    /// On a closed instance the handle answers `Closed`.
    fn indexable(&self) -> Option<Arc<dyn Indexable>>;

    /// What this instance declares.
    fn guarantees(&self) -> Guarantees;

    /// Makes everything that was acknowledged before the call survive a power loss, in the relaxed modes too (A10).
    ///
    /// On an embedded store it also waits for this instance's writes whose future was dropped before the call: they have
    /// happened or never will (A9).
    #[doc(alias = "flush")]
    async fn sync(&self) -> Result<()>;

    /// Checks the store's own files: `Corrupt` when they contradict each other (A11, A12). This finds damage that hides a
    /// whole row: to a read, such a row looks as if it had never been written.
    ///
    /// It does not replace reading, which compares each entry with its checksum and all content with its hash. The answer
    /// holds for some instant during the call; the whole store is read for it, while other operations go on.
    ///
    /// # Errors
    ///
    /// `Corrupt`, `Closed`, and those of reading; or `Unsupported`, which is what the provided method answers: the engine has
    /// no check of its own. That says nothing against the store, and no check that was begun ends with it.
    #[doc(alias = "integrity_check")]
    #[doc(alias = "fsck")]
    async fn check(&self) -> Result<()> {
        let message = "the engine has no check of its own; read back what the store holds";
        Err(Error::new(ErrorKind::Unsupported, message).with_operation("check"))
    }

    /// Closes the instance and its handles. When it returns, the engine has let go of its files, so that an `open`
    /// right after it succeeds (L4). Closing again is fine.
    async fn close(&self) -> Result<()>;
}
