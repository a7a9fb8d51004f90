//! Bugs of watches.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    pin::Pin,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    task::{Poll, Waker, ready},
    time::Duration,
};

use async_trait::async_trait;
use bytes::Bytes;
use futures_util::{FutureExt, Stream, StreamExt, stream};
use store_api::{AtomicWrite, Backend, Diff, Error, ErrorKind, Event, Init, Key, Result, TestAndSet, Watch, WatchId};
use tokio::{sync::mpsc, task::yield_now, time::sleep};

use crate::lock::lock;

use super::{
    Bug,
    twist::{OpenBatch, Twist},
    writes::{Nth, a_moment, address_of},
};

pub(super) const BUGS: &[Bug] = &[
    bug!(
        "last-event-dropped",
        "A change is told only when the next one comes.",
        [
            "watch/W1-current-starts-with-caught-up-and-tells-what-changes",
            "watch/W5-watches-amid-writers-fold-to-the-store",
            "watch/W5-a-reader-that-waits-is-told",
            "watch/W5-the-last-of-racing-writes-is-told",
            "watch/W5-the-last-of-racing-writes-of-instances-is-told",
            "watch/W5-watches-amid-writers-of-several-instances-fold-to-the-store",
            "watch/W3-watches-of-any-operations-fold-to-the-map",
            "watch/W3-watches-of-any-operations-of-instances-fold-to-the-map"
        ],
        waits LastEventDropped
    ),
    bug!(
        "event-repeated",
        "Each change is told twice.",
        [
            "watch/W5-watches-amid-writers-fold-to-the-store",
            "watch/W3-a-b-a-unread-tells-no-value-twice",
            "watch/W3-a-b-a-of-another-instance-tells-no-value-twice",
            "watch/W3-added-and-removed-unread-leaves-a-chain"
        ],
        EventRepeated
    ),
    bug!(
        "event-out-of-order",
        "One change in four is followed by the value before it.",
        [
            "watch/W4-a-growing-counter-is-told-growing",
            "watch/W4-a-counter-of-several-instances-is-told-growing",
            "watch/W4-what-is-told-was-so-in-that-order",
            "watch/W4-what-is-told-of-other-instances-was-so-in-that-order"
        ],
        EventOutOfOrder
    ),
    bug!(
        "neighbours-swapped",
        "Of two changes of a key that come within microseconds the second is told first, one time in twenty.",
        ["watch/W4-a-growing-counter-is-told-growing", "watch/W4-a-counter-of-several-instances-is-told-growing",],
        NeighboursSwapped
    ),
    bug!(
        "raced-write-not-told",
        "A `set` that begins while another one is under way is not told.",
        ["watch/W5-the-last-of-racing-writes-is-told", "watch/W5-the-last-of-racing-writes-of-instances-is-told",],
        waits RacedWriteNotTold
    ),
    bug!(
        "old-from-the-store",
        "`old` is what the store had before the last write, not what the watch was told.",
        ["watch/W3-old-is-from-the-baseline-where-changes-are-folded"],
        OldFromTheStore
    ),
    bug!(
        "added-for-updated",
        "A change of a key that is there is told as `Added`.",
        ["watch/W1-current-starts-with-caught-up-and-tells-what-changes"],
        AddedForUpdated
    ),
    bug!(
        "gap-at-registration",
        "A watch begins when it is first read.",
        [
            "watch/W2-a-change-behind-the-start-is-told-before-anybody-reads",
            "watch/W2-a-change-beside-the-start-is-in-the-baseline-or-told",
            "watch/W2-another-instances-change-beside-the-start-is-in-the-baseline-or-told",
            "watch/W2-one-change-beside-each-start-is-told",
            "watch/W2-one-change-of-another-instance-beside-each-start-is-told"
        ],
        waits GapAtRegistration
    ),
    bug!(
        "known-ignored",
        "A watch that names what it knows is begun at the current state.",
        [
            "watch/W1-known-of-a-scope-tells-each-difference-first",
            "watch/W1-known-of-nothing-tells-everything",
            "watch/W1-known-of-a-key-tells-the-difference-first",
            "watch/W1-a-long-known-state-is-compared-whole",
            "watch/W1-a-watcher-that-was-away-resumes-from-what-it-saw"
        ],
        KnownIgnored
    ),
    bug!(
        "caught-up-missing",
        "`CaughtUp` is not told.",
        ["watch/W1-current-starts-with-caught-up-and-tells-what-changes"],
        waits CaughtUpMissing
    ),
    bug!(
        "caught-up-twice",
        "`CaughtUp` is told again with each change.",
        ["watch/W1-current-starts-with-caught-up-and-tells-what-changes"],
        CaughtUpTwice
    ),
    bug!(
        "equal-set-is-told",
        "A set that changes nothing is told as a change.",
        [
            "watch/W6-nothing-is-told-where-nothing-changed",
            "watch/W6-nothing-is-told-where-another-instance-changed-nothing"
        ],
        EqualSetIsTold
    ),
    bug!(
        "unbounded-queue",
        "Each change is queued for a watch, however slow it is.",
        [
            "watch/W7-an-unread-watch-holds-little-and-tells-the-last-values",
            "watch/W7-an-unread-watch-of-another-instance-holds-little-and-tells-the-last-values"
        ],
        UnboundedQueue
    ),
    bug!(
        "folded-when-read",
        "Each change is kept for a watch until that is read, which is told all of them as one.",
        ["watch/W7-a-watch-that-nobody-reads-takes-no-memory-for-each-change"],
        FoldedWhenRead
    ),
    bug!(
        "watcher-blocks-writers",
        "A write waits until the watches have read the ones before.",
        ["watch/W7-watches-that-nobody-reads-hold-up-no-writer"],
        waits WatcherBlocksWriters
    ),
    bug!(
        "watcher-blocks-watchers",
        "A watch is told a change only when those that began before it have read theirs.",
        [
            "watch/W8-a-watcher-that-is-stuck-changes-nothing-for-the-others",
            "watch/W8-dropped-and-panicking-watchers-change-nothing-for-the-others",
            "watch/W8-watches-that-come-and-go-change-nothing-for-the-others"
        ],
        waits WatcherBlocksWatchers
    ),
    bug!(
        "event-after-unwatch",
        "A watch goes on after `unwatch`.",
        [
            "watch/W9-unwatch-ends-the-stream-without-another-event",
            "watch/W9-unwatch-amid-writes-ends-the-stream-without-another-event",
            "watch/W9-no-event-comes-to-a-reader-behind-unwatch",
            "watch/W9-unwatch-wakes-who-waits",
            "watch/W10-a-watch-that-was-ended-is-not-closed-again"
        ],
        waits EventAfterUnwatch
    ),
    bug!(
        "close-ends-watches-silently",
        "A watch of a handle that is closed ends without saying why.",
        [
            "watch/W10-close-ends-the-watches-of-its-handle-and-no-others",
            "watch/W10-close-of-an-instance-ends-all-its-watches",
            "watch/W10-close-wakes-who-waits",
            "watch/W10-a-watch-that-starts-beside-close-ends-or-is-refused"
        ],
        CloseEndsWatchesSilently
    ),
    bug!(
        "other-instances-not-told",
        "Changes that another instance made are not told.",
        [
            "watch/W11-changes-of-another-instance-arrive",
            "watch/W11-changes-of-an-instance-that-is-gone-arrive",
            "watch/W11-changes-of-many-instances-arrive",
            "watch/W11-changes-of-others-are-told-within-the-declared-lag"
        ],
        waits OtherInstancesNotTold
    ),
    bug!(
        "told-too-late",
        "Changes are told two seconds late, where none is declared.",
        [
            "watch/W5-own-changes-are-told-within-the-declared-lag",
            "watch/W11-changes-of-others-are-told-within-the-declared-lag",
        ],
        ToldTooLate
    ),
    bug!(
        "clear-forgets-the-watchers",
        "After a `clear` the watches that there were are told nothing more.",
        [
            "watch/W5-what-clear-removes-is-told-and-the-watch-goes-on",
            "watch/W5-what-another-instance-clears-is-told-and-the-watch-goes-on",
            "atomic/A8-clear-tells-the-watches-and-leaves-them",
            "atomic/A8-clear-by-another-instance-is-told",
        ],
        waits ClearForgetsTheWatchers
    ),
    bug!(
        "caught-up-late",
        "`CaughtUp` is told only behind the next change.",
        ["watch/W1-current-starts-with-caught-up-and-tells-what-changes"],
        waits CaughtUpLate
    ),
    bug!(
        "caught-up-early",
        "`CaughtUp` is told before the differences to what is known.",
        ["watch/W1-caught-up-is-behind-every-difference-amid-writes"],
        CaughtUpEarly
    ),
    bug!(
        "event-lost-with-its-reader",
        "The event that was on its way when a read of a watch was given up is lost.",
        ["watch/W8-dropping-a-future-of-the-next-event-loses-none"],
        waits EventLostWithItsReader
    ),
    bug!(
        "unwatch-ends-another",
        "`unwatch` of a watch that there is no more ends the others.",
        ["watch/W9-a-stale-or-foreign-id-does-nothing"],
        UnwatchEndsAnother
    ),
    bug!(
        "watch-leaves-a-task",
        "Some watches start a task that does not end with them.",
        ["handle/L2-what-comes-and-goes-leaves-nothing-behind"],
        WatchLeavesATask
    ),
    bug!(
        "known-ignored-on-disk",
        "A watch of a file that names what it knows is begun at the current state.",
        ["watch/W1-a-watcher-resumes-with-a-reopened-store"],
        on Durable KnownIgnored
    ),
    bug!(
        "silent-behind-a-fault",
        "A watch tells of a fault of the disk, and then of nothing.",
        ["watch/W10-a-watch-goes-on-behind-a-full-disk"],
        on Durable waits SilentBehindAFault
    ),
    bug!(
        "last-event-dropped-on-disk",
        "A change of a file is told only when the next one comes.",
        ["watch/W11-another-process-is-told", "watch/W5-a-process-that-was-stopped-catches-up"],
        on Durable waits LastEventDropped
    ),
];

type Events = Pin<Box<dyn Stream<Item = Result<Event>> + Send>>;

/// The same watch with other events.
fn told(watch: Watch, events: impl FnOnce(Events) -> Events) -> Watch {
    let id = watch.id();
    Watch::new(id, events(Box::pin(watch)))
}

/// The same watch with each event in the place of which others come.
fn each(watch: Watch, mut instead: impl FnMut(Result<Event>) -> Vec<Result<Event>> + Send + 'static) -> Watch {
    told(watch, |events| Box::pin(events.flat_map(move |event| stream::iter(instead(event)))))
}

/// A twist of the events alone.
macro_rules! twist_events {
    ($bug:ident, |$self:ident, $watch:ident| $body:block) => {
        impl Twist for $bug {
            fn events(&$self, _: &Arc<dyn AtomicWrite>, $watch: Watch) -> Watch $body
        }
    };
}

#[derive(Default)]
struct LastEventDropped;

twist_events!(LastEventDropped, |self, watch| {
    let mut held = None;
    each(watch, move |event| match event {
        Ok(Event::Changed { .. }) => held.replace(event).into_iter().collect(),
        other => vec![other],
    })
});

#[derive(Default)]
struct SilentBehindAFault {
    /// Whether a write failed.
    fault: Arc<AtomicBool>,
}

impl SilentBehindAFault {
    fn heed<T>(&self, written: Result<T>) -> Result<T> {
        self.fault.fetch_or(written.is_err(), Ordering::SeqCst);
        written
    }
}

#[async_trait]
impl Twist for SilentBehindAFault {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        self.heed(on.set(key, value).await)
    }

    async fn test_and_set(
        &self,
        on: &Arc<dyn AtomicWrite>,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        self.heed(on.test_and_set(key, test, set).await)
    }

    async fn remove(&self, on: &Arc<dyn AtomicWrite>, key: &Key) -> Result<()> {
        self.heed(on.remove(key).await)
    }

    async fn commit(&self, on: &OpenBatch) -> Result<()> {
        self.heed(on.batch.commit().await)
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let (fault, mut told_of_it) = (Arc::clone(&self.fault), false);
        told(watch, move |mut events| {
            Box::pin(stream::poll_fn(move |cx| {
                if !fault.load(Ordering::SeqCst) {
                    return events.poll_next_unpin(cx);
                }
                if std::mem::replace(&mut told_of_it, true) {
                    return Poll::Pending;
                }
                Poll::Ready(Some(Err(Error::new(ErrorKind::Unavailable, "the disk failed"))))
            }))
        })
    }
}

#[derive(Default)]
struct EventRepeated;

twist_events!(EventRepeated, |self, watch| {
    each(watch, |event| match event {
        Ok(Event::Changed { .. }) => vec![event.clone(), event],
        other => vec![other],
    })
});

#[derive(Default)]
struct EventOutOfOrder;

twist_events!(EventOutOfOrder, |self, watch| {
    let changes = Nth::default();
    each(watch, move |event| match &event {
        Ok(Event::Changed { key, diff: Diff::Updated { old: Some(old), new } }) if changes.of(4) => {
            let diff = Diff::Updated { old: Some(new.clone()), new: old.clone() };
            let stale = Event::Changed { key: key.clone(), diff };
            vec![event, Ok(stale)]
        }
        _ => vec![event],
    })
});

#[derive(Default)]
struct NeighboursSwapped {
    /// How many there were, of all watches.
    neighbours: Arc<Nth>,
}

twist_events!(NeighboursSwapped, |self, watch| {
    let neighbours = Arc::clone(&self.neighbours);
    told(watch, move |events| {
        let (mut events, mut held) = (events.fuse(), VecDeque::new());
        Box::pin(stream::poll_fn(move |cx| {
            if let Some(event) = held.pop_front() {
                return Poll::Ready(Some(event));
            }
            let Some(first) = ready!(events.poll_next_unpin(cx)) else { return Poll::Ready(None) };
            let mut next = || {
                a_moment();
                events.poll_next_unpin(cx)
            };
            let Some(Poll::Ready(Some(second))) = (0..20).map(|_| next()).find(Poll::is_ready) else {
                return Poll::Ready(Some(first));
            };
            held.extend(match swapped(&first, &second) {
                Some(swapped) if neighbours.of(20) => swapped.map(Ok),
                _ => [first, second],
            });
            Poll::Ready(held.pop_front())
        }))
    })
});

/// Two changes of a key in the other order, where they are that.
fn swapped(first: &Result<Event>, second: &Result<Event>) -> Option<[Event; 2]> {
    let (Ok(Event::Changed { key, diff: one }), Ok(Event::Changed { key: same, diff: other })) = (first, second) else {
        return None;
    };
    let (Diff::Updated { old, new: one }, Diff::Updated { new: other, .. }) = (one, other) else { return None };
    let updated = |old, new: &Bytes| Event::Changed { key: key.clone(), diff: Diff::Updated { old, new: new.clone() } };
    (key == same).then(|| [updated(old.clone(), other), updated(Some(other.clone()), one)])
}

#[derive(Default)]
struct RacedWriteNotTold {
    under_way: AtomicUsize,
    raced: Arc<Mutex<HashSet<Bytes>>>,
}

#[async_trait]
impl Twist for RacedWriteNotTold {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if self.under_way.fetch_add(1, Ordering::SeqCst) > 0 {
            lock(&self.raced).insert(value.clone());
        }
        a_moment();
        let set = on.set(key, value).await;
        self.under_way.fetch_sub(1, Ordering::SeqCst);
        set
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let raced = Arc::clone(&self.raced);
        each(watch, move |event| match &event {
            Ok(Event::Changed { diff, .. }) if diff.new_value().is_some_and(|new| lock(&raced).contains(new)) => {
                Vec::new()
            }
            _ => vec![event],
        })
    }
}

#[derive(Default)]
struct OldFromTheStore {
    /// What each key had before its last write.
    before: Arc<Mutex<HashMap<Key, Bytes>>>,
}

#[async_trait]
impl Twist for OldFromTheStore {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if let Some(before) = on.find(key).await? {
            lock(&self.before).insert(key.clone(), before);
        }
        on.set(key, value).await
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let before = Arc::clone(&self.before);
        each(watch, move |event| match event {
            Ok(Event::Changed { key, diff: Diff::Updated { old, new } }) => {
                let stored = lock(&before).get(&key).cloned();
                vec![Ok(Event::Changed { key, diff: Diff::Updated { old: stored.or(old), new } })]
            }
            other => vec![other],
        })
    }
}

#[derive(Default)]
struct AddedForUpdated;

twist_events!(AddedForUpdated, |self, watch| {
    each(watch, |event| match event {
        Ok(Event::Changed { key, diff: Diff::Updated { new, .. } }) => {
            vec![Ok(Event::Changed { key, diff: Diff::Added { new } })]
        }
        other => vec![other],
    })
});

#[derive(Default)]
struct GapAtRegistration;

/// A watch that another one takes the place of when it is first read.
fn begun_late(begin: impl Future<Output = Result<Watch>> + Send + 'static) -> Watch {
    let events = begin.map(|begun| match begun {
        Ok(watch) => watch.boxed(),
        Err(error) => stream::iter([Err(error)]).boxed(),
    });
    Watch::new(WatchId::unique(), events.flatten_stream())
}

#[async_trait]
impl Twist for GapAtRegistration {
    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, init: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        if init != Init::Current {
            return on.watch(under, init).await;
        }
        let (on, under) = (Arc::clone(on), under.clone());
        Ok(begun_late(async move { on.watch(&under, init).await }))
    }

    async fn watch_key(&self, on: &Arc<dyn AtomicWrite>, key: &Key, init: Init<Option<Bytes>>) -> Result<Watch> {
        if init != Init::Current {
            return on.watch_key(key, init).await;
        }
        let (on, key) = (Arc::clone(on), key.clone());
        Ok(begun_late(async move { on.watch_key(&key, init).await }))
    }
}

#[derive(Default)]
struct KnownIgnored;

#[async_trait]
impl Twist for KnownIgnored {
    async fn watch(&self, on: &Arc<dyn AtomicWrite>, under: &Key, _: Init<Vec<(Key, Bytes)>>) -> Result<Watch> {
        on.watch(under, Init::Current).await
    }

    async fn watch_key(&self, on: &Arc<dyn AtomicWrite>, key: &Key, _: Init<Option<Bytes>>) -> Result<Watch> {
        on.watch_key(key, Init::Current).await
    }
}

#[derive(Default)]
struct CaughtUpMissing;

twist_events!(CaughtUpMissing, |self, watch| {
    each(watch, |event| if matches!(event, Ok(Event::CaughtUp)) { vec![] } else { vec![event] })
});

#[derive(Default)]
struct CaughtUpTwice;

twist_events!(CaughtUpTwice, |self, watch| { each(watch, |event| vec![event, Ok(Event::CaughtUp)]) });

#[derive(Default)]
struct EqualSetIsTold {
    watches: Mutex<Vec<mpsc::UnboundedSender<Event>>>,
}

#[async_trait]
impl Twist for EqualSetIsTold {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if on.find(key).await?.as_ref() == Some(&value) {
            let diff = Diff::Updated { old: Some(value.clone()), new: value.clone() };
            let event = Event::Changed { key: key.clone(), diff };
            let watches = lock(&self.watches);
            // Who is gone is not told.
            watches.iter().for_each(|watch| drop(watch.send(event.clone())));
        }
        on.set(key, value).await
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let (send, more) = mpsc::unbounded_channel();
        lock(&self.watches).push(send);
        let more = received(more).map(Ok);
        told(watch, |events| Box::pin(stream::select(events, more)))
    }
}

/// What a channel gives, as a stream.
fn received<T: Send + 'static>(channel: mpsc::UnboundedReceiver<T>) -> impl Stream<Item = T> + Send {
    stream::unfold(channel, |mut channel| async move { channel.recv().await.map(|item| (item, channel)) })
}

#[derive(Default)]
struct UnboundedQueue;

twist_events!(UnboundedQueue, |self, watch| {
    let (id, mut watch) = (watch.id(), watch);
    let (send, queue) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        while let Some(event) = watch.next().await {
            if send.send(event).is_err() {
                break;
            }
        }
    });
    Watch::new(id, received(queue))
});

#[derive(Default)]
struct FoldedWhenRead {
    /// Whether there ever was a watch.
    watched: AtomicBool,
    /// What was set since a watch was read.
    unread: Arc<Mutex<Vec<Bytes>>>,
}

#[async_trait]
impl Twist for FoldedWhenRead {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        if self.watched.load(Ordering::Relaxed) {
            lock(&self.unread).push(value.clone());
        }
        on.set(key, value).await
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        self.watched.store(true, Ordering::Relaxed);
        let unread = Arc::clone(&self.unread);
        each(watch, move |event| {
            lock(&unread).clear();
            vec![event]
        })
    }
}

/// How many changes of how many watches were not read.
#[derive(Default)]
struct WatcherBlocksWriters {
    watches: AtomicUsize,
    unread: Arc<AtomicUsize>,
}

#[async_trait]
impl Twist for WatcherBlocksWriters {
    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        const QUEUE: usize = 4;
        if self.watches.load(Ordering::SeqCst) > 0 {
            while self.unread.load(Ordering::SeqCst) >= QUEUE {
                sleep(Duration::from_millis(1)).await;
            }
            self.unread.fetch_add(1, Ordering::SeqCst);
        }
        on.set(key, value).await
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        self.watches.fetch_add(1, Ordering::SeqCst);
        let unread = Arc::clone(&self.unread);
        each(watch, move |event| {
            unread.store(0, Ordering::SeqCst);
            vec![event]
        })
    }
}

#[derive(Default)]
struct WatcherBlocksWatchers {
    /// How many events each watch has read, in the order in which they began.
    read: Arc<Mutex<Vec<usize>>>,
}

twist_events!(WatcherBlocksWatchers, |self, watch| {
    let read = Arc::clone(&self.read);
    let mine = {
        let mut read = lock(&read);
        read.push(0);
        read.len() - 1
    };
    told(watch, |events| {
        Box::pin(events.then(move |event| {
            let read = Arc::clone(&read);
            async move {
                loop {
                    {
                        let mut read = lock(&read);
                        if read[..mine].iter().all(|earlier| *earlier >= read[mine]) {
                            read[mine] += 1;
                            return event;
                        }
                    }
                    sleep(Duration::from_millis(1)).await;
                }
            }
        }))
    })
});

#[derive(Default)]
struct EventAfterUnwatch;

#[async_trait]
impl Twist for EventAfterUnwatch {
    async fn unwatch(&self, _: &Arc<dyn AtomicWrite>, _: WatchId) -> Result<()> {
        Ok(())
    }
}

#[derive(Default)]
struct CloseEndsWatchesSilently;

twist_events!(CloseEndsWatchesSilently, |self, watch| {
    each(watch, |event| match event {
        Err(error) if error.kind() == ErrorKind::Closed => vec![],
        other => vec![other],
    })
});

#[derive(Default)]
struct OtherInstancesNotTold {
    /// Which instance a handle is of.
    instances: Mutex<HashMap<usize, usize>>,
    /// Which instance wrote a key last.
    writers: Arc<Mutex<HashMap<Key, usize>>>,
}

impl OtherInstancesNotTold {
    fn instance_of(&self, on: &Arc<dyn AtomicWrite>) -> usize {
        let instances = lock(&self.instances);
        instances.get(&address_of(on)).copied().unwrap_or_default()
    }
}

#[async_trait]
impl Twist for OtherInstancesNotTold {
    fn atomic_write(&self, on: &dyn Backend) -> Option<Arc<dyn AtomicWrite>> {
        let handle = on.atomic_write()?;
        let instance = std::ptr::from_ref(on).cast::<()>() as usize;
        lock(&self.instances).insert(address_of(&handle), instance);
        Some(handle)
    }

    async fn set(&self, on: &Arc<dyn AtomicWrite>, key: &Key, value: Bytes) -> Result<()> {
        let instance = self.instance_of(on);
        lock(&self.writers).insert(key.clone(), instance);
        on.set(key, value).await
    }

    fn events(&self, on: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let (mine, writers) = (self.instance_of(on), Arc::clone(&self.writers));
        each(watch, move |event| match &event {
            Ok(Event::Changed { key, .. }) => {
                let writer = lock(&writers).get(key).copied();
                if writer.is_none_or(|writer| writer == mine) { vec![event] } else { vec![] }
            }
            _ => vec![event],
        })
    }
}

#[derive(Default)]
struct ToldTooLate;

twist_events!(ToldTooLate, |self, watch| {
    told(watch, |events| {
        Box::pin(events.then(|event| async move {
            sleep(Duration::from_secs(2)).await;
            event
        }))
    })
});

#[derive(Default)]
struct ClearForgetsTheWatchers {
    /// Of each watch that began: whether it was forgotten.
    forgotten: Mutex<Vec<Arc<AtomicBool>>>,
}

#[async_trait]
impl Twist for ClearForgetsTheWatchers {
    async fn clear(&self, on: &Arc<dyn AtomicWrite>) -> Result<()> {
        for watch in &*lock(&self.forgotten) {
            watch.store(true, Ordering::SeqCst);
        }
        yield_now().await;
        on.clear().await
    }

    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        let forgotten = Arc::new(AtomicBool::new(false));
        lock(&self.forgotten).push(Arc::clone(&forgotten));
        each(watch, move |event| if forgotten.load(Ordering::SeqCst) { vec![] } else { vec![event] })
    }
}

#[derive(Default)]
struct CaughtUpLate;

twist_events!(CaughtUpLate, |self, watch| {
    let mut held = None;
    each(watch, move |event| match event {
        Ok(Event::CaughtUp) => held.replace(event).into_iter().collect(),
        other => [other].into_iter().chain(held.take()).collect(),
    })
});

#[derive(Default)]
struct CaughtUpEarly;

twist_events!(CaughtUpEarly, |self, watch| {
    told(watch, |events| {
        let others = events.filter(|event| std::future::ready(!matches!(event, Ok(Event::CaughtUp))));
        Box::pin(stream::iter([Ok(Event::CaughtUp)]).chain(others))
    })
});

#[derive(Default)]
struct EventLostWithItsReader;

twist_events!(EventLostWithItsReader, |self, watch| {
    told(watch, |mut events| {
        let mut on_its_way: Option<(Result<Event>, Waker)> = None;
        Box::pin(stream::poll_fn(move |cx| {
            if let Some((event, reader)) = on_its_way.take()
                && reader.will_wake(cx.waker())
            {
                return Poll::Ready(Some(event));
            }
            if let Some(event) = ready!(events.poll_next_unpin(cx)) {
                on_its_way = Some((event, cx.waker().clone()));
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            Poll::Ready(None)
        }))
    })
});

#[derive(Default)]
struct WatchLeavesATask(Nth);

impl Twist for WatchLeavesATask {
    fn events(&self, _: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        if self.0.of(200) {
            tokio::spawn(std::future::pending::<()>());
        }
        watch
    }
}

#[derive(Default)]
struct UnwatchEndsAnother {
    /// The watches of each handle, by its address.
    watches: Mutex<Vec<(usize, WatchId)>>,
}

#[async_trait]
impl Twist for UnwatchEndsAnother {
    fn events(&self, on: &Arc<dyn AtomicWrite>, watch: Watch) -> Watch {
        lock(&self.watches).push((address_of(on), watch.id()));
        watch
    }

    async fn unwatch(&self, on: &Arc<dyn AtomicWrite>, id: WatchId) -> Result<()> {
        let ended = {
            let mut watches = lock(&self.watches);
            let of_handle = watches.iter().filter(|(handle, _)| *handle == address_of(on)).map(|(_, id)| *id);
            let ended = if watches.contains(&(address_of(on), id)) { vec![id] } else { of_handle.collect() };
            watches.retain(|(_, id)| !ended.contains(id));
            ended
        };
        for id in ended {
            on.unwatch(id).await?;
        }
        Ok(())
    }
}
