//! The compare loop over [`test_and_set`](AtomicWrite::test_and_set), with a jittered back-off.

use std::time::Duration;

use bytes::Bytes;
use tokio::runtime::Handle;

use crate::{AtomicWrite, Error, ErrorKind, Key, Result, TestAndSet};

/// The first back-off is at most this long; it doubles up to [`LONGEST`].
const SHORTEST: Duration = Duration::from_millis(1);
const LONGEST: Duration = Duration::from_millis(64);

/// Convenience over [`AtomicWrite`] that needs a tokio runtime with its timer.
pub trait AtomicWriteExt: AtomicWrite {
    /// Replaces a value by what `next` makes of it, and gives what was set. `None` is absent, on both sides.
    ///
    /// # Behavior
    ///
    /// - `next` sees the current value, and is called again with the newer one whenever somebody else was faster. Before
    ///   the third attempt and each later one it waits for a random time of at most 64 ms, and reads again.
    /// - `next` may run more than once: it has no side effects that must not repeat.
    /// - Every error is returned at once. After one whose [`effect`](Error::effect) is `Unknown` the update may have
    ///   happened: it is not tried again, since that could apply it twice (A5).
    /// - A dropped future applied it once or not at all (A9).
    /// - Outside a tokio runtime it is `Unsupported`.
    ///
    /// ```
    /// use irminsul::{Bytes, Key, prelude::*};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> irminsul::Result<()> {
    /// let store = irminsul::open("mem:").await?.atomic_write().expect("mem has entries");
    /// let visits = Key::new("visits")?;
    /// store.update(&visits, |visits| Some(format!("{}|", String::from_utf8_lossy(&visits.unwrap_or_default())).into())).await?;
    /// assert_eq!(store.find(&visits).await?, Some(Bytes::from("|")));
    /// # Ok(())
    /// # }
    /// ```
    #[doc(alias = "modify")]
    #[doc(alias = "fetch_update")]
    fn update<N>(&self, key: &Key, mut next: N) -> impl Future<Output = Result<Option<Bytes>>> + Send
    where
        N: FnMut(Option<Bytes>) -> Option<Bytes> + Send,
    {
        self.try_update(key, move |current| Ok(next(current)))
    }

    /// [`update`](Self::update) with a `next` that may refuse: its error ends the loop, and nothing was set.
    fn try_update<N, E>(&self, key: &Key, mut next: N) -> impl Future<Output = Result<Option<Bytes>, E>> + Send
    where
        N: FnMut(Option<Bytes>) -> Result<Option<Bytes>, E> + Send,
        E: From<Error> + Send,
    {
        async move {
            // Said at once, and not by the first conflict that makes it wait.
            Handle::try_current().map_err(|_| {
                Error::new(ErrorKind::Unsupported, "an update needs a tokio runtime: call it from within one")
            })?;
            let mut current = self.find(key).await?;
            let mut longest = Duration::ZERO;
            loop {
                let set = next(current.clone())?;
                match self.test_and_set(key, current, set.clone()).await? {
                    TestAndSet::Applied => return Ok(set),
                    TestAndSet::Mismatch { current: there } => current = there,
                }
                if longest.is_zero() {
                    // Most conflicts are with one other writer: what the mismatch found is tried at once.
                    tokio::task::yield_now().await;
                } else {
                    tokio::time::sleep(longest.mul_f64(fastrand::f64())).await;
                    // What the mismatch found is as old as the sleep.
                    current = self.find(key).await?;
                }
                longest = (longest * 2).clamp(SHORTEST, LONGEST);
            }
        }
    }
}

impl<T: AtomicWrite + ?Sized> AtomicWriteExt for T {}
