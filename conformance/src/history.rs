//! Histories: what clients did to a store, in the order in which it happened, and whether that can be explained by
//! operations that take effect one at a time, each at an instant between its call and its return (A1).
//!
//! A history comes from a [`Recorder`], or from a file ([`History::read`]). [`check`] gives the [`Verdict`]; a
//! [`Violation`] is made small and drawn by its [`Witness`].
//!
//! ```
//! use conformance::history::{History, Limits, Verdict, check};
//!
//! let stale = r#"
//!     {"process": 1, "event": "call", "op": "set", "key": "k", "value": "new"}
//!     {"process": 1, "event": "return"}
//!     {"process": 2, "event": "call", "op": "find", "key": "k"}
//!     {"process": 2, "event": "return", "value": null}
//! "#;
//! let history = History::read(stale.as_bytes())?;
//! let Verdict::NotLinearizable(violation) = check(&history, Limits::default()) else { panic!() };
//! println!("{}", violation.witness(Limits::default()));
//! # Ok::<(), conformance::history::ReadError>(())
//! ```

mod checker;
mod configurations;
mod format;
mod interval;
mod recorder;
mod register;
mod search;
mod shrink;
mod timeline;
mod witness;

use std::collections::HashMap;

use bytes::Bytes;
use store_api::{Key, TestAndSet};

pub use checker::{Exhausted, Limits, Verdict, Violation, check};
pub use format::{Problem, ReadError};
pub use recorder::{Client, Recorder};
pub(crate) use timeline::columns;
pub use witness::{Bar, Witness};

/// What a client asked a store to do to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Whether the key has an entry.
    Mem,
    /// The value of the key.
    Find,
    /// Sets the key to a value.
    Set(Bytes),
    /// Sets the key to `set` if and only if it is `test`; `None` is absent (A2).
    TestAndSet {
        /// What the key must be.
        test: Option<Bytes>,
        /// What it becomes.
        set: Option<Bytes>,
    },
    /// Removes the key.
    Remove,
    /// Removes every key of the store, called on the empty path. For each key it is a [`Remove`](Self::Remove) with the
    /// same call and return. A8 asks no more: a key that was there all through must go at an instant within, and one
    /// that was absent at some instant within may stay, since removing it there changes nothing.
    Clear,
}

impl Operation {
    /// The name of the method, as in `test_and_set`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Mem => "mem",
            Self::Find => "find",
            Self::Set(_) => "set",
            Self::TestAndSet { .. } => "test_and_set",
            Self::Remove => "remove",
            Self::Clear => "clear",
        }
    }

    fn can_return(&self, outcome: &Outcome) -> bool {
        match self {
            Self::Mem => matches!(outcome, Outcome::Mem(_)),
            Self::Find => matches!(outcome, Outcome::Found(_)),
            Self::Set(_) | Self::Remove | Self::Clear => matches!(outcome, Outcome::Done),
            Self::TestAndSet { .. } => matches!(outcome, Outcome::Applied | Outcome::Mismatch { .. }),
        }
    }
}

/// What the store answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Of [`Operation::Mem`]: whether there was an entry.
    Mem(bool),
    /// Of [`Operation::Find`]: the value, `None` for absent.
    Found(Option<Bytes>),
    /// Of a [`Set`](Operation::Set), [`Remove`](Operation::Remove) or [`Clear`](Operation::Clear): it took effect.
    Done,
    /// Of [`Operation::TestAndSet`]: the key was what it was tested for, and was set.
    Applied,
    /// Of [`Operation::TestAndSet`]: the key was something else, and stayed what it was (A4).
    Mismatch {
        /// What was there, `None` where that was not recorded.
        current: Option<Option<Bytes>>,
    },
}

impl From<&TestAndSet> for Outcome {
    fn from(verdict: &TestAndSet) -> Self {
        match verdict {
            TestAndSet::Applied => Self::Applied,
            TestAndSet::Mismatch { current } => Self::Mismatch { current: Some(current.clone()) },
        }
    }
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Who acts: one operation at a time, and nothing after [`Action::Unknown`].
    pub process: u64,
    /// What it does.
    pub action: Action,
}

/// What a process does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// It calls an operation on a key.
    Call {
        /// The key; the empty path with [`Operation::Clear`].
        key: Key,
        /// What is called.
        operation: Operation,
    },
    /// Its operation returns.
    Return(Outcome),
    /// Its operation ends without an answer: it may take effect at any later time, or never.
    Unknown,
}

/// Events in the order in which they happened, each possible after those before it.
///
/// An operation that is open at the end has an unknown outcome. One that is known not to have taken effect has no place in
/// it, and neither has a read that failed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct History {
    events: Vec<Event>,
    processes: HashMap<u64, Process>,
}

/// What a process is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Process {
    Idle,
    /// In an operation, whose call is this event.
    Busy(usize),
    Gone,
}

/// Why an event cannot follow those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misplaced {
    /// A process has one operation at a time.
    #[error("process {0} calls while its last operation is open: end that one first, with `return` or `unknown`")]
    Busy(u64),
    /// Nothing is open.
    #[error("process {0} has no operation open that could end: it needs a `call` before")]
    Idle(u64),
    /// After an unknown outcome a client goes on under another number, since its operation may still be going on.
    #[error("process {0} acts after its `unknown`: go on under a number that was not used before")]
    Gone(u64),
    /// An outcome of another operation.
    #[error("process {process} returns from `{operation}` with the outcome of another operation")]
    Outcome {
        /// The process.
        process: u64,
        /// The operation that it called.
        operation: &'static str,
    },
    /// `clear` is of the whole store.
    #[error("process {0} clears a single key: `clear` is called on the empty path, `remove` on a key")]
    ClearOfKey(u64),
}

impl History {
    /// The events, first to last.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// How many operations were called while another one of the same key was open.
    pub(crate) fn overlaps(&self) -> usize {
        let mut open: HashMap<u64, &Key> = HashMap::new();
        let mut overlaps = 0;
        for Event { process, action } in &self.events {
            if let Action::Call { key, .. } = action {
                overlaps += usize::from(open.values().any(|other| *other == key));
                open.insert(*process, key);
            } else {
                open.remove(process);
            }
        }
        overlaps
    }

    /// How many operations were called.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.action, Action::Call { .. })).count()
    }

    /// How many operations the store answered.
    pub(crate) fn answered(&self) -> usize {
        self.events.iter().filter(|event| matches!(event.action, Action::Return(_))).count()
    }

    /// Adds what happened next.
    ///
    /// # Errors
    ///
    /// Where it cannot follow what is there; the history stays as it was.
    pub fn push(&mut self, event: Event) -> Result<(), Misplaced> {
        let process = event.process;
        let next = match &event.action {
            Action::Call { key, operation } => {
                self.may_call(process)?;
                if *operation == Operation::Clear && !key.is_root() {
                    return Err(Misplaced::ClearOfKey(process));
                }
                Process::Busy(self.events.len())
            }
            Action::Return(outcome) => {
                let operation = self.open_operation(process)?;
                if !operation.can_return(outcome) {
                    return Err(Misplaced::Outcome { process, operation: operation.name() });
                }
                Process::Idle
            }
            Action::Unknown => {
                self.open_operation(process)?;
                Process::Gone
            }
        };
        self.processes.insert(process, next);
        self.events.push(event);
        Ok(())
    }

    fn may_call(&self, process: u64) -> Result<(), Misplaced> {
        match self.processes.get(&process) {
            None | Some(Process::Idle) => Ok(()),
            Some(Process::Busy(_)) => Err(Misplaced::Busy(process)),
            Some(Process::Gone) => Err(Misplaced::Gone(process)),
        }
    }

    /// What a process has called, and not ended.
    fn open_operation(&self, process: u64) -> Result<&Operation, Misplaced> {
        let call = match self.processes.get(&process) {
            Some(Process::Busy(call)) => &self.events[*call].action,
            Some(Process::Gone) => return Err(Misplaced::Gone(process)),
            None | Some(Process::Idle) => return Err(Misplaced::Idle(process)),
        };
        match call {
            Action::Call { operation, .. } => Ok(operation),
            Action::Return(_) | Action::Unknown => Err(Misplaced::Idle(process)),
        }
    }
}

impl TryFrom<Vec<Event>> for History {
    type Error = Misplaced;

    fn try_from(events: Vec<Event>) -> Result<Self, Misplaced> {
        let mut history = Self::default();
        events.into_iter().try_for_each(|event| history.push(event))?;
        Ok(history)
    }
}
