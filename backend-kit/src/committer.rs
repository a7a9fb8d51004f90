//! The committer: durable writes queue, one thread applies all that has queued as one transaction and syncs once.
//!
//! There is no timer and no linger: while one group syncs, the next one queues. Writes that need no sync skip the thread
//! when nothing is under way: a thread hop costs many times what they do.

mod queue;

use std::{
    fmt,
    sync::{Arc, PoisonError},
    thread::{self, JoinHandle},
};

use store_api::{Effect, Error, ErrorKind, Result};
use tokio::sync::{oneshot, watch};

use self::queue::{Next, Queue};
use crate::{OFFLOAD_LEN, Wakers, sync::Mutex};

/// How many bytes the writes of a group hold together, unless it is one write: 64 MiB. It bounds what an engine makes
/// of a group in memory.
const GROUP_LIMIT: usize = 64 * 1024 * 1024;

/// What a committer drives: the one writer of an engine. It is dropped on the committer's thread, or, when a
/// commit panicked, at once on the thread where it did.
pub trait Engine: Send + 'static {
    /// A write.
    type Write: Send + Sync + 'static;
    /// What a write that was committed answers.
    type Outcome: Send + 'static;

    /// About how many bytes of memory a write takes while it is written: keys, hashes and values, and
    /// [`ROW_BYTES`](crate::ROW_BYTES) for each. It is asked on the caller's thread.
    fn bytes_of(write: &Self::Write) -> usize;

    /// Applies the writes in order as one transaction, makes it as durable as the store declares, and tells the watches
    /// before it returns; who waits for that goes to `told`, and is woken when the engine is free. A write that fails by
    /// itself, without effect, is an `Err` in its place.
    ///
    /// # Errors
    ///
    /// A [`Failure`] is about the whole group. Unless a sync failed, nothing of it is in effect; an error whose
    /// [`effect`](Error::effect) is `Unknown` says that a crash could still bring it back.
    fn commit(
        &mut self,
        group: &[&Self::Write],
        patience: Patience,
        told: &mut Wakers,
    ) -> Result<Vec<Result<Self::Outcome>>, Failure>;

    /// Whether [`tidy`](Self::tidy) should run.
    fn wants_tidying(&self) -> bool {
        false
    }

    /// Work that is nobody's write, such as a checkpoint. It runs on the committer's thread, behind the answers.
    ///
    /// # Errors
    ///
    /// That of a sync that failed: it poisons (E3).
    fn tidy(&mut self) -> Result<()> {
        Ok(())
    }
}

/// Whether a commit may wait for other processes and for disks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Patience {
    /// It runs on the committer's thread.
    Wait,
    /// It runs on an async worker: what would wait is [`Failure::WouldBlock`].
    None,
}

/// Why a whole group did not commit.
#[derive(Debug)]
pub enum Failure {
    /// It would have to wait, and had no [`Patience`].
    WouldBlock,
    /// Nothing of it took effect, and the engine goes on: its reads, and its next group. One that refuses everything after
    /// an error, as some do when a disk was full, is opened anew in here.
    Failed(Error),
    /// The sync failed: it may have taken effect, and nothing more can be acknowledged (E3). Also where the engine does not
    /// say which of the two it was: that costs a reopen.
    SyncFailed(Error),
}

/// The handle on a committer's thread. Dropped, the thread applies what is still awaited, and ends.
pub struct Committer<E: Engine> {
    core: Arc<Core<E, Reply<E::Outcome>>>,
    in_place: bool,
    ended: watch::Receiver<bool>,
    /// `None` once it was joined.
    thread: std::sync::Mutex<Option<JoinHandle<()>>>,
}

impl Failure {
    /// What its writes are answered.
    #[must_use]
    pub fn into_error(self) -> Error {
        match self {
            Self::WouldBlock => Error::new(ErrorKind::Unavailable, "the engine is busy; try again"),
            Self::Failed(error) | Self::SyncFailed(error) => error,
        }
    }
}

type Reply<T> = oneshot::Sender<Result<T>>;

impl<E: Engine> Committer<E> {
    /// Starts the thread. `in_place` says whether small writes may be applied by their caller when nothing is under
    /// way: only where a commit does not sync.
    ///
    /// # Errors
    ///
    /// `Other` when no thread could be started.
    pub fn start(engine: E, name: &'static str, in_place: bool) -> Result<Self> {
        let core = Arc::new(Core::new(engine, GROUP_LIMIT));
        let (ending, ended) = watch::channel(false);
        let on_thread = Arc::clone(&core);
        let run = move || {
            on_thread.run();
            // Receivers that are gone wait for nothing.
            let _ = ending.send(true);
        };
        let thread = thread::Builder::new()
            .name(name.into())
            .spawn(run)
            .map_err(|error| Error::new(ErrorKind::Other, "no thread could be started").with_source(error))?;
        Ok(Self { core, in_place, ended, thread: std::sync::Mutex::new(Some(thread)) })
    }

    /// Applies a write, a small one on the caller's thread where that may be, and answers when it is as durable as the
    /// engine makes it. A write whose future is dropped before its group has begun does not happen; later, it happens
    /// whole (A9).
    ///
    /// # Errors
    ///
    /// Those of the engine; `Closed` and `Poisoned` (E3).
    pub async fn write(&self, write: E::Write) -> Result<E::Outcome> {
        let write = if self.in_place && E::bytes_of(&write) <= OFFLOAD_LEN {
            match self.core.write_in_place(write) {
                Ok(outcome) => return outcome,
                Err(write) => write,
            }
        } else {
            write
        };
        self.enqueue(write).await
    }

    /// [`write`](Self::write), always on the thread: for what takes long or must sync.
    ///
    /// # Errors
    ///
    /// Those of [`write`](Self::write).
    pub async fn enqueue(&self, write: E::Write) -> Result<E::Outcome> {
        let (reply, answer) = oneshot::channel();
        self.core.queue.push(write, reply)?;
        answer.await.unwrap_or_else(|_| {
            Err(Error::new(ErrorKind::Other, "the committer's thread ended early").with_effect(Effect::Unknown))
        })
    }

    /// Takes no more writes, applies those that have queued, drops the engine, and returns when all that is done.
    pub async fn close(&self) {
        self.core.queue.close();
        let mut ended = self.ended.clone();
        // An error means that the thread is gone without saying so, which is an end too.
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// [`close`](Self::close) for an instance that is dropped, of an engine that must not be left alone with its end: it
    /// blocks the caller's thread. `false`, without waiting, on the committer's own thread, where a waker can drop the last
    /// handle.
    pub fn join(&self) -> bool {
        self.core.queue.close();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        match thread {
            Some(thread) if thread.thread().id() == thread::current().id() => false,
            // Its panic was reported, and its callers were answered.
            Some(thread) => {
                let _ = thread.join();
                true
            }
            None => true,
        }
    }
}

impl<E: Engine> Drop for Committer<E> {
    fn drop(&mut self) {
        self.core.queue.close();
    }
}

impl<E: Engine> fmt::Debug for Committer<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Committer").field("in_place", &self.in_place).finish_non_exhaustive()
    }
}

/// Where the answer to a write goes.
trait Answer<T>: Send {
    fn send(self, outcome: Result<T>);

    /// Whether nobody waits for it any longer.
    fn is_abandoned(&self) -> bool;
}

impl<T: Send> Answer<T> for Reply<T> {
    fn send(self, outcome: Result<T>) {
        // The future that waited may have been dropped.
        let _ = oneshot::Sender::send(self, outcome);
    }

    fn is_abandoned(&self) -> bool {
        self.is_closed()
    }
}

/// What the callers and the thread share. The model runs it under loom, with another kind of answer.
struct Core<E: Engine, A> {
    queue: Queue<E::Write, A>,
    /// `None` once it was closed, or panicked.
    engine: Mutex<Option<E>>,
}

impl<E: Engine, A: Answer<E::Outcome>> Core<E, A> {
    fn new(engine: E, group_limit: usize) -> Self {
        Self { queue: Queue::new(E::bytes_of, group_limit), engine: Mutex::new(Some(engine)) }
    }

    /// Applies a write on the caller's thread, if nothing is under way and it need not wait; else gives it back.
    ///
    /// A write that queued later may be overtaken by one in place, and the other way round: both were under way at the
    /// time, so either order is one that their callers must expect. A group that has begun is not overtaken, or a
    /// stream of writes in place could keep the thread from the engine for ever.
    fn write_in_place(&self, write: E::Write) -> Result<Result<E::Outcome>, E::Write> {
        // Dropped behind the lock of the engine: who is woken may run any code.
        let mut told = Wakers::default();
        let Some(mut slot) = self.engine.try_lock() else { return Err(write) };
        // With the engine in hand: its last commit may have failed to sync, or have been the last.
        if !self.queue.is_idle() {
            return Err(write);
        }
        // Taken out: an engine that panics is dropped, since what it was doing is not known.
        let Some(mut engine) = slot.take() else { return Err(write) };
        let outcome = match engine.commit(&[&write], Patience::None, &mut told) {
            Ok(outcomes) => Ok(single(outcomes)),
            Err(Failure::WouldBlock) => Err(write),
            Err(Failure::Failed(error)) => Ok(Err(error)),
            Err(Failure::SyncFailed(error)) => Ok(Err(self.queue.poisoned_by(&error))),
        };
        if engine.wants_tidying() {
            self.queue.want_tidying();
        }
        *slot = Some(engine);
        outcome
    }

    /// The thread: group after group, until the queue is closed and empty.
    fn run(&self) {
        // Also when the engine panics: what waits must be answered, and what comes refused.
        let _ending = Ending(self);
        while let Next::Work(group) = self.queue.take() {
            self.commit(group);
            self.tidy();
        }
    }

    /// Commits a group, and answers it when the engine is free: who waits for an answer may run any code.
    fn commit(&self, group: Vec<(E::Write, A)>) {
        if group.is_empty() {
            return;
        }
        let committed = match self.commit_on_engine(&group) {
            Ok(committed) => committed,
            Err(refusal) => return refuse(group, &refusal),
        };
        match committed {
            Ok(outcomes) => {
                debug_assert_eq!(outcomes.len(), group.len(), "an engine answers each write");
                group.into_iter().zip(outcomes).for_each(|((_, answer), outcome)| answer.send(outcome));
            }
            Err(Failure::SyncFailed(error)) => refuse(group, &self.queue.poisoned_by(&error)),
            Err(failure @ Failure::WouldBlock) => refuse(group, &failure.into_error()),
            // What may pass by itself is about no member: to try each would be to wait as long for each.
            Err(Failure::Failed(error)) if group.len() == 1 || error.is_retryable() => refuse(group, &error),
            // One write too many does not fail its neighbours: each is tried by itself.
            Err(Failure::Failed(_)) => group.into_iter().for_each(|member| self.commit(vec![member])),
        }
    }

    /// What became of a group. An outer error refuses it: nothing can be committed any more.
    fn commit_on_engine(&self, group: &[(E::Write, A)]) -> Result<Result<Vec<Result<E::Outcome>>, Failure>> {
        let writes: Vec<&E::Write> = group.iter().map(|(write, _)| write).collect();
        // Dropped behind the lock of the engine.
        let mut told = Wakers::default();
        let mut slot = self.engine.lock();
        // With the engine in hand: a write in place may have failed to sync, or have panicked.
        if let Some(poison) = self.queue.poison() {
            return Err(poison);
        }
        let engine = slot.as_mut().ok_or_else(Error::closed)?;
        Ok(engine.commit(&writes, Patience::Wait, &mut told))
    }

    fn tidy(&self) {
        let mut slot = self.engine.lock();
        if let Some(engine) = slot.as_mut()
            && engine.wants_tidying()
            && let Err(error) = engine.tidy()
        {
            self.queue.poisoned_by(&error);
        }
    }
}

fn refuse<W, T, A: Answer<T>>(group: Vec<(W, A)>, error: &Error) {
    for (_, answer) in group {
        answer.send(Err(error.clone()));
    }
}

struct Ending<'c, E: Engine, A: Answer<E::Outcome>>(&'c Core<E, A>);

impl<E: Engine, A: Answer<E::Outcome>> Drop for Ending<'_, E, A> {
    fn drop(&mut self) {
        // Left over only where the engine panicked. They had not begun.
        refuse(self.0.queue.end(), &Error::closed());
        // Writes in place that got past the check of the queue hold the lock of the engine until they are done.
        drop(self.0.engine.lock().take());
    }
}

fn single<T>(outcomes: Vec<Result<T>>) -> Result<T> {
    outcomes
        .into_iter()
        .next()
        .unwrap_or_else(|| Err(Error::new(ErrorKind::Other, "the engine did not answer").with_effect(Effect::Unknown)))
}

#[cfg(all(test, irminsul_loom))]
mod model;

#[cfg(all(test, not(irminsul_loom)))]
mod tests;
