//! Clients that do the same over and over.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use store_api::{AtomicWrite, Key};
use tokio::task::JoinHandle;

use super::beside;
use crate::{
    failure::Outcome,
    operations::{insist, value},
};

/// A client that does the same over and over, until it is ended or dropped: a case that failed leaves none behind.
pub(crate) struct Repeating {
    over: Arc<AtomicBool>,
    thread: Option<JoinHandle<Outcome<usize>>>,
}

/// Starts a client that does `act` over and over, at least once, on a thread of its own; it is told how often it did.
pub(crate) async fn over_and_over<F>(mut act: impl FnMut(usize) -> F + Send + 'static) -> Outcome<Repeating>
where
    F: Future<Output = Outcome> + Send,
{
    let over = Arc::new(AtomicBool::new(false));
    let ended = Arc::clone(&over);
    let thread = beside(async move {
        let mut times = 0;
        loop {
            act(times).await?;
            times += 1;
            if ended.load(Ordering::Acquire) {
                return Ok(times);
            }
        }
    });
    Ok(Repeating { over, thread: Some(thread.await?) })
}

/// Sets a key over and over to the number of the time, on a thread of its own.
pub(crate) async fn set_over_and_over(entries: Arc<dyn AtomicWrite>, key: Key) -> Outcome<Repeating> {
    over_and_over(move |number| {
        let (entries, key) = (Arc::clone(&entries), key.clone());
        async move { insist(|| entries.set(&key, value(number))).await }
    })
    .await
}

impl Repeating {
    /// Ends it, and says how often it did what it does.
    pub(crate) async fn end(mut self) -> Outcome<usize> {
        self.over.store(true, Ordering::Release);
        match self.thread.take() {
            Some(thread) => thread.await?,
            None => unreachable!("it is ended once"),
        }
    }

    /// Does something beside it, and ends it then; also says how often it did what it does. Where it has failed, that comes
    /// first: what was done beside it may have waited for it in vain.
    pub(crate) async fn meanwhile<T>(self, act: impl Future<Output = Outcome<T>>) -> Outcome<(T, usize)> {
        let done = act.await;
        let goes_on = self.thread.as_ref().is_some_and(|thread| !thread.is_finished());
        match done {
            // What it is in the middle of may never end.
            Err(failure) if goes_on => Err(failure),
            done => {
                let times = self.end().await?;
                Ok((done?, times))
            }
        }
    }
}

impl Drop for Repeating {
    fn drop(&mut self) {
        self.over.store(true, Ordering::Release);
    }
}
