//! What an operation means for its key: a register that is absent or has a value.

use std::collections::HashMap;

use bytes::Bytes;

use super::{Operation, Outcome, interval::Interval};

/// What a key is, by number: absent is 0, and each value of a history has one of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct State(pub(super) usize);

impl State {
    pub(super) const ABSENT: Self = Self(0);
}

/// In which states an operation can have had its outcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Accepts {
    Only(State),
    AllBut(State),
    /// Its outcome contradicts itself.
    None,
}

impl Accepts {
    pub(super) fn contains(self, state: State) -> bool {
        match self {
            Self::Only(only) => state == only,
            Self::AllBut(not) => state != not,
            Self::None => false,
        }
    }
}

/// What an operation does at the instant at which it takes effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It sees the state, and leaves it.
    Read(Accepts),
    /// It sets the state, whatever that was.
    Write(State),
    /// It changes one state into another.
    Swap { test: State, set: State },
}

impl Step {
    /// Whether it can take effect in a state, and tells whether the state was that one.
    pub(super) fn observes(self, state: State) -> bool {
        match self {
            Self::Read(accepts) => accepts.contains(state),
            Self::Write(_) => false,
            Self::Swap { test, .. } => state == test,
        }
    }

    /// What it makes of the state, if it changes it.
    pub(super) fn becomes(self) -> Option<State> {
        match self {
            Self::Read(_) => None,
            Self::Write(set) | Self::Swap { set, .. } => Some(set),
        }
    }
}

/// The numbers of the values of a history.
#[derive(Default)]
pub(super) struct States<'h> {
    values: HashMap<&'h [u8], State>,
}

impl<'h> States<'h> {
    fn of(&mut self, value: Option<&'h Bytes>) -> State {
        let Some(value) = value else { return State::ABSENT };
        let next = self.values.len() + 1;
        *self.values.entry(value).or_insert(State(next))
    }

    /// The step of an operation, or `None` where it says and does nothing: a read that has no outcome.
    pub(super) fn step(&mut self, interval: &'h Interval) -> Option<Step> {
        Some(match (&interval.operation, interval.outcome()) {
            (Operation::Set(value), _) => Step::Write(self.of(Some(value))),
            (Operation::Remove | Operation::Clear, _) => Step::Write(State::ABSENT),
            (Operation::TestAndSet { test, .. }, Some(Outcome::Mismatch { current: None })) => {
                Step::Read(Accepts::AllBut(self.of(test.as_ref())))
            }
            // A mismatch that carries what was there carries what differs from the test (A4).
            (Operation::TestAndSet { test, .. }, Some(Outcome::Mismatch { current: Some(current) })) => {
                Step::Read(if current == test { Accepts::None } else { Accepts::Only(self.of(current.as_ref())) })
            }
            (Operation::TestAndSet { set, .. }, _) if !interval.compares => Step::Write(self.of(set.as_ref())),
            (Operation::TestAndSet { test, set }, outcome) => {
                let (test, set) = (self.of(test.as_ref()), self.of(set.as_ref()));
                match outcome {
                    None if test == set => return None,
                    Some(_) if test == set => Step::Read(Accepts::Only(test)),
                    _ => Step::Swap { test, set },
                }
            }
            (Operation::Find, Some(Outcome::Found(value))) => Step::Read(Accepts::Only(self.of(value.as_ref()))),
            (Operation::Mem, Some(Outcome::Mem(true))) => Step::Read(Accepts::AllBut(State::ABSENT)),
            (Operation::Mem, Some(Outcome::Mem(false))) => Step::Read(Accepts::Only(State::ABSENT)),
            (Operation::Mem | Operation::Find, _) => return None,
        })
    }
}
