//! What cases do to stores over and over.

use std::fmt::Display;

use bytes::Bytes;
use futures_util::{StreamExt, TryStreamExt, stream};
use store_api::{AtomicWrite, Effect, EntryRead, Key, TestAndSet};

use crate::failure::{Failure, Outcome, ensure};

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
pub(crate) async fn put(entries: &dyn AtomicWrite, key: &Key, state: Option<Bytes>) -> Outcome {
    match state {
        Some(value) => entries.set(key, value).await?,
        None => entries.remove(key).await?,
    }
    Ok(())
}

/// Adds one to a counter, whose number is written with so many digits at least, and gives what it made of it. Contention
/// without a verdict is no reason to give up (A6).
pub(crate) async fn increment(entries: &dyn AtomicWrite, counter: &Key, width: usize) -> Outcome<u64> {
    let mut test = entries.find(counter).await?;
    loop {
        let next = number(test.as_ref())? + 1;
        let set = value(format_args!("{next:0width$}"));
        match entries.test_and_set(counter, test.clone(), Some(set)).await {
            Ok(TestAndSet::Applied) => return Ok(next),
            Ok(TestAndSet::Mismatch { current }) => {
                ensure!(current != test, "A4: a mismatch whose value equals `test`");
                test = current;
            }
            Err(error) if error.is_retryable() && error.effect() == Effect::NotApplied => {}
            Err(error) if error.is_retryable() => return Err(Failure::inconclusive(error)),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Sets many entries, several at a time.
pub(crate) async fn set_all(entries: &dyn AtomicWrite, all: impl IntoIterator<Item = (Key, Bytes)>) -> Outcome {
    let sets = stream::iter(all).map(|(key, value)| async move { entries.set(&key, value).await });
    Ok(sets.buffer_unordered(64).try_collect::<()>().await?)
}

/// All entries below a path, sorted.
pub(crate) async fn entries_sorted(entries: &dyn EntryRead, under: &Key) -> Outcome<Vec<(Key, Bytes)>> {
    let mut all: Vec<_> = entries.entries(under).try_collect().await?;
    all.sort();
    Ok(all)
}
