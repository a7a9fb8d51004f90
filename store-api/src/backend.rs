//! An open store: where handles come from.

use std::sync::Arc;

use async_trait::async_trait;

use crate::{AtomicWrite, Guarantees, Indexable, Result};

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

    /// What the engine itself can say of its files: `Corrupt` where they contradict each other, as where rot hides a row
    /// that was acknowledged, which no read can tell from one that never was (A11, A12).
    ///
    /// It is no substitute for reading, which checks each entry and all content against their checksums and hashes. An
    /// engine that can say nothing, such as this provided method's, has found nothing: `Ok`. What is said holds for some
    /// instant during the call. It reads everything, in the background; others read and write meanwhile.
    #[doc(alias = "integrity_check")]
    #[doc(alias = "fsck")]
    async fn check(&self) -> Result<()> {
        Ok(())
    }

    /// Closes the instance and its handles. When it returns, the engine has let go of its files, so that an `open`
    /// right after it succeeds (L4). Closing again is fine.
    async fn close(&self) -> Result<()>;
}
