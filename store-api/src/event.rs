//! Watches: how one starts, what it tells, and the stream that tells it.

use std::{
    fmt,
    future::poll_fn,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use bytes::Bytes;
use futures_core::Stream;

use crate::{Key, Result};

/// Where a watch starts: its baseline (W1).
#[derive(Clone, PartialEq, Eq)]
pub enum Init<T> {
    /// At the state of the store during the call: only what changes afterwards is told.
    Current,
    /// At this state, which the caller knows: the differences to the current one are told first. `Known` of nothing is
    /// a full dump, then what changes. A watcher that was away resumes by naming what it last saw.
    Known(T),
}

// What is known are values (E2).
impl<T> fmt::Debug for Init<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Current => "Current",
            Self::Known(_) => "Known(..)",
        })
    }
}

/// What a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Event {
    /// An entry differs from what was told last.
    Changed {
        /// The key of the entry.
        key: Key,
        /// How it differs.
        diff: Diff,
    },
    /// All differences to the [`Init::Known`] state were delivered; what follows are live changes. Delivered exactly once;
    /// with [`Init::Current`] it comes first (W1).
    CaughtUp,
}

/// How an entry differs from the baseline of the watch (W3).
///
/// `old` is the value that this watch was last told or given for the key. It may be `None` only where there was none:
/// for the first change of a key under [`Init::Current`]. There will be no other variants, and no other fields.
#[derive(Clone, PartialEq, Eq)]
pub enum Diff {
    /// The baseline lacked the key.
    Added {
        /// The value at the time of the event.
        new: Bytes,
    },
    /// The baseline had the key, with another value.
    Updated {
        /// The value last told or given.
        old: Option<Bytes>,
        /// The value at the time of the event.
        new: Bytes,
    },
    /// The baseline had the key.
    Removed {
        /// The value last told or given.
        old: Option<Bytes>,
    },
}

impl Diff {
    /// The value that the entry has after this event, or `None` where it was removed.
    #[must_use]
    pub fn new_value(&self) -> Option<&Bytes> {
        match self {
            Self::Added { new } | Self::Updated { new, .. } => Some(new),
            Self::Removed { .. } => None,
        }
    }

    /// The value that the watch had told or been given before, where there was one.
    #[must_use]
    pub fn old_value(&self) -> Option<&Bytes> {
        match self {
            Self::Added { .. } => None,
            Self::Updated { old, .. } | Self::Removed { old } => old.as_ref(),
        }
    }
}

// Values are the application's secrets: a log line with an event shows their sizes (E2).
impl fmt::Debug for Diff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let size = |value: &Option<Bytes>| value.as_ref().map_or_else(|| "?".into(), |v| format!("{} bytes", v.len()));
        match self {
            Self::Added { new } => write!(f, "Added({} bytes)", new.len()),
            Self::Updated { old, new } => write!(f, "Updated({} -> {} bytes)", size(old), new.len()),
            Self::Removed { old } => write!(f, "Removed({})", size(old)),
        }
    }
}

/// Names a watch. No two watches of a process have the same id, whichever store they belong to, so that a stale or
/// foreign one can do no harm (W9).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct WatchId(u64);

impl WatchId {
    /// An id that nothing else in this process has. For backends.
    #[must_use]
    pub fn unique() -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Self(NEXT.fetch_add(1, Ordering::Relaxed))
    }
}

/// A running watch: a stream of events that ends when it is unwatched or its handle is closed (W9, W10).
///
/// An `Err` item is a passing fault of the store, after which the watch goes on and catches up; only `Err(Closed)` is
/// followed by the end. Dropping the watch ends it. It is bounded: a slow reader misses intermediate values of a key,
/// never the last (W7). A watch that has ended stays ended, however often it is asked for more.
#[must_use = "a watch that is dropped ends"]
pub struct Watch {
    id: WatchId,
    /// Until its end: a stream need not bear to be polled behind that.
    events: Option<Pin<Box<dyn Stream<Item = Result<Event>> + Send>>>,
}

impl Watch {
    /// A watch whose events come from `events`, which must end it when dropped. For backends and wrappers.
    pub fn new(id: WatchId, events: impl Stream<Item = Result<Event>> + Send + 'static) -> Self {
        Self { id, events: Some(Box::pin(events)) }
    }

    /// The id to `unwatch` it by.
    #[must_use]
    pub fn id(&self) -> WatchId {
        self.id
    }

    /// The next event, or `None` when the watch has ended, over and over. Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Result<Event>> {
        poll_fn(|cx| Pin::new(&mut *self).poll_next(cx)).await
    }
}

impl Stream for Watch {
    type Item = Result<Event>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let Some(events) = &mut self.events else { return Poll::Ready(None) };
        let polled = events.as_mut().poll_next(cx);
        if let Poll::Ready(None) = polled {
            self.events = None;
        }
        polled
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.events.as_ref().map_or((0, Some(0)), Stream::size_hint)
    }
}

impl fmt::Debug for Watch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watch").field("id", &self.id).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::task::Waker;

    use super::*;

    /// One event, then the end, then events again: what a stream may do that is polled behind its end.
    struct Unfused(usize);

    impl Stream for Unfused {
        type Item = Result<Event>;

        fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
            self.0 += 1;
            Poll::Ready((self.0 != 2).then_some(Ok(Event::CaughtUp)))
        }
    }

    #[test]
    fn a_watch_that_has_ended_stays_ended() {
        let mut watch = Watch::new(WatchId::unique(), Unfused(0));
        let mut poll = || Pin::new(&mut watch).poll_next(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(poll(), Poll::Ready(Some(Ok(Event::CaughtUp)))));
        assert!((0..3).all(|_| matches!(poll(), Poll::Ready(None))));
        assert_eq!(watch.size_hint(), (0, Some(0)));
    }
}
