//! Writes that go on when their future is dropped, and that a close waits for (A9).

use std::{collections::BTreeSet, sync::Arc};

use store_api::Result;
use tokio::sync::Notify;

use crate::{Gate, sync::Mutex};

/// The writes of an instance that are under way. Clones are of the same instance.
///
/// A close closes the gate of the instance, then waits until all have [ended](Self::ended).
///
/// **No write begins behind a close.** [`begin`](Self::begin) asks the gate under the lock under which `ended` looks what
/// is under way. So one of the two is first. If it is the write, `ended` waits for it. If it is `ended`, the gate was
/// closed before, and the write finds it closed.
///
/// **Nobody waits for ever**, if one rule is kept: what is under way goes on by itself, on a thread or in a task. A future
/// of a caller may be kept and never be polled again. To begin takes no wait, so that nothing is handed to such a future.
#[derive(Clone, Debug)]
pub struct Detached {
    gate: Arc<Gate>,
    begun: Arc<Begun>,
}

#[derive(Debug, Default)]
struct Begun {
    numbers: Mutex<Numbers>,
    /// Another write has ended.
    ended: Notify,
}

/// Writes by their numbers, in the order in which they began.
#[derive(Debug, Default)]
struct Numbers {
    next: u64,
    under_way: BTreeSet<u64>,
}

/// A write that is under way. Dropped, it has ended.
#[derive(Debug)]
#[must_use = "the write is under way until this is dropped"]
pub struct UnderWay {
    begun: Arc<Begun>,
    number: u64,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.begun.numbers.lock().under_way.remove(&self.number);
        self.begun.ended.notify_waiters();
    }
}

impl Detached {
    /// For the instance with this gate.
    #[must_use]
    pub fn new(gate: &Arc<Gate>) -> Self {
        Self { gate: Arc::clone(gate), begun: Arc::default() }
    }

    /// Begins a write.
    ///
    /// # Errors
    ///
    /// `Closed`, without effect.
    pub fn begin(&self) -> Result<UnderWay> {
        let mut numbers = self.begun.numbers.lock();
        self.gate.check()?;
        let number = numbers.next;
        numbers.next += 1;
        numbers.under_way.insert(number);
        Ok(UnderWay { begun: Arc::clone(&self.begun), number })
    }

    /// Returns when all that began before the call have ended.
    pub async fn ended(&self) {
        let next = self.begun.numbers.lock().next;
        loop {
            let ended = self.begun.ended.notified();
            if self.begun.numbers.lock().under_way.first().is_none_or(|first| *first >= next) {
                return;
            }
            ended.await;
        }
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
        let [first, second] = [writes.begin().unwrap(), writes.begin().unwrap()];
        gate.close();
        let mut closing = Box::pin(writes.ended());
        assert!(poll!(&mut closing).is_pending());
        assert_eq!(writes.begin().unwrap_err().kind(), ErrorKind::Closed);
        drop(second);
        assert!(poll!(&mut closing).is_pending());
        drop(first);
        closing.await;
        assert_eq!(writes.begin().unwrap_err().kind(), ErrorKind::Closed);
    }

    #[tokio::test]
    async fn an_end_waits_for_nothing_that_begins_behind_it() {
        let writes = Detached::new(&Gate::new());
        let first = writes.begin().unwrap();
        let mut syncing = Box::pin(writes.ended());
        assert!(poll!(&mut syncing).is_pending());
        let second = writes.begin().unwrap();
        drop(first);
        syncing.await;
        assert!(writes.ended().now_or_never().is_none());
        drop(second);
        assert!(writes.ended().now_or_never().is_some());
    }

    #[tokio::test]
    async fn ends_that_nobody_polls_hold_nobody_up() {
        let writes = Detached::new(&Gate::new());
        let first = writes.begin().unwrap();
        let mut kept = Box::pin(writes.ended());
        assert!(poll!(&mut kept).is_pending());
        let second = writes.begin().unwrap();
        drop((first, second));
        assert!(writes.ended().now_or_never().is_some());
    }
}
