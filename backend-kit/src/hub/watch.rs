//! One watch: what it was told of each key, what it is still to be told, and the stream that tells it.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use bytes::Bytes;
use futures_core::Stream;
use store_api::{Diff, Error, Event, Key, Result};

use super::{Change, HashMap, Old, Registration};
use crate::sync::Mutex;

/// The state that the publisher and the reader of one watch share. Both hold its lock for moments.
pub(super) struct WatchState(Mutex<Inner>);

struct Inner {
    phase: Phase,
    /// What the baseline has of a key that is not tracked.
    untracked: Untracked,
    tracked: HashMap<Key, Tracked>,
    /// What is to be told, by ticket: a key is in it while its latest state differs from the told one, and then once.
    queue: BTreeMap<u64, Item>,
    next_ticket: u64,
    /// A fault of the store that is still to be told, or the error that ended the watch.
    fault: Option<Error>,
    /// Entries that could not be read, each with its error, still to be told.
    faults: BTreeMap<Key, Error>,
    reader: Option<Waker>,
}

#[derive(PartialEq, Eq)]
enum Phase {
    /// The current state is being compared with the known one.
    Priming,
    Running,
    /// With an error that is still to be told, or none.
    Ended,
}

#[derive(Clone, Copy)]
enum Untracked {
    /// Nothing: the watch was given a known state, so that its baseline is whole. A change that the read of the current
    /// state has overtaken cannot contradict what was told.
    Absent,
    /// What there was before the first change: the watch began at the current state, and was told of no key.
    AsBefore,
}

struct Tracked {
    /// The sequence number of the last recorded change; 0 before the first.
    seq: u64,
    /// What the watch was last told or given: its baseline.
    told: Old,
    latest: Option<Bytes>,
    /// Its place in the queue.
    ticket: Option<u64>,
}

impl Tracked {
    fn is_told(&self) -> bool {
        match (&self.told, &self.latest) {
            (Old::Absent, None) => true,
            (Old::Present(told), Some(latest)) => told.as_ref() == Some(latest),
            _ => false,
        }
    }

    /// What tells the latest state, where it differs from the told one (W3, W6).
    fn tell(&mut self) -> Option<Diff> {
        if self.is_told() {
            return None;
        }
        let latest = self.latest.clone();
        match (std::mem::replace(&mut self.told, latest.clone().into()), latest) {
            (Old::Absent, Some(new)) => Some(Diff::Added { new }),
            (Old::Present(old), Some(new)) => Some(Diff::Updated { old, new }),
            (Old::Present(old), None) => Some(Diff::Removed { old }),
            (Old::Absent, None) => None,
        }
    }
}

enum Item {
    Key(Key),
    CaughtUp,
}

impl WatchState {
    pub(super) fn new(known: Option<HashMap<Key, Bytes>>) -> Self {
        let (phase, untracked) = match known {
            Some(_) => (Phase::Priming, Untracked::Absent),
            None => (Phase::Running, Untracked::AsBefore),
        };
        let tracked = known.into_iter().flatten().map(|(key, value)| {
            let told = Old::Present(Some(value.clone()));
            (key, Tracked { seq: 0, told, latest: Some(value), ticket: None })
        });
        let mut inner = Inner {
            phase,
            untracked,
            tracked: tracked.collect(),
            queue: BTreeMap::new(),
            next_ticket: 0,
            fault: None,
            faults: BTreeMap::new(),
            reader: None,
        };
        if inner.phase == Phase::Running {
            inner.enqueue(Item::CaughtUp);
        }
        Self(Mutex::new(inner))
    }

    pub(super) fn is_priming(&self) -> bool {
        self.0.lock().phase == Phase::Priming
    }

    pub(super) fn record(&self, change: &Change) -> Option<Waker> {
        let mut inner = self.0.lock();
        let before = match inner.untracked {
            Untracked::Absent => &Old::Absent,
            Untracked::AsBefore => &change.old,
        };
        inner.record(&change.key, change.seq, before, change.new.clone());
        if inner.queue.is_empty() { None } else { inner.reader.take() }
    }

    pub(super) fn offer(&self, key: &Key, seq: u64, value: Bytes) {
        let mut inner = self.0.lock();
        if inner.phase == Phase::Priming {
            inner.record(key, seq, &Old::Absent, Some(value));
        }
    }

    pub(super) fn begins_with(&self, key: &Key) {
        let mut inner = self.0.lock();
        if inner.phase == Phase::Running {
            let there = Tracked { seq: 0, told: Old::Present(None), latest: None, ticket: None };
            inner.tracked.entry(key.clone()).or_insert(there);
        }
    }

    pub(super) fn finish_priming(&self) {
        let mut inner = self.0.lock();
        if inner.phase == Phase::Priming {
            inner.finish_priming();
        }
    }

    pub(super) fn fault(&self, error: &Error) -> Option<Waker> {
        let mut inner = self.0.lock();
        if inner.phase == Phase::Ended {
            return None;
        }
        inner.fault = Some(error.clone());
        inner.reader.take()
    }

    pub(super) fn fault_of(&self, key: &Key, error: &Error) -> Option<Waker> {
        let mut inner = self.0.lock();
        if inner.phase == Phase::Ended {
            return None;
        }
        inner.faults.insert(key.clone(), error.clone());
        inner.reader.take()
    }

    /// Ends the watch, with a last error or without; nothing else is told. Who waits for it is to be woken.
    pub(super) fn end(&self, error: Option<Error>) -> Option<Waker> {
        let mut inner = self.0.lock();
        inner.phase = Phase::Ended;
        inner.fault = error;
        let held =
            (std::mem::take(&mut inner.tracked), std::mem::take(&mut inner.queue), std::mem::take(&mut inner.faults));
        let reader = inner.reader.take();
        drop(inner);
        drop(held);
        reader
    }

    /// What is to be told next; when nothing is, `waker` is kept until something is.
    pub(super) fn poll(&self, waker: &Waker) -> Poll<Option<Result<Event>>> {
        let mut inner = self.0.lock();
        if let Some(error) = inner.fault.take() {
            return Poll::Ready(Some(Err(error)));
        }
        if inner.phase == Phase::Ended {
            return Poll::Ready(None);
        }
        if let Some((_, error)) = inner.faults.pop_first() {
            return Poll::Ready(Some(Err(error)));
        }
        if let Some(event) = inner.next_event() {
            return Poll::Ready(Some(Ok(event)));
        }
        if inner.reader.as_ref().is_some_and(|reader| reader.will_wake(waker)) {
            return Poll::Pending;
        }
        let replaced = inner.reader.replace(waker.clone());
        drop(inner);
        // The last waker of a task may drop the task, and any code with it: that holds no lock.
        drop(replaced);
        Poll::Pending
    }

    /// How many keys it keeps a record of, for how many there is room, and how much is to be told.
    #[cfg(all(test, not(irminsul_loom)))]
    pub(super) fn sizes(&self) -> Sizes {
        let inner = self.0.lock();
        Sizes { tracked: inner.tracked.len(), room: inner.tracked.capacity(), queued: inner.queue.len() }
    }
}

#[cfg(all(test, not(irminsul_loom)))]
#[derive(Debug)]
pub(super) struct Sizes {
    pub(super) tracked: usize,
    pub(super) room: usize,
    pub(super) queued: usize,
}

/// With less room than this, records leave none unused worth giving back.
const SHRINK_ABOVE: usize = 1024;

impl Inner {
    fn record(&mut self, key: &Key, seq: u64, before: &Old, new: Option<Bytes>) {
        if self.phase == Phase::Ended {
            return;
        }
        let tracked = match self.tracked.get_mut(key) {
            Some(tracked) => tracked,
            None => self.tracked.entry(key.clone()).or_insert_with(|| Tracked {
                seq: 0,
                told: before.clone(),
                latest: None,
                ticket: None,
            }),
        };
        if seq <= tracked.seq {
            return;
        }
        tracked.seq = seq;
        tracked.latest = new;
        self.settle(key);
    }

    /// Puts a key into the queue or takes it out, whichever its latest state asks for.
    fn settle(&mut self, key: &Key) {
        let Some(tracked) = self.tracked.get_mut(key) else { return };
        match (tracked.is_told(), tracked.ticket) {
            (false, None) => {
                tracked.ticket = Some(self.next_ticket);
                self.enqueue(Item::Key(key.clone()));
            }
            (true, Some(ticket)) => {
                tracked.ticket = None;
                self.queue.remove(&ticket);
                self.forget_if_absent(key);
            }
            (true, None) => self.forget_if_absent(key),
            (false, Some(_)) => {}
        }
    }

    fn enqueue(&mut self, item: Item) {
        self.queue.insert(self.next_ticket, item);
        self.next_ticket += 1;
    }

    /// A key that is absent and told so needs no record, or every key that ever was would have one (W7). While the
    /// current state is being offered it does: the record knows that what is offered late is older.
    fn forget_if_absent(&mut self, key: &Key) {
        let absent = self.tracked.get(key).is_some_and(|tracked| tracked.latest.is_none());
        if !absent || self.phase == Phase::Priming {
            return;
        }
        self.tracked.remove(key);
        if self.tracked.capacity() > SHRINK_ABOVE && self.tracked.len() < self.tracked.capacity() / 8 {
            self.tracked.shrink_to(2 * self.tracked.len());
        }
    }

    fn finish_priming(&mut self) {
        let gone = self.tracked.iter().filter(|(_, tracked)| tracked.seq == 0);
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            if let Some(tracked) = self.tracked.get_mut(&key) {
                tracked.latest = None;
            }
            self.settle(&key);
        }
        self.tracked.retain(|_, tracked| tracked.latest.is_some() || tracked.ticket.is_some());
        self.phase = Phase::Running;
        self.enqueue(Item::CaughtUp);
    }

    fn next_event(&mut self) -> Option<Event> {
        while let Some((_, item)) = self.queue.pop_first() {
            let Item::Key(key) = item else { return Some(Event::CaughtUp) };
            let Some(tracked) = self.tracked.get_mut(&key) else { continue };
            tracked.ticket = None;
            let diff = tracked.tell();
            self.forget_if_absent(&key);
            if let Some(diff) = diff {
                return Some(Event::Changed { key, diff });
            }
        }
        None
    }
}

/// The stream of a watch. Dropped, it takes the watch out of the hub.
pub(super) struct Events<S> {
    state: Arc<WatchState>,
    _registration: Registration,
    _store: Arc<S>,
}

impl<S> Events<S> {
    pub(super) fn new(state: Arc<WatchState>, registration: Registration, store: Arc<S>) -> Self {
        Self { state, _registration: registration, _store: store }
    }
}

impl<S> Stream for Events<S> {
    type Item = Result<Event>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.state.poll(cx.waker())
    }
}
