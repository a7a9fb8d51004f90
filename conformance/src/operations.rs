//! What cases do to stores over and over.

use std::{
    fmt::Display,
    future::poll_fn,
    pin::{Pin, pin},
    task::Poll,
};

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Effect, Key, TestAndSet};
use tokio::task::yield_now;

use crate::failure::{Failure, Kind, Outcome, ensure};

/// After how many refusals a busy store is let be.
const ATTEMPTS: usize = 1000;

/// The value of a text or a number.
pub(crate) fn value(text: impl Display) -> Bytes {
    text.to_string().into()
}

/// The number that a value is, zero where there is none.
#[track_caller]
pub(crate) fn number(value: Option<&Bytes>) -> Outcome<u64> {
    let Some(value) = value else { return Ok(0) };
    let text = std::str::from_utf8(value).ok();
    text.and_then(|text| text.parse().ok()).ok_or_else(|| Failure::broken("A4: a value that nobody wrote"))
}

/// Sets a key, or removes it.
pub(crate) async fn put(entries: &dyn AtomicWrite, key: &Key, state: Option<Bytes>) -> store_api::Result<()> {
    match state {
        Some(value) => entries.set(key, value).await,
        None => entries.remove(key).await,
    }
}

/// Does what may meet others again for as long as the store is too busy for it (A6). A write that may have happened all
/// the same, and may still, leaves nothing to judge by.
pub(crate) async fn insist<T, F>(mut operation: impl FnMut() -> F) -> Outcome<T>
where
    F: Future<Output = store_api::Result<T>>,
{
    for _ in 0..ATTEMPTS {
        match operation().await {
            Err(error) if error.is_retryable() && error.effect() == Effect::NotApplied => yield_now().await,
            Err(error) if error.is_retryable() => {
                return Err(Failure::inconclusive(format_args!("a write had an unknown outcome: {error}")));
            }
            verdict => return Ok(verdict?),
        }
    }
    Err(Failure::inconclusive("the store was too busy to answer, over and over"))
}

/// Does something again for as long as the store cannot answer: where it is held up for good that has no end, and is to
/// be waited for with patience.
pub(crate) async fn until_answered<F>(mut act: impl FnMut() -> F) -> Outcome
where
    F: Future<Output = Outcome>,
{
    loop {
        match act().await {
            Err(failure) if failure.kind() == Kind::Inconclusive => yield_now().await,
            ended => return ended,
        }
    }
}

/// Adds one to a counter, whose number is written with so many digits at least, and gives what it made of it.
pub(crate) async fn increment(entries: &dyn AtomicWrite, counter: &Key, width: usize) -> Outcome<u64> {
    Ok(increment_beside_others(entries, counter, width).await?.0)
}

/// The same, and how often somebody else came between its read and its write.
pub(crate) async fn increment_beside_others(
    entries: &dyn AtomicWrite,
    counter: &Key,
    width: usize,
) -> Outcome<(u64, usize)> {
    let mut others = 0;
    let mut test = insist(|| entries.find(counter)).await?;
    loop {
        let next = number(test.as_ref())? + 1;
        // A format takes no width beyond 65,535.
        let digits = next.to_string();
        let set = value(format_args!("{}{digits}", "0".repeat(width.saturating_sub(digits.len()))));
        match insist(|| entries.test_and_set(counter, test.clone(), Some(set.clone()))).await? {
            TestAndSet::Applied => return Ok((next, others)),
            TestAndSet::Mismatch { current } => {
                ensure!(current != test, "A4: a mismatch whose value equals `test`");
                test = current;
                others += 1;
            }
        }
    }
}

/// Sets many entries, several at a time.
pub(crate) async fn set_all(entries: &dyn AtomicWrite, all: impl IntoIterator<Item = (Key, Bytes)>) -> Outcome {
    let sets = stream::iter(all).map(|(key, value)| async move { insist(|| entries.set(&key, value.clone())).await });
    sets.buffer_unordered(64).try_collect::<()>().await
}

/// Polls a future up to so many times, each time after the first once it is woken, then drops it; its output where it came
/// that early. With a growing number it is dropped at each of its awaits.
pub(crate) async fn poll_then_drop<T>(future: impl Future<Output = T>, times: usize) -> Option<T> {
    poll_up_to(pin!(future), times).await
}

/// The same of a future that is kept as it is then.
pub(crate) async fn poll_up_to<T>(mut future: Pin<&mut impl Future<Output = T>>, times: usize) -> Option<T> {
    let mut left = times;
    poll_fn(|cx| {
        if left == 0 {
            return Poll::Ready(None);
        }
        left -= 1;
        match future.as_mut().poll(cx) {
            Poll::Pending if left > 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(None),
            Poll::Ready(output) => Poll::Ready(Some(output)),
        }
    })
    .await
}
