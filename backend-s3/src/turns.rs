//! One write of a key at a time, in an instance: its writers do not race each other to the object store.

use std::{
    collections::HashMap,
    future::ready,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use futures_util::{FutureExt, future::Either};
use store_api::Key;
use tokio::{
    sync::{Mutex as AsyncMutex, OwnedMutexGuard},
    task::unconstrained,
};

type Queue = Arc<AsyncMutex<()>>;

/// The queues of the keys that are being written.
#[derive(Default)]
pub(crate) struct Turns(Mutex<HashMap<Key, Queue>>);

/// A key's writer, until dropped.
pub(crate) struct Turn {
    turns: Arc<Turns>,
    key: Key,
    held: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for the key's turn, behind those who asked before. The place in the queue is taken by the call itself; the
    /// wait belongs into a task, since a turn may be given to a future that nobody polls.
    pub(crate) fn take(self: &Arc<Self>, key: &Key) -> impl Future<Output = Turn> + Send + use<> {
        let queue = Arc::clone(self.queues().entry(key.clone()).or_default());
        let mut turn = Turn { turns: Arc::clone(self), key: key.clone(), held: None };
        // Without the budget of the task: where that is used up, the place would be taken later.
        let mut taken = Box::pin(unconstrained(async move {
            turn.held = Some(queue.lock_owned().await);
            turn
        }));
        match taken.as_mut().now_or_never() {
            Some(turn) => Either::Left(ready(turn)),
            None => Either::Right(taken),
        }
    }

    fn queues(&self) -> MutexGuard<'_, HashMap<Key, Queue>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.held = None;
        let mut queues = self.turns.queues();
        // Who waits has a clone, which it took under the same lock.
        if queues.get(&self.key).is_some_and(|queue| Arc::strong_count(queue) == 1) {
            queues.remove(&self.key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_key_has_one_writer_and_leaves_nothing_behind() {
        let turns = Arc::new(Turns::default());
        let (one, other) = (Key::new("one").unwrap(), Key::new("other").unwrap());
        let first = turns.take(&one).await;
        let beside = turns.take(&other).await;
        let mut second = Box::pin(turns.take(&one));
        assert!(futures_util::poll!(&mut second).is_pending());
        drop(first);
        drop(second.await);
        drop(beside);
        let waiting = turns.take(&one).await;
        let mut dropped = Box::pin(turns.take(&one));
        assert!(futures_util::poll!(&mut dropped).is_pending());
        drop(dropped);
        drop(waiting);
        assert!(turns.queues().is_empty());
    }
}
