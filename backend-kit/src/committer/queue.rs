//! What has queued for the committer's thread, and whether it takes more.

use std::collections::VecDeque;

use store_api::{Effect, Error, ErrorKind, Result};

use super::Answer;
use crate::sync::{Condvar, Mutex, wait};

/// Writes with their answers, in the order of their arrival.
pub(super) struct Queue<W, A> {
    state: Mutex<State<W, A>>,
    /// Something queued, or the queue was closed.
    changed: Condvar,
    /// How many bytes a write holds.
    bytes_of: fn(&W) -> usize,
    /// How many a group may hold, unless it is one write.
    group_limit: usize,
}

struct State<W, A> {
    waiting: VecDeque<Waiting<W, A>>,
    /// The length at which writes that nobody waits for are taken out, so that callers that give up on a stalled disk do
    /// not fill the memory. It doubles with what is left, so that each write is looked at a few times only.
    purge_at: usize,
    /// The thread has a group under way.
    busy: bool,
    closed: bool,
    tidying_wanted: bool,
    poison: Option<Error>,
}

struct Waiting<W, A> {
    write: W,
    answer: A,
    bytes: usize,
}

const PURGE_AT_LEAST: usize = 1024;

/// What the thread is to do.
pub(super) enum Next<W, A> {
    /// These writes, or none of them but tidying.
    Work(Vec<(W, A)>),
    /// Nothing is left, and nothing will come.
    End,
}

impl<W, A> Queue<W, A> {
    pub(super) fn new(bytes_of: fn(&W) -> usize, group_limit: usize) -> Self {
        Self {
            state: Mutex::new(State {
                waiting: VecDeque::new(),
                purge_at: PURGE_AT_LEAST,
                busy: false,
                closed: false,
                tidying_wanted: false,
                poison: None,
            }),
            changed: Condvar::new(),
            bytes_of,
            group_limit,
        }
    }

    pub(super) fn push<T>(&self, write: W, answer: A) -> Result<()>
    where
        A: Answer<T>,
    {
        // Without the lock, which async workers take: of a batch with many values it takes long.
        let bytes = (self.bytes_of)(&write);
        let mut state = self.state.lock();
        if state.closed {
            return Err(Error::closed());
        }
        if let Some(poison) = &state.poison {
            return Err(poison.clone());
        }
        if state.waiting.len() >= state.purge_at {
            state.waiting.retain(|waiting| !waiting.answer.is_abandoned());
            state.purge_at = PURGE_AT_LEAST.max(2 * state.waiting.len());
        }
        state.waiting.push_back(Waiting { write, answer, bytes });
        drop(state);
        self.changed.notify_one();
        Ok(())
    }

    /// Whether a write in place would overtake nobody.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state.lock();
        state.waiting.is_empty() && !state.busy && !state.closed && state.poison.is_none()
    }

    /// Waits for work: what has queued, up to the limit of a group, and one write at least. What nobody waits for any
    /// longer is left out.
    pub(super) fn take<T>(&self) -> Next<W, A>
    where
        A: Answer<T>,
    {
        let mut state = self.state.lock();
        state.busy = false;
        while state.waiting.is_empty() && !state.tidying_wanted {
            if state.closed {
                return Next::End;
            }
            state = wait(&self.changed, state);
        }
        state.busy = true;
        state.tidying_wanted = false;
        let count = self.fitting(&state.waiting);
        let mut group = state.drain(count);
        state.purge_at = PURGE_AT_LEAST.max(2 * state.waiting.len());
        drop(state);
        group.retain(|(_, answer)| !answer.is_abandoned());
        Next::Work(group)
    }

    /// How many of the first writes make a group.
    fn fitting(&self, waiting: &VecDeque<Waiting<W, A>>) -> usize {
        let mut bytes: usize = 0;
        let fits = |waiting: &&Waiting<W, A>| {
            bytes = bytes.saturating_add(waiting.bytes);
            bytes <= self.group_limit
        };
        waiting.iter().take_while(fits).count().max(waiting.len().min(1))
    }

    /// Takes no more; what has queued is still worked off.
    pub(super) fn close(&self) {
        self.state.lock().closed = true;
        self.changed.notify_one();
    }

    /// Closed, with what is left.
    pub(super) fn end(&self) -> Vec<(W, A)> {
        let mut state = self.state.lock();
        state.closed = true;
        let count = state.waiting.len();
        state.drain(count)
    }

    pub(super) fn want_tidying(&self) {
        self.state.lock().tidying_wanted = true;
        self.changed.notify_one();
    }

    pub(super) fn poison(&self) -> Option<Error> {
        self.state.lock().poison.clone()
    }

    /// Refuses writes from here on; the error is for those whose sync it was.
    pub(super) fn poisoned_by(&self, error: &Error) -> Error {
        let message = "a sync failed, so nothing more can be acknowledged; open the store again";
        let poison = Error::new(ErrorKind::Poisoned, message).with_source(error.clone());
        self.state.lock().poison.get_or_insert(poison.clone());
        poison.with_effect(Effect::Unknown)
    }
}

impl<W, A> State<W, A> {
    /// Takes out the first of the writes.
    fn drain(&mut self, count: usize) -> Vec<(W, A)> {
        self.waiting.drain(..count).map(|waiting| (waiting.write, waiting.answer)).collect()
    }
}

#[cfg(all(test, not(irminsul_loom)))]
impl<W, A> Queue<W, A> {
    pub(super) fn len(&self) -> usize {
        self.state.lock().waiting.len()
    }

    pub(super) fn is_free(&self) -> bool {
        self.state.try_lock().is_some()
    }
}
