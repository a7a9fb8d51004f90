//! Recording what clients do to a store, while they do it.

use std::{
    mem,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use store_api::{AtomicWrite, Effect, EntryRead, Error, Key, Result, TestAndSet};

use crate::lock::lock;

use super::{Action, Event, History, Operation, Outcome};

/// Makes one [`History`] of what many clients do, on any number of threads.
///
/// ```
/// # use conformance::history::{Limits, Recorder, Verdict, check};
/// # use store_api::{AtomicWrite, Key};
/// # async fn record(store: &dyn AtomicWrite) -> store_api::Result<()> {
/// let recorder = Recorder::new();
/// let mut client = recorder.client();
/// client.set(store, &Key::new("k")?, "1".into()).await?;
/// assert_eq!(check(&recorder.finish(), Limits::default()), Verdict::Linearizable);
/// # Ok(()) }
/// ```
#[derive(Debug, Default)]
pub struct Recorder {
    shared: Arc<Shared>,
    clients: Mutex<Vec<Arc<Mutex<Spans>>>>,
}

/// What the clients share: two counters.
#[derive(Debug, Default)]
struct Shared {
    clock: AtomicU64,
    processes: AtomicU64,
}

impl Shared {
    /// The next instant.
    ///
    /// A call takes its instant before it begins, and a return after it ended. If one operation's return is before
    /// another's call by their instants, then the first released what the second acquired, through the counter's chain of
    /// read-modify-writes: the first really ended before the second began. So the history orders nothing that the store
    /// was free to order otherwise, which is what an accusation rests on.
    fn tick(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::AcqRel)
    }

    fn process(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }
}

/// An operation of a client.
#[derive(Debug)]
struct Span {
    process: u64,
    key: Key,
    operation: Operation,
    call: u64,
    end: Option<(u64, Action)>,
}

/// What a client did.
#[derive(Debug, Default)]
struct Spans {
    kept: Vec<Span>,
    /// How many operations have no place in a history.
    left_out: usize,
}

impl Recorder {
    /// A recorder of nothing yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A client, for one task: it does one operation at a time.
    #[must_use]
    pub fn client(&self) -> Client {
        let spans = Arc::default();
        lock(&self.clients).push(Arc::clone(&spans));
        Client { process: self.shared.process(), shared: Arc::clone(&self.shared), spans, in_flight: false }
    }

    /// How many operations were called until now, those included that the history leaves out.
    pub(crate) fn called(&self) -> usize {
        let of_client = |spans: &Arc<Mutex<Spans>>| {
            let spans = lock(spans);
            spans.kept.len() + spans.left_out
        };
        lock(&self.clients).iter().map(of_client).sum()
    }

    /// What happened until this call. An operation that is still going on has an unknown outcome.
    #[must_use]
    pub fn finish(self) -> History {
        let end = self.shared.tick();
        let mut events = Vec::new();
        for spans in mem::take(&mut *lock(&self.clients)) {
            // A call that took its instant before `end` holds this lock until it is written down.
            for span in mem::take(&mut lock(&spans).kept) {
                events.extend(span.into_events().filter(|(at, _)| *at < end));
            }
        }
        events.sort_unstable_by_key(|(at, _)| *at);
        match History::try_from(events.into_iter().map(|(_, event)| event).collect::<Vec<_>>()) {
            Ok(history) => history,
            Err(misplaced) => {
                unreachable!("a client does one thing at a time, and is another after an unknown: {misplaced}")
            }
        }
    }
}

impl Span {
    fn into_events(self) -> impl Iterator<Item = (u64, Event)> {
        let process = self.process;
        let call = Action::Call { key: self.key, operation: self.operation };
        let events = [Some((self.call, call)), self.end];
        events.into_iter().flatten().map(move |(at, action)| (at, Event { process, action }))
    }
}

/// A client of a [`Recorder`]: the operations of a store, recorded.
///
/// A read that fails is left out, since it says nothing, and so is a write that is known not to have taken effect
/// ([`Effect::NotApplied`]). After any other failure, and where the future of an operation is dropped midway, the outcome
/// is unknown, and the client goes on as another process.
#[derive(Debug)]
pub struct Client {
    shared: Arc<Shared>,
    process: u64,
    /// Shared with the recorder alone, which takes it at the end: no client waits for another.
    spans: Arc<Mutex<Spans>>,
    /// Whether the last operation has no outcome.
    in_flight: bool,
}

impl Client {
    /// [`EntryRead::mem`].
    pub async fn mem(&mut self, store: &dyn EntryRead, key: &Key) -> Result<bool> {
        self.begin(key, Operation::Mem);
        let result = store.mem(key).await;
        self.end(&result, |&present| Outcome::Mem(present));
        result
    }

    /// [`EntryRead::find`].
    pub async fn find(&mut self, store: &dyn EntryRead, key: &Key) -> Result<Option<Bytes>> {
        self.begin(key, Operation::Find);
        let result = store.find(key).await;
        self.end(&result, |value| Outcome::Found(value.clone()));
        result
    }

    /// [`AtomicWrite::set`].
    pub async fn set(&mut self, store: &dyn AtomicWrite, key: &Key, value: Bytes) -> Result<()> {
        self.begin(key, Operation::Set(value.clone()));
        let result = store.set(key, value).await;
        self.end(&result, |()| Outcome::Done);
        result
    }

    /// [`AtomicWrite::test_and_set`].
    pub async fn test_and_set(
        &mut self,
        store: &dyn AtomicWrite,
        key: &Key,
        test: Option<Bytes>,
        set: Option<Bytes>,
    ) -> Result<TestAndSet> {
        self.begin(key, Operation::TestAndSet { test: test.clone(), set: set.clone() });
        let result = store.test_and_set(key, test, set).await;
        self.end(&result, |verdict| verdict.into());
        result
    }

    /// [`AtomicWrite::remove`].
    pub async fn remove(&mut self, store: &dyn AtomicWrite, key: &Key) -> Result<()> {
        self.begin(key, Operation::Remove);
        let result = store.remove(key).await;
        self.end(&result, |()| Outcome::Done);
        result
    }

    /// [`AtomicWrite::clear`].
    pub async fn clear(&mut self, store: &dyn AtomicWrite) -> Result<()> {
        self.begin(&Key::root(), Operation::Clear);
        let result = store.clear().await;
        self.end(&result, |()| Outcome::Done);
        result
    }

    /// Records the call. Its instant is the last thing before the operation begins.
    fn begin(&mut self, key: &Key, operation: Operation) {
        if mem::replace(&mut self.in_flight, true) {
            self.process = self.shared.process();
        }
        let mut spans = lock(&self.spans);
        let call = self.shared.tick();
        spans.kept.push(Span { process: self.process, key: key.clone(), operation, call, end: None });
    }

    /// Records how the operation that was begun last ended. Its instant is the first thing after.
    fn end<T>(&mut self, result: &Result<T>, outcome: impl FnOnce(&T) -> Outcome) {
        let at = self.shared.tick();
        let mut spans = lock(&self.spans);
        // Nothing is there once the recorder has finished.
        let Some(span) = spans.kept.last_mut() else { return };
        let action = match result {
            Ok(answer) => Action::Return(outcome(answer)),
            Err(error) if may_have_changed(&span.operation, error) => Action::Unknown,
            Err(_) => {
                spans.kept.pop();
                spans.left_out += 1;
                self.in_flight = false;
                return;
            }
        };
        self.in_flight = action == Action::Unknown;
        span.end = Some((at, action));
    }
}

fn may_have_changed(operation: &Operation, error: &Error) -> bool {
    !matches!(operation, Operation::Mem | Operation::Find) && error.effect() == Effect::Unknown
}
