//! Writes that go on when their future is dropped, and that a close waits for (A9).

use std::sync::Arc;

use store_api::Result;
use tokio::sync::{OwnedRwLockReadGuard, RwLock};

use crate::Gate;

/// The writes of an instance that are under way. Clones are of the same instance.
///
/// A close closes the gate of the instance, then waits until all have [ended](Self::ended).
///
/// **No write begins behind a close.** A write holds the lock to read while it is under way, and asks the gate once it
/// holds it; `ended` takes the lock to write. So one of the two is first. If it is the write, `ended` waits for it. If it
/// is `ended`, the gate was closed before the lock was let go of, and the write finds it closed.
///
/// **Nobody waits for ever**, if two rules are kept. The lock is fair: a [`begin`](Self::begin) waits behind an `ended`
/// that waits. So a write begins once, and what it starts beside itself [tries](Self::try_begin). And it begins before it
/// takes what another write may wait for, such as the turn of its key: whoever holds such a thing is under way then, and
/// waits for no `ended`. So what is under way ends, then the `ended` that waits for it, then what waits behind that.
#[derive(Clone, Debug)]
pub struct Detached {
    gate: Arc<Gate>,
    under_way: Arc<RwLock<()>>,
}

/// A write that is under way. Dropped, it has ended.
#[derive(Debug)]
#[must_use = "the write is under way until this is dropped"]
pub struct UnderWay {
    _held: OwnedRwLockReadGuard<()>,
}

impl Detached {
    /// For the instance with this gate.
    #[must_use]
    pub fn new(gate: &Arc<Gate>) -> Self {
        Self { gate: Arc::clone(gate), under_way: Arc::default() }
    }

    /// Begins a write.
    ///
    /// # Errors
    ///
    /// `Closed`, without effect: also where the close came while this waited.
    pub async fn begin(&self) -> Result<UnderWay> {
        // Tried first: to await it counts against the task's budget, and what a task begins at the same time would come
        // apart.
        let held = match Arc::clone(&self.under_way).try_read_owned() {
            Ok(held) => held,
            Err(_) => Arc::clone(&self.under_way).read_owned().await,
        };
        self.gate.check()?;
        Ok(UnderWay { _held: held })
    }

    /// Begins a write, unless it would wait or the instance is closed.
    #[must_use]
    pub fn try_begin(&self) -> Option<UnderWay> {
        let held = Arc::clone(&self.under_way).try_read_owned().ok()?;
        self.gate.check().ok().map(|()| UnderWay { _held: held })
    }

    /// Returns when all that began before the call have ended.
    pub async fn ended(&self) {
        drop(self.under_way.write().await);
    }
}

#[cfg(all(test, not(irminsul_loom)))]
mod tests {
    use futures_util::{FutureExt, poll};
    use store_api::ErrorKind;

    use super::*;

    #[tokio::test]
    async fn a9_a_close_waits_for_what_is_under_way_and_nothing_begins_behind_it() {
        let gate = Gate::new();
        let writes = Detached::new(&gate);
        let [first, second] = [writes.begin().await.unwrap(), writes.begin().await.unwrap()];
        gate.close();
        let mut closing = Box::pin(writes.ended());
        assert!(poll!(&mut closing).is_pending());
        let mut late = Box::pin(writes.begin());
        assert!(poll!(&mut late).is_pending() && writes.try_begin().is_none());
        drop(first);
        assert!(poll!(&mut closing).is_pending());
        drop(second);
        closing.await;
        assert_eq!(late.await.unwrap_err().kind(), ErrorKind::Closed);
        assert_eq!(writes.begin().await.unwrap_err().kind(), ErrorKind::Closed);
        assert!(writes.try_begin().is_none());
    }

    #[tokio::test]
    async fn what_waits_for_an_end_that_is_no_close_begins_behind_it() {
        let writes = Detached::new(&Gate::new());
        let first = writes.begin().await.unwrap();
        let mut syncing = Box::pin(writes.ended());
        assert!(poll!(&mut syncing).is_pending());
        let mut second = Box::pin(writes.begin());
        assert!(poll!(&mut second).is_pending());
        drop(first);
        syncing.await;
        let _second = second.await.unwrap();
        assert!(writes.try_begin().is_some());
    }

    #[tokio::test]
    async fn an_end_that_nobody_waits_for_any_longer_holds_nobody_up() {
        let writes = Detached::new(&Gate::new());
        let _first = writes.begin().await.unwrap();
        assert!(writes.ended().now_or_never().is_none());
        assert!(writes.begin().now_or_never().is_some());
    }
}
